package mus

import (
	"errors"
	"fmt"
	"math/bits"
	"reflect"
	"time"

	"github.com/mus-format/mus-go/ord"
	"github.com/mus-format/mus-go/raw"
	"github.com/mus-format/mus-go/varint"
)

// maxDepth bounds how deep the values of a recursive type may nest. encoding/json has the same
// limit.
const maxDepth = 10_000

var (
	errTruncated = errors.New("mus: input ends within a value")
	errTooLong   = errors.New("mus: declared length exceeds the input")
	errTooDeep   = fmt.Errorf("mus: nested deeper than %d", maxDepth)
)

func errEmptyElement(t, container reflect.Type) error {
	return fmt.Errorf("mus: %v contains %v, whose elements take no bytes, so that nothing bounds its "+
		"length: give the element a field", t, container)
}

type layoutKind int

const (
	fixed      layoutKind = iota // what skip says
	text                         // a length, and as many bytes
	pointer                      // a byte, then elem unless it says nil
	list                         // a length, and as many elem
	array                        // the same, the length known beforehand
	dictionary                   // a length, and as many pairs of key and elem
	structure                    // fields
)

// layout is how a type is laid out in the encoding. Layouts of recursive types contain themselves.
type layout struct {
	kind      layoutKind
	skip      func(src []byte) (int, error)
	fields    []*layout
	key, elem *layout
	length    int

	// guarded says that input must be validated before a serializer sees it.
	guarded bool
}

// layoutOf returns the layout that musgen-go gives to t, or an error that says why there is none.
func layoutOf(t reflect.Type) (*layout, error) {
	found := survey(t)
	if found.emptyElement != nil {
		return nil, errEmptyElement(t, found.emptyElement)
	}
	if found.unsupported != nil {
		return nil, fmt.Errorf("mus: %v contains %v, which no generated serializer encodes",
			t, found.unsupported)
	}
	l := layouts{}.of(t)
	l.guarded = found.sized || found.recursive != nil
	return l, nil
}

// layouts holds those under way and done, so that recursion ends.
type layouts map[reflect.Type]*layout

func (known layouts) of(t reflect.Type) *layout {
	if l, ok := known[t]; ok {
		return l
	}
	l := &layout{kind: fixed}
	known[t] = l
	if isTime(t) {
		l.skip = Time.Skip
		return l
	}
	switch t.Kind() {
	case reflect.String:
		l.kind = text
	case reflect.Pointer:
		l.kind, l.elem = pointer, known.of(t.Elem())
	case reflect.Slice:
		if t.Elem() == reflect.TypeFor[byte]() {
			l.kind = text
		} else {
			l.kind, l.elem = list, known.of(t.Elem())
		}
	case reflect.Array:
		l.kind, l.elem, l.length = array, known.of(t.Elem()), t.Len()
	case reflect.Map:
		l.kind, l.key, l.elem = dictionary, known.of(t.Key()), known.of(t.Elem())
	case reflect.Struct:
		l.kind = structure
		for field := range t.Fields() {
			l.fields = append(l.fields, known.of(field.Type))
		}
	default:
		l.skip = skippers[t.Kind()]
	}
	return l
}

var skippers = map[reflect.Kind]func([]byte) (int, error){
	reflect.Bool: ord.Bool.Skip,
	reflect.Int:  varint.Int.Skip, reflect.Int8: varint.Int8.Skip, reflect.Int16: varint.Int16.Skip,
	reflect.Int32: varint.Int32.Skip, reflect.Int64: varint.Int64.Skip,
	reflect.Uint: varint.Uint.Skip, reflect.Uint8: varint.Uint8.Skip, reflect.Uint16: varint.Uint16.Skip,
	reflect.Uint32: varint.Uint32.Skip, reflect.Uint64: varint.Uint64.Skip,
	reflect.Float32: raw.Float32.Skip, reflect.Float64: raw.Float64.Skip,
}

// validate reports whether src is exactly one value of this layout. It allocates nothing.
func (l *layout) validate(src []byte) error {
	n, err := l.walk(src, 0)
	if err != nil {
		return err
	}
	if n != len(src) {
		return errTrailing
	}
	return nil
}

// walk returns the length of the value that src starts with, which lies in depth others.
func (l *layout) walk(src []byte, depth int) (int, error) {
	if depth > maxDepth {
		return 0, errTooDeep
	}
	switch l.kind {
	case fixed:
		return l.skip(src)
	case text:
		length, n, err := readLength(src)
		if err != nil {
			return 0, err
		}
		if length > len(src)-n {
			return 0, errTooLong
		}
		return n + length, nil
	case pointer:
		switch {
		case len(src) == 0:
			return 0, errTruncated
		case src[0] == isNil:
			return 1, nil
		}
		n, err := l.elem.walk(src[1:], depth+1)
		return 1 + n, err
	case structure:
		n := 0
		for _, field := range l.fields {
			more, err := field.walk(src[n:], depth)
			if err != nil {
				return 0, err
			}
			n += more
		}
		return n, nil
	}

	length, n, err := readLength(src)
	if err != nil {
		return 0, err
	}
	if l.kind == array && length != l.length {
		return 0, fmt.Errorf("mus: %d elements for an array of %d", length, l.length)
	}
	// A length that is too long ends where the input does: each element takes a byte, or survey has
	// found an emptyElement.
	for range length {
		if l.key != nil {
			more, err := l.key.walk(src[n:], depth+1)
			if err != nil {
				return 0, err
			}
			n += more
		}
		more, err := l.elem.walk(src[n:], depth+1)
		if err != nil {
			return 0, err
		}
		n += more
	}
	return n, nil
}

func readLength(src []byte) (length, n int, err error) {
	length, n, err = varint.PositiveInt.Unmarshal(src)
	if err == nil && length < 0 {
		err = errTooLong
	}
	return length, n, err
}

// isTime reports whether t is time.Time or a type defined as one.
func isTime(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && t.ConvertibleTo(reflect.TypeFor[time.Time]())
}

// surveyed is what decides how the values of a type can be decoded. The types are the first found.
type surveyed struct {
	sized        bool         // contains something whose length comes from the input
	recursive    reflect.Type // contains itself
	emptyElement reflect.Type // a slice or map whose elements take no bytes
	unsupported  reflect.Type // nothing that musgen-go handles
}

func survey(t reflect.Type) surveyed {
	var found surveyed
	within := map[reflect.Type]bool{}
	done := map[reflect.Type]bool{}
	var visit func(t reflect.Type)
	visit = func(t reflect.Type) {
		if within[t] && found.recursive == nil {
			found.recursive = t
		}
		if within[t] || done[t] || isTime(t) {
			return
		}
		within[t] = true
		switch t.Kind() {
		case reflect.Pointer:
			visit(t.Elem())
		case reflect.Slice:
			if t.Elem() == reflect.TypeFor[byte]() {
				// mus-go compares the length with the input's, but the sum that it compares overflows.
				// Then make panics, which we recover from, unless so many bytes can be had: with 32 bits.
				found.sized = found.sized || bits.UintSize == 32
				break
			}
			found.sized = true
			if isEmpty(t.Elem()) && found.emptyElement == nil {
				found.emptyElement = t
			}
			visit(t.Elem())
		case reflect.Array:
			found.sized = true
			visit(t.Elem())
		case reflect.Map:
			found.sized = true
			if isEmpty(t.Key()) && isEmpty(t.Elem()) && found.emptyElement == nil {
				found.emptyElement = t
			}
			visit(t.Key())
			visit(t.Elem())
		case reflect.Struct:
			for field := range t.Fields() {
				visit(field.Type)
			}
		case reflect.String:
		default:
			if skippers[t.Kind()] == nil {
				found.sized = true // an interface in a serializer of the user's own
				if found.unsupported == nil {
					found.unsupported = t
				}
			}
		}
		delete(within, t)
		done[t] = true
	}
	visit(t)
	return found
}

// isEmpty reports whether values of t take no bytes: structs without fields that do.
func isEmpty(t reflect.Type) bool {
	if t.Kind() != reflect.Struct {
		return false
	}
	for field := range t.Fields() {
		if !isEmpty(field.Type) {
			return false
		}
	}
	return true
}

package mus

import (
	"errors"
	"fmt"
	"reflect"
	"slices"

	musgo "github.com/mus-format/mus-go"

	"github.com/edict-go/edict/codec"
	"github.com/edict-go/edict/codec/internal/guard"
)

var errTrailing = errors.New("mus: more bytes after the value")

// Generated returns the type V with a serializer that edict-gen wrote, or that musgen-go wrote with
// its default options: what it reads must follow from the Go type. See [For] for all others.
func Generated[V any, S musgo.Serializer[V]](serializer S) Type {
	layout, err := layoutOf(reflect.TypeFor[V]())
	if err != nil {
		return unusable[V](err)
	}
	if layout.guarded {
		return usable(serializer, layout.validate)
	}
	return usable[V](serializer, nil)
}

// For returns the type V with a serializer of your own. Its Skip method must go through the same
// bytes as Unmarshal, believe no length before the bytes are there, and neither panic nor allocate;
// where V contains a slice, a map, an array or an interface, Unmarshal is called only for what Skip
// went through to the end. Don't use ord.NewArraySer of mus-go in it, as of version 0.7.2: it reads
// beyond an array that the input declares shorter than it is.
//
// Recursive types are refused by Check, because nothing bounds how deep a Skip method recurses; the
// serializers that edict-gen writes have no such restriction.
func For[V any, S musgo.Serializer[V]](serializer S) Type {
	t := reflect.TypeFor[V]()
	found := survey(t)
	switch {
	case found.recursive != nil:
		return unusable[V](fmt.Errorf("mus: %v contains the recursive type %v, and nothing bounds how deep "+
			"its own serializer goes: let edict-gen write it", t, found.recursive))
	case found.emptyElement != nil:
		return unusable[V](errEmptyElement(t, found.emptyElement))
	case found.sized:
		return usable[V](serializer, func(src []byte) error { return skipAll(serializer, src) })
	}
	return usable[V](serializer, nil)
}

func skipAll[V any](serializer musgo.Serializer[V], src []byte) error {
	n, err := serializer.Skip(src)
	if err != nil {
		return err
	}
	if n != len(src) {
		return errTrailing
	}
	return nil
}

// usable returns the type V. validate, if not nil, comes before Unmarshal. The serializer is a type parameter because a
// method that is called through an interface copies a large value once more.
func usable[V any, S musgo.Serializer[V]](serializer S, validate func(src []byte) error) Type {
	return typeOf(codec.Coder[V]{
		// It grows dst once.
		Append: func(dst []byte, value V) (out []byte, err error) {
			out = dst // also if the serializer panics
			defer guard.Recover("mus", &err)
			size := serializer.Size(value)
			grown := slices.Grow(dst, size)[:len(dst)+size]
			if n := serializer.Marshal(value, grown[len(dst):]); n != size {
				return dst, fmt.Errorf("mus: the serializer of %T wrote %d bytes after announcing %d", value, n, size)
			}
			return grown, nil
		},
		Decode: func(src []byte) (value V, err error) {
			defer guard.Recover("mus", &err)
			if validate != nil {
				if err := validate(src); err != nil {
					return value, err
				}
			}
			value, n, err := serializer.Unmarshal(src)
			if err == nil && n != len(src) {
				err = errTrailing
			}
			return value, err
		},
	}, nil)
}

// unusable returns the type V, for which Check, Append and Decode return err.
func unusable[V any](err error) Type {
	return typeOf(codec.Coder[V]{
		Append: func(dst []byte, _ V) ([]byte, error) { return dst, err },
		Decode: func([]byte) (value V, _ error) { return value, err },
	}, err)
}

func typeOf[V any](coder codec.Coder[V], problem error) Type {
	return Type{
		value: reflect.TypeFor[V](), valueEntry: newEntry(coder, problem),
		pointer: reflect.TypeFor[*V](), pointerEntry: newEntry(pointerTo(coder), problem),
	}
}

// entry is one type's coder, for use without the type parameter.
type entry struct {
	coder     any   // the codec.Coder
	problem   error // what Check reports
	appendAny func(dst []byte, value any) ([]byte, error)
	decodeAny func(src []byte, target any) error
}

func newEntry[V any](coder codec.Coder[V], problem error) *entry {
	return &entry{
		coder, problem,
		func(dst []byte, value any) ([]byte, error) { return coder.Append(dst, value.(V)) },
		func(src []byte, target any) error {
			value, err := coder.Decode(src)
			if err == nil {
				*target.(*V) = value
			}
			return err
		},
	}
}

const (
	notNil = 0
	isNil  = 1
)

// pointerTo returns the codec.Coder of *V, in MUS's own format for pointers: a byte, then the value
// unless the byte says nil.
func pointerTo[V any](of codec.Coder[V]) codec.Coder[*V] {
	return codec.Coder[*V]{
		Append: func(dst []byte, value *V) ([]byte, error) {
			if value == nil {
				return append(dst, isNil), nil
			}
			out, err := of.Append(append(dst, notNil), *value)
			if err != nil {
				return dst, err
			}
			return out, nil
		},
		Decode: func(src []byte) (*V, error) {
			switch {
			case len(src) == 1 && src[0] == isNil:
				return nil, nil
			case len(src) == 0 || src[0] != notNil:
				return nil, errors.New("mus: neither a pointer nor nil")
			}
			value, err := of.Decode(src[1:])
			if err != nil {
				return nil, err
			}
			return &value, nil
		},
	}
}

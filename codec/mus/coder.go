package mus

import (
	"errors"
	"fmt"
	"reflect"
	"slices"

	musgo "github.com/mus-format/mus-go"

	"github.com/edict-go/edict/codec/internal/guard"
)

var errTrailing = errors.New("mus: more bytes after the value")

// Generated returns the type V with a serializer that edict-gen wrote, or that musgen-go wrote with
// its default options: what it reads must follow from the Go type. See [For] for all others.
func Generated[V any](serializer musgo.Serializer[V]) Type {
	layout, err := layoutOf(reflect.TypeFor[V]())
	c := &coder[V]{serializer: serializer, unusable: err}
	if err == nil && layout.guarded {
		c.validate = layout.validate
	}
	return c.asType()
}

// For returns the type V with a serializer of your own. Its Skip method must go through the same
// bytes as Unmarshal, believe no length before the bytes are there, and neither panic nor allocate;
// where V contains a slice, a map, an array or an interface, Unmarshal is called only for what Skip
// went through to the end. Don't use ord.NewArraySer of mus-go in it, as of version 0.7.2: it reads
// beyond an array that the input declares shorter than it is.
//
// Recursive types are refused by Check, because nothing bounds how deep a Skip method recurses; the
// serializers that edict-gen writes have no such restriction.
func For[V any](serializer musgo.Serializer[V]) Type {
	t := reflect.TypeFor[V]()
	c := &coder[V]{serializer: serializer}
	found := survey(t)
	switch {
	case found.recursive != nil:
		c.unusable = fmt.Errorf("mus: %v contains the recursive type %v, and nothing bounds how deep "+
			"its own serializer goes: let edict-gen write it", t, found.recursive)
	case found.emptyElement != nil:
		c.unusable = errEmptyElement(t, found.emptyElement)
	case found.sized:
		c.validate = func(src []byte) error { return skipAll(serializer, src) }
	}
	return c.asType()
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

// coder is the codec.Coder of V.
type coder[V any] struct {
	serializer musgo.Serializer[V]
	validate   func(src []byte) error // before Unmarshal; nil if that is safe on its own
	unusable   error                  // what Check reports
}

func (c *coder[V]) asType() Type {
	return Type{
		value: reflect.TypeFor[V](), valueCoder: c,
		pointer: reflect.TypeFor[*V](), pointerTo: &pointerCoder[V]{c},
	}
}

func (c *coder[V]) check() error { return c.unusable }

// Append appends the encoding of value, growing dst once.
func (c *coder[V]) Append(dst []byte, value V) (out []byte, err error) {
	out = dst // also if the serializer panics
	defer guard.Recover("mus", &err)
	if c.unusable != nil {
		return dst, c.unusable
	}
	size := c.serializer.Size(value)
	grown := slices.Grow(dst, size)[:len(dst)+size]
	if n := c.serializer.Marshal(value, grown[len(dst):]); n != size {
		return dst, fmt.Errorf("mus: the serializer of %T wrote %d bytes after announcing %d", value, n, size)
	}
	return grown, nil
}

// Decode decodes the one value that src must hold.
func (c *coder[V]) Decode(src []byte) (value V, err error) {
	defer guard.Recover("mus", &err)
	if c.unusable != nil {
		return value, c.unusable
	}
	if c.validate != nil {
		if err := c.validate(src); err != nil {
			return value, err
		}
	}
	value, n, err := c.serializer.Unmarshal(src)
	if err == nil && n != len(src) {
		err = errTrailing
	}
	return value, err
}

func (c *coder[V]) appendAny(dst []byte, value any) ([]byte, error) {
	return c.Append(dst, value.(V))
}

func (c *coder[V]) decodeAny(src []byte, target any) error {
	value, err := c.Decode(src)
	if err == nil {
		*target.(*V) = value
	}
	return err
}

// pointerCoder is the codec.Coder of *V, in MUS's own format for pointers: a byte, then the value
// unless the byte says nil.
type pointerCoder[V any] struct{ value *coder[V] }

const (
	notNil = 0
	isNil  = 1
)

func (c *pointerCoder[V]) check() error { return c.value.unusable }

func (c *pointerCoder[V]) Append(dst []byte, value *V) ([]byte, error) {
	if c.value.unusable != nil {
		return dst, c.value.unusable
	}
	if value == nil {
		return append(dst, isNil), nil
	}
	out, err := c.value.Append(append(dst, notNil), *value)
	if err != nil {
		return dst, err
	}
	return out, nil
}

func (c *pointerCoder[V]) Decode(src []byte) (*V, error) {
	switch {
	case len(src) == 1 && src[0] == isNil:
		return nil, c.value.unusable
	case len(src) == 0 || src[0] != notNil:
		return nil, errors.New("mus: neither a pointer nor nil")
	}
	value, err := c.value.Decode(src[1:])
	if err != nil {
		return nil, err
	}
	return &value, nil
}

func (c *pointerCoder[V]) appendAny(dst []byte, value any) ([]byte, error) {
	return c.Append(dst, value.(*V))
}

func (c *pointerCoder[V]) decodeAny(src []byte, target any) error {
	value, err := c.Decode(src)
	if err == nil {
		*target.(**V) = value
	}
	return err
}

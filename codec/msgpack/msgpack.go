package msgpack

import (
	"bytes"
	"encoding"
	"fmt"
	"reflect"
	"sync"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/edict-go/edict/codec"
	"github.com/edict-go/edict/codec/internal/guard"
)

var (
	// Codec encodes structs as arrays, their fields by position.
	Codec codec.Codec = newCodec("msgpack", false)

	// Map encodes structs as maps, their fields by name.
	Map codec.Codec = newCodec("msgpack-map", true)
)

type msgpackCodec struct {
	name        string
	namesFields bool
	encoders    sync.Pool // of *encoder
	decoders    sync.Pool // of *decoder
	hasMap      sync.Map  // reflect.Type to bool, see containsMap
}

func newCodec(name string, namesFields bool) *msgpackCodec {
	c := &msgpackCodec{name: name, namesFields: namesFields}
	c.encoders.New = func() any {
		e := &encoder{}
		e.msgpack = msgpack.NewEncoder(e)
		e.msgpack.UseArrayEncodedStructs(!namesFields)
		e.msgpack.UseCompactInts(true)
		return e
	}
	c.decoders.New = func() any {
		d := &decoder{}
		d.msgpack = msgpack.NewDecoder(&d.reader)
		return d
	}
	return c
}

func (c *msgpackCodec) Name() string      { return c.name }
func (c *msgpackCodec) NamesFields() bool { return c.namesFields }

// Check reports a type in t that can't be encoded and decoded, and the path to it.
func (c *msgpackCodec) Check(t reflect.Type) error {
	return guard.Walk(t, include, func(path string, t reflect.Type) (bool, error) {
		if encodesItself(t) {
			return false, nil
		}
		switch t.Kind() {
		case reflect.Chan, reflect.Func, reflect.Complex64, reflect.Complex128,
			reflect.Uintptr, reflect.UnsafePointer:
			return false, fmt.Errorf(
				"%s: %s is of type %v, which MessagePack can't carry: remove it, or tag the field `msgpack:\"-\"`",
				c.name, path, t)
		case reflect.Interface:
			if t.NumMethod() > 0 {
				return false, fmt.Errorf(
					"%s: %s is of interface type %v, which can't be decoded: use a concrete type",
					c.name, path, t)
			}
		}
		return true, nil
	})
}

// include reports whether the library encodes a struct's field.
func include(field reflect.StructField) bool {
	return (field.IsExported() || field.Anonymous) && field.Tag.Get("msgpack") != "-"
}

var selfEncoding = [][2]reflect.Type{
	{reflect.TypeFor[msgpack.CustomEncoder](), reflect.TypeFor[msgpack.CustomDecoder]()},
	{reflect.TypeFor[msgpack.Marshaler](), reflect.TypeFor[msgpack.Unmarshaler]()},
	{reflect.TypeFor[encoding.BinaryMarshaler](), reflect.TypeFor[encoding.BinaryUnmarshaler]()},
	{reflect.TypeFor[encoding.TextMarshaler](), reflect.TypeFor[encoding.TextUnmarshaler]()},
}

func encodesItself(t reflect.Type) bool {
	pointer := reflect.PointerTo(t)
	for _, pair := range selfEncoding {
		if pointer.Implements(pair[0]) && pointer.Implements(pair[1]) {
			return true
		}
	}
	return false
}

// encoder writes straight into the caller's slice. It has WriteByte because the library wraps a
// writer that lacks it.
type encoder struct {
	msgpack *msgpack.Encoder
	dst     []byte // the caller's, during Append only
}

func (e *encoder) Write(p []byte) (int, error) {
	e.dst = append(e.dst, p...)
	return len(p), nil
}

func (e *encoder) WriteByte(b byte) error {
	e.dst = append(e.dst, b)
	return nil
}

// Append appends the MessagePack encoding of value.
func (c *msgpackCodec) Append(dst []byte, value any) (out []byte, err error) {
	e := c.encoders.Get().(*encoder)
	e.dst = dst
	defer func() {
		e.dst = nil
		c.encoders.Put(e)
		if err != nil {
			out = dst
		}
	}()
	defer guard.Recover(c.name, &err)
	if err := e.msgpack.Encode(value); err != nil {
		return dst, err
	}
	return e.dst, nil
}

type decoder struct {
	msgpack *msgpack.Decoder
	reader  bytes.Reader
}

// maxPooled is the largest input after which a decoder is used again: it keeps a buffer as long as
// the longest string that it has seen.
const maxPooled = 64 << 10

// Decode decodes the one value that src must hold. With Map, fields that the target lacks are
// ignored.
func (c *msgpackCodec) Decode(src []byte, target any) (err error) {
	defer guard.Recover(c.name, &err)
	w := walker{src: src, watchMaps: c.containsMap(target)}
	if err := w.walk(); err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	if len(w.timestamps) > 0 {
		src = widenTimestamps(src, w.timestamps)
	}
	d := c.decoders.Get().(*decoder)
	d.reader.Reset(src)
	err = d.msgpack.Decode(target)
	rest := d.reader.Len()
	d.reader.Reset(nil)
	if len(src) <= maxPooled {
		c.decoders.Put(d)
	}
	if err != nil {
		return err
	}
	if rest > 0 {
		return fmt.Errorf("%s: %d bytes more than %T takes", c.name, rest, target)
	}
	return nil
}

// containsMap reports whether a map is among the types that target can decode into.
func (c *msgpackCodec) containsMap(target any) bool {
	t := reflect.TypeOf(target)
	if known, ok := c.hasMap.Load(t); ok {
		return known.(bool)
	}
	found := false
	_ = guard.Walk(t, func(reflect.StructField) bool { return true },
		func(_ string, t reflect.Type) (bool, error) {
			found = found || t.Kind() == reflect.Map
			return true, nil
		})
	c.hasMap.Store(t, found)
	return found
}

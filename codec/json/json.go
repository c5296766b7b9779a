package json

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"sync"

	"github.com/edict-go/edict/codec"
	"github.com/edict-go/edict/codec/internal/guard"
)

// Codec encodes values with encoding/json.
var Codec codec.Codec = jsonCodec{}

type jsonCodec struct{}

func (jsonCodec) Name() string      { return "json" }
func (jsonCodec) NamesFields() bool { return true }

var (
	marshalerType       = reflect.TypeFor[json.Marshaler]()
	unmarshalerType     = reflect.TypeFor[json.Unmarshaler]()
	textMarshalerType   = reflect.TypeFor[encoding.TextMarshaler]()
	textUnmarshalerType = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// Check reports a type in t that encoding/json can't encode and decode, and the path to it.
func (jsonCodec) Check(t reflect.Type) error {
	include := func(field reflect.StructField) bool {
		return (field.IsExported() || field.Anonymous) && field.Tag.Get("json") != "-"
	}
	return guard.Walk(t, include, func(path string, t reflect.Type) (bool, error) {
		if encodesItself(t, marshalerType, unmarshalerType) ||
			encodesItself(t, textMarshalerType, textUnmarshalerType) {
			return false, nil
		}
		switch t.Kind() {
		case reflect.Chan, reflect.Func, reflect.Complex64, reflect.Complex128, reflect.UnsafePointer:
			return false, fmt.Errorf(
				"json: %s is of type %v, which JSON can't carry: remove it, or tag the field `json:\"-\"`",
				path, t)
		case reflect.Interface:
			if t.NumMethod() > 0 {
				return false, fmt.Errorf(
					"json: %s is of interface type %v, which can't be decoded: use a concrete type", path, t)
			}
		case reflect.Map:
			if !isKey(t.Key()) {
				return false, fmt.Errorf(
					"json: %s has keys of type %v: JSON keys are strings, integers or text marshalers",
					path, t.Key())
			}
		}
		return true, nil
	})
}

// encodesItself reports whether values of type t bring both directions of an encoding with them.
func encodesItself(t, marshaler, unmarshaler reflect.Type) bool {
	pointer := reflect.PointerTo(t)
	return pointer.Implements(marshaler) && pointer.Implements(unmarshaler)
}

func isKey(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.String,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return true
	}
	return t.Implements(textMarshalerType) && reflect.PointerTo(t).Implements(textUnmarshalerType)
}

// encoder writes straight into the caller's slice, which spares the copy that json.Marshal makes.
type encoder struct {
	json *json.Encoder
	dst  []byte // the caller's, during Append only
}

func (e *encoder) Write(p []byte) (int, error) {
	e.dst = append(e.dst, p...)
	return len(p), nil
}

var encoders = sync.Pool{New: func() any {
	e := &encoder{}
	e.json = json.NewEncoder(e)
	e.json.SetEscapeHTML(false)
	return e
}}

// Append appends the JSON text of value, without a newline.
func (jsonCodec) Append(dst []byte, value any) (out []byte, err error) {
	e := encoders.Get().(*encoder)
	e.dst = dst
	defer func() {
		e.dst = nil
		encoders.Put(e)
		if err != nil {
			out = dst
		}
	}()
	defer guard.Recover("json", &err)
	if err := e.json.Encode(value); err != nil {
		return dst, err
	}
	return e.dst[:len(e.dst)-1], nil // json.Encoder ends each value with a newline
}

// Decode decodes the one JSON value that src must hold. Object members that the target lacks are
// ignored.
func (jsonCodec) Decode(src []byte, target any) (err error) {
	defer guard.Recover("json", &err)
	return json.Unmarshal(src, target)
}

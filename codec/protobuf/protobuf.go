package protobuf

import (
	"errors"
	"fmt"
	"reflect"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/edict-go/edict/codec"
	"github.com/edict-go/edict/codec/internal/guard"
)

// Codec encodes proto.Message values.
var Codec codec.Codec = protobufCodec{}

type protobufCodec struct{}

func (protobufCodec) Name() string      { return "protobuf" }
func (protobufCodec) NamesFields() bool { return true }

// Check reports whether t is a message pointer or a struct that only embeds one.
func (protobufCodec) Check(t reflect.Type) error {
	_, err := formOf(t)
	return err
}

// Append appends the wire format of value.
func (protobufCodec) Append(dst []byte, value any) (out []byte, err error) {
	defer func() {
		if err != nil {
			out = dst
		}
	}()
	defer guard.Recover("protobuf", &err)
	message, ok := value.(proto.Message)
	if !ok {
		return dst, errNoMessage(reflect.TypeOf(value))
	}
	return proto.MarshalOptions{}.MarshalAppend(dst, message)
}

// Decode decodes src into the message that target points to, which is a **M or a *struct{ *M }. It
// allocates the message if the pointer to it is nil, and resets it otherwise.
func (protobufCodec) Decode(src []byte, target any) (err error) {
	defer guard.Recover("protobuf", &err)
	value := reflect.ValueOf(target)
	if value.Kind() != reflect.Pointer || value.IsNil() {
		return errors.New("protobuf: the target of Decode must be a non-nil pointer")
	}
	value = value.Elem()
	form, err := formOf(value.Type())
	if err != nil {
		return err
	}
	if form.embedded {
		value = value.Field(0)
	}
	if value.IsNil() {
		value.Set(reflect.New(form.message))
	}
	return proto.Unmarshal(src, value.Interface().(proto.Message))
}

// form is how a type holds its message.
type form struct {
	message  reflect.Type // the generated struct
	embedded bool         // in the only field of a struct
}

var (
	forms       sync.Map // reflect.Type to form
	messageType = reflect.TypeFor[proto.Message]()
)

func formOf(t reflect.Type) (form, error) {
	if known, ok := forms.Load(t); ok {
		return known.(form), nil
	}
	pointer, embedded := t, false
	if t != nil && t.Kind() == reflect.Struct && t.NumField() == 1 && t.Field(0).Anonymous && t.Field(0).IsExported() {
		pointer, embedded = t.Field(0).Type, true
	}
	if !isMessage(pointer) {
		return form{}, errNoMessage(t)
	}
	found := form{pointer.Elem(), embedded}
	forms.Store(t, found)
	return found, nil
}

// isMessage reports whether t points to a message itself, rather than to a struct that has a
// message's methods because it embeds one.
func isMessage(t reflect.Type) (ok bool) {
	if t == nil || t.Kind() != reflect.Pointer || !t.Implements(messageType) {
		return false
	}
	defer func() {
		if recover() != nil { // an embedded interface, nil
			ok = false
		}
	}()
	message := reflect.New(t.Elem()).Interface().(proto.Message)
	return reflect.TypeOf(message.ProtoReflect().Interface()) == t
}

func errNoMessage(t reflect.Type) error {
	switch {
	case t == nil:
		return errors.New("protobuf: nil is not a proto.Message")
	case isMessage(reflect.PointerTo(t)):
		return fmt.Errorf("protobuf: %v is not a proto.Message, but its pointer is: use *%v", t, t)
	case t.Implements(messageType):
		return fmt.Errorf("protobuf: %v holds a message in a way that Decode can't fill: "+
			"use a struct with nothing but the embedded message pointer", t)
	default:
		return fmt.Errorf("protobuf: %v is not a proto.Message: use a type that protoc generated, "+
			"or a struct that embeds a pointer to one", t)
	}
}

package codec

import "reflect"

// Codec turns values into bytes and back. Implementations are safe for concurrent use.
type Codec interface {
	// Name is the codec's name in the handshake, for example "json". Two sides share a codec if
	// they share its name, so it must change when the format does.
	Name() string

	// NamesFields reports whether encoded structs carry the names (or numbers) of their fields, so
	// that two sides can understand each other although one of them has a field more. Codecs that
	// write fields by position return false.
	NamesFields() bool

	// Check reports, once and before the first use, whether values of type t can be encoded and
	// decoded. Its error tells the user what to do about it.
	Check(t reflect.Type) error

	// Append appends the encoding of value to dst and returns the extended slice. On error it
	// returns dst unchanged in length. It retains neither.
	Append(dst []byte, value any) ([]byte, error)

	// Decode decodes all of src into target, a non-nil pointer. The decoded value must not refer
	// to src, which is reused at once. It must not panic on any input, and what it allocates must
	// stay in proportion to len(src): a length read from src is not to be believed before the
	// bytes are there.
	Decode(src []byte, target any) error
}

// Coder is a codec bound to one type: Append and Decode without boxing the value. The rules of
// Codec hold for it. It has functions and not methods: those of a generic type are called through a wrapper,
// which for a struct as a result costs as much as decoding a field.
type Coder[V any] struct {
	Append func(dst []byte, value V) ([]byte, error)
	Decode func(src []byte) (V, error)
}

// TypedCodec is the optional ability of a Codec to bind itself to a type ahead of time.
type TypedCodec interface {
	Codec

	// Coder returns a Coder[V], V being the Go type that t describes, or nil if it has none.
	Coder(t reflect.Type) any
}

// CoderFor binds codec to V: with the Coder that a TypedCodec has for it, or else through the
// codec's own methods. The caller has seen codec.Check accept V.
func CoderFor[V any](codec Codec) Coder[V] {
	if typed, ok := codec.(TypedCodec); ok {
		if coder, ok := typed.Coder(reflect.TypeFor[V]()).(Coder[V]); ok {
			return coder
		}
	}
	return Coder[V]{
		Append: func(dst []byte, value V) ([]byte, error) { return codec.Append(dst, value) },
		Decode: func(src []byte) (V, error) {
			var value V
			err := codec.Decode(src, &value)
			return value, err
		},
	}
}

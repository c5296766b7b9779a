package json

import (
	"bytes"
	"encoding/base64"
	"reflect"

	"github.com/edict-go/edict/codec"
)

// Coder implements codec.TypedCodec: byte slices that are a command or result of their own need no
// search for the place where they begin.
func (jsonCodec) Coder(t reflect.Type) any {
	if t == reflect.TypeFor[[]byte]() {
		return codec.Coder[[]byte]{Append: appendBytes, Decode: decodeBytes}
	}
	return nil
}

// appendBytes writes what encoding/json does for a []byte, a string in base64, without its three passes over it.
func appendBytes(dst []byte, value []byte) ([]byte, error) {
	if value == nil {
		return append(dst, "null"...), nil
	}
	dst = append(dst, '"')
	dst = base64.StdEncoding.AppendEncode(dst, value)
	return append(dst, '"'), nil
}

// decodeBytes reads what appendBytes writes, and all else that encoding/json takes for a []byte.
func decodeBytes(src []byte) ([]byte, error) {
	if last := len(src) - 1; last > 0 && src[0] == '"' && src[last] == '"' {
		text := src[1:last]
		value := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
		n, err := base64.StdEncoding.Decode(value, text)
		// Base64 passes over line ends, which a JSON string can't have.
		if err == nil && bytes.IndexByte(text, '\n') < 0 && bytes.IndexByte(text, '\r') < 0 {
			return value[:n], nil
		}
	}
	// null, space around, escapes in the string, or no base64.
	var value []byte
	err := jsonCodec{}.Decode(src, &value)
	return value, err
}

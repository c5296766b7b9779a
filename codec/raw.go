package codec

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/edict-go/edict/core"
)

// RawCommand is a command, encoded already, of which a client knows the name and has no Go type. Its registry has a
// Raw definition of it. Its inputs are json.RawMessage or []byte, and so are its results.
type RawCommand struct {
	Name string
	Body []byte
}

// Raw defines a command by its name and shape, for clients that have no Go type of it, as a server has described it. It
// is sent as a RawCommand. A server can't execute it.
func Raw[T any](name string, shape Shape) Definition[T] {
	d := Definition[T]{name: name, shape: shape, raw: true, stream: len(shape) > 0 && shape[0] != "unary"}
	encoder := Encoder{Command: rawEncoder{}, Result: &core.ResultDecoder[json.RawMessage]{Decode: decodeRaw}}
	if len(shape) > 0 && shape[0] == "duplex" {
		d.input = reflect.TypeFor[json.RawMessage]()
		encoder.Input = rawEncoder{}
	}
	d.encoder = func(Codec) Encoder { return encoder }
	d.executor = func(Codec, T) core.Executor { return unexecutable{d.stream, d.input != nil} }
	return d
}

// rawEncoder sends what is encoded already.
type rawEncoder struct{}

// AppendCommand implements core.CommandEncoder.
func (rawEncoder) AppendCommand(dst []byte, command any) ([]byte, error) {
	switch command := command.(type) {
	case RawCommand:
		return append(dst, command.Body...), nil
	case json.RawMessage:
		return append(dst, command...), nil
	case []byte:
		return append(dst, command...), nil
	}
	return dst, fmt.Errorf("it is %T, a codec.RawCommand is wanted, or json.RawMessage as an input", command)
}

// decodeRaw returns a result as it came: a copy, for the message is reused.
func decodeRaw(source []byte) (json.RawMessage, error) {
	return append(json.RawMessage(nil), source...), nil
}

// unexecutable is the executor of a Raw command.
type unexecutable struct{ stream, inputs bool }

func (u unexecutable) Stream() bool { return u.stream }
func (u unexecutable) Inputs() bool { return u.inputs }

// Execute implements core.Executor.
func (unexecutable) Execute(context.Context, core.Execution) error {
	return core.Errorf(core.Unimplemented, "the server has only a description of the command (codec.Raw)")
}

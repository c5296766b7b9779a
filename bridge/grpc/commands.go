package grpcbridge

import (
	"fmt"
	"reflect"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/codec"
	"github.com/edict-go/edict/core"
)

// Commands returns what carries gRPC calls on an Edict connection, to be registered beside commands of one's
// own. T is the type of their receiver, which gRPC calls have nothing to do with.
//
//	commands := edict.Commands(append(grpcbridge.Commands[*Calc](server), edict.Unary[Add]())...)
//
// On the server's side, server has the services. A client needs none: give it nil. Each codec carries these
// commands, because they bring their own encoding.
func Commands[T any](server *Server) []edict.Definition[T] {
	unary := codec.Foreign[T]{
		Format: format, Encoder: codec.Encoder{Command: callEncoder{}, Result: resultOfCall},
		Executor: func(T) core.Executor { return unaryExecutor{server} },
	}
	stream := codec.Foreign[T]{
		Format: format, Stream: true, Encoder: codec.Encoder{Command: callEncoder{}, Result: resultOfCall},
		Executor: func(T) core.Executor { return streamExecutor{server, false} },
	}
	duplex := codec.Foreign[T]{
		Format: format, Stream: true, Encoder: codec.Encoder{Command: callEncoder{}, Input: inputEncoder{}, Result: resultOfCall},
		Executor: func(T) core.Executor { return streamExecutor{server, true} },
	}
	return []edict.Definition[T]{
		unary.Definition(unaryName, reflect.TypeFor[*unaryCall]()),
		stream.Definition(streamName, reflect.TypeFor[*streamCall]()),
		duplex.Definition(duplexName, reflect.TypeFor[*duplexCall]()),
	}
}

// resultOfCall marks messages that hold a RESULT of these commands.
var resultOfCall = new(byte)

// Call is a gRPC call as native interceptors of a server see it (edict.ServerCall.Command).
type Call struct {
	// Method is the method's name with its service, as in "/echo.Echoer/Echo".
	Method string
}

// outgoing is a call as a client sends it.
type outgoing struct {
	request request
	message any // the request; nil for duplex calls
	*messages
	observe func(message any, size, wire int) // for stats handlers; nil without any
}

// The types of the three commands, by which the registry tells them apart. Native interceptors of a client see
// them as edict.ClientCall.Command; Method tells what they call.
type (
	unaryCall  struct{ outgoing }
	streamCall struct{ outgoing }
	duplexCall struct{ outgoing }
)

// Method returns the name of the method that is called, with its service.
func (o *outgoing) Method() string { return o.request.name }

// callEncoder encodes calls.
type callEncoder struct{}

// AppendCommand implements core.CommandEncoder.
func (callEncoder) AppendCommand(dst []byte, command any) ([]byte, error) {
	switch call := command.(type) {
	case *unaryCall:
		return call.append(dst, true)
	case *streamCall:
		return call.append(dst, true)
	case *duplexCall:
		return call.append(dst, false)
	}
	return dst, fmt.Errorf("it is %T", command)
}

func (o *outgoing) append(dst []byte, withMessage bool) ([]byte, error) {
	start := len(dst)
	dst = o.request.append(dst)
	if !withMessage {
		return dst, nil
	}
	head := len(dst)
	dst, compressed, size, err := o.messages.append(dst, o.message)
	if err != nil {
		return dst[:start], unsendable{err}
	}
	if compressed {
		dst[start] |= formCompressed
	}
	if o.observe != nil {
		o.observe(o.message, size, len(dst)-head)
	}
	return dst, nil
}

// unsendable is the error of a message that can't be encoded or is too large.
type unsendable struct{ error }

func (u unsendable) Unwrap() error { return u.error }

// part is an input as a client sends it.
type part struct {
	message any
	*messages
	observe func(message any, size, wire int)
}

// inputEncoder encodes parts.
type inputEncoder struct{}

// AppendCommand implements core.CommandEncoder.
func (inputEncoder) AppendCommand(dst []byte, input any) ([]byte, error) {
	p, ok := input.(*part)
	if !ok {
		return dst, fmt.Errorf("it is %T", input)
	}
	encoded, err := appendPart(dst, p.messages, p.message, p.observe)
	if err != nil {
		return dst, unsendable{err}
	}
	return encoded, nil
}

// appendPart appends the body of an INPUT or RESULT with a message.
func appendPart(dst []byte, m *messages, message any, observe func(any, int, int)) ([]byte, error) {
	start := len(dst)
	encoded, compressed, size, err := m.append(append(dst, partMessage), message)
	if err != nil {
		return dst, err
	}
	if compressed {
		encoded[start] = partCompressed
	}
	if observe != nil {
		observe(message, size, len(encoded)-start-1)
	}
	return encoded, nil
}

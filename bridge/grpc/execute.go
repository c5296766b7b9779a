package grpcbridge

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/core"
)

// unaryExecutor runs calls with one request and one response.
type unaryExecutor struct{ server *Server }

func (unaryExecutor) Stream() bool { return false }
func (unaryExecutor) Inputs() bool { return false }

// Execute implements core.Executor.
func (e unaryExecutor) Execute(ctx context.Context, execution core.Execution) error {
	call, err := e.server.accept(ctx, execution)
	if err != nil {
		return err
	}
	if call.intercepted {
		return execution.Intercept(ctx, &Call{Method: call.method.name}, func(ctx context.Context, _ any, _ core.Execution) error {
			call.context.parent = ctx
			return call.runUnary()
		})
	}
	return call.runUnary()
}

// streamExecutor runs calls with any number of responses, and of requests if it has inputs.
type streamExecutor struct {
	server *Server
	inputs bool
}

func (e streamExecutor) Stream() bool { return true }
func (e streamExecutor) Inputs() bool { return e.inputs }

// Execute implements core.Executor.
func (e streamExecutor) Execute(ctx context.Context, execution core.Execution) error {
	call, err := e.server.accept(ctx, execution)
	if err != nil {
		return err
	}
	stream := &serverStream{call: call, results: execution.Results()}
	if e.inputs {
		stream.inputs = execution.Received()
	}
	if call.intercepted {
		return execution.Intercept(ctx, &Call{Method: call.method.name}, func(ctx context.Context, _ any, _ core.Execution) error {
			call.context.parent = ctx
			return stream.run()
		})
	}
	return stream.run()
}

// serverCall is a call that the server runs.
type serverCall struct {
	server    *Server
	method    *method
	execution core.Execution
	messages  *messages // the server's, or the call's own
	form      byte
	body      []byte // the request, if it came with the command; valid until Execute returns
	context   callContext
	observer  *observer // nil without stats handlers

	intercepted bool // by native interceptors
}

// accept finds out what a command is for.
func (s *Server) accept(ctx context.Context, execution core.Execution) (*serverCall, error) {
	if s == nil {
		return nil, edict.Errorf(edict.Unimplemented, "the server has no gRPC services: it registered grpcbridge.Commands without a server")
	}
	request, body, err := parseRequest(execution.Command())
	if err != nil {
		return nil, edict.Errorf(edict.InvalidArgument, "can't decode the call: %w", err)
	}
	method, err := s.find(&request)
	if err != nil {
		return nil, err
	}
	call := &serverCall{
		server: s, method: method, execution: execution, form: request.form, body: body,
		messages: &s.messages,
		context:  callContext{parent: ctx, name: method.name, subtype: request.subtype},

		intercepted: execution.Intercepted(),
	}
	if request.form&(formSubtype|formEncoding) == 0 { // most calls
		return call, nil
	}
	own := s.messages
	call.messages = &own
	if request.form&formSubtype != 0 {
		codec, ok := codecFor(request.subtype)
		if !ok {
			return nil, edict.Errorf(edict.Unimplemented, "grpc: the server has no codec for the content-subtype %q", request.subtype)
		}
		own.codec = codec
	}
	if request.form&formEncoding != 0 {
		if own.compressor, err = compressorFor(request.encoding); err != nil {
			return nil, edict.Errorf(edict.Unimplemented, "grpc: Decompressor is not installed for grpc-encoding %q", request.encoding)
		}
	}
	return call, nil
}

// begin is called right before the handler is. It returns the handler's context.
func (c *serverCall) begin(client, server bool) (context.Context, error) {
	if err := c.execution.Begin(); err != nil {
		return nil, err
	}
	ctx := c.context.wrap(c.server.settings.keysKnown)
	if len(c.server.settings.stats) > 0 {
		c.observer, ctx = c.server.settings.stats.beginServer(ctx, c, client, server)
	}
	return ctx, nil
}

// end is called when the handler has returned. What it returns ends the command.
func (c *serverCall) end(err error) error {
	header, trailer := c.context.end()
	if c.observer != nil {
		if len(header) > 0 {
			c.observer.headerSent(header)
		}
		c.observer.serverEnded(trailer, err)
	}
	if err == nil {
		return nil
	}
	scope, _ := core.ScopeOf(c.context.parent)
	return toEdict(err, scope)
}

// runUnary runs the handler and replies.
func (c *serverCall) runUnary() error {
	if c.method.stream != nil {
		return (&serverStream{call: c, one: true}).run()
	}
	ctx, err := c.begin(false, false)
	if err != nil {
		return err
	}
	reply, err := c.method.unary.Handler(c.method.service, ctx, c.decode, c.server.settings.unary)
	if err == nil {
		err = c.reply(reply)
	}
	return c.end(err)
}

// decode decodes the request that came with the command.
func (c *serverCall) decode(message any) error {
	length := len(c.body)
	size, err := c.messages.decode(c.body, c.form&formCompressed != 0, message)
	if err == nil && c.observer != nil {
		c.observer.received(message, size, length)
	}
	return err
}

// reply makes message the command's result.
func (c *serverCall) reply(message any) error {
	if c.intercepted {
		if err := c.execution.Observe(message); err != nil {
			return err
		}
	}
	if c.observer != nil {
		c.observer.headerSent(c.context.currentHeader())
	}
	sent := c.observer.sent()
	for size := 0; ; sent = nil {
		scratch, err := c.execution.Scratch(size)
		if err != nil {
			return err
		}
		encoded, err := appendPart(scratch, c.messages, message, sent)
		if err != nil {
			return err
		}
		size = len(encoded)
		if again, err := c.execution.Reply(encoded); !again {
			return err
		}
	}
}

// serverStream is the grpc.ServerStream of a call.
type serverStream struct {
	call    *serverCall
	results core.ResultSender
	inputs  core.InputReceiver // nil if the only request came with the command
	ctx     context.Context
	size    int  // of the last message, a guess for the next
	took    bool // the request that came with the command was taken
	one     bool // the client waits for one response: it is a unary call of a method that streams
	replied bool // that response is there
	surplus bool // and the handler has sent another one
}

// run runs the handler.
func (s *serverStream) run() error {
	c := s.call
	if !s.one {
		c.context.stream = s
	}
	handler, client, server := c.handleAlone, false, false
	if description := c.method.stream; description != nil {
		handler, client, server = description.Handler, description.ClientStreams, description.ServerStreams
	}
	var err error
	if s.ctx, err = c.begin(client, server); err != nil {
		return err
	}
	if interceptor := c.server.settings.stream; interceptor != nil && c.method.stream != nil {
		info := &grpc.StreamServerInfo{FullMethod: c.method.name, IsClientStream: client, IsServerStream: server}
		err = interceptor(c.method.service, s, info, handler)
	} else {
		err = handler(c.method.service, s)
	}
	if err == nil && s.one && (!s.replied || s.surplus) {
		err = status.Error(codes.Internal, "cardinality violation: the method streams, and has not sent one response")
	}
	return c.end(err)
}

// handleAlone handles a unary method that a client has called as a stream.
func (c *serverCall) handleAlone(service any, stream grpc.ServerStream) error {
	reply, err := c.method.unary.Handler(service, stream.Context(), stream.RecvMsg, c.server.settings.unary)
	if err != nil {
		return err
	}
	return stream.SendMsg(reply)
}

// Context implements grpc.ServerStream.
func (s *serverStream) Context() context.Context { return s.ctx }

// SetHeader implements grpc.ServerStream.
func (s *serverStream) SetHeader(md metadata.MD) error { return s.call.context.SetHeader(md) }

// SendHeader implements grpc.ServerStream.
func (s *serverStream) SendHeader(md metadata.MD) error { return s.call.context.SendHeader(md) }

// SetTrailer implements grpc.ServerStream.
func (s *serverStream) SetTrailer(md metadata.MD) {
	_ = s.call.context.SetTrailer(md) // fails after the end only, when it is too late
}

// sendHeader sends the header in front of all messages.
func (s *serverStream) sendHeader(header metadata.MD) error {
	if s.call.observer != nil {
		s.call.observer.headerSent(header)
	}
	return s.send(func(dst []byte) ([]byte, error) {
		return core.AppendMetadata(append(dst, partHeader), core.Metadata(header))
	})
}

// SendMsg implements grpc.ServerStream. It returns when the message is encoded and queued; it waits while the
// client takes none.
func (s *serverStream) SendMsg(message any) error {
	c := s.call
	if header := c.context.takeHeader(); len(header) > 0 && !s.one {
		if err := s.sendHeader(header); err != nil {
			return err
		}
	}
	if s.one {
		if s.replied {
			s.surplus = true
			return status.Error(codes.Internal, "cardinality violation: the client waits for one response")
		}
		s.replied = true
		return c.reply(message)
	}
	if c.intercepted {
		if err := c.execution.Observe(message); err != nil {
			return err
		}
	}
	if c.observer != nil {
		c.observer.headerSent(nil)
	}
	sent := c.observer.sent()
	return s.send(func(dst []byte) ([]byte, error) {
		observed := sent
		sent = nil
		return appendPart(dst, c.messages, message, observed)
	})
}

// send sends a part of the stream, encoded as often as it takes until there is room for it.
func (s *serverStream) send(encode func(dst []byte) ([]byte, error)) error {
	for {
		buffer, err := s.results.Buffer(s.ctx, s.size)
		if err != nil {
			return statusOf(err).Err()
		}
		encoded, err := encode(buffer.Bytes)
		buffer.Bytes = encoded
		if err != nil {
			buffer.Release()
			return statusOf(err).Err()
		}
		s.size = len(encoded)
		again, err := s.results.SendResult(s.ctx, buffer)
		if err != nil {
			return statusOf(err).Err()
		}
		if !again {
			return nil
		}
	}
}

// RecvMsg implements grpc.ServerStream. It returns io.EOF when the client sends no more.
func (s *serverStream) RecvMsg(message any) error {
	c := s.call
	if s.inputs == nil {
		if s.took {
			return io.EOF
		}
		s.took = true
		return c.decode(message)
	}
	buffer, err := s.inputs.ReceiveInput(s.ctx)
	if err == io.EOF {
		return err
	}
	if err != nil {
		return statusOf(err).Err()
	}
	defer buffer.Release()
	kind, body, err := cutPart(buffer.Join())
	if err == nil && kind == partHeader {
		err = errors.New("a client sends no header")
	}
	if err != nil {
		return status.Errorf(codes.InvalidArgument, "grpc: can't decode the message: %v", err)
	}
	size, err := c.messages.decode(body, kind == partCompressed, message)
	if err != nil {
		return err
	}
	if c.observer != nil {
		c.observer.received(message, size, len(body))
	}
	if c.intercepted {
		return c.execution.ObserveInput(message)
	}
	return nil
}

package grpcbridge

import (
	"context"
	"io"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/edict-go/edict/core"
)

// NewStream implements grpc.ClientConnInterface: it begins a call with any number of requests or responses. What
// gRPC asks of its users holds here too: the stream keeps its resources until ctx ends, the ClientConn is closed,
// or RecvMsg has returned an error. A call with one request begins when that is given to SendMsg.
func (c *ClientConn) NewStream(ctx context.Context, description *grpc.StreamDesc, method string, options ...grpc.CallOption) (grpc.ClientStream, error) {
	if len(c.settings.callOptions) > 0 {
		options = append(c.settings.callOptions[:len(c.settings.callOptions):len(c.settings.callOptions)], options...)
	}
	if c.settings.stream != nil {
		return c.settings.stream(ctx, description, c.shown, method, c.newStream, options...)
	}
	return c.newStream(ctx, description, c.shown, method, options...)
}

// newStream is what the innermost interceptor calls.
func (c *ClientConn) newStream(ctx context.Context, description *grpc.StreamDesc, _ *grpc.ClientConn, method string, options ...grpc.CallOption) (grpc.ClientStream, error) {
	s := &clientStream{
		conn: c, ctx: ctx, description: description, settings: callSettings{messages: &c.messages},
		began: make(chan struct{}), receiving: make(chan struct{}, 1), headerKnown: make(chan struct{}),
	}
	if err := s.settings.settle(options); err != nil {
		s.finish(err, nil)
		return nil, err
	}
	if len(c.settings.stats) > 0 {
		s.observer, s.ctx = c.settings.stats.beginClient(ctx, method, !s.settings.waitForReady, description.ClientStreams, description.ServerStreams)
	}
	var err error
	if s.metadata, err = c.header(s.ctx, method, &s.settings, s.observer); err != nil {
		s.finish(err, nil)
		return nil, err
	}
	s.request = s.settings.request(method)
	s.request.form |= formName
	s.part = part{messages: s.settings.messages, observe: s.observer.sent()}
	if description.ClientStreams {
		command := &duplexCall{outgoing{request: s.request, messages: s.settings.messages}}
		if err := s.begin(command, true); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// clientStream is the grpc.ClientStream of a call.
type clientStream struct {
	conn        *ClientConn
	ctx         context.Context
	description *grpc.StreamDesc
	request     request
	metadata    core.Metadata
	observer    *observer // nil without stats handlers

	// Owned by the goroutine that sends.
	part   part
	closed bool // no more messages may be sent

	began    chan struct{} // closed when exchange is set, or the call could not begin
	exchange core.Exchange // constant after that; nil if it could not

	// receiving has a value while a goroutine receives, or ends the call. It owns the following then.
	receiving chan struct{}
	peeked    *core.Message // came while Header looked for the header
	got       bool          // a message was given to RecvMsg
	final     error         // the call has ended: what RecvMsg returns; io.EOF is well
	settings  callSettings

	headerKnown chan struct{} // closed when header is set; see Header
	header      metadata.MD

	mu       sync.Mutex  // guards the following
	stop     func() bool // of the function that runs when ctx ends
	released bool        // the exchange is closed, or about to be
	trailer  metadata.MD
}

// begin starts the command.
func (s *clientStream) begin(command any, inputs bool) error {
	exchange, err := s.conn.begin(s.ctx, command, true, inputs, s.metadata, s.settings.waitForReady)
	if err != nil {
		err = fromEdict(err, nil)
		s.receiving <- struct{}{}
		s.finish(err, nil)
		<-s.receiving
		close(s.began)
		return err
	}
	s.exchange = exchange
	if s.ctx.Done() != nil {
		// The server must hear of the end also if nobody receives.
		s.mu.Lock()
		s.stop = context.AfterFunc(s.ctx, func() { s.interrupt(context.Cause(s.ctx)) })
		s.mu.Unlock()
	}
	close(s.began)
	return nil
}

// interrupt ends the call from this side. Any goroutine may call it, after begin has set the exchange.
func (s *clientStream) interrupt(cause error) {
	s.mu.Lock()
	if s.released {
		s.mu.Unlock()
		return
	}
	s.exchange.Cancel(cause)
	s.mu.Unlock()
	select {
	case s.receiving <- struct{}{}: // nobody is there to see the end
		for s.final == nil {
			_, _ = s.receive() // what comes before the end is not wanted any more
		}
		<-s.receiving
	default: // who receives gets the error
	}
}

// SendMsg implements grpc.ClientStream.
func (s *clientStream) SendMsg(message any) error {
	if s.closed {
		return status.Error(codes.Internal, "SendMsg called after CloseSend")
	}
	if !s.description.ClientStreams {
		s.closed = true
		return s.begin(&streamCall{outgoing{
			request: s.request, message: message, messages: s.settings.messages, observe: s.observer.sent(),
		}}, false)
	}
	s.mu.Lock()
	released := s.released
	s.mu.Unlock()
	if released {
		return io.EOF
	}
	s.part.message = message
	err := s.exchange.Send(&s.part)
	s.part.message = nil
	if err == nil || err == io.EOF {
		return err
	}
	s.interrupt(err)
	return fromEdict(err, nil)
}

// CloseSend implements grpc.ClientStream.
func (s *clientStream) CloseSend() error {
	if s.closed || !s.description.ClientStreams {
		return nil
	}
	s.closed = true
	s.mu.Lock()
	released := s.released
	s.mu.Unlock()
	if !released {
		_ = s.exchange.CloseSend() // if the call has ended, RecvMsg tells why
	}
	return nil
}

// Context implements grpc.ClientStream.
func (s *clientStream) Context() context.Context { return s.ctx }

// Header implements grpc.ClientStream. It waits until the header or the first message has come, or the call has
// ended. Unlike the other methods it may be called while RecvMsg runs.
func (s *clientStream) Header() (metadata.MD, error) {
	if err := s.waitForBegin(); err != nil {
		return nil, err
	}
	select {
	case <-s.headerKnown:
	case s.receiving <- struct{}{}:
		if s.final == nil && !s.hasHeader() {
			// An error is final, and a header is known then.
			if message, isMessage, err := s.receiveOne(); err == nil && isMessage {
				s.peeked = &message
			}
		}
		<-s.receiving
	}
	return s.header, nil
}

// waitForBegin waits until the call has begun.
func (s *clientStream) waitForBegin() error {
	select {
	case <-s.began:
		return nil
	default:
	}
	select {
	case <-s.began:
		return nil
	case <-s.ctx.Done():
		return status.FromContextError(s.ctx.Err()).Err()
	}
}

// Trailer implements grpc.ClientStream.
func (s *clientStream) Trailer() metadata.MD {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.trailer
}

// RecvMsg implements grpc.ClientStream.
func (s *clientStream) RecvMsg(message any) error {
	if err := s.waitForBegin(); err != nil {
		return err
	}
	s.receiving <- struct{}{}
	defer func() { <-s.receiving }()
	first, err := s.next()
	if err != nil {
		if err == io.EOF && !s.description.ServerStreams && !s.got {
			return status.Error(codes.Internal, "cardinality violation: received no response message from non-server-streaming RPC")
		}
		return err
	}
	if err := s.decode(first, message); err != nil {
		return s.finish(err, nil)
	}
	s.got = true
	if s.description.ServerStreams {
		return nil
	}
	// One response: it counts when the call has ended well.
	switch _, err := s.next(); err {
	case nil:
		return s.finish(status.Error(codes.Internal, "cardinality violation: expected <EOF> for non server-streaming RPCs, but received another message"), nil)
	case io.EOF:
		return nil
	default:
		return err
	}
}

// next returns the next message. The caller holds receiving.
func (s *clientStream) next() (core.Message, error) {
	if s.final != nil {
		return core.Message{}, s.final
	}
	if peeked := s.peeked; peeked != nil {
		s.peeked = nil
		return *peeked, nil
	}
	return s.receive()
}

// receive waits for a message, or for the end of the call, and takes the header if that comes first. The caller
// holds receiving.
func (s *clientStream) receive() (core.Message, error) {
	if s.final != nil {
		return core.Message{}, s.final
	}
	for {
		message, isMessage, err := s.receiveOne()
		if isMessage || err != nil {
			return message, err
		}
	}
}

// receiveOne waits for a message, the header, or the end of the call. The caller holds receiving.
func (s *clientStream) receiveOne() (message core.Message, isMessage bool, err error) {
	message, err = s.exchange.Receive()
	if err != nil {
		all := s.exchange.Metadata()
		return message, false, s.finish(fromEdict(err, all), all)
	}
	kind, content, err := cutResult(message)
	if err != nil {
		return message, false, s.finish(err, nil)
	}
	if kind != partHeader {
		s.setHeader(nil)
		return message, true, nil
	}
	header, err := core.DecodeMetadata(content)
	if err != nil {
		return message, false, s.finish(status.Errorf(codes.Internal, "grpc: can't decode the header: %v", err), nil)
	}
	s.setHeader(metadata.MD(header))
	return message, false, nil
}

// hasHeader reports whether the header is known.
func (s *clientStream) hasHeader() bool {
	select {
	case <-s.headerKnown:
		return true
	default:
		return false
	}
}

// setHeader sets the header, if it is not known already. The caller holds receiving.
func (s *clientStream) setHeader(header metadata.MD) {
	if s.hasHeader() {
		return
	}
	s.header = header
	s.settings.gotHeader = header
	if s.observer != nil && s.exchange != nil {
		s.observer.headerCame(header)
	}
	close(s.headerKnown)
}

// decode decodes a message that has come.
func (s *clientStream) decode(came core.Message, message any) error {
	kind, content, err := cutResult(came)
	if err != nil {
		return err
	}
	size, err := s.settings.messages.decode(content, kind == partCompressed, message)
	if err == nil && s.observer != nil {
		s.observer.received(message, size, len(content))
	}
	return err
}

// finish ends the call, if it has not ended, and returns what RecvMsg returns from now on. The caller holds
// receiving, or nobody else knows of s. metadata is what came at the end of the call.
func (s *clientStream) finish(err error, all core.Metadata) error {
	if s.final != nil {
		return s.final
	}
	s.final = err
	header, trailer := splitMetadata(all)
	s.setHeader(header)
	s.settings.gotTrailer = trailer
	s.mu.Lock()
	s.trailer = trailer
	s.released = true
	stop := s.stop
	s.mu.Unlock()
	if stop != nil {
		stop()
	}
	if s.exchange != nil {
		s.exchange.Close()
	}
	outcome := err
	if err == io.EOF {
		outcome = nil
	}
	if s.observer != nil {
		s.observer.clientEnded(trailer, outcome)
	}
	s.settings.finish(s.conn, outcome)
	return err
}

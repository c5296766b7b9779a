package grpcbridge

import (
	"context"
	"errors"
	"io"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/core"
)

// ClientConn is a grpc.ClientConnInterface over Edict: give it to generated New...Client functions. Safe for
// concurrent use.
type ClientConn struct {
	settings clientSettings
	messages messages // of calls without options for them
	start    func(ctx context.Context, command any, stream, inputs bool, metadata core.Metadata) (core.Exchange, error)
	peer     func() core.Peer // nil if the sender has no one peer
	done     <-chan struct{}  // closed when the sender has ended for good; nil if it never does
	close    func() error
	shown    *grpc.ClientConn // to interceptors; nil without any

	byName    sync.Map    // of the methods whose hash the server did not know
	anyByName atomic.Bool // there are some
}

// Dial connects to an Edict server that serves gRPC methods, at a tcp://, tls:// or unix:// address. It is for
// clients that have no commands of their own. Unlike grpc.NewClient it connects at once, and gives up when ctx
// ends. Close must be called at the end.
func Dial(ctx context.Context, address string, options ...ClientOption) (*ClientConn, error) {
	settings := clientSettings{}
	for _, option := range options {
		option(&settings)
	}
	limits := settings.limits()
	config := edict.ClientConfig{MaxFrame: limits.maxReceive + min(frameSlack, math.MaxInt-limits.maxReceive)}
	client, err := edict.Dial(ctx, address, edict.Commands(Commands[struct{}](nil)...),
		append([]edict.DialOption{config}, settings.edict...)...)
	if err != nil {
		return nil, fromEdict(err, nil)
	}
	conn := NewClientConn(client, options...)
	closeShown := conn.close
	conn.close = func() error { return errors.Join(closeShown(), client.Close()) }
	return conn, nil
}

// NewClientConn returns a ClientConn over a sender whose registry has Commands: an edict.Client, for example,
// that sends commands of its own too. The sender stays its owner's, who closes it.
func NewClientConn[T any](sender edict.Sender[T], options ...ClientOption) *ClientConn {
	c := &ClientConn{close: func() error { return nil }}
	c.start = func(ctx context.Context, command any, stream, inputs bool, metadata core.Metadata) (core.Exchange, error) {
		request := edict.Request[T]{Command: command, Stream: stream, Inputs: inputs}
		if len(metadata) > 0 {
			request.Options = &edict.RequestOptions{Metadata: metadata}
		}
		return sender.Start(ctx, request)
	}
	if described, ok := sender.(interface{ Peer() core.Peer }); ok {
		c.peer = described.Peer
	}
	if ending, ok := sender.(interface{ Done() <-chan struct{} }); ok {
		c.done = ending.Done()
	}
	for _, option := range options {
		option(&c.settings)
	}
	c.messages = c.settings.limits()
	if c.settings.unary != nil || c.settings.stream != nil {
		c.show()
	}
	return c
}

// limits returns how messages are encoded, and how large they may be, if a call's options don't say otherwise.
func (s *clientSettings) limits() messages {
	m := messages{codec: defaultCodec(), maxReceive: defaultMaxReceive, maxSend: math.MaxInt}
	for _, option := range s.callOptions {
		switch option := option.(type) {
		case grpc.MaxRecvMsgSizeCallOption:
			m.maxReceive = option.MaxRecvMsgSize
		case grpc.MaxSendMsgSizeCallOption:
			m.maxSend = option.MaxSendMsgSize
		}
	}
	return m
}

// show makes the connection of gRPC that interceptors get, because their type wants one.
func (c *ClientConn) show() {
	target := "edict"
	if c.peer != nil && c.peer().Address != nil {
		target = c.peer().Address.String()
	}
	shown, err := grpc.NewClient("passthrough:///"+target, Redirect(c)...)
	if err == nil { // if not, they get none
		c.shown, c.close = shown, shown.Close
	}
}

// Redirect returns options with which grpc.NewClient makes a connection whose calls go over c: for code that
// insists on a *grpc.ClientConn. It connects to nothing itself, so what it tells of its state means nothing.
// Interceptors and stats handlers belong to c.
func Redirect(c *ClientConn) []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			return nil, errors.New("grpcbridge: the calls of this connection go over Edict")
		}),
		grpc.WithUnaryInterceptor(func(ctx context.Context, method string, request, reply any, _ *grpc.ClientConn, _ grpc.UnaryInvoker, options ...grpc.CallOption) error {
			return c.Invoke(ctx, method, request, reply, options...)
		}),
		grpc.WithStreamInterceptor(func(ctx context.Context, description *grpc.StreamDesc, _ *grpc.ClientConn, method string, _ grpc.Streamer, options ...grpc.CallOption) (grpc.ClientStream, error) {
			return c.NewStream(ctx, description, method, options...)
		}),
	}
}

// Close ends a connection that Dial has made: calls end with Canceled or Unavailable. One of NewClientConn only
// gives up what it has itself.
func (c *ClientConn) Close() error { return c.close() }

// Invoke implements grpc.ClientConnInterface: it makes a call with one request and one response.
func (c *ClientConn) Invoke(ctx context.Context, method string, request, reply any, options ...grpc.CallOption) error {
	if len(c.settings.callOptions) > 0 {
		options = append(c.settings.callOptions[:len(c.settings.callOptions):len(c.settings.callOptions)], options...)
	}
	if c.settings.unary != nil {
		return c.settings.unary(ctx, method, request, reply, c.shown, c.invoke, options...)
	}
	return c.invoke(ctx, method, request, reply, c.shown, options...)
}

// invoke is what the innermost interceptor calls.
func (c *ClientConn) invoke(ctx context.Context, method string, request, reply any, _ *grpc.ClientConn, options ...grpc.CallOption) error {
	s := callSettings{messages: &c.messages}
	if err := s.settle(options); err != nil {
		s.finish(c, err)
		return err
	}
	var o *observer
	if len(c.settings.stats) > 0 {
		o, ctx = c.settings.stats.beginClient(ctx, method, !s.waitForReady, false, false)
	}
	header, err := c.header(ctx, method, &s, o)
	if err == nil {
		err = c.call(ctx, method, request, reply, &s, header, o)
	}
	if o != nil {
		o.clientEnded(s.gotTrailer, err)
	}
	s.finish(c, err)
	return err
}

// call sends a request and waits for its response.
func (c *ClientConn) call(ctx context.Context, method string, message, reply any, s *callSettings, header core.Metadata, o *observer) error {
	command := &unaryCall{outgoing{request: s.request(method), message: message, messages: s.messages, observe: o.sent()}}
	if c.anyByName.Load() {
		if _, known := c.byName.Load(method); known {
			command.request.form |= formName
		}
	}
	for {
		exchange, err := c.begin(ctx, command, false, false, header, s.waitForReady)
		if err != nil {
			return fromEdict(err, nil)
		}
		result, err := exchange.Receive()
		if err == io.EOF {
			err = status.Error(codes.Internal, "grpc: the call has ended without a response")
		}
		var atEnd core.Metadata
		if err != nil || s.header != nil || s.trailer != nil || o != nil {
			atEnd = exchange.Metadata()
			s.gotHeader, s.gotTrailer = splitMetadata(atEnd)
		}
		if o != nil && (err == nil || len(s.gotHeader) > 0) {
			o.headerCame(s.gotHeader)
		}
		if err == nil {
			err = decodeReply(result, s.messages, reply, o)
		}
		err = fromEdict(err, atEnd)
		exchange.Close()
		if err != nil && command.request.form&formName == 0 && wantsName(err) {
			// The server has refused the call: it knows no such hash, but may know what to do with the name.
			c.byName.Store(method, nil)
			c.anyByName.Store(true)
			command.request.form |= formName
			continue
		}
		return err
	}
}

// wantsName reports whether a call failed because its method went by a hash.
func wantsName(err error) bool {
	e, ok := errors.AsType[*core.Error](err)
	return ok && e.Remote && e.Reason == nameWanted && e.Outcome == core.Refused
}

// decodeReply decodes the result of a unary call.
func decodeReply(result core.Message, m *messages, reply any, o *observer) error {
	kind, content, err := cutResult(result)
	if err == nil && kind == partHeader {
		err = status.Error(codes.Internal, "grpc: the server has sent a header where a message is wanted")
	}
	if err != nil {
		return err
	}
	size, err := m.decode(content, kind == partCompressed, reply)
	if err == nil && o != nil {
		o.received(reply, size, len(content))
	}
	return err
}

// cutResult cuts a result in its kind and its content.
func cutResult(result core.Message) (kind byte, content []byte, err error) {
	if result.Coder != resultOfCall {
		return 0, nil, status.Errorf(codes.Internal, "grpc: the result is a %T, not one of a gRPC call", result.Value)
	}
	kind, content, err = cutPart(result.Body)
	if err != nil {
		return 0, nil, status.Errorf(codes.Internal, "grpc: can't decode the result: %v", err)
	}
	return kind, content, nil
}

// How long a call waits between two attempts to start, if it is to wait until the connection is ready.
const (
	firstReadyWait = 10 * time.Millisecond
	maxReadyWait   = time.Second
)

// begin starts a command. With wait it tries again while the sender has no connection, unless that is for good.
func (c *ClientConn) begin(ctx context.Context, command any, stream, inputs bool, header core.Metadata, wait bool) (core.Exchange, error) {
	for pause := firstReadyWait; ; pause = min(2*pause, maxReadyWait) {
		exchange, err := c.start(ctx, command, stream, inputs, header)
		if err == nil || !wait || core.OutcomeOf(err) != core.NotSent || core.CodeOf(err) != core.Unavailable {
			return exchange, err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-c.done:
			timer.Stop()
			return nil, err
		case <-ctx.Done():
			timer.Stop()
			return nil, status.FromContextError(ctx.Err()).Err()
		}
	}
}

// header returns the metadata that goes with a call, and tells that it does.
func (c *ClientConn) header(ctx context.Context, method string, s *callSettings, o *observer) (core.Metadata, error) {
	md, _ := metadata.FromOutgoingContext(ctx)
	for key := range md {
		if isReserved(key) {
			delete(md, key) // it is a copy
		}
	}
	if len(c.settings.credentials) > 0 || s.credentials != nil || s.authority != "" {
		var err error
		if md, err = c.credentials(ctx, method, s, md); err != nil {
			return nil, err
		}
	}
	if o != nil {
		var remote net.Addr
		if c.peer != nil {
			remote = c.peer().Address
		}
		o.requested(method, remote, s.messages.encoding(), md.Copy())
	}
	return core.Metadata(md), nil
}

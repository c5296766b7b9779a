package edict

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"reflect"
	"slices"

	"github.com/edict-go/edict/auth"
	"github.com/edict-go/edict/codec"
	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/delegate"
	"github.com/edict-go/edict/transport"
)

// Client sends commands for receivers of type T over one connection. It is a Sender: use Call,
// Stream and Start with it. Safe for concurrent use.
type Client[T any] struct {
	engine   *core.Client
	registry *Registry[T]
	commands []clientCommand // by the registry's index, which is also the number on the wire
	peer     Peer
	start    ClientNext // the interceptors around send; nil without any
}

// clientCommand is a command bound to the connection's codec.
type clientCommand struct {
	name     string
	stream   bool
	encoder  codec.Encoder
	unusable *core.Error // why it can't be used on this connection
}

// ClientInterceptor surrounds the start of every call, unary and stream alike. It may change the
// context and the call's metadata, refuse by returning an error without calling next, call next
// again, and wrap the Exchange to see results or the end (see ObserveEnd).
type ClientInterceptor func(ctx context.Context, call *ClientCall, next ClientNext) (Exchange, error)

// ClientNext starts the call: the next interceptor, or the connection.
type ClientNext func(ctx context.Context, call *ClientCall) (Exchange, error)

// ClientCall is a call as a ClientInterceptor sees it.
type ClientCall struct {
	Name     string // the command's name
	Command  any    // the command itself
	Stream   bool   // whether it has any number of results
	Inputs   bool   // whether it takes inputs
	Bulk     bool   // whether it gives way to others
	Window   int    // with which a stream is to begin, in bytes; 0 is the connection's
	Metadata Metadata
}

// Dial connects to a server at a tcp://, tls:// or unix:// address and performs the handshake. It
// gives up when ctx ends, or when the server has not answered within the handshake's timeout.
//
// Errors tell what doesn't fit: no common codec, a command with another shape, a server that is
// full. They are *Error, with the outcome NotSent.
func Dial[T any](ctx context.Context, address string, commands *Registry[T], options ...DialOption) (*Client[T], error) {
	settings := dialSettings{shared: defaultShared()}
	for _, option := range options {
		option.applyToDial(&settings)
	}
	for _, c := range settings.codecs {
		if err := commands.Check(c); err != nil {
			return nil, &Error{Code: FailedPrecondition, Outcome: NotSent, Message: err.Error(), Cause: err}
		}
	}
	token, err := settings.askForToken(ctx)
	if err != nil {
		return nil, err
	}
	conn, err := connect(ctx, address, &settings)
	if err != nil {
		code := Unavailable
		if ctx.Err() != nil {
			code = CodeOf(ctx.Err())
		}
		return nil, &Error{Code: code, Outcome: NotSent, Message: err.Error(), Cause: err}
	}
	carrier := transport.NewConn(conn, transport.Config{WriteTimeout: settings.config.WriteTimeout, FrameTimeout: settings.config.FrameTimeout})
	agreement, err := delegate.Connect(ctx, carrier, settings.handshake(definitions(commands), token))
	if err != nil {
		endHandshake(ctx, carrier, err)
		return nil, err
	}
	return newClient(carrier, agreement, commands, &settings), nil
}

func connect(ctx context.Context, address string, settings *dialSettings) (net.Conn, error) {
	if settings.dial != nil {
		return settings.dial(ctx)
	}
	return transport.Dial(ctx, address, settings.tls)
}

// endHandshake closes a connection whose handshake failed, after what is queued for the server.
func endHandshake(ctx context.Context, carrier *transport.Conn, err error) {
	_ = carrier.Flush(ctx) // for the server's log, as far as it goes
	carrier.Close(err)
	carrier.Wait()
}

// handshake returns the delegate's settings.
func (s *dialSettings) handshake(commands []delegate.Command, token auth.Token) delegate.Config {
	first, _ := window(s.config.Window)
	return delegate.Config{
		Name: s.config.Name, Codecs: codecNames(s.codecs), Compressions: s.compressionNames(), Commands: commands,
		MaxFrame: s.config.MaxFrame, MaxInFlight: s.config.MaxInFlight, Window: first,
		HandshakeBytes: s.config.HandshakeBytes, HandshakeTimeout: s.config.HandshakeTimeout,
		AllowDifferences: s.config.AllowShapeDifferences,
		NamesFields: func(name string) bool {
			c, ok := codecNamed(s.codecs, name)
			return ok && c.NamesFields()
		},
		Token: token, InsecureToken: s.insecureToken,
	}
}

func codecNames(codecs []codec.Codec) []string {
	var names []string
	for _, c := range codecs {
		names = append(names, c.Name())
	}
	return names
}

func codecNamed(codecs []codec.Codec, name string) (codec.Codec, bool) {
	i := slices.IndexFunc(codecs, func(c codec.Codec) bool { return c.Name() == name })
	if i < 0 {
		return nil, false
	}
	return codecs[i], true
}

func definitions[T any](registry *Registry[T]) []delegate.Command {
	commands := make([]delegate.Command, registry.Len())
	for i := range commands {
		commands[i] = delegate.Command{Name: registry.At(i).Name(), Shape: registry.At(i).Shape()}
	}
	return commands
}

func newClient[T any](carrier *transport.Conn, agreement delegate.Agreement, registry *Registry[T], settings *dialSettings) *Client[T] {
	chosen, _ := codecNamed(settings.codecs, agreement.Codec) // Connect has seen that it was offered
	c := &Client[T]{registry: registry, peer: peerOf(carrier.NetConn(), agreement)}
	for i := range registry.Len() {
		definition := registry.At(i)
		command := clientCommand{name: definition.Name(), stream: definition.Stream(), unusable: agreement.Unusable[i]}
		command.encoder = definition.Encoder(chosen)
		c.commands = append(c.commands, command)
		if command.unusable != nil {
			settings.log().Warn("edict: command can't be used on this connection", "command", command.name, "reason", command.unusable.Message)
		}
	}
	_, most := window(settings.config.Window)
	account := settings.newAccount()
	settleAccount(account, settings.config.ConnectionBytes, agreement)
	c.engine = core.NewClient(carrier, core.ClientConfig{
		MaxInFlight: agreement.MaxInFlight, Window: agreement.Window, MaxWindow: most, InputWindow: agreement.InputWindow,
		Account:    account,
		Compressor: settings.compressor(agreement, settings.config.CompressionThreshold),
	})
	for _, interceptor := range slices.Backward(settings.interceptors) {
		next := c.start
		if next == nil {
			next = c.send
		}
		c.start = func(ctx context.Context, call *ClientCall) (Exchange, error) { return interceptor(ctx, call, next) }
	}
	return c
}

func (s *shared) log() *slog.Logger {
	if s.logger == nil {
		return slog.Default()
	}
	return s.logger
}

func peerOf(conn net.Conn, agreement delegate.Agreement) Peer {
	return Peer{
		Address: conn.RemoteAddr(), Name: agreement.PeerName, TLS: auth.TLSOf(conn), Principal: agreement.Principal,
		Codec: agreement.Codec, Compression: agreement.Compression,
	}
}

// Start implements Sender.
func (c *Client[T]) Start(ctx context.Context, request Request[T]) (Exchange, error) {
	index, ok := c.registry.Index(request.Command)
	if !ok {
		return nil, notRegistered(request.Command)
	}
	if c.start != nil {
		return c.start(ctx, &ClientCall{
			Name: c.commands[index].name, Command: request.Command, Stream: request.Stream, Inputs: request.Inputs,
			Bulk: request.Bulk, Window: request.Window, Metadata: request.Metadata.Clone(),
		})
	}
	return c.transmit(ctx, index, &request)
}

// send is what the innermost interceptor calls.
func (c *Client[T]) send(ctx context.Context, call *ClientCall) (Exchange, error) {
	index, ok := c.registry.Index(call.Command)
	if !ok {
		return nil, notRegistered(call.Command)
	}
	return c.transmit(ctx, index, &Request[T]{
		Command: call.Command, Stream: call.Stream, Inputs: call.Inputs, Bulk: call.Bulk, Window: call.Window, Metadata: call.Metadata,
	})
}

func (c *Client[T]) transmit(ctx context.Context, index int, request *Request[T]) (Exchange, error) {
	command := &c.commands[index]
	if command.unusable != nil {
		err := *command.unusable
		err.Command = command.name
		return nil, &err
	}
	if command.stream != request.Stream || (command.encoder.Input != nil) != request.Inputs {
		return nil, &Error{
			Code: Internal, Outcome: NotSent, Command: command.name,
			Message: "the command is registered with another kind of Exec than it was started with",
		}
	}
	return c.engine.Start(ctx, core.Outgoing{
		Name: command.name, Number: uint16(index), Command: request.Command, Encoder: command.encoder.Command,
		Stream: request.Stream, Inputs: command.encoder.Input, Bulk: request.Bulk, Ordered: command.encoder.Ordered,
		Window: request.Window, Metadata: request.Metadata,
		Coder: command.encoder.Result,
	})
}

func notRegistered(command any) error {
	t := reflect.TypeOf(command)
	name := fmt.Sprint(t)
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t != nil {
		name = t.Name()
	}
	return &Error{
		Code: Unimplemented, Outcome: NotSent, Command: name,
		Message: fmt.Sprintf("the client's registry has no command %T: add it to edict.Commands", command),
	}
}

// Peer describes the server.
func (c *Client[T]) Peer() Peer { return c.peer }

// InFlight returns the number of commands that the server has not ended yet.
func (c *Client[T]) InFlight() int { return c.engine.InFlight() }

// Done is closed when the client has ended: closed, or its connection lost.
func (c *Client[T]) Done() <-chan struct{} { return c.engine.Done() }

// Err returns why the client has ended, or nil while it has not.
func (c *Client[T]) Err() error { return c.engine.Err() }

// Shutdown takes no more commands, waits until those in flight have ended, and closes the client.
// If ctx ends first it closes at once and returns ctx's error.
func (c *Client[T]) Shutdown(ctx context.Context) error { return c.engine.Shutdown(ctx) }

// Close ends the client at once: calls in flight return, each with the outcome that is known of it,
// and match ErrClosed. It may be called again.
func (c *Client[T]) Close() error { return c.engine.Close() }

// ObserveEnd returns exchange, which call's next has returned, such that observe is called once, when
// the caller is done with it: with nil if the call ended well, with its error if it failed, with one
// whose code is Canceled if the caller took no more results. For use in a ClientInterceptor.
func ObserveEnd(call *ClientCall, exchange Exchange, observe func(error)) Exchange {
	return &observedExchange{Exchange: exchange, stream: call.Stream, err: canceledByCaller(), observe: observe}
}

type observedExchange struct {
	Exchange
	stream  bool
	err     error // how the call has ended, as far as its results were taken
	observe func(error)
}

func (o *observedExchange) Receive() (core.Message, error) {
	message, err := o.Exchange.Receive()
	switch {
	case err == io.EOF, err == nil && !o.stream:
		o.err = nil
	case err != nil:
		o.err = err
	}
	return message, err
}

func (o *observedExchange) Close() {
	o.Exchange.Close()
	o.observe(o.err)
}

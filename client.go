package edict

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/edict-go/edict/auth"
	"github.com/edict-go/edict/codec"
	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/delegate"
	"github.com/edict-go/edict/transport"
)

// Client sends commands for receivers of type T over one connection at a time. It is a Sender: use Call,
// Stream and Start with it. Safe for concurrent use.
//
// Without WithReconnect it ends with its connection. With it, it makes another one, and calls wait for that
// and are sent again where that is safe: docs/connections.md tells all of it.
type Client[T any] struct {
	registry *Registry[T]
	start    ClientNext       // the interceptors around send; nil without any
	monitors []CommandMonitor // by the registry's index; nil without a ClientMonitor
	around   ClientNext       // its Intercept around start; with monitors
	life     life
}

// ClientInterceptor surrounds the start of every call, unary and stream alike. It may change the
// context and the call's metadata, refuse by returning an error without calling next, call next
// again, and wrap the Exchange to see results or the end (see ObserveEnd). When it has returned it must not call next any more:
// nobody would have the Exchange, or close it.
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
	FailFast bool   // whether it fails rather than wait for a connection
	index    int32  // of the command that it had at first
	Window   int    // with which a stream is to begin, in bytes; 0 is the connection's

	metadata Metadata // the caller's, which is not changed
	attempts *core.Attempts
	set      *setMetadata // what SetMetadata has set; nil: nothing
}

// setMetadata is encoded metadata with a place for some: enough for a traceparent.
type setMetadata struct {
	encoded []byte
	space   [96]byte
}

// SetMetadata sets what goes with the command for a key, in place of what the caller and other interceptors have set for it;
// without values that is nothing.
func (c *ClientCall) SetMetadata(key string, values ...string) {
	key = strings.ToLower(key)
	if _, given := c.metadata[key]; given {
		c.metadata = c.metadata.Clone()
		delete(c.metadata, key)
	}
	if c.set == nil {
		c.set = new(setMetadata)
		c.set.encoded = c.set.space[:0]
	}
	c.set.encoded = core.SetEncodedMetadata(c.set.encoded, key, values...)
}

// Metadata returns a copy of what goes with the command, as far as it is set. It is never nil. SetMetadata changes it.
func (c *ClientCall) Metadata() Metadata {
	metadata := c.metadata.Clone()
	set, _ := core.DecodeMetadata(c.encoded()) // an error means that it is too much, which the call will say
	for key, values := range set {
		metadata[key] = values
	}
	return metadata
}

// MetadataValue is Metadata().Get, but decodes nothing else.
func (c *ClientCall) MetadataValue(key string) string {
	key = strings.ToLower(key)
	if value := core.LookUpMetadata(c.encoded(), key); value != "" {
		return value
	}
	return c.metadata.Get(key)
}

// options returns what few calls want.
func (c *ClientCall) options() *core.RequestOptions {
	if !c.Bulk && !c.FailFast && c.Window == 0 && len(c.metadata) == 0 && c.attempts == nil {
		return &core.NoOptions
	}
	return &core.RequestOptions{Bulk: c.Bulk, FailFast: c.FailFast, Window: c.Window, Metadata: c.metadata, Attempts: c.attempts}
}

// encoded returns what SetMetadata has set.
func (c *ClientCall) encoded() []byte {
	if c.set == nil {
		return nil
	}
	return c.set.encoded
}

// Dial connects to a server at a tcp://, tls:// or unix:// address and performs the handshake. It
// gives up when ctx ends, or when the server has not answered within the handshake's timeout. WithReconnect
// lets it try again until ctx ends.
//
// Errors tell what doesn't fit: no common codec, a command with another shape, a server that is
// full. They are *Error, with the outcome NotSent.
func Dial[T any](ctx context.Context, address string, commands *Registry[T], options ...DialOption) (*Client[T], error) {
	c, err := makeClient(address, commands, options)
	if err != nil {
		return nil, err
	}
	if err := c.life.begin(ctx); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// NewClient returns a client that connects in the background, and again when the connection is lost; without
// WithReconnect with its defaults. Calls wait for the connection. It fails at once if the settings are wrong;
// what is wrong with the server the client's Err tells, when it has ended for that, and State, Changes and the
// errors of calls before. Close must be called in any case.
func NewClient[T any](address string, commands *Registry[T], options ...DialOption) (*Client[T], error) {
	c, err := makeClient(address, commands, append([]DialOption{WithReconnect(Reconnect{})}, options...))
	if err != nil {
		return nil, err
	}
	c.life.beginInBackground()
	return c, nil
}

// makeClient returns a client without a connection.
func makeClient[T any](address string, commands *Registry[T], options []DialOption) (*Client[T], error) {
	settings := dialSettings{shared: defaultShared()}
	for _, option := range options {
		option.applyToDial(&settings)
	}
	for _, c := range settings.codecs {
		if err := commands.Check(c); err != nil {
			return nil, &Error{Code: FailedPrecondition, Outcome: NotSent, Message: err.Error(), Cause: err}
		}
	}
	if settings.dial == nil {
		if _, _, err := transport.SplitAddress(address); err != nil {
			return nil, &Error{Code: InvalidArgument, Outcome: NotSent, Message: err.Error(), Cause: err}
		}
	}
	if settings.resume != nil && settings.reconnect == nil {
		settings.reconnect = &Reconnect{}
	}
	if settings.resume != nil && settings.identity == nil {
		settings.identity = NewIdentity()
	}
	c := &Client[T]{registry: commands}
	c.life = life{address: address, settings: settings, commands: commands}
	for _, interceptor := range slices.Backward(settings.interceptors) {
		next := c.start
		if next == nil {
			next = c.send
		}
		c.start = func(ctx context.Context, call *ClientCall) (Exchange, error) { return interceptor(ctx, call, next) }
	}
	if settings.monitor != nil {
		c.beMonitored(settings.monitor)
	}
	return c, nil
}

// handshake returns the delegate's settings.
func (s *dialSettings) handshake(commands []delegate.Command, token auth.Token) delegate.Config {
	first, _ := window(s.config.Window)
	return delegate.Config{
		Name: s.config.Name, Codecs: codecNames(s.codecs), Compressions: s.compressionNames(), Commands: commands,
		MaxFrame: s.config.MaxFrame, MaxInFlight: s.config.MaxInFlight, Window: first,
		HandshakeBytes: s.config.HandshakeBytes, HandshakeTimeout: s.config.HandshakeTimeout,
		KeepaliveInterval: s.config.KeepaliveInterval, KeepaliveTimeout: s.config.KeepaliveTimeout,
		AllowDifferences: s.config.AllowShapeDifferences || s.shapeDifferences,
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

// catalogue is a Registry without its type parameter.
type catalogue interface {
	Len() int
	Describe(i int) (name string, shape codec.Shape)
	Bind(codec.Codec) []core.Bound
}

// definitions returns the commands as the handshake knows them.
func definitions(registry catalogue) []delegate.Command {
	commands := make([]delegate.Command, registry.Len())
	for i := range commands {
		commands[i].Name, commands[i].Shape = registry.Describe(i)
	}
	return commands
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
func (c *Client[T]) Start(ctx context.Context, call Request[T]) (Exchange, error) {
	index, ok := c.registry.Index(call.Command)
	if !ok {
		return nil, notRegistered(call.Command)
	}
	if c.monitors != nil {
		return c.startMonitored(ctx, index, &call)
	}
	if c.start != nil {
		return c.start(ctx, c.intercepted(index, &call))
	}
	options := call.Options
	if options == nil {
		options = &core.NoOptions
	}
	return c.life.start(ctx, &request{
		index: index, command: call.Command, stream: call.Stream, inputs: call.Inputs, options: options,
	})
}

// intercepted returns a call as the interceptors see it.
func (c *Client[T]) intercepted(index int, call *Request[T]) *ClientCall {
	name, _ := c.registry.Describe(index)
	intercepted := &ClientCall{Name: name, index: int32(index), Command: call.Command, Stream: call.Stream, Inputs: call.Inputs}
	if o := call.Options; o != nil {
		intercepted.Bulk, intercepted.FailFast, intercepted.Window, intercepted.metadata = o.Bulk, o.FailFast, o.Window, o.Metadata
		intercepted.attempts = o.Attempts
	}
	return intercepted
}

// send is what the innermost interceptor calls.
func (c *Client[T]) send(ctx context.Context, call *ClientCall) (Exchange, error) {
	index := int(call.index)
	if !c.registry.Is(index, call.Command) {
		var ok bool
		if index, ok = c.registry.Index(call.Command); !ok {
			return nil, notRegistered(call.Command)
		}
	}
	return c.life.start(ctx, &request{
		index: index, command: call.Command, stream: call.Stream, inputs: call.Inputs, options: call.options(),
		encoded: call.encoded(),
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

// Peer describes the server of the present connection, or of the last one; it is the zero Peer before the
// first.
func (c *Client[T]) Peer() Peer {
	if connection := c.life.present.Load(); connection != nil {
		return connection.peer
	}
	return Peer{}
}

// Journal returns the name of the journal of the present connection's server, or of the last one's; zero if there is
// none, or the client has no WithResume.
func (c *Client[T]) Journal() JournalID {
	if connection := c.life.present.Load(); connection != nil {
		return connection.journal
	}
	return JournalID{}
}

// InFlight returns the number of commands that the server has not ended yet, on connections that come to
// their end too.
func (c *Client[T]) InFlight() int {
	inFlight := 0
	for _, connection := range c.life.connections() {
		inFlight += connection.engine.InFlight()
	}
	return inFlight
}

// RoundTripTime returns how long a message of a few bytes and its answer were under way on the present
// connection: when the client last had a reason to ask (a PING after some silence), at first what the
// handshake has taken. It is 0 before the first connection.
func (c *Client[T]) RoundTripTime() time.Duration {
	if connection := c.life.present.Load(); connection != nil {
		return connection.engine.RoundTripTime()
	}
	return 0
}

// Done is closed when the client has ended: closed, or its connection lost and none to follow.
func (c *Client[T]) Done() <-chan struct{} { return c.life.done() }

// Err returns why the client has ended, or nil while it has not.
func (c *Client[T]) Err() error { return c.life.err() }

// Shutdown takes no more commands, waits until those in flight have ended, and closes the client.
// If ctx ends first it closes at once and returns ctx's error. Calls that wait for a connection fail.
func (c *Client[T]) Shutdown(ctx context.Context) error { return c.life.shutdown(ctx) }

// Close ends the client at once: calls in flight return, each with the outcome that is known of it,
// and match ErrClosed. It waits for the client's goroutines, and may be called again.
func (c *Client[T]) Close() error { return c.life.close() }

// ObserveEnd returns exchange, which call's next has returned, such that observe is called once, when
// the caller is done with it: with nil if the call ended well, with its error if it failed, with one
// whose code is Canceled if the caller took no more results. For use in a ClientInterceptor.
func ObserveEnd(call *ClientCall, exchange Exchange, observe func(error)) Exchange {
	return &observedExchange{
		Exchange: exchange, stream: call.Stream, err: canceledByCaller(), observe: func(err error, _ CallStats) { observe(err) },
	}
}

type observedExchange struct {
	Exchange
	stream  bool
	err     error // how the call has ended, as far as its results were taken
	observe func(error, CallStats)
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
	stats := StatsOf(o.Exchange)
	o.Exchange.Close()
	o.observe(o.err, stats)
}

// CallStats implements core.Measured.
func (o *observedExchange) CallStats() CallStats { return StatsOf(o.Exchange) }

// CallStats is what is known of a call beside its results. See [core.CallStats].
type CallStats = core.CallStats

// StatsOf returns what is known of a call, as far as its Sender tells. For use in a ClientInterceptor, before the
// exchange is closed, by whoever calls its Receive.
func StatsOf(exchange Exchange) CallStats {
	if measured, ok := exchange.(core.Measured); ok {
		return measured.CallStats()
	}
	return CallStats{}
}

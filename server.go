package edict

import (
	"context"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/delegate"
	"github.com/edict-go/edict/handler"
	"github.com/edict-go/edict/transport"
)

// Server executes the commands of its clients against one receiver. Safe for concurrent use.
type Server struct {
	settings  serverSettings
	executors map[string][]core.Executor // by codec and the registry's index
	names     []string                   // by the registry's index
	acceptor  *delegate.Acceptor
	invoker   *handler.Invoker
	engine    *core.Server
	text      textMode
	problem   error // what is wrong with the settings; Serve returns it

	began    time.Time
	failures core.Failures

	mu           sync.Mutex                              // guards the following; held briefly
	open         map[*handler.Connection]*openConnection // whose handshake is done, and that have not ended
	ended        CommandStats                            // of those that have
	endedTraffic TransportStats                          // the same
}

// NewServer returns a server for receiver, which all commands share: it must be safe for concurrent
// use. If T is an interface, name it: edict.NewServer[Calculator](&calc{}, Commands).
//
// What is wrong with the settings, such as a codec that can't encode a command, is reported when
// the server is to serve.
func NewServer[T any](receiver T, commands *Registry[T], options ...ServerOption) *Server {
	s := &Server{settings: serverSettings{shared: defaultShared()}, executors: map[string][]core.Executor{}, began: time.Now()}
	for _, option := range options {
		option.applyToServer(&s.settings)
	}
	config := &s.settings.config
	for _, c := range s.settings.codecs {
		if err := commands.Check(c); err != nil {
			s.problem = &Error{Code: FailedPrecondition, Message: err.Error(), Cause: err}
			break
		}
		for i := range commands.Len() {
			s.executors[c.Name()] = append(s.executors[c.Name()], commands.At(i).Executor(c, receiver))
		}
	}
	for i := range commands.Len() {
		name, _ := commands.Describe(i)
		s.names = append(s.names, name)
	}
	if s.settings.journal() == (JournalID{}) && s.settings.resume != nil && s.settings.resume.Journal != nil {
		s.problem = &Error{Code: FailedPrecondition, Message: "the journal has no name"}
	}
	first, _ := window(config.Window)
	descriptions := Describe(commands)
	offered := s.withBuiltIns(definitions(commands), descriptions)
	if config.AllowText {
		s.text = s.newTextMode(offered, descriptions)
	}
	s.acceptor = delegate.NewAcceptor(delegate.Config{
		Name: config.Name, Codecs: codecNames(s.settings.codecs), Compressions: s.settings.compressionNames(),
		Commands: offered,
		MaxFrame: config.MaxFrame, MaxInFlight: config.MaxInFlight, Window: first,
		HandshakeBytes: config.HandshakeBytes, HandshakeTimeout: config.HandshakeTimeout,
		Authenticator: s.settings.authenticator, Logger: s.settings.log(),
		KeepaliveInterval: config.KeepaliveInterval, KeepaliveTimeout: config.KeepaliveTimeout,
		Sessions: s.settings.sessions(),
	})
	s.invoker = handler.NewInvoker(handler.Config{
		MaxInFlight: config.MaxInFlightServer, IdleWorkers: config.IdleWorkers,
		Logger: s.settings.log(), Interceptors: s.settings.interceptors, Monitor: s.settings.monitor,
		Failures: &s.failures, Latencies: s.settings.latencies,
	})
	s.engine = core.NewServer(core.ServerConfig{
		Accept: s.accept, MaxConnections: config.MaxConnections, Logger: s.settings.log(),
	})
	return s
}

// Listen listens at a tcp://, tls:// or unix:// address, with the TLS configuration of the server's
// options. Give the listener to Serve. With port 0 the system chooses one: see its Addr.
func (s *Server) Listen(address string) (net.Listener, error) {
	return transport.Listen(context.Background(), address, s.settings.tls)
}

// ListenAndServe listens at an address and serves until Shutdown or Close. See Listen and Serve.
func (s *Server) ListenAndServe(address string) error {
	if s.problem != nil {
		return s.problem
	}
	listener, err := s.Listen(address)
	if err != nil {
		return err
	}
	return s.Serve(listener)
}

// Serve accepts connections from any listener, which it closes at the end. It returns after
// Shutdown or Close, with an error that matches ErrClosed, or when the listener fails. A server may
// serve several listeners at once.
func (s *Server) Serve(listener net.Listener) error {
	if s.problem != nil {
		_ = listener.Close()
		return s.problem
	}
	return s.engine.Serve(listener)
}

// Connections returns the number of open connections, InFlight that of commands.
func (s *Server) Connections() int { return s.engine.Connections() }

// InFlight returns the number of commands that run or wait to.
func (s *Server) InFlight() int { return s.invoker.InFlight() }

// Shutdown ends the server gracefully: it stops listening, tells the clients that it takes no more
// commands, closes the channel that running commands see as Draining, waits until they have ended
// and their results are written, and closes the connections. When it returns nil, all goroutines of
// the server have ended. If ctx ends first, it closes what is left, as Close does, and returns ctx's
// error. It may be called again, also after Close, to wait for the end.
func (s *Server) Shutdown(ctx context.Context) error {
	s.invoker.Drain()
	err := s.engine.Shutdown(ctx)
	s.invoker.Stop()
	if err == nil {
		s.invoker.Wait()
	}
	return err
}

// Close ends the server at once: connections are closed and the contexts of running commands end.
// It does not wait for commands; Shutdown, called after it, does.
func (s *Server) Close() error {
	s.invoker.Drain()
	err := s.engine.Close()
	s.invoker.Stop()
	return err
}

// accept makes the session of a new connection.
func (s *Server) accept(conn net.Conn, full bool) core.Session {
	return &session{
		server: s, full: full,
		carrier: transport.NewConn(conn, transport.Config{
			WriteTimeout: s.settings.config.WriteTimeout, FrameTimeout: s.settings.config.FrameTimeout,
		}),
	}
}

// session is one connection of a server, from its handshake to its end. It implements core.Session.
type session struct {
	server  *Server
	carrier *transport.Conn
	full    bool // the server has too many connections: turn this one away

	resumable *delegate.Session // nil if the connection can't be resumed; owned by Serve

	mu         sync.Mutex          // guards the following
	connection *handler.Connection // what the handshake has led to, if it has
	settled    bool                // the handshake is over
	awaited    chan struct{}       // closed then; nil if nobody waits for it
}

// fullRetry is the retry hint of a server that has too many connections.
const fullRetry = 1e9

// Serve implements core.Session.
func (s *session) Serve() {
	defer s.carrier.Wait()
	account := s.server.settings.newAccount()
	defer account.Close()
	connection := s.handshake(account)
	if connection == nil {
		s.settle(nil)
		return
	}
	defer s.server.closed(connection)
	err := connection.Serve()
	if s.resumable != nil {
		s.resumable.End(err)
	}
	if !connection.OrderlyEnd(err) {
		s.server.noteEnd(connection, err)
		s.warn("edict: connection broke", "client", connection.Peer().Name, "error", err)
	}
}

// handshake returns the connection that the handshake has led to, nil if it has failed, or has resumed another one. It has a function of its
// own because what it needs of the stack is much, and Serve stays on it as long as the connection is open.
func (s *session) handshake(account *core.Account) *handler.Connection {
	var refusal *core.Error
	if s.full {
		refusal = &Error{Code: ResourceExhausted, RetryAfter: fullRetry, Message: "the server has too many connections"}
	}
	if !account.Take(core.ConnectionCost, core.ForCalls) {
		refusal = &Error{Code: ResourceExhausted, RetryAfter: fullRetry, Message: "the server has no room for another connection in its budget"}
	}
	isText, err := s.isText()
	if isText && err == nil {
		s.serveText(account, refusal)
		return nil
	}
	var agreement delegate.Agreement
	if err == nil {
		agreement, err = s.server.acceptor.Accept(s.carrier, refusal)
	}
	if err != nil {
		s.warn("edict: handshake failed", "error", err)
		s.server.noteHandshake(s.carrier, err)
		s.carrier.Close(err)
		return nil
	}
	if agreement.Resumed {
		return nil // the session of the connection that was lost goes on
	}
	connection := s.server.newConnection(s.carrier, account, agreement)
	if s.resumable = agreement.Session; s.resumable != nil {
		s.resumable.Begin()
	}
	s.settle(connection)
	s.server.opened(connection, s.carrier, agreement)
	return connection
}

func (s *session) warn(message string, attributes ...any) {
	s.server.settings.log().With("peer", s.carrier.NetConn().RemoteAddr()).Warn(message, attributes...)
}

// newConnection puts an agreement into force.
func (s *Server) newConnection(carrier *transport.Conn, account *core.Account, agreement delegate.Agreement) *handler.Connection {
	own := s.executors[agreement.Codec]
	executors, names := own[:len(s.names)], s.names
	if !slices.Equal(agreement.Names, names) { // else all connections share them
		executors, names = make([]core.Executor, len(agreement.Commands)), agreement.Names
		for number, index := range agreement.Commands {
			if index >= 0 {
				executors[number] = own[index]
			}
		}
	}
	var journal Journal
	if agreement.Challenge != (core.Challenge{}) {
		journal = s.settings.resume.Journal
	}
	_, most := window(s.settings.config.Window)
	settleAccount(account, s.settings.config.ConnectionBytes, agreement)
	return s.invoker.NewConnection(carrier, handler.ConnectionConfig{
		Executors: executors, Names: names,
		MaxInFlight: agreement.MaxInFlight, Window: agreement.Window, InputWindow: agreement.InputWindow, MaxInputWindow: most,
		Account:    account,
		Compressor: s.settings.compressor(agreement, s.settings.config.CompressionThreshold),
		Peer:       peerOf(carrier.NetConn(), agreement),
		Journal:    journal, Challenge: agreement.Challenge,
		KeepaliveInterval: agreement.KeepaliveInterval, KeepaliveTimeout: agreement.KeepaliveTimeout,
	})
}

// settle tells what the handshake has led to, nil if to nothing that could be drained.
func (s *session) settle(connection *handler.Connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.connection, s.settled = connection, true
	if s.awaited != nil {
		close(s.awaited)
		s.awaited = nil
	}
}

// outcome returns what the handshake has led to, nil if to nothing. While it goes on it returns a channel that is closed
// at its end.
func (s *session) outcome() (connection *handler.Connection, goesOn <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.settled {
		return s.connection, nil
	}
	if s.awaited == nil {
		s.awaited = make(chan struct{})
	}
	return nil, s.awaited
}

// Drain implements core.Session.
func (s *session) Drain(ctx context.Context) {
	connection, goesOn := s.outcome()
	if goesOn != nil && !s.carrier.CloseUnheard(core.ErrClosed) {
		// The client may be welcome already, and may have sent commands: it is to hear what becomes of them.
		select {
		case <-goesOn:
			connection, _ = s.outcome()
		case <-ctx.Done():
		}
	}
	if connection != nil {
		connection.Drain(ctx)
		s.carrier.Forgo(core.ErrClosed) // nobody is waited for any more
	}
}

// Close implements core.Session.
func (s *session) Close() { s.carrier.Close(core.ErrClosed) }

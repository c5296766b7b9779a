package core

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"
)

// Session is the server's side of one accepted connection, from its handshake to its end.
type Session interface {
	// Serve runs the session and returns when it has ended, all its goroutines included.
	Serve()
	// Drain lets the running commands finish and takes no new ones. It returns when that is done
	// and the results are written, or when ctx ends. Serve goes on until the peer closes.
	Drain(ctx context.Context)
	// Close ends the session at once; Serve returns soon after.
	Close()
}

// ServerConfig has the settings of a Server. The zero value of all but Accept works.
type ServerConfig struct {
	// Accept makes the session of a connection; full is true if it must be turned away because the
	// server has MaxConnections already. It must not wait.
	Accept func(conn net.Conn, full bool) Session
	// MaxConnections is how many connections may be open; 0 is 65,536.
	MaxConnections int
	// Logger gets what is wrong with listeners. nil is slog.Default().
	Logger *slog.Logger
}

const (
	defaultMaxConnections = 1 << 16
	// maxTurnedAway bounds how many connections are told at once that the server is full; those
	// beyond are closed without a word.
	maxTurnedAway = 64
	// drainLinger is how long a drained client may take to close its connection.
	drainLinger = 2 * time.Second
)

// Server accepts connections and keeps track of their sessions. Safe for concurrent use.
type Server struct {
	config ServerConfig

	// The root of Drain's contexts; ended by Close.
	ctx   context.Context
	close context.CancelFunc

	mu         sync.Mutex // guards the following; held briefly
	listeners  map[net.Listener]struct{}
	sessions   map[Session]*signal // raised when the session has ended
	turnedAway int                 // of the sessions, those that are
	stopped    bool                // no more connections
}

// NewServer returns a Server.
func NewServer(config ServerConfig) *Server {
	if config.MaxConnections <= 0 {
		config.MaxConnections = defaultMaxConnections
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	s := &Server{config: config, listeners: map[net.Listener]struct{}{}, sessions: map[Session]*signal{}}
	s.ctx, s.close = context.WithCancel(context.Background())
	return s
}

// Serve accepts connections from listener, which it closes at the end, until Shutdown or Close;
// then it returns an error that matches ErrClosed. An error of the listener itself that does not
// pass is returned as it is; one that does, such as too many open files, is logged and waited out.
func (s *Server) Serve(listener net.Listener) error {
	defer func() { _ = listener.Close() }() // it may be closed already
	if !s.track(listener) {
		return ErrClosed
	}
	defer s.untrack(listener)
	var pause time.Duration
	for {
		conn, err := listener.Accept()
		if err == nil {
			pause = 0
			s.start(conn)
			continue
		}
		if s.isStopped() {
			return ErrClosed
		}
		if !passes(err) {
			return err
		}
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		s.config.Logger.Warn("edict: can't accept a connection, will try again", "error", err, "after", pause)
		select {
		case <-time.After(pause):
		case <-s.ctx.Done():
		}
	}
}

// passes reports whether an error of Accept may go away by itself.
func passes(err error) bool {
	temporary, ok := errors.AsType[interface {
		error
		Temporary() bool
	}](err)
	return ok && temporary.Temporary()
}

func (s *Server) track(listener net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return false
	}
	s.listeners[listener] = struct{}{}
	return true
}

func (s *Server) untrack(listener net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, listener)
}

func (s *Server) isStopped() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopped
}

// start runs the session of a new connection in a goroutine, which ends with the session; Shutdown
// waits for it.
func (s *Server) start(conn net.Conn) {
	s.mu.Lock()
	full := len(s.sessions)-s.turnedAway >= s.config.MaxConnections
	if s.stopped || full && s.turnedAway >= maxTurnedAway {
		s.mu.Unlock()
		_ = conn.Close() // there is no one to tell
		return
	}
	session := s.config.Accept(conn, full)
	ended := new(signal)
	s.sessions[session] = ended
	if full {
		s.turnedAway++
	}
	s.mu.Unlock()
	go func() {
		session.Serve()
		s.mu.Lock()
		delete(s.sessions, session)
		if full {
			s.turnedAway--
		}
		ended.raise()
		s.mu.Unlock()
	}()
}

// Connections returns the number of open connections.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions) - s.turnedAway
}

// stop closes the listeners and returns the sessions there are, with what is closed when they have ended.
func (s *Server) stop() map[Session]<-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	for listener := range s.listeners {
		_ = listener.Close() // Serve reports what matters
	}
	sessions := make(map[Session]<-chan struct{}, len(s.sessions))
	for session, ended := range s.sessions {
		sessions[session] = ended.wait()
	}
	return sessions
}

// Shutdown stops listening, lets the sessions finish what they run, and returns when all have
// ended. If ctx ends first, it closes them and returns ctx's error without waiting for commands
// that don't heed their context. It may be called again, also after Close, to wait.
func (s *Server) Shutdown(ctx context.Context) error {
	sessions := s.stop()
	var group sync.WaitGroup
	for session, ended := range sessions {
		group.Go(func() { s.drain(ctx, session, ended) })
	}
	group.Wait()
	if err := ctx.Err(); err != nil {
		for _, ended := range sessions {
			select {
			case <-ended:
			default:
				return context.Cause(ctx)
			}
		}
	}
	return nil
}

// drain brings one session to its end.
func (s *Server) drain(ctx context.Context, session Session, ended <-chan struct{}) {
	draining, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)() // Close cuts it short
	session.Drain(draining)
	linger := time.NewTimer(drainLinger)
	defer linger.Stop()
	select {
	case <-ended:
		return
	case <-linger.C:
	case <-draining.Done():
	}
	session.Close()
	select {
	case <-ended:
	case <-ctx.Done():
	}
}

// Close stops listening and closes all connections at once; running commands find their context
// ended. It does not wait for them: Shutdown does.
func (s *Server) Close() error {
	s.close()
	for session := range s.stop() {
		session.Close()
	}
	return nil
}

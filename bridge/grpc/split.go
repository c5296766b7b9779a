package grpcbridge

import (
	"errors"
	"net"
	"sync"
	"time"
)

// SplitConfig has the limits of Split. The zero value works.
type SplitConfig struct {
	// Timeout is how long a new connection may take to send its first byte, TLS handshake included; 0 is 10 s.
	// One that takes longer is closed.
	Timeout time.Duration
	// MaxWaiting is how many connections may be waiting for their first byte, or to be accepted; 0 is 1,024.
	// Beyond that, new ones are not taken from the listener, and wait in the system's queue.
	MaxWaiting int
}

const (
	defaultSplitTimeout    = 10 * time.Second
	defaultSplitMaxWaiting = 1024
)

// Split divides the connections of one listener by what their clients speak, for a server that has clients of
// both kinds during a migration. Serve one of the two listeners with Server.Serve, or an Edict server, and the
// other one with a grpc.Server:
//
//	native, classic := grpcbridge.Split(listener, grpcbridge.SplitConfig{})
//	go bridge.Serve(native)
//	go server.Serve(classic)
//
// A connection's first byte tells: E begins Edict's preface, everything else (P, of HTTP/2's) is for gRPC. It is
// not taken from TCP and Unix connections, which are handed on as they came. For TLS, give Split a listener of
// crypto/tls whose configuration has h2 in NextProtos, and let the grpc.Server have no credentials.
//
// Closing one of the two closes the connections of its kind that come from then on. When both are closed,
// listener is closed, and the goroutines that Split has started have ended.
func Split(listener net.Listener, config SplitConfig) (native, classic net.Listener) {
	if config.Timeout <= 0 {
		config.Timeout = defaultSplitTimeout
	}
	if config.MaxWaiting <= 0 {
		config.MaxWaiting = defaultSplitMaxWaiting
	}
	s := &splitter{
		listener: listener, config: config, tokens: make(chan struct{}, config.MaxWaiting),
		waiting: map[net.Conn]struct{}{}, failed: make(chan struct{}), ended: make(chan struct{}), open: 2,
	}
	halves := [2]*half{}
	for i := range halves {
		halves[i] = &half{splitter: s, conns: make(chan net.Conn), closed: make(chan struct{})}
	}
	s.native, s.classic = halves[0], halves[1]
	s.group.Go(s.accept)
	return s.native, s.classic
}

// splitter looks at the first byte of each connection of a listener.
type splitter struct {
	listener        net.Listener
	config          SplitConfig
	native, classic *half
	tokens          chan struct{} // has a value for each connection that waits
	group           sync.WaitGroup

	failed chan struct{} // closed when the listener has failed or was closed; err is set then
	err    error
	ended  chan struct{} // closed when both halves are

	mu      sync.Mutex // guards the following
	open    int        // halves that are not closed
	waiting map[net.Conn]struct{}
}

// accept takes connections from the listener.
//
// Started by Split; ends when the listener fails, at the latest when both halves are closed; who closes the
// second one waits for it.
func (s *splitter) accept() {
	for pause := time.Duration(0); ; {
		s.tokens <- struct{}{}
		conn, err := s.listener.Accept()
		if err != nil {
			<-s.tokens
			if temporary, ok := errors.AsType[interface {
				error
				Temporary() bool
			}](err); ok && temporary.Temporary() { // too many open files, for example
				pause = min(max(2*pause, 5*time.Millisecond), time.Second)
				timer := time.NewTimer(pause)
				select {
				case <-timer.C:
				case <-s.ended:
					timer.Stop()
				}
				continue
			}
			s.err = err
			close(s.failed)
			return
		}
		pause = 0
		if !s.add(conn) {
			_ = conn.Close()
			<-s.tokens
			continue
		}
		s.group.Go(func() {
			s.pass(conn)
			<-s.tokens
		})
	}
}

// add notes a connection that waits, and reports false if both halves are closed.
func (s *splitter) add(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == 0 {
		return false
	}
	s.waiting[conn] = struct{}{}
	return true
}

func (s *splitter) remove(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waiting, conn)
}

// pass waits for a connection's first byte and hands it to who accepts such connections.
//
// Started by accept; ends when the connection is accepted, its time is over, or its half is closed, and when
// both are, because that closes it.
func (s *splitter) pass(conn net.Conn) {
	defer s.remove(conn)
	_ = conn.SetReadDeadline(time.Now().Add(s.config.Timeout)) // a connection that fails here fails below
	first, whole, err := peek(conn)
	if err == nil {
		err = conn.SetReadDeadline(time.Time{})
	}
	if err != nil {
		_ = conn.Close()
		return
	}
	target := s.classic
	if first == 'E' {
		target = s.native
	}
	select {
	case target.conns <- whole:
	case <-target.closed:
		_ = conn.Close()
	}
}

// peek waits for the first byte of a connection. It returns it, and the connection with that byte still in it.
func peek(conn net.Conn) (first byte, whole net.Conn, err error) {
	if first, ok, err := peekSocket(conn); ok || err != nil {
		return first, conn, err
	}
	var one [1]byte
	for n := 0; n == 0; {
		if n, err = conn.Read(one[:]); err != nil && n == 0 {
			return 0, nil, err
		}
	}
	return one[0], peeked(conn, one[:]), nil
}

// half is one of the listeners that Split returns.
type half struct {
	splitter *splitter
	conns    chan net.Conn
	once     sync.Once
	closed   chan struct{}
}

// Accept implements net.Listener.
func (h *half) Accept() (net.Conn, error) {
	select {
	case <-h.closed:
		return nil, h.error(net.ErrClosed)
	default:
	}
	select {
	case conn := <-h.conns:
		return conn, nil
	case <-h.closed:
		return nil, h.error(net.ErrClosed)
	case <-h.splitter.failed:
		return nil, h.splitter.err
	}
}

func (h *half) error(err error) error {
	return &net.OpError{Op: "accept", Net: h.Addr().Network(), Addr: h.Addr(), Err: err}
}

// Close implements net.Listener.
func (h *half) Close() error {
	first := false
	h.once.Do(func() {
		close(h.closed)
		first = true
	})
	if !first {
		return h.error(net.ErrClosed)
	}
	s := h.splitter
	s.mu.Lock()
	s.open--
	last := s.open == 0
	if last {
		close(s.ended)
		for conn := range s.waiting {
			_ = conn.Close()
		}
	}
	s.mu.Unlock()
	if !last {
		return nil
	}
	err := s.listener.Close()
	s.group.Wait()
	return err
}

// Addr implements net.Listener.
func (h *half) Addr() net.Addr { return h.splitter.listener.Addr() }

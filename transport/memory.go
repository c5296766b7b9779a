package transport

import (
	"context"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/edict-go/edict/core"
)

// memoryBuffer is how many bytes one direction of an in-memory connection holds, like the buffer of
// a socket: net.Pipe has none and deadlocks where both sides write first.
const memoryBuffer = 256 << 10

// Memory is a net.Listener within the process, for tests and for a server that also serves its own
// process. Its connections are buffered, know deadlines and can be closed one direction at a time.
type Memory struct {
	backlog chan net.Conn
	once    sync.Once
	done    chan struct{}
}

// NewMemory returns a listener that accepts what its Dial connects.
func NewMemory() *Memory {
	return &Memory{backlog: make(chan net.Conn), done: make(chan struct{})}
}

// Dial connects to the listener. It waits until Accept takes the connection, ctx ends or the
// listener is closed; in the last case the error matches net.ErrClosed.
func (m *Memory) Dial(ctx context.Context) (net.Conn, error) {
	client, server := MemoryPipe()
	select {
	case m.backlog <- server:
		return client, nil
	case <-m.done:
		return nil, &net.OpError{Op: "dial", Net: "memory", Addr: memoryAddress{}, Err: core.ErrClosed}
	case <-ctx.Done():
		return nil, &net.OpError{Op: "dial", Net: "memory", Addr: memoryAddress{}, Err: context.Cause(ctx)}
	}
}

// Accept returns the next connection; after Close its error matches net.ErrClosed.
func (m *Memory) Accept() (net.Conn, error) {
	select {
	case conn := <-m.backlog:
		return conn, nil
	case <-m.done:
		return nil, &net.OpError{Op: "accept", Net: "memory", Addr: memoryAddress{}, Err: core.ErrClosed}
	}
}

// Close stops the listener. Connections stay as they are.
func (m *Memory) Close() error {
	m.once.Do(func() { close(m.done) })
	return nil
}

// Addr returns an address whose network is "memory".
func (m *Memory) Addr() net.Addr { return memoryAddress{} }

type memoryAddress struct{}

func (memoryAddress) Network() string { return "memory" }
func (memoryAddress) String() string  { return "memory" }

// MemoryPipe returns the two ends of a buffered in-memory connection.
func MemoryPipe() (net.Conn, net.Conn) {
	there, back := newStream(), newStream()
	return &memoryConn{in: back, out: there}, &memoryConn{in: there, out: back}
}

// memoryConn is one end of an in-memory connection.
type memoryConn struct{ in, out *stream }

func (c *memoryConn) Read(target []byte) (int, error)  { return c.in.read(target) }
func (c *memoryConn) Write(source []byte) (int, error) { return c.out.write(source) }

// Close ends both directions: the peer reads what was written and then the end; its writes fail.
func (c *memoryConn) Close() error {
	c.in.closeReader()
	c.out.closeWriter(net.ErrClosed)
	return nil
}

// CloseWrite ends the sending direction.
func (c *memoryConn) CloseWrite() error {
	c.out.closeWriter(net.ErrClosed)
	return nil
}

func (c *memoryConn) LocalAddr() net.Addr  { return memoryAddress{} }
func (c *memoryConn) RemoteAddr() net.Addr { return memoryAddress{} }

func (c *memoryConn) SetDeadline(t time.Time) error {
	c.in.readDeadline.set(t)
	c.out.writeDeadline.set(t)
	return nil
}

func (c *memoryConn) SetReadDeadline(t time.Time) error {
	c.in.readDeadline.set(t)
	return nil
}

func (c *memoryConn) SetWriteDeadline(t time.Time) error {
	c.out.writeDeadline.set(t)
	return nil
}

// stream is one direction: a ring of bytes between a writer and a reader.
type stream struct {
	readDeadline, writeDeadline deadline

	mu           sync.Mutex
	ring         []byte
	start, size  int
	writerClosed error         // what the writer gets; the reader gets io.EOF after the rest
	readerClosed bool          // the reader gets net.ErrClosed, the writer io.ErrClosedPipe
	changed      chan struct{} // closed and replaced at each change
}

func newStream() *stream {
	return &stream{
		changed:      make(chan struct{}),
		readDeadline: newDeadline(), writeDeadline: newDeadline(),
	}
}

func (s *stream) notifyLocked() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *stream) read(target []byte) (int, error) {
	for {
		s.mu.Lock()
		switch {
		case s.readerClosed:
			s.mu.Unlock()
			return 0, net.ErrClosed
		case s.readDeadline.passed():
			s.mu.Unlock()
			return 0, os.ErrDeadlineExceeded
		case s.size > 0:
			n := copy(target, s.ring[s.start:min(s.start+s.size, len(s.ring))])
			s.start = (s.start + n) % len(s.ring)
			s.size -= n
			s.notifyLocked()
			s.mu.Unlock()
			return n, nil
		case s.writerClosed != nil:
			s.mu.Unlock()
			return 0, io.EOF
		case len(target) == 0:
			s.mu.Unlock()
			return 0, nil
		}
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-s.readDeadline.wait():
		}
	}
}

func (s *stream) write(source []byte) (written int, err error) {
	for {
		s.mu.Lock()
		switch {
		case s.writerClosed != nil:
			s.mu.Unlock()
			return written, s.writerClosed
		case s.readerClosed:
			s.mu.Unlock()
			return written, io.ErrClosedPipe
		case s.writeDeadline.passed():
			s.mu.Unlock()
			return written, os.ErrDeadlineExceeded
		}
		if s.ring == nil {
			s.ring = make([]byte, memoryBuffer)
		}
		for len(source) > 0 && s.size < len(s.ring) {
			end := (s.start + s.size) % len(s.ring)
			free := s.ring[end:min(len(s.ring), end+len(s.ring)-s.size)]
			n := copy(free, source)
			source = source[n:]
			s.size += n
			written += n
		}
		s.notifyLocked()
		changed := s.changed
		s.mu.Unlock()
		if len(source) == 0 {
			return written, nil
		}
		select {
		case <-changed:
		case <-s.writeDeadline.wait():
		}
	}
}

func (s *stream) closeReader() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readerClosed = true
	s.notifyLocked()
}

func (s *stream) closeWriter(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writerClosed == nil {
		s.writerClosed = cause
		s.notifyLocked()
	}
}

// deadline is a point in time that can be moved while someone waits for it.
type deadline struct {
	mu    *sync.Mutex
	timer *time.Timer
	done  chan struct{} // closed when the deadline has passed; replaced by set
}

func newDeadline() deadline { return deadline{mu: new(sync.Mutex), done: make(chan struct{})} }

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	// Whoever waits on the old channel must look again, so it is closed in any case.
	old := d.done
	d.done = make(chan struct{})
	done := d.done
	switch left := time.Until(t); {
	case t.IsZero():
	case left <= 0:
		close(done)
	default:
		d.timer = time.AfterFunc(left, func() { d.pass(done) })
	}
	closeOnce(old)
}

// pass lets the deadline pass, unless it was moved while its timer fired.
func (d *deadline) pass(done chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	closeOnce(done)
}

// closeOnce closes done if it is open. The caller holds the lock under which done is closed.
func closeOnce(done chan struct{}) {
	select {
	case <-done:
	default:
		close(done)
	}
}

func (d *deadline) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.done
}

func (d *deadline) passed() bool {
	select {
	case <-d.wait():
		return true
	default:
		return false
	}
}

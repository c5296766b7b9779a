package edicttest

import (
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// end is one of the two ends of a connection: a net.Conn as TCP's is.
//
// Reading and writing wait on channels only, with the connection's mutex released: each looks what
// is the case, and if it can't go on, takes the channel of the pipe's signal and looks again when
// that is closed.
type end struct {
	connection    *Connection
	in, out       *pipe
	local, remote Addr

	closed bool // guarded by connection.mu
}

// Read reads what has been delivered. With a Link.Segment it returns bytes of one segment only.
func (e *end) Read(target []byte) (int, error) {
	c := e.connection
	c.mu.Lock()
	for {
		n, err, done := e.tryRead(target)
		if done {
			c.mu.Unlock()
			if err != nil && err != io.EOF {
				err = e.failure("read", err)
			}
			return n, err
		}
		changed := e.in.readers.wait()
		c.mu.Unlock()
		<-changed
		c.mu.Lock()
	}
}

// tryRead reads without waiting; if it is not done, it would have to wait.
func (e *end) tryRead(target []byte) (n int, err error, done bool) {
	p := e.in
	switch {
	case e.closed:
		return 0, net.ErrClosed, true
	case len(target) == 0:
		return 0, nil, true
	case p.readDeadline.passed:
		return 0, os.ErrDeadlineExceeded, true
	case p.ready > 0:
		n = copy(target, p.data.Bytes()[:p.readable(len(target))])
		p.take(n)
		return n, nil, true
	case e.connection.cut:
		return 0, os.NewSyscallError("read", syscall.ECONNRESET), true
	case p.endDelivered:
		return 0, io.EOF, true
	}
	return 0, nil, false
}

// Write writes all of source, one Write after the other. It waits while Link.Buffer bytes are written
// and not read. If it fails, the bytes that it says are written or lost on the way.
func (e *end) Write(source []byte) (int, error) {
	c, p := e.connection, e.out
	written := 0
	owner := false // of p.writing
	c.mu.Lock()
	for {
		err := e.writeError()
		if err == nil && !p.writing {
			p.writing, owner = true, true
		}
		if err == nil && owner && written < len(source) {
			if n := p.accept(source[written:]); n > 0 {
				written += n
				if written < len(source) {
					continue // what happened on the way, a cut perhaps, is seen first
				}
			}
		}
		if err != nil || written == len(source) {
			if owner {
				p.writing = false
				p.writers.raise()
			}
			c.mu.Unlock()
			if err != nil {
				err = e.failure("write", err)
			}
			return written, err
		}
		changed := p.writers.wait()
		c.mu.Unlock()
		<-changed
		c.mu.Lock()
	}
}

// writeError says why nothing can be written.
func (e *end) writeError() error {
	p := e.out
	switch {
	case e.closed:
		return net.ErrClosed
	case p.writeDeadline.passed:
		return os.ErrDeadlineExceeded
	case e.connection.cut:
		return os.NewSyscallError("write", syscall.ECONNRESET)
	case p.finished, p.broken:
		return os.NewSyscallError("write", syscall.EPIPE)
	}
	return nil
}

// Close closes the end. The peer reads what was written, then io.EOF; what it has written and this
// side has not read is lost, and its writes fail with EPIPE once one of them has arrived here. (TCP
// differs in one thing: a Close with bytes unread destroys those on their way to the peer, too.)
func (e *end) Close() error {
	c := e.connection
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.closed {
		return e.failure("close", net.ErrClosed)
	}
	e.closed = true
	e.in.readDeadline.stop()
	e.out.writeDeadline.stop()
	e.in.closeReader()
	if c.ended {
		return nil
	}
	if c.client.closed && c.server.closed {
		c.endLocked()
		return nil
	}
	e.out.finish()
	return nil
}

// CloseWrite ends the sending direction: the peer reads what was written, then io.EOF. Writes fail
// with EPIPE from now on.
func (e *end) CloseWrite() error {
	c := e.connection
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := e.unusable(); err != nil {
		return e.failure("close", err)
	}
	e.out.finish()
	return nil
}

// unusable says why neither direction can be used.
func (e *end) unusable() error {
	switch {
	case e.closed:
		return net.ErrClosed
	case e.connection.cut:
		return os.NewSyscallError("shutdown", syscall.ENOTCONN)
	}
	return nil
}

func (e *end) LocalAddr() net.Addr  { return e.local }
func (e *end) RemoteAddr() net.Addr { return e.remote }

func (e *end) SetDeadline(t time.Time) error      { return e.setDeadlines(t, true, true) }
func (e *end) SetReadDeadline(t time.Time) error  { return e.setDeadlines(t, true, false) }
func (e *end) SetWriteDeadline(t time.Time) error { return e.setDeadlines(t, false, true) }

func (e *end) setDeadlines(t time.Time, read, write bool) error {
	c := e.connection
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.closed {
		return e.failure("set", net.ErrClosed)
	}
	if read {
		e.in.readDeadline.set(t, c, &e.in.readers)
	}
	if write {
		e.out.writeDeadline.set(t, c, &e.out.writers)
	}
	return nil
}

// failure gives err the form of the errors of package net.
func (e *end) failure(operation string, err error) error {
	return &net.OpError{Op: operation, Net: network, Source: e.local, Addr: e.remote, Err: err}
}

// deadline ends the waiting of reads or writes. Guarded by Connection.mu.
type deadline struct {
	passed bool
	timer  *time.Timer
}

// set moves the deadline to t, or away if t is zero, and wakes who waits when it has passed.
func (d *deadline) set(t time.Time, c *Connection, waiters *signal) {
	d.stop()
	d.passed = false
	if t.IsZero() {
		return
	}
	left := time.Until(t)
	if left <= 0 {
		d.passed = true
		waiters.raise()
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(left, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if d.timer == timer { // not moved meanwhile
			d.passed = true
			waiters.raise()
		}
	})
	d.timer = timer
}

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}

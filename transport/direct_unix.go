//go:build unix

package transport

import (
	"net"
	"syscall"
)

// directAccess returns the way to try a read or a write on conn without waiting, or nil if conn is
// not a socket itself: what wraps one (TLS, a user's own type) must see the bytes.
func directAccess(conn net.Conn) syscall.RawConn {
	switch conn := conn.(type) {
	case *net.TCPConn:
		raw, _ := conn.SyscallConn()
		return raw
	case *net.UnixConn:
		raw, _ := conn.SyscallConn()
		return raw
	}
	return nil
}

// writeWithoutWaiting is called once by the runtime with the socket.
func (w *writer) writeWithoutWaiting(fd uintptr) bool {
	for len(w.parts) > 0 {
		n, err := writeParts(int(fd), w.parts)
		switch {
		case err == syscall.EINTR:
		case err == syscall.EAGAIN:
			return true
		case err != nil:
			w.tryFail = err
			return true
		default:
			w.advance(n)
		}
	}
	return true
}

// readWithoutWaiting is called by the runtime with the socket, again and again as it becomes
// readable, until it returns true: with the first bytes in readSome, with the first error in run.
//
// After a short read it tries again: the peer's end may have come together with the data, in the
// same wake-up, and then there will be no other.
func (r *reader) readWithoutWaiting(fd uintptr) bool {
	r.readFailed = nil
	for {
		target := r.target()
		n, err := syscall.Read(int(fd), target)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			if !r.running {
				r.idle()
				return false
			}
			r.readFailed = r.pause()
			return r.readFailed != nil
		case err != nil:
			r.readFailed, r.broken = err, true
			return true
		case n == 0:
			r.readFailed, r.broken = r.end(), true
			return true
		}
		r.arrived(n)
		if r.handle == nil {
			return true
		}
		if r.readFailed = r.handleAll(r.handle); r.readFailed != nil {
			return true
		}
		if r.owner.isClosed() {
			r.readFailed = net.ErrClosed // Receive and Run give the cause
			return true
		}
	}
}

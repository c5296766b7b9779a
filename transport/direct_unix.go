//go:build unix

package transport

import (
	"io"
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
		n, err := syscall.Write(int(fd), w.parts[0])
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
// readable, until it returns true. While there is nothing to read and nothing kept, it gives the
// buffer back, which is what makes idle connections cheap.
func (r *reader) readWithoutWaiting(fd uintptr) bool {
	target := r.target
	if target == nil {
		target = r.space()
	}
	for {
		n, err := syscall.Read(int(fd), target)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			if r.buffer != nil && len(r.data) == 0 {
				r.data = nil
				r.buffer.Release()
				r.buffer = nil
			}
			return false
		case err != nil:
			r.readBytes, r.readFailed = 0, err
		case n == 0:
			r.readBytes, r.readFailed = 0, io.EOF
		default:
			r.readBytes, r.readFailed = n, nil
		}
		return true
	}
}

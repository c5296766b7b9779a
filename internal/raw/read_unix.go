//go:build unix

package raw

import (
	"io"
	"net"
	"syscall"
)

// readRaw is readAll for a connection that is a plain socket. It reports false when conn isn't one.
//
// The whole loop runs inside one call of RawConn.Read, because that saves a system call per read:
// conn.Read learns that a socket is empty by reading it once more, while here a read that came back
// with less than it had room for has said so already. Nothing is lost in between: the runtime's
// poller is edge-triggered, and it remembers an edge that comes before the wait for it.
func readRaw(conn net.Conn, r *reader, handle func(*reader) error) (bool, error) {
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return false, nil
	}
	rawConn, err := socket.SyscallConn()
	if err != nil {
		return true, err
	}
	var failure error
	err = rawConn.Read(func(descriptor uintptr) bool {
		for {
			count, err := syscall.Read(int(descriptor), r.room())
			switch {
			case err == syscall.EINTR:
				continue
			case err == syscall.EAGAIN:
				return false
			case err != nil:
				failure = err
				return true
			case count == 0:
				failure = io.EOF
				return true
			}
			full := r.filled(count)
			if failure = handle(r); failure != nil {
				return true
			}
			if !full {
				return false
			}
		}
	})
	if failure != nil {
		err = failure
	}
	return true, err
}

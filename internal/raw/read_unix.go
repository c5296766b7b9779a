//go:build unix

package raw

import (
	"io"
	"net"
	"syscall"
)

// readRaw is readAll for a connection that is a plain socket. It reports false when conn isn't one.
//
// The whole loop runs inside one call of RawConn.Read, which saves the runtime's part of a read per burst. It reads
// until the socket is empty, also after a read that came back with less than it had room for: the peer's end may have come
// in the same wake-up of the poller as the data before it, and then there is no other.
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
			r.filled(count)
			if failure = handle(r); failure != nil {
				return true
			}
		}
	})
	if failure != nil {
		err = failure
	}
	return true, err
}

//go:build unix

package grpcbridge

import (
	"io"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// peekSocket waits for the first byte of a socket without taking it. ok is false if conn is not a socket itself:
// what wraps one, TLS for example, must see the bytes.
func peekSocket(conn net.Conn) (first byte, ok bool, err error) {
	var raw syscall.RawConn
	switch conn := conn.(type) {
	case *net.TCPConn:
		raw, err = conn.SyscallConn()
	case *net.UnixConn:
		raw, err = conn.SyscallConn()
	default:
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	var one [1]byte
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		for {
			n, _, err := unix.Recvfrom(int(fd), one[:], unix.MSG_PEEK)
			switch {
			case err == unix.EINTR:
				continue
			case err == unix.EAGAIN:
				return false
			case err != nil:
				failed = err
			case n == 0:
				failed = io.EOF
			}
			return true
		}
	})
	if err == nil {
		err = failed
	}
	return one[0], err == nil, err
}

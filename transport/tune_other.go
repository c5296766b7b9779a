//go:build !linux

package transport

import (
	"errors"
	"net"
	"syscall"
)

// tune: TCP_USER_TIMEOUT is Linux's own; keepalive works everywhere.
func tune(net.Conn) {}

// restrict: other systems take the mode of a Unix socket from the umask, until Chmod.
func restrict(_, _ string, _ syscall.RawConn) error { return nil }

func isRefused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

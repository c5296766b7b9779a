//go:build !linux

package transport

import (
	"errors"
	"net"
	"syscall"
)

// tune: TCP_USER_TIMEOUT is Linux's own; keepalive works everywhere.
func tune(net.Conn) {}

func isRefused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

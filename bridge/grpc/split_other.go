//go:build !unix

package grpcbridge

import "net"

// peekSocket is for systems that have it.
func peekSocket(net.Conn) (first byte, ok bool, err error) { return 0, false, nil }

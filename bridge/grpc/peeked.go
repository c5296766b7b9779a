package grpcbridge

import (
	"crypto/tls"
	"net"
)

// peekedConn is a connection whose first byte was read. Like the connection, it has one reader.
type peekedConn struct {
	net.Conn
	first []byte // what was read and not given back yet
}

// Read implements net.Conn.
func (c *peekedConn) Read(target []byte) (int, error) {
	if len(c.first) > 0 && len(target) > 0 {
		n := copy(target, c.first)
		c.first = c.first[n:]
		return n, nil
	}
	return c.Conn.Read(target)
}

// ConnectionState returns the state of the TLS connection; the zero state without TLS.
func (c *peekedConn) ConnectionState() tls.ConnectionState {
	if secure, ok := c.Conn.(*tls.Conn); ok {
		return secure.ConnectionState()
	}
	return tls.ConnectionState{}
}

// CloseWrite ends the sending side, where there is such a thing.
func (c *peekedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

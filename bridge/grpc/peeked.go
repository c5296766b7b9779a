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

// CloseWrite ends the sending side, where there is such a thing.
func (c *peekedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// peekedTLS is a peekedConn over TLS, whose state it has. (One without TLS must not have the method: who has it
// is taken for encrypted.)
type peekedTLS struct {
	*peekedConn
	secure *tls.Conn
}

// ConnectionState returns the state of the TLS connection.
func (c peekedTLS) ConnectionState() tls.ConnectionState { return c.secure.ConnectionState() }

// peeked returns conn with the byte that was read of it in front.
func peeked(conn net.Conn, first []byte) net.Conn {
	whole := &peekedConn{Conn: conn, first: first}
	if secure, ok := conn.(*tls.Conn); ok {
		return peekedTLS{whole, secure}
	}
	return whole
}

//go:build !unix

package raw

import "net"

// readRaw exists for Unix only; elsewhere readAll reads through net.Conn.
func readRaw(net.Conn, *reader, func(*reader) error) (bool, error) { return false, nil }

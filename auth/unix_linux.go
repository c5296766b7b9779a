package auth

import (
	"net"

	"golang.org/x/sys/unix"
)

const unixUnknown = "the system did not tell which process is at the other end of the Unix socket"

// peerOfUnix returns the process at the other end, nil if the system doesn't tell.
func peerOfUnix(conn *net.UnixConn) *UnixCredentials {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil // closed
	}
	var peer *unix.Ucred
	if raw.Control(func(descriptor uintptr) {
		peer, _ = unix.GetsockoptUcred(int(descriptor), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}) != nil || peer == nil {
		return nil
	}
	return &UnixCredentials{UID: peer.Uid, GID: peer.Gid, PID: peer.Pid}
}

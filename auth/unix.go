package auth

import (
	"context"
	"net"
	"os"
	"slices"
	"strconv"

	"github.com/edict-go/edict/core"
)

// UnixCredentials are what the system says of the process that connected to a Unix socket, at the time
// when it did. It is the Value of a principal of [UnixUsers].
type UnixCredentials struct {
	// UID and GID are the user and the group.
	UID, GID uint32
	// PID is the process, 0 if it is not visible from here (another PID namespace). The number may
	// belong to another one by now: good for a log, not for a decision.
	PID int32
}

// UnixUsers returns an Authenticator for processes of these users at the other end of a Unix socket;
// without users for those of the user that this process runs as. Nobody else is let in, root included. The
// principal has the Scheme "unix", a Name as in "uid:1000", and the [UnixCredentials] as its Value.
//
// It works on Linux; elsewhere it refuses everyone, saying why. A process in another user namespace may
// appear as the overflow user (65534), with many others: do not let that one in.
//
// The listener of a unix:// address is accessible to its owner only, so other users need a listener whose
// file mode lets them in.
func UnixUsers(users ...uint32) Authenticator {
	users = slices.Clone(users)
	if len(users) == 0 {
		users = []uint32{uint32(os.Geteuid())}
	}
	return func(_ context.Context, credentials Credentials) (core.Principal, error) {
		peer := credentials.Unix
		switch {
		case peer == nil && credentials.Address != nil && credentials.Address.Network() == "unix":
			return core.Principal{}, core.Errorf(core.Unimplemented, "%s", unixUnknown)
		case peer == nil:
			return core.Principal{}, ErrNoCredentials.With("a Unix socket is needed")
		case !slices.Contains(users, peer.UID):
			return core.Principal{}, core.Errorf(core.PermissionDenied, "the user %d is not let in", peer.UID)
		}
		return core.Principal{Scheme: "unix", Name: "uid:" + strconv.FormatUint(uint64(peer.UID), 10), Value: *peer}, nil
	}
}

// unixOf returns the process at the other end of a Unix socket, nil if that is not known.
func unixOf(conn net.Conn) *UnixCredentials {
	// TLS and other wrappers give the connection underneath; the bound is for one that gives itself.
	for range 8 {
		wrapper, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		conn = wrapper.NetConn()
	}
	if conn, ok := conn.(*net.UnixConn); ok {
		return peerOfUnix(conn)
	}
	return nil
}

package auth

import (
	"context"
	"crypto/tls"
	"errors"
	"net"

	"github.com/edict-go/edict/core"
)

// Credentials are what a client presents when it connects.
type Credentials struct {
	// Token is what the client sent as such; the zero Token if it sent none.
	Token Token
	// Name is what the client calls itself: a claim, which nobody has verified.
	Name string
	// Address is the client's network address.
	Address net.Addr
	// TLS is the state of the TLS connection after its handshake, nil without TLS. Certificates in
	// PeerCertificates are verified only if they are in VerifiedChains.
	TLS *tls.ConnectionState
	// Unix says which process connected to a Unix socket. It is nil for other connections, and where
	// the system does not tell (anywhere but on Linux).
	Unix *UnixCredentials
}

// Authenticator decides who a client is: it returns its principal, or an error to turn it away. ctx ends
// with the time of the handshake, and when the server closes the connection; an Authenticator that goes
// on after that has refused already, but its connection counts until it returns.
//
// The client is told the code and message of the first *core.Error in the error's chain. It is told
// nothing of other errors, whose code is Unauthenticated, nor of a panic, whose code is Internal. Choose
// the code by what the client can do: with Unauthenticated it needs other credentials, with
// PermissionDenied others won't help, with Unavailable (a directory that can't be reached) it may try
// again.
//
// It is called for many connections at the same time.
type Authenticator func(ctx context.Context, credentials Credentials) (core.Principal, error)

// ErrNoCredentials matches the errors of authenticators for clients that have not presented what they
// look at: no token, no certificate. See [Any].
var ErrNoCredentials = &core.Error{Code: core.Unauthenticated, Reason: "no-credentials"}

// Any returns an Authenticator that asks the given ones in turn; the first that accepts the client
// decides who it is. If none does, the error says that there are no credentials if all said so; otherwise
// it is the first whose code is not Unauthenticated, such as PermissionDenied or Unavailable; otherwise
// it has the errors of all that had something to look at, and the client is told the first coded one.
// It panics if one of them is nil.
func Any(authenticators ...Authenticator) Authenticator {
	for _, authenticate := range authenticators {
		if authenticate == nil {
			panic("auth: Any was given a nil Authenticator")
		}
	}
	return func(ctx context.Context, credentials Credentials) (core.Principal, error) {
		var refusals []error
		for _, authenticate := range authenticators {
			principal, err := authenticate(ctx, credentials)
			if err == nil {
				return principal, nil
			}
			if ctx.Err() != nil {
				return core.Principal{}, err
			}
			if !errors.Is(err, ErrNoCredentials) {
				refusals = append(refusals, err)
			}
		}
		if len(refusals) == 0 {
			return core.Principal{}, ErrNoCredentials.With("there are no credentials that this server knows of")
		}
		for _, refusal := range refusals {
			if e, ok := errors.AsType[*core.Error](refusal); ok && e.Code != core.Unauthenticated {
				return core.Principal{}, refusal
			}
		}
		return core.Principal{}, errors.Join(refusals...)
	}
}

// CredentialsOf returns what the connection itself tells of its client: all but Token and Name. With TLS
// its handshake must be over.
func CredentialsOf(conn net.Conn) Credentials {
	return Credentials{Address: conn.RemoteAddr(), TLS: TLSOf(conn), Unix: unixOf(conn)}
}

// TLSOf returns the state of a TLS connection, nil if conn is none. A type that wraps a *tls.Conn is one
// if it has its method ConnectionState.
func TLSOf(conn net.Conn) *tls.ConnectionState {
	if secure, ok := conn.(interface{ ConnectionState() tls.ConnectionState }); ok {
		state := secure.ConnectionState()
		return &state
	}
	return nil
}

// IsPrivate reports whether nobody on a network can read along: conn is encrypted, or leads to this
// machine as far as its remote address tells (loopback, a Unix socket, memory). Of a tunnel or proxy it
// sees only the near end.
func IsPrivate(conn net.Conn) bool {
	if TLSOf(conn) != nil {
		return true
	}
	switch address := conn.RemoteAddr().(type) {
	case nil:
		return false
	case *net.TCPAddr:
		return address.IP.IsLoopback()
	default:
		switch address.Network() {
		case "unix", "memory", "pipe", "edicttest":
			return true
		}
		return false
	}
}

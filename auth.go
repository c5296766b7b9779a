package edict

import (
	"context"
	"errors"

	"github.com/edict-go/edict/auth"
	"github.com/edict-go/edict/core"
)

// TokenProvider returns the token with which a client authenticates itself, fresh for each attempt to
// connect. It is called before the connection is opened, with the context of the attempt, so that its
// time is not taken from the handshake's.
type TokenProvider func(ctx context.Context) (string, error)

// Authenticator decides who a client is. See [auth.Authenticator].
type Authenticator = auth.Authenticator

// Credentials are what a client presents to an Authenticator. See [auth.Credentials].
type Credentials = auth.Credentials

// Principal is someone whom an Authenticator has recognised. See [core.Principal].
type Principal = core.Principal

// WithTokenProvider makes a client send a token when it connects, which provider is asked for at each
// attempt. If provider fails the attempt does, with the outcome NotSent, and with the code of the error
// if it has an *Error in its chain; otherwise the code is Unauthenticated, or the context's if that has
// ended. An empty token is an error too.
//
// Tokens are sent over encrypted connections, and within the machine (loopback, Unix sockets, memory).
// Over others Dial fails (FailedPrecondition) unless [WithInsecureToken] allows it.
func WithTokenProvider(provider TokenProvider) DialOption {
	return dialOption(func(s *dialSettings) { s.tokenProvider = provider })
}

// WithToken is a WithTokenProvider whose token is always the same.
func WithToken(token string) DialOption {
	return WithTokenProvider(func(context.Context) (string, error) { return token, nil })
}

// WithInsecureToken lets a client send its token over connections that are not encrypted. Whoever can
// read them can use the token. It is for networks where something else encrypts, such as a tunnel.
func WithInsecureToken() DialOption {
	return dialOption(func(s *dialSettings) { s.insecureToken = true })
}

// WithAuthenticator makes a server ask authenticate who a client is, once, when it connects; commands find
// the answer with [PrincipalOf]. Without this option everyone is let in, and tokens are not looked at.
//
// A client that has been let in stays so until its connection ends, also if its token expires meanwhile.
func WithAuthenticator(authenticate Authenticator) ServerOption {
	return serverOption(func(s *serverSettings) { s.authenticator = authenticate })
}

// PrincipalOf returns whom the server's Authenticator has recognised in the client of the command that
// runs with ctx. It returns false if the server has none, and outside of a command.
func PrincipalOf(ctx context.Context) (Principal, bool) {
	if principal := PeerOf(ctx).Principal; principal != nil {
		return *principal, true
	}
	return Principal{}, false
}

// askForToken returns the token for an attempt to connect, the zero Token if the client has none.
func (s *dialSettings) askForToken(ctx context.Context) (auth.Token, error) {
	if s.tokenProvider == nil {
		return auth.Token{}, nil
	}
	text, err := s.tokenProvider(ctx)
	if err == nil && text == "" {
		return auth.Token{}, &Error{Code: Unauthenticated, Outcome: NotSent, Message: "the token is empty"}
	}
	token := auth.NewToken(text)
	if err == nil {
		return token, nil
	}
	failure := core.AsError(err)
	if _, coded := errors.AsType[*Error](err); !coded {
		failure.Code = Unauthenticated
		if ctx.Err() != nil {
			failure.Code = CodeOf(ctx.Err())
		}
	}
	return auth.Token{}, &Error{
		Code: failure.Code, Outcome: NotSent, Reason: failure.Reason, RetryAfter: failure.RetryAfter, Cause: err,
		Message: token.Redact("can't get a token: " + failure.Message),
	}
}

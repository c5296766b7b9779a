package delegate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"time"

	"github.com/edict-go/edict/auth"
	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/transport"
)

// checkToken returns why a client must not send its token on conn, nil if it may.
func (c *Config) checkToken(conn net.Conn) error {
	size := len(c.Token.Reveal())
	switch {
	case size == 0:
		return nil
	case size > auth.MaxToken:
		return failed(core.InvalidArgument, fmt.Errorf("the token has %d bytes, at most %d are allowed", size, auth.MaxToken))
	case !c.InsecureToken && !auth.IsPrivate(conn):
		return failed(core.FailedPrecondition, fmt.Errorf(
			"the token was not sent, because the connection to %v is not encrypted: use a tls:// address, or allow it with WithInsecureToken", conn.RemoteAddr()))
	}
	return nil
}

// refusal is why a client was turned away by the authenticator: what the client is told, and what the
// server's log says. Neither has the token in it.
type refusal struct {
	told  *core.Error
	text  string
	cause error
}

func (r *refusal) Error() string { return r.text }
func (r *refusal) Unwrap() error { return r.cause }

// maxRefusal bounds the encoded error that a client is told, so that it fits into REJECT.
const maxRefusal = 16 << 10

// refuse returns the refusal with which an authenticator's error reaches the client and the log. It calls
// methods of err, which are user code.
func refuse(ctx context.Context, err error, token auth.Token) *refusal {
	r := &refusal{told: core.Errorf(core.Unauthenticated, "authentication failed"), text: token.Redact(err.Error()), cause: err}
	e, coded := errors.AsType[*core.Error](err)
	switch {
	case coded:
		told := *token.RedactError(e) // a copy: e may be a variable that is used again
		if !told.Code.Valid() {
			told.Code = core.Unauthenticated
		}
		if len(core.AppendError(nil, &told)) > maxRefusal {
			told.Details = nil
			told.Message = told.Message[:min(len(told.Message), maxRefusal/2)]
			told.Reason = told.Reason[:min(len(told.Reason), maxRefusal/2)]
		}
		r.told = &told
		if e.Cause != nil {
			r.text += ": " + token.Redact(e.Cause.Error())
		}
	case ctx.Err() != nil:
		r.told = core.Errorf(core.Unavailable, "authentication took too long")
	}
	r.text = "authentication: " + r.text
	return r
}

// verdict is what an authenticator says of a client.
type verdict struct {
	principal core.Principal
	err       *refusal
}

// authenticate asks the authenticator who the client is. Its goroutine is waited for here, so an
// authenticator that does not return holds up its own connection's end, and nothing else: the client is
// turned away in time, and the connection closed.
func (a *Acceptor) authenticate(conn *transport.Conn, greeting hello, deadline time.Time) (*core.Principal, error) {
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	credentials := auth.CredentialsOf(conn.NetConn())
	credentials.Name, credentials.Token = greeting.name, greeting.token
	answer := make(chan verdict, 1)
	go a.judge(ctx, credentials, answer)
	select {
	case v := <-answer:
		if v.err != nil {
			return nil, v.err
		}
		return &v.principal, nil
	case <-ctx.Done():
		late := refuse(ctx, fmt.Errorf("no answer within %v", a.config.HandshakeTimeout), credentials.Token)
		a.reject(conn, late.told)
		conn.Close(late)
		<-answer
		return nil, late
	case <-conn.Done():
		cancel()
		<-answer
		return nil, errors.New("the connection was closed while its client was authenticated")
	}
}

// judge calls the authenticator and always answers, also if that panics or ends its goroutine. Started by
// authenticate, which waits for the answer; it ends when the authenticator does.
func (a *Acceptor) judge(ctx context.Context, credentials auth.Credentials, answer chan<- verdict) {
	v := verdict{err: &refusal{
		told: core.Errorf(core.Internal, "authentication failed"), text: "authentication: the authenticator ended its goroutine (runtime.Goexit)",
	}}
	defer func() {
		if cause := recover(); cause != nil {
			text := credentials.Token.Redact(fmt.Sprint(cause))
			v.err.text = "authentication: the authenticator panicked: " + text
			a.log().ErrorContext(ctx, "edict: authenticator panicked", "peer", credentials.Address, "panic", text, "stack", string(debug.Stack()))
		}
		answer <- v
	}()
	principal, err := a.config.Authenticator(ctx, credentials)
	if err != nil {
		v.err = refuse(ctx, err, credentials.Token)
		return
	}
	v = verdict{principal: principal}
}

func (a *Acceptor) log() *slog.Logger {
	if a.config.Logger == nil {
		return slog.Default()
	}
	return a.config.Logger
}

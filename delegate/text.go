package delegate

import (
	"context"
	"fmt"

	"github.com/edict-go/edict/auth"
	"github.com/edict-go/edict/core"
)

// Settings returns the settings of the Acceptor, with defaults in place of zero values.
func (a *Acceptor) Settings() Config { return a.config }

// Silence says for people why a client that has said nothing was given up.
func (a *Acceptor) Silence(err error) error { return silence(err, a.config.HandshakeTimeout) }

// Admit asks the authenticator who a client is, for a server that has learned its credentials in another way than by
// HELLO. The principal is nil if there is no authenticator. A client that is not let in is to be told what tell is called
// with, which happens before Admit returns: an authenticator that does not return when ctx ends is waited for, but not by
// the client. The error is for the server's log.
func (a *Acceptor) Admit(ctx context.Context, credentials auth.Credentials, tell func(*core.Error)) (*core.Principal, error) {
	if a.config.Authenticator == nil {
		return nil, nil
	}
	answer := make(chan verdict, 1)
	go a.judge(ctx, credentials, answer)
	select {
	case v := <-answer:
		if v.err != nil {
			tell(v.err.told)
			return nil, v.err
		}
		return &v.principal, nil
	case <-ctx.Done():
		late := refuse(ctx, fmt.Errorf("no answer within %v", a.config.HandshakeTimeout), credentials.Token)
		tell(late.told)
		<-answer
		return nil, late
	}
}

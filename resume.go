package edict

import (
	"time"

	"github.com/edict-go/edict/delegate"
)

// Resume has the settings of connections that survive the loss of what is underneath. The zero Resume works.
type Resume struct {
	// Bytes is how much is kept of what was sent and the other side has not acknowledged. Beyond, what sends waits. 0 is
	// 1 MiB, 128 KiB is the least.
	Bytes int
	// TTL is how long a server keeps what belongs to a client that is away; 0 is 30 s. Server only.
	TTL time.Duration
	// MaxDetached is how many clients that are away a server waits for; 0 is 1,024. Beyond, the one that is away
	// for longest is given up. Server only.
	MaxDetached int
}

// WithResume lets connections survive: when the network breaks one, the client makes another, and calls go on
// where they were, as if it had only been slow. Each command executes once; its results, and its inputs, arrive once and in
// order. Both sides must have the option. On a client it implies WithReconnect.
//
// What a client must know of a call is the same as ever: it ends with a result or an error, which tells its
// Outcome. If the server has given the client up (after TTL, or because it was restarted) the calls in flight end,
// Unavailable, and the Outcome says whether they ran. docs/resume.md has the rest.
func WithResume(resume Resume) Option {
	return option(func(s *shared) { s.resume = &resume })
}

// sessions returns the sessions of a server, nil if its connections can't be resumed.
func (s *serverSettings) sessions() *delegate.Sessions {
	if s.resume == nil {
		return nil
	}
	return delegate.NewSessions(delegate.SessionsConfig{
		TTL: s.resume.TTL, ReplayBytes: s.resume.Bytes, MaxDetached: s.resume.MaxDetached,
	})
}

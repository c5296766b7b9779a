package delegate

import (
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/edict-go/edict/core"
)

// Reconnect says how a client that has lost its connection makes another one. The zero Reconnect tries for
// ever, with pauses that grow to 10 s.
//
// The pause before an attempt is drawn evenly from nothing to a limit (full jitter), so that the clients of a
// server that comes back don't come all at once. The limit is Initial at first, also before the first
// attempt after a loss, and twice as much after each attempt, up to Max. It begins with Initial again when
// a connection has lasted for Max. A server that asks for a longer pause (Error.RetryAfter) gets it on top,
// five minutes of it at most.
type Reconnect struct {
	// Initial is the first limit of the pause; 0 is 100 ms.
	Initial time.Duration
	// Max is the largest; 0 is 10 s.
	Max time.Duration
	// Timeout is how long one attempt may take, handshake included; 0 is 20 s.
	Timeout time.Duration
	// MaxAttempts is how many attempts in a row may fail before the client ends with the error of the last;
	// 0 is any number.
	MaxAttempts int
	// Stop, if not nil, decides whether the client ends because an attempt has failed, the how manieth in a
	// row, with err. By default it ends if the error is Hopeless; but that a client that was connected once is
	// Unauthenticated is no reason, because it may have another token by the next attempt.
	Stop func(attempt int, err error) bool
}

// maxRetryAfter bounds what a server can ask for.
const maxRetryAfter = 5 * time.Minute

// Hopeless reports whether err is the refusal of a connection that would be refused again: there is no
// common codec or version, a command has another shape, the client is not known or may not.
func Hopeless(err error) bool {
	switch core.CodeOf(err) {
	case core.FailedPrecondition, core.InvalidArgument, core.Unimplemented, core.Unauthenticated, core.PermissionDenied:
		return true
	}
	return false
}

func (r Reconnect) withDefaults() Reconnect {
	if r.Initial <= 0 {
		r.Initial = 100 * time.Millisecond
	}
	if r.Max <= 0 {
		r.Max = 10 * time.Second
	}
	r.Max = max(r.Max, r.Initial)
	if r.Timeout <= 0 {
		r.Timeout = 20 * time.Second
	}
	return r
}

// stops reports whether a failed attempt was the last one.
func (r Reconnect) stops(attempt int, err error, connectedOnce bool) bool {
	switch {
	case r.MaxAttempts > 0 && attempt >= r.MaxAttempts:
		return true
	case r.Stop != nil:
		return r.Stop(attempt, err)
	case connectedOnce && core.CodeOf(err) == core.Unauthenticated:
		return false
	}
	return Hopeless(err)
}

// pauses returns the pauses of r. Evenly from 0 to a limit is half of the limit, and half of it more or less.
func (r Reconnect) pauses() *backoff.ExponentialBackOff {
	return &backoff.ExponentialBackOff{InitialInterval: max(1, r.Initial/2), MaxInterval: r.Max / 2, Multiplier: 2, RandomizationFactor: 1}
}

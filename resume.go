package edict

import (
	"context"
	"sync"
	"time"

	"github.com/edict-go/edict/core"
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
	// Journal lets a server remember what became of commands beyond its own end: package journal has one. A client
	// that comes back to the restarted server gets the results of commands that had ended; those that were being executed
	// end with OutcomeUnknown. Each command then costs two writes to a disk. nil is none. Server only.
	Journal Journal
}

// Journal remembers what became of commands. See [core.Journal].
type Journal = core.Journal

// CommandID names a command for ever. See [core.CommandID].
type CommandID = core.CommandID

// CommandIDOf returns the ID of the command that runs with ctx, and false if it has none: only servers with a Journal
// give some, to commands that are not Idempotent. A command that writes it down in the same transaction as what it does can be
// found there, when its server has ended before it could answer: the client's error has the same ID. examples/exactly-once
// does that.
func CommandIDOf(ctx context.Context) (CommandID, bool) {
	scope, _ := core.ScopeOf(ctx)
	named, ok := scope.(interface{ CommandID() (CommandID, bool) })
	if !ok {
		return CommandID{}, false
	}
	return named.CommandID()
}

// WithResume lets connections survive: when the network breaks one, the client makes another, and calls go on
// where they were, as if it had only been slow. Each command executes once; its results, and its inputs, arrive once and in
// order. Both sides must have the option. On a client it implies WithReconnect.
//
// What a client must know of a call is the same as ever: it ends with a result or an error, which tells its
// Outcome. If the server has given the client up (after TTL, or because it was restarted) the calls in flight end,
// Unavailable, and the Outcome says whether they ran. docs/resume.md has the rest.
func WithResume(resume Resume) Option {
	if resume.Bytes <= 0 {
		resume.Bytes = delegate.DefaultReplayBytes
	}
	return option(func(s *shared) { s.resume = &resume })
}

// sessions returns the sessions of a server, nil if its connections can't be resumed.
func (s *serverSettings) sessions() *delegate.Sessions {
	if s.resume == nil {
		return nil
	}
	return delegate.NewSessions(delegate.SessionsConfig{
		TTL: s.resume.TTL, ReplayBytes: s.resume.Bytes, MaxDetached: s.resume.MaxDetached,
		Journal: s.resume.Journal,
	})
}

// forgetter collects the numbers of commands whose results have come, so that the server's journal can forget them.
type forgetter struct {
	mu      sync.Mutex // guards numbers; held briefly
	numbers []uint64
}

// forgetAt is how many numbers are sent at once. What is left at the end costs the journal little.
const forgetAt = 64

// add notes a number, and returns what is to be sent now.
func (f *forgetter) add(number uint64) []uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.numbers = append(f.numbers, number)
	if len(f.numbers) < forgetAt {
		return nil
	}
	numbers := f.numbers
	f.numbers = nil
	return numbers
}

// forget tells the server that the client knows what became of a command.
func (l *life) forget(number uint64) {
	numbers := l.forgetter.add(number)
	if numbers == nil {
		return
	}
	if connection := l.present.Load(); connection != nil && connection.journal {
		// An error means that the connection has ended. What the server does not forget so, it forgets in time.
		_ = connection.carrier.Post(core.Frame{Kind: core.KindForget, Body: core.AppendForgotten(nil, numbers)})
	}
}

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
	// that comes back to the restarted server, or to another one with the same journal, gets the results of commands that had
	// ended; those that were being executed end with OutcomeUnknown. Each command then costs two writes to a disk. nil is
	// none. Server only.
	Journal Journal
}

// Journal remembers what became of commands. See [core.Journal].
type Journal = core.Journal

// CommandID names a command for ever. See [core.CommandID].
type CommandID = core.CommandID

// CommandIDOf returns the ID of the command that runs with ctx, and false if it has none: clients with WithResume give
// some, to servers with a Journal. It is the same for every attempt at a command, on whichever server, also if the command
// is Idempotent and the journal knows nothing of it. A command that writes it down in the same transaction as what it does can be
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
// Unavailable, and the Outcome says whether they ran; with a Journal they are asked for once more. docs/resume.md has the rest.
func WithResume(resume Resume) Option {
	if resume.Bytes <= 0 {
		resume.Bytes = delegate.DefaultReplayBytes
	}
	return option(func(s *shared) { s.resume = &resume })
}

// journal returns the name of the server's journal, zero if it has none.
func (s *serverSettings) journal() JournalID {
	if s.resume == nil || s.resume.Journal == nil {
		return JournalID{}
	}
	return s.resume.Journal.Name()
}

// sessions returns the sessions of a server, nil if its connections can't be resumed.
func (s *serverSettings) sessions() *delegate.Sessions {
	if s.resume == nil {
		return nil
	}
	return delegate.NewSessions(delegate.SessionsConfig{
		TTL: s.resume.TTL, ReplayBytes: s.resume.Bytes, MaxDetached: s.resume.MaxDetached,
		Journal: s.journal(),
	})
}

// forgetter collects the numbers of commands of which the client knows what became of them, so that a journal can forget
// them. All of them are of one journal: what another one should forget, it forgets in time.
type forgetter struct {
	mu         sync.Mutex // guards the following; held briefly
	connection *connection
	journal    JournalID
	numbers    []uint64 // not said yet
	said       []uint64 // the last maxSaid of them
}

const (
	// forgetAt is how many numbers are said at once. What is left at the end costs the journal little.
	forgetAt = 64
	// maxSaid is how many are said once more on the next connection, because they may have got lost with the one before.
	maxSaid = core.MaxForgotten
)

// forget notes that the client knows what became of a command which a journal remembers.
func (f *forgetter) forget(number uint64, journal JournalID) {
	f.mu.Lock()
	if f.journal != journal {
		f.journal, f.numbers, f.said = journal, nil, nil
	}
	f.numbers = append(f.numbers, number)
	var numbers []uint64
	if len(f.numbers) == forgetAt {
		numbers, f.numbers = f.numbers, nil
		f.said = append(f.said[max(0, len(f.said)+len(numbers)-maxSaid):], numbers...)
	}
	connection := f.connection
	f.mu.Unlock()
	connection.forget(numbers, journal)
}

// moveTo says what is to be forgotten on another connection from now on, and once more what may not have come over the one
// before.
func (f *forgetter) moveTo(connection *connection) {
	f.mu.Lock()
	f.connection = connection
	said, journal := f.said, f.journal
	f.mu.Unlock()
	connection.forget(said, journal)
}

// forget tells the server to forget numbers, if it has the journal that they are of.
func (c *connection) forget(numbers []uint64, journal JournalID) {
	if len(numbers) > 0 && c.journal == journal {
		// An error means that the connection has ended.
		_ = c.carrier.Post(core.Frame{Kind: core.KindForget, Body: core.AppendForgotten(nil, numbers)})
	}
}

package group

import (
	"context"
	"iter"
	"sync/atomic"
	"time"

	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/delegate"
)

// Member is one connection of a group: an *edict.Client that reconnects by itself, or something else that does.
type Member[T any] interface {
	// Start must not wait for a connection if the request says FailFast, as all requests of a group do.
	core.Sender[T]
	// State returns the connection's state; only a Member that is Ready gets commands. Changes returns the
	// changes of the state, from the present one on, until ctx ends or the Member has ended.
	State() delegate.State
	Changes(ctx context.Context) iter.Seq[delegate.StateChange]
	// RoundTripTime returns the latest measurement of it, 0 if there is none.
	RoundTripTime() time.Duration
	// Shutdown takes no more commands, waits until those in flight have ended, and ends the Member. If ctx
	// ends first, or has ended, it ends the Member at once and returns an error. The group calls it once.
	Shutdown(ctx context.Context) error
}

// Recorder is an optional interface of Members. A command that may have run at a server which remembers what became of it
// (core.Attempts) is tried again on Members with the same Journal.
type Recorder interface {
	// Journal returns the name of the journal of the server to which commands go, zero if it has none.
	Journal() core.JournalID
}

// Connect makes a Member for an address. It returns at once: the Member connects by itself. An error means
// that the address can't be used at all.
type Connect[T any] func(address string) (Member[T], error)

// member is a Member and what the group knows of it.
type member[T any] struct {
	sender   Member[T]
	endpoint *Endpoint
	hash     uint64
	inFlight atomic.Int64
	lastLoss atomic.Pointer[error] // why it is not ready
	ready    atomic.Int64          // since when, in Unix nanoseconds

	// Owned by the pool's goroutine.
	age      time.Duration // after which it is replaced; 0 is never
	replaces *member[T]    // what it was made for
	stop     context.CancelFunc
}

// journal returns the name of its server's journal, zero if it has none.
func (m *member[T]) journal() (id core.JournalID) {
	if recorder, ok := m.sender.(Recorder); ok {
		id = recorder.Journal()
	}
	return id
}

// enter counts a call in.
func (m *member[T]) enter() {
	m.endpoint.inFlight.Add(1)
	if m.inFlight.Add(1) > m.endpoint.growAt && !m.endpoint.crowded.Load() && m.endpoint.crowded.CompareAndSwap(false, true) {
		m.endpoint.wake()
	}
}

// leave counts it out.
func (m *member[T]) leave() {
	m.inFlight.Add(-1)
	m.endpoint.inFlight.Add(-1)
}

// watch follows the member's states and tells the pool.
//
// Started by pool.add; ends when the pool calls m.stop, or the member has ended; pool.stop waits for it.
func (m *member[T]) watch(ctx context.Context) {
	for change := range m.sender.Changes(ctx) {
		if change.Cause != nil {
			m.lastLoss.Store(&change.Cause)
		}
		if change.To == delegate.Ready {
			m.ready.Store(time.Now().UnixNano())
			m.endpoint.crowded.Store(false) // there is room
		}
		m.endpoint.wake()
	}
	m.endpoint.wake()
}

// connectionFor returns that of an endpoint's connections which command takes: the one with the fewest calls in
// flight; for commands with an ordering key always the same one, because only a connection keeps the order.
func connectionFor[T any](e *Endpoint, members []*member[T], command any) *member[T] {
	if len(members) == 1 {
		return members[0]
	}
	if ordered, ok := command.(core.Ordered); ok {
		if key := ordered.OrderingKey(); key != "" {
			best, highest, keyHash := 0, uint64(0), hash(key)
			for i, m := range members {
				if score := mix(keyHash ^ m.hash); score > highest {
					best, highest = i, score
				}
			}
			return members[best]
		}
	}
	offset := int(e.next.Add(1) % uint64(len(members))) // of equal ones, in turn
	best := members[offset]
	for n := 1; n < len(members); n++ {
		if m := members[(n+offset)%len(members)]; m.inFlight.Load() < best.inFlight.Load() {
			best = m
		}
	}
	return best
}

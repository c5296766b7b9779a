package edict

import (
	"context"
	"iter"

	"github.com/edict-go/edict/delegate"
)

// State says what a client's connection does. docs/connections.md has a drawing. See [delegate.State].
type State = delegate.State

// The states. See [delegate.State].
const (
	StateDisconnected = delegate.Disconnected
	StateConnecting   = delegate.Connecting
	StateHandshaking  = delegate.Handshaking
	StateReady        = delegate.Ready
	StateDraining     = delegate.Draining
	StateReconnecting = delegate.Reconnecting
	StateClosed       = delegate.Closed
)

// StateChange is a step from one state to the next. See [delegate.StateChange].
type StateChange = delegate.StateChange

// Reconnect says how a client makes another connection. See [delegate.Reconnect].
type Reconnect = delegate.Reconnect

// Hopeless reports whether err is the refusal of a connection that would be refused again. See
// [delegate.Hopeless].
func Hopeless(err error) bool { return delegate.Hopeless(err) }

// WithReconnect lets a client make another connection when the one it has is lost, or when its server goes
// away. Calls then wait for a connection (see WithFailFast), and some that have failed with one are sent again
// by themselves:
//
//   - those that did not run: their error would be Unavailable, and NotSent or Refused. But none of which
//     inputs were sent;
//   - those of which nobody knows whether they ran, if the command is Idempotent, takes no inputs and the
//     caller has no result yet.
//
// Their context bounds all attempts together. Interceptors see one call. ClientStats counts them.
func WithReconnect(reconnect Reconnect) DialOption {
	return dialOption(func(s *dialSettings) { s.reconnect = &reconnect })
}

// WithStateObserver lets observer be called with each change of the client's state: one after the other, in
// order, in a goroutine of its own. One that is slow holds up nothing, and misses old changes if there are too
// many new ones meanwhile, never the last. The client's Close and Shutdown wait for it to return from the
// change to StateClosed, so it must not call them itself.
func WithStateObserver(observer func(StateChange)) DialOption {
	return dialOption(func(s *dialSettings) { s.observer = observer })
}

// WithFailFast lets a call fail at once, Unavailable and NotSent, if there is no connection at the moment,
// instead of waiting for one. It matters with WithReconnect only.
func WithFailFast() CallOption {
	return callOption(func(s *callSettings) { s.request.FailFast = true })
}

// State returns the client's present state.
func (c *Client[T]) State() State { return c.life.states.Present().To }

// WaitReady waits until the client is connected. It fails when the client has ended, with the cause of that,
// or when ctx does, with an error that also tells what was wrong last.
func (c *Client[T]) WaitReady(ctx context.Context) error { return c.life.states.WaitReady(ctx) }

// Changes returns the present state, as the change that has led to it, and then each change as it comes, until
// ctx ends or the client is closed, which is the last change. Of those that come faster than they are taken
// the oldest may be missing, never the last.
func (c *Client[T]) Changes(ctx context.Context) iter.Seq[StateChange] {
	return c.life.states.Changes(ctx)
}

// ClientStats is a snapshot of a client. In JSON its fields have names that stay as they are, and durations are in
// nanoseconds.
type ClientStats struct {
	ClientDetails
	// Connections were made, Reconnects of them after the first one. Attempts to make one were begun.
	Connections uint64 `json:"connections"`
	Reconnects  uint64 `json:"reconnects"`
	Attempts    uint64 `json:"attempts"`
	// Resumed is how many of the connections went on with one that was lost (WithResume).
	Resumed uint64 `json:"resumed"`
	// Resent is how often a call was sent again because its connection was lost or went away.
	Resent uint64 `json:"resent"`
	// SlotWaits is how many calls could not begin at once, because as many were in flight as the server takes.
	// CreditWaits is how often an input could not be sent at once, because the command had not taken those before.
	SlotWaits   uint64 `json:"slot_waits"`
	CreditWaits uint64 `json:"credit_waits"`
	// Traffic is what the connections have carried.
	Traffic TransportStats `json:"traffic"`
}

// Add adds other to s.
func (s *ClientStats) Add(other ClientStats) {
	s.Connections += other.Connections
	s.Reconnects += other.Reconnects
	s.Attempts += other.Attempts
	s.Resumed += other.Resumed
	s.Resent += other.Resent
	s.SlotWaits += other.SlotWaits
	s.CreditWaits += other.CreditWaits
	s.Traffic.Add(other.Traffic)
}

// carried is what connections have counted.
type carried struct {
	slotWaits, creditWaits uint64
	traffic                TransportStats
}

// count adds what a connection has counted.
func (s *carried) count(c *connection) {
	engine := c.engine.Stats()
	s.slotWaits += engine.SlotWaits
	s.creditWaits += engine.CreditWaits
	s.traffic.Add(c.carrier.Stats())
}

// Stats returns a snapshot. It takes time in proportion to the number of its connections.
func (c *Client[T]) Stats() ClientStats {
	stats := c.life.stats()
	stats.ClientDetails = c.life.details()
	stats.Connections, stats.Attempts = c.life.connected.Load(), c.life.attempts.Load()
	stats.Resumed, stats.Resent = c.life.resumed.Load(), c.life.resent.Load()
	stats.Reconnects = max(stats.Connections, 1) - 1
	return stats
}

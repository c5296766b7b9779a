package handler

import (
	"sync/atomic"
	"time"

	"github.com/edict-go/edict/core"
)

// An honest client has reasons for frames that bring nothing: a PING now and then, a CANCEL that crosses the
// end of its call on the way, inputs of a command that has ended early. So there is some allowance for
// them, which time and accepted commands give back; a client that exceeds it has nothing else in mind.
const (
	allowanceBurst     = 20_000
	allowancePerSecond = 2_000
	allowancePerCall   = 8
)

// allowance counts down what a client may send for nothing. Owned by the read loop.
type allowance struct {
	left int
	at   time.Time // when left was right
}

// spend takes one from the allowance, or reports that there is none left.
func (a *allowance) spend() bool {
	now := time.Now()
	if a.at.IsZero() {
		a.left, a.at = allowanceBurst, now
	}
	if earned := int(now.Sub(a.at) * allowancePerSecond / time.Second); earned > 0 {
		a.left = min(allowanceBurst, a.left+earned)
		a.at = now
	}
	a.left--
	return a.left >= 0
}

// earn gives back what an accepted command is worth: one that takes inputs may have a window of them on
// their way when it ends.
func (a *allowance) earn(inputWindow int) {
	a.left = min(allowanceBurst, a.left+allowancePerCall+inputWindow/core.ResultOverhead)
}

// Stats counts what a connection's client has sent beside its commands' own frames.
type Stats struct {
	// Commands were accepted, Refused were not.
	Commands uint64 `json:"commands"`
	Refused  uint64 `json:"refused"`
	// Pings were answered. Ignored frames belong to no call that is running.
	Pings   uint64 `json:"pings"`
	Ignored uint64 `json:"ignored"`
	// Canceled commands were running.
	Canceled uint64 `json:"canceled"`
	// CreditWaits is how often a result could not be sent at once, because the caller had not taken those before.
	CreditWaits uint64 `json:"credit_waits"`
}

// Add adds other to s.
func (s *Stats) Add(other Stats) {
	s.Commands += other.Commands
	s.Refused += other.Refused
	s.Pings += other.Pings
	s.Ignored += other.Ignored
	s.Canceled += other.Canceled
	s.CreditWaits += other.CreditWaits
}

// counters are the Stats as the read loop counts them.
type counters struct{ refused, pings, ignored, canceled, creditWaits atomic.Uint64 }

// Stats returns the counters of the connection. Any goroutine may call it.
func (c *Connection) Stats() Stats {
	c.mu.Lock()
	commands := c.commands
	c.mu.Unlock()
	return Stats{
		Commands: commands, Refused: c.counters.refused.Load(),
		Pings: c.counters.pings.Load(), Ignored: c.counters.ignored.Load(), Canceled: c.counters.canceled.Load(),
		CreditWaits: c.counters.creditWaits.Load(),
	}
}

// forNothing counts a frame that brings nothing. An error ends the connection.
func (c *Connection) forNothing(kind core.Kind, counter *atomic.Uint64) error {
	counter.Add(1)
	if c.allowance.spend() {
		return nil
	}
	return &violation{core.ResourceExhausted, "flood of frames that belong to no running call, at last a " + kind.String()}
}

package core

import (
	"context"
	"time"
)

// CallState says what a call in flight waits for.
type CallState string

// The states of calls: the first ones on the server, the last two on the client.
const (
	CallQueued  CallState = "queued"  // waits for a goroutine, or is being decoded
	CallTurn    CallState = "turn"    // ordered: waits for others with its key
	CallRunning CallState = "running" // Exec runs
	CallCredit  CallState = "credit"  // Exec sends a result, and waits until the caller takes what it has
	CallInput   CallState = "input"   // Exec waits for an input

	CallSent    CallState = "sent"    // client: waits for a result
	CallResults CallState = "results" // client: results are there which the caller has not taken
)

// CallSnapshot is a snapshot of one call in flight.
type CallSnapshot struct {
	Command string    `json:"command"`
	State   CallState `json:"state"`
	// Age is how long ago the command has come in, on a client: was sent.
	Age time.Duration `json:"age_ns"`
	// Left is the time until its deadline, negative if that has passed; nil if it has none.
	Left *time.Duration `json:"left_ns,omitempty"`
	// Peer is the address of the other side.
	Peer string `json:"peer"`
	// Sequence names the call on its connection.
	Sequence string `json:"sequence"`
}

// Waiting returns how many calls wait for a place, because as many are in flight as may be.
func (c *Client) Waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting == nil {
		return 0
	}
	return c.waiting.Len()
}

// Calls calls visit with each call in flight, in no order; but for Peer, which the caller knows.
func (c *Client) Calls(visit func(CallSnapshot)) {
	type found struct {
		stats CallSnapshot
		ctx   context.Context
	}
	var calls []found
	now := Now()
	c.mu.Lock()
	for _, s := range c.slots {
		if s.call == nil {
			continue
		}
		stats := CallSnapshot{Command: s.call.Name, State: CallSent, Age: now - s.call.started, Sequence: s.call.sequence.String()}
		if s.call.hasResults() {
			stats.State = CallResults
		}
		calls = append(calls, found{stats, s.call.ctx})
	}
	c.mu.Unlock()
	for _, call := range calls {
		if deadline, ok := call.ctx.Deadline(); ok { // the caller's code, so not under the lock
			left := time.Until(deadline)
			call.stats.Left = &left
		}
		visit(call.stats)
	}
}

// hasResults reports whether there are results that the caller has not taken.
func (c *call) hasResults() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.head < len(c.queue)
}

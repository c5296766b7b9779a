package handler

import (
	"context"
	"slices"
	"time"

	"github.com/edict-go/edict/core"
)

// The states of a command, as its commandContext has them.
const (
	stateQueued uint32 = iota
	stateTurn
	stateRunning
	stateCredit
	stateInput
)

var callStates = [...]core.CallState{
	stateQueued: core.CallQueued, stateTurn: core.CallTurn, stateRunning: core.CallRunning,
	stateCredit: core.CallCredit, stateInput: core.CallInput,
}

// setState is for who looks from outside; nothing depends on it.
func (c *commandContext) setState(state uint32) { c.state.Store(state) }

// Calls calls visit with each command in flight, in no order. It runs in the caller's goroutine, beside the commands:
// what it tells is of slightly different moments.
func (c *Connection) Calls(visit func(core.CallSnapshot)) {
	c.mu.Lock()
	chunks := slices.Clone(c.calls)
	c.mu.Unlock()
	now, peer := c.invoker.now(), c.peerName()
	for _, chunk := range chunks {
		if chunk == nil {
			continue
		}
		for i := range chunk {
			ctx := chunk[i].Load()
			if ctx == nil {
				continue
			}
			came := time.Duration(chunk[i].came.Load())
			if chunk[i].Load() != ctx { // the slot has another call by now
				continue
			}
			stats := core.CallSnapshot{
				Command: c.config.Names[ctx.command], State: callStates[ctx.state.Load()], Age: max(0, now-came),
				Peer: peer, Sequence: ctx.sequence.String(),
			}
			if deadline, ok := ctx.Deadline(); ok {
				left := time.Until(deadline)
				stats.Left = &left
			}
			visit(stats)
		}
	}
}

// Draining reports whether Drain was called.
func (i *Invoker) Draining() bool {
	select {
	case <-i.draining:
		return true
	default:
		return false
	}
}

// Queued returns how many commands wait for a goroutine.
func (c *Connection) Queued() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.queue) - c.head
}

// LastFailure returns what went wrong last on the connection, nil if nothing did.
func (c *Connection) LastFailure() *core.Failure { return c.lastFailure.Load() }

// note remembers what went wrong.
func (c *Connection) note(code core.FailureCode, command, text string) {
	noted := c.invoker.config.Failures.Note(core.Failure{Code: code, Text: text, Peer: c.peerName(), Command: command})
	c.lastFailure.Store(&noted)
}

// noteRefusal remembers a command that has no task.
func (c *Connection) noteRefusal(e *core.Error) {
	code := core.FailureCommandRefused
	switch {
	case e.Outcome == core.Executed:
		code = core.FailureResultUndelivered
	case e.Code == core.DeadlineExceeded:
		code = core.FailureCommandExpired
	}
	c.note(code, "", e.Message)
}

// noteFailure remembers with what the command has failed, unless its caller has given up. before is with what the
// context had ended before Exec did.
func (t *task) noteFailure(e *core.Error, before error) {
	switch {
	case t.noted, e.Code == core.Canceled, before == context.Canceled:
		return
	case e.Code == core.DeadlineExceeded:
		t.connection.note(core.FailureCommandExpired, t.name, e.Message)
	case t.begun:
		t.connection.note(core.FailureCommandFailed, t.name, e.Code.String()+": "+e.Message)
	case e.Code == core.InvalidArgument:
		t.connection.note(core.FailureCommandUndecoded, t.name, e.Message)
	default:
		t.connection.note(core.FailureCommandRefused, t.name, e.Message)
	}
}

// now is the time since the Invoker began: quicker to get than time.Now.
func (i *Invoker) now() time.Duration { return time.Since(i.began) }

// latenciesOf returns the histograms of a connection's commands by their numbers, nil if none are kept.
func (i *Invoker) latenciesOf(config *ConnectionConfig) []*core.Histogram {
	if !i.config.Latencies {
		return nil
	}
	histograms := make([]*core.Histogram, len(config.Names))
	for number, name := range config.Names {
		if config.Executors[number] != nil { // else the name is anything that the client has sent
			kept, _ := i.latencies.LoadOrStore(name, new(core.Histogram))
			histograms[number] = kept.(*core.Histogram)
		}
	}
	return histograms
}

// observeLatency counts how long the command has taken: from its arrival until its last frame is made.
func (t *task) observeLatency() {
	if histograms := t.connection.latencies; histograms != nil {
		histograms[t.ctx.command].Add(t.connection.invoker.now() - t.came)
	}
}

// Latencies returns how long commands have taken, by their names: from the arrival until the last frame is made.
// It is nil unless Config.Latencies is set.
func (i *Invoker) Latencies() map[string]core.HistogramSnapshot {
	if !i.config.Latencies {
		return nil
	}
	latencies := map[string]core.HistogramSnapshot{}
	i.latencies.Range(func(name, histogram any) bool {
		if snapshot := histogram.(*core.Histogram).Snapshot(); snapshot.Count > 0 {
			latencies[name.(string)] = snapshot
		}
		return true
	})
	return latencies
}

package group

import (
	"context"
	"reflect"
	"time"

	"github.com/edict-go/edict/core"
)

// latenciesOf returns the latencies of commands like this one, if it may be hedged, and else nil.
func (g *Group[T]) latenciesOf(command any) *quantiles {
	if g.config.Hedge.Quantile <= 0 || !isIdempotent(command) {
		return nil
	}
	key := reflect.TypeOf(command)
	if known, ok := g.latencies.Load(key); ok {
		return known.(*quantiles)
	}
	known, _ := g.latencies.LoadOrStore(key, &quantiles{quantile: g.config.Hedge.Quantile})
	return known.(*quantiles)
}

// hedge is a second attempt beside the current one of a call.
type hedge[T any] struct {
	call  *call[T]
	ended chan struct{} // closed when run has ended, and the following is known

	// Guarded by call.mu while run goes on.
	attempt  attempt[T] // zero if it has not begun or was beaten
	unwanted error      // why it is to end
	won      bool       // it had its answer first, which is
	message  core.Message
	err      error
}

// errBeaten ends the attempt whose answer came second.
var errBeaten error = &core.Error{Code: core.Canceled, Message: "another attempt had its answer first", Cause: context.Canceled}

// receiveHedged is receive for a command that may be sent a second time while it runs.
func (c *call[T]) receiveHedged(latencies *quantiles) (core.Message, error) {
	delay := time.Duration(latencies.known.Load())
	if delay == 0 { // too little is known
		message, err := c.current.exchange.Receive()
		if isAnswer(err) {
			latencies.observe(time.Since(c.current.began))
		}
		return message, err
	}
	h := &hedge[T]{call: c, ended: make(chan struct{})}
	c.mu.Lock()
	c.hedge = h
	c.mu.Unlock()
	elapsed := time.Since(c.current.began)
	timer := time.AfterFunc(max(delay, c.group.config.Hedge.MinDelay)-elapsed, h.run)
	message, err := c.current.exchange.Receive()
	took := time.Since(c.current.began)
	if timer.Stop() {
		close(h.ended)
	} else if isAnswer(err) {
		c.mu.Lock()
		h.cancelLocked(errBeaten)
		c.mu.Unlock()
	}
	<-h.ended
	c.mu.Lock()
	c.hedge = nil
	c.mu.Unlock()
	if h.won || isAnswer(err) {
		latencies.observe(took) // if it was beaten: at least so long
	}
	if !h.won {
		return message, err
	}
	c.group.hedgesWon.Add(1)
	beaten := c.adopt(h.attempt)
	beaten.member.endpoint.latency.observe(time.Now(), took)
	beaten.judge(err)
	beaten.close()
	return h.message, h.err
}

// isAnswer reports whether err, or its absence, is what the command came to.
func isAnswer(err error) bool { return core.OutcomeOf(err) == core.Executed }

// run is the second attempt: on another connection, if there is one and the budget allows it.
//
// Started by receiveHedged's timer, in a goroutine of its own; ends when it has an answer or is not wanted any
// more; receiveHedged waits for it.
func (h *hedge[T]) run() {
	defer close(h.ended)
	c := h.call
	c.mu.Lock()
	unwanted := h.unwanted != nil || c.canceled != nil
	c.mu.Unlock()
	if unwanted {
		return
	}
	others := c.group.pool.view.Load().without([]*member[T]{c.current.member}, c.only)
	if len(others.endpoints) == 0 || !c.group.budget.withdraw() {
		return
	}
	a, ok := c.group.pick(others, c.request.Command)
	if !ok {
		return
	}
	c.group.hedges.Add(1)
	ctx := context.WithValue(c.ctx, attemptKey{}, attemptValue{number: c.number + 1, hedge: true})
	if a.start(ctx, c.request) != nil {
		return
	}
	c.mu.Lock()
	h.attempt = a
	if h.unwanted != nil || c.canceled != nil {
		a.exchange.Cancel(errBeaten)
	}
	c.mu.Unlock()

	message, err := a.exchange.Receive()
	a.judge(err)
	c.mu.Lock()
	h.won = isAnswer(err) && h.unwanted == nil
	if h.won {
		h.attempt, h.message, h.err = a, message, err
		c.current.exchange.Cancel(errBeaten)
	} else {
		h.attempt = attempt[T]{}
	}
	c.mu.Unlock()
	if !h.won {
		a.close()
	}
}

// cancelLocked ends the attempt, now or as soon as it begins.
func (h *hedge[T]) cancelLocked(cause error) {
	h.unwanted = cause
	if h.attempt.exchange != nil {
		h.attempt.exchange.Cancel(cause)
	}
}

package group

import (
	"context"
	"errors"
	"io"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/delegate"
)

// call is a command on its way through a group: one attempt to execute it after another, until one has an answer
// that counts. It is the Exchange that Group.Start returns, and like any Exchange belongs to one goroutine,
// but for Cancel.
type call[T any] struct {
	group   *Group[T]
	ctx     context.Context
	request core.Request[T]
	// Of request, kept when the call is reused.
	options   *core.RequestOptions
	attempted *core.Attempts
	failFast  bool   // what the caller wants
	only      string // the address of the endpoint that it is for; empty: any

	// Owned by the caller's goroutine.
	tried    []*member[T] // that have failed since the last wait
	attempts int          // that count against MaxAttempts, this one included
	number   int          // of this attempt
	moved    bool         // it has been refused once, which was free
	ran      bool         // an earlier attempt may have run
	taken    int          // results that the caller has
	repeats  int          // of those, results that the current attempt has still to repeat
	asked    *Endpoint    // that of the attempt which may have run, if a journal knows; else nil
	backoff  *backoff.ExponentialBackOff
	last     error // of the last attempt
	failed   error // what has ended the call

	current attempt[T] // written by the caller's goroutine, with mu held

	mu        sync.Mutex // guards the following; held while the exchanges' Cancel runs
	hedge     *hedge[T]  // nil: there is none
	canceled  error      // the cause given to Cancel
	interrupt chan struct{}
}

// attempt is one exchange with one connection.
type attempt[T any] struct {
	member   *member[T]
	exchange core.Exchange
	began    time.Time
	tell     func(error) // tells the endpoint's breaker; nil if there is none
	judged   bool        // it was told
	left     bool        // it does not count as in flight any more
}

// newCall returns a call of which nothing is sent.
func (g *Group[T]) newCall(ctx context.Context, request core.Request[T]) *call[T] {
	c, ok := g.calls.Get().(*call[T])
	if !ok {
		// They are no parts of the call: a finalizer suffers no cycles.
		c = &call[T]{group: g, options: new(core.RequestOptions), attempted: new(core.Attempts)}
		runtime.SetFinalizer(c, (*call[T]).forget)
	}
	c.ctx, c.request, c.attempts = ctx, request, 1
	if request.Options != nil {
		*c.options = *request.Options
	}
	c.failFast, c.options.FailFast = c.options.FailFast, true // so that the group can choose another connection
	c.options.Attempts = c.attempted
	c.request.Options = c.options
	return c
}

// forget counts a call out whose caller has started it and dropped it, which is allowed; it is the finalizer.
func (c *call[T]) forget() {
	if c.current.exchange != nil {
		c.current.leave()
	}
}

// recycle gives back a call that no one else knows of.
func (c *call[T]) recycle() {
	g, tried, options, attempted := c.group, c.tried, c.options, c.attempted
	clear(tried[:cap(tried)])
	if c.request.Inputs {
		return // another goroutine of the caller may be in Send
	}
	*options, *attempted = core.RequestOptions{}, core.Attempts{}
	*c = call[T]{group: g, tried: tried[:0], options: options, attempted: attempted}
	g.calls.Put(c)
}

// begin sends the command to a connection that takes it, and waits while there is none.
func (c *call[T]) begin() error {
	for {
		a, err := c.choose()
		if err != nil {
			return c.end(err)
		}
		c.number++
		ctx := c.ctx
		if c.number > 1 {
			ctx = context.WithValue(ctx, attemptKey{}, attemptValue{number: c.number})
		}
		if c.repeats = c.taken; c.asked == nil {
			c.attempted.Journal = core.JournalID{} // of an attempt that was refused
		}
		if err = a.start(ctx, c.request); err == nil {
			c.adopt(a)
			return nil
		}
		wait, ok := c.again(a.member, err)
		if !ok {
			return c.end(err)
		}
		if err := c.pause(wait); err != nil {
			return c.end(err)
		}
	}
}

// choose takes a connection for the next attempt. It waits while none is ready, unless the request is to fail
// fast.
func (c *call[T]) choose() (attempt[T], error) {
	for {
		all := c.group.pool.view.Load()
		usable := c.usable(all)
		if a, ok := c.group.pick(usable, c.request.Command); ok {
			return a, nil
		}
		if err := c.stopped(); err != nil {
			return attempt[T]{}, err
		}
		switch {
		case len(c.tried) > 0 && len(all.endpoints) > 0: // those that have failed may do by now
			c.tried = c.tried[:0]
			if err := c.pause(c.nextBackoff()); err != nil {
				return attempt[T]{}, err
			}
			continue
		case len(usable.endpoints) > 0 && c.asked != nil && !c.failFast: // nobody else knows
			if err := c.pause(c.nextBackoff()); err != nil {
				return attempt[T]{}, err
			}
			continue
		case len(usable.endpoints) > 0:
			return attempt[T]{}, c.lastOr(openError(usable.endpoints))
		case c.asked != nil && !all.mayKnow(c.asked):
			return attempt[T]{}, c.last
		}
		if hopeless := all.hopeless(c.only); hopeless != nil {
			return attempt[T]{}, c.lastOr(hopeless)
		}
		if c.failFast {
			return attempt[T]{}, c.lastOr(unready(all.cause))
		}
		c.tried = c.tried[:0]
		select {
		case <-all.changed:
		case <-c.ctx.Done():
		case <-c.interrupted():
		}
	}
}

// usable returns what is left of the connections that are ready: those that were not tried, and if the command may have
// run, those whose servers know.
func (c *call[T]) usable(all *view[T]) *view[T] {
	if c.asked != nil {
		all = all.with(c.attempted.Journal)
	}
	return all.without(c.tried, c.only)
}

// unready is the error of a call that does not wait for a connection.
func unready(cause error) *core.Error {
	err := &core.Error{Code: core.Unavailable, Outcome: core.NotSent, Message: "no connection is ready", Cause: cause}
	if cause != nil {
		err.Message += ": " + cause.Error()
	}
	return err
}

// lastOr returns the error of the last attempt, or err if there was none.
func (c *call[T]) lastOr(err *core.Error) error {
	if c.last != nil {
		return c.last
	}
	return err
}

// pick lets the strategy choose among the endpoints whose breakers have nothing against it.
func (g *Group[T]) pick(usable *view[T], command any) (attempt[T], bool) {
	endpoints, members := usable.endpoints, usable.members
	for len(endpoints) > 0 {
		i := 0
		if len(endpoints) > 1 {
			i = g.config.Strategy.Pick(command, endpoints)
		}
		m := connectionFor(endpoints[i], members[i], command)
		if tell, ok := endpoints[i].allow(); ok {
			m.enter()
			return attempt[T]{member: m, tell: tell, began: time.Now()}, true
		}
		endpoints = slices.Concat(endpoints[:i], endpoints[i+1:])
		members = slices.Concat(members[:i], members[i+1:])
	}
	return attempt[T]{}, false
}

// adopt makes a the current attempt, and returns the one before.
func (c *call[T]) adopt(a attempt[T]) (before attempt[T]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before, c.current = c.current, a
	if c.canceled != nil {
		a.exchange.Cancel(c.canceled)
	}
	return before
}

// Receive implements core.Exchange.
func (c *call[T]) Receive() (core.Message, error) {
	if c.failed != nil {
		return core.Message{}, c.failed
	}
	for {
		message, err := c.receive()
		if err == nil {
			if !c.current.judged {
				c.current.judge(nil)
			}
			if c.repeats > 0 {
				c.repeats--
				continue
			}
			c.taken++
			return message, nil
		}
		if err == io.EOF {
			c.current.judge(nil)
			c.failed = err
			return message, err
		}
		c.current.judge(err)
		if c.request.Inputs {
			return core.Message{}, c.end(err) // they are not kept
		}
		wait, ok := c.again(c.current.member, err)
		if !ok {
			return core.Message{}, c.end(err)
		}
		c.release()
		if err := c.pause(wait); err != nil {
			return core.Message{}, c.end(err)
		}
		if err := c.begin(); err != nil {
			return core.Message{}, err
		}
	}
}

// receive waits for the current attempt, and for the one beside it if there is one.
func (c *call[T]) receive() (core.Message, error) {
	if c.taken == 0 && !c.request.Stream {
		if latencies := c.group.latenciesOf(c.request.Command); latencies != nil {
			return c.receiveHedged(latencies)
		}
	}
	return c.current.exchange.Receive()
}

// end makes err what the call ends with. If an earlier attempt may have run, err must not say otherwise.
func (c *call[T]) end(err error) error {
	if e, ok := errors.AsType[*core.Error](err); ok && (c.ran && !e.Outcome.Ran() || e.Command == "") {
		copied := *e
		if c.ran && !e.Outcome.Ran() {
			copied.Outcome = core.OutcomeUnknown
			if c.asked != nil {
				copied.CommandID = c.attempted.ID
			}
		}
		if copied.Command == "" {
			copied.Command = typeName(c.request.Command)
		}
		err = &copied
	}
	c.failed = err
	return err
}

// typeName is the command's name, unless the registry has another one, which the group does not know.
func typeName(command any) string {
	t := reflect.TypeOf(command)
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil {
		return "nil"
	}
	return t.Name()
}

// Send implements core.Exchange. A call with inputs has one exchange once it is started.
func (c *call[T]) Send(input any) error { return c.current.exchange.Send(input) }

// CloseSend implements core.Exchange.
func (c *call[T]) CloseSend() error { return c.current.exchange.CloseSend() }

// Cancel implements core.Exchange.
func (c *call[T]) Cancel(cause error) {
	if cause == nil {
		cause = context.Canceled
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.canceled == nil {
		c.canceled = cause
		if c.interrupt != nil {
			close(c.interrupt)
		}
	}
	if c.current.exchange != nil {
		c.current.exchange.Cancel(cause)
		c.current.leave() // who has cancelled may drop the call
	}
	if c.hedge != nil {
		c.hedge.cancelLocked(cause)
	}
}

// interrupted returns a channel that is closed when Cancel was called.
func (c *call[T]) interrupted() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.interrupt == nil {
		c.interrupt = make(chan struct{})
		if c.canceled != nil {
			close(c.interrupt)
		}
	}
	return c.interrupt
}

// Metadata implements core.Exchange.
func (c *call[T]) Metadata() core.Metadata {
	if c.current.exchange == nil {
		return nil
	}
	return c.current.exchange.Metadata()
}

// CallStats implements core.Measured. What the attempts before have sent is not counted.
func (c *call[T]) CallStats() core.CallStats {
	var stats core.CallStats
	if c.current.exchange != nil {
		stats = edict.StatsOf(c.current.exchange)
	}
	stats.Resent += max(0, c.number-1)
	return stats
}

// Close implements core.Exchange.
func (c *call[T]) Close() {
	c.attempted.Over = true
	c.release()
	c.recycle()
}

// release ends the current attempt, if there is one.
func (c *call[T]) release() {
	c.mu.Lock()
	a := c.current
	c.current = attempt[T]{}
	c.mu.Unlock()
	if a.exchange != nil {
		a.close()
	}
}

// start sends the command. If that fails, or panics in the command's encoding, nothing is left of the attempt.
func (a *attempt[T]) start(ctx context.Context, request core.Request[T]) (err error) {
	defer func() {
		if a.exchange != nil {
			return
		}
		a.leave()
		if err == nil {
			err = errNeither // seen by nobody: it panics
		}
		a.judge(err)
	}()
	a.exchange, err = a.member.sender.Start(ctx, request)
	return err
}

// leave counts the attempt out, once. Of a call's current attempt call.mu guards it.
func (a *attempt[T]) leave() {
	if !a.left {
		a.left = true
		a.member.leave()
	}
}

// close ends the attempt: what it holds is released.
func (a *attempt[T]) close() {
	a.exchange.Close()
	a.leave()
	if !a.judged && a.tell != nil {
		a.tell(errNeither) // the caller did not wait for an answer
	}
}

// judge tells the endpoint's breaker what came of the attempt, and notes how long that took: once for the first
// answer, and once more if a failure follows.
func (a *attempt[T]) judge(err error) {
	e := a.member.endpoint
	verdict := judge(err, err == nil || a.member.sender.State() == delegate.Ready)
	if a.judged {
		if verdict != errFailure {
			return
		}
		if tell, ok := e.allow(); ok && tell != nil {
			tell(verdict)
		}
		return
	}
	a.judged = true
	if a.tell != nil {
		a.tell(verdict)
	}
	if verdict == nil || core.CodeOf(err) == core.DeadlineExceeded {
		now := time.Now()
		e.latency.observe(now, now.Sub(a.began))
	}
}

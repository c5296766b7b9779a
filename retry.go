package edict

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/edict-go/edict/core"
)

// steadyCall is a call of a client that reconnects: the Exchange of the connection that it is on, and of the
// next one if it is sent again. Its caller and the client's interceptors see one call.
//
// It is sent again by the goroutine that waits for its results; nobody else changes exchange.
type steadyCall struct {
	// Static after startSteady.
	life    *life
	ctx     context.Context
	request request
	monitor CommandMonitor // nil: nobody is to be told of the end

	// Owned by the goroutine that has the call.
	connection *connection // where it was sent last; nil before
	taken      int         // results that the caller has
	repeats    int         // of those, results that are still to come once more
	mayHaveRun bool        // an attempt has ended, and nobody knows whether the command ran
	copies     bool        // it was sent again after that: some server may come to the first copy much later
	failed     error       // what Receive returns from now on
	over       bool        // Receive has returned io.EOF
	resent     int         // times it was sent again

	mu       sync.Mutex // guards the following; held while the exchange's Cancel runs, which does not wait
	exchange Exchange   // nil while the call waits for a connection, and if it has failed doing that
	sent     bool       // there was an input
	closed   bool       // there will be none
	canceled error      // the cause given to Cancel
	// While the call waits for a connection: interrupt ends that, resumed is closed afterwards. Else nil.
	interrupt context.CancelCauseFunc
	resumed   chan struct{}
}

// startSteady starts a call on the present connection, or the next one.
func (l *life) startSteady(ctx context.Context, call *request) (Exchange, error) {
	c := &steadyCall{life: l, ctx: ctx, request: *call, monitor: call.monitor, connection: l.present.Load()}
	c.request.monitor = nil // it sees one call, however many times that is sent
	if l.settings.resume != nil {
		c.takeNumber()
	}
	var err error
	if c.connection == nil {
		err = &Error{Code: Unavailable, Outcome: NotSent, Message: "there is no connection yet"}
	} else if call.options.FailFast && !c.connection.carrier.Attached() {
		return nil, c.final(&Error{Code: Unavailable, Outcome: NotSent, Message: "there is no connection: it is being resumed"})
	} else if c.exchange, err = c.startOn(c.connection, ctx); err == nil {
		return c, nil
	}
	if err = c.resume(err); err != nil {
		return nil, err
	}
	return c, nil
}

// takeNumber gives the command its number, of which only servers with a journal are told: the one that it has, if another
// Sender has tried to execute it before, and else the next.
func (c *steadyCall) takeNumber() {
	identity, attempts := c.life.settings.identity, c.request.options.Attempts
	switch {
	case attempts == nil:
		c.request.number = identity.next()
	case attempts.ID.Number != 0 && attempts.ID.Client == identity.ID():
		c.request.number = attempts.ID.Number
	case !attempts.MayHaveRun: // else it is not for this client: see startOn
		c.request.number = identity.next()
		attempts.ID = CommandID{Client: identity.ID(), Number: c.request.number}
	}
	if isIdempotent(c.request.command) && c.request.number != 0 {
		c.request.number |= core.Unrecorded
	}
}

// startOn starts the call on a connection, unless that is to a server which does not know what became of the command, and
// it may have run.
func (c *steadyCall) startOn(connection *connection, waiting context.Context) (Exchange, error) {
	attempts := c.request.options.Attempts
	if attempts != nil && attempts.MayHaveRun && (c.request.number == 0 || connection.journal != attempts.Journal) {
		return nil, &Error{Code: Unavailable, Outcome: NotSent, Message: "the server has another journal than the one that knows the command"}
	}
	c.copies = c.copies || c.mayHaveRun
	exchange, err := connection.start(c.ctx, waiting, &c.request)
	if attempts != nil && c.isRecorded() { // of what is not, there may be several attempts at once
		attempts.Journal = connection.journal
	}
	return exchange, err
}

// again decides whether a call that has failed with err, because its connection is lost or takes no more
// calls, is sent on another one. What did not run is; what may have run only if that does no harm.
func (c *steadyCall) again(err *Error) bool {
	if err.Code != Unavailable || c.sent {
		return false
	}
	switch err.Outcome {
	case NotSent, Refused:
		return c.taken == 0 || c.isRecorded() // then it had been sent again, for the rest of its results
	case OutcomeUnknown:
		// Whether the next server has the same journal is to be seen: see resume.
		return c.taken == 0 && isIdempotent(c.request.command) && !c.request.inputs || c.isRecorded()
	}
	return false
}

func isIdempotent(command any) bool {
	idempotent, ok := command.(core.Idempotent)
	return ok && idempotent.Idempotent()
}

// isRecorded reports whether the server of the call's connection remembers what becomes of the command.
func (c *steadyCall) isRecorded() bool {
	return c.hasID() && c.request.number&core.Unrecorded == 0
}

// hasID reports whether the server of the call's connection knows the ID of the command.
func (c *steadyCall) hasID() bool {
	return c.request.number != 0 && c.connection != nil && c.connection.journal != (JournalID{})
}

// resume sends the call again, after it has failed with err, on the next connection or the one after that. It
// returns nil if it did, and else the error that the call ends with.
func (c *steadyCall) resume(err error) error {
	failure, ok := errors.AsType[*Error](err)
	if !ok || !c.lost() {
		return c.final(err)
	}
	waiting, interrupt := context.WithCancelCause(c.ctx)
	defer interrupt(nil)
	if !c.suspend(failure, interrupt) {
		return c.final(err)
	}
	for {
		c.mayHaveRun = c.mayHaveRun || failure.Outcome == OutcomeUnknown
		recorded := c.mayHaveRun && c.isRecorded()
		next, err := c.next(waiting, failure)
		if err == nil && recorded && next.journal != c.connection.journal { // it knows nothing of the command
			err = failure
		}
		if err != nil {
			c.unsuspend(nil)
			return c.final(err)
		}
		exchange, err := c.restart(waiting, next)
		if err == nil {
			c.unsuspend(exchange)
			return nil
		}
		if failure, ok = errors.AsType[*Error](err); !ok || !c.lost() || !c.again(failure) {
			c.unsuspend(nil)
			return c.final(err)
		}
	}
}

// lost reports whether the connection takes no more calls, so that it is not the call's own fault that it
// failed.
func (c *steadyCall) lost() bool { return c.connection == nil || c.connection.lost() }

// suspend takes the call off its connection, if it is to be sent again.
func (c *steadyCall) suspend(failure *Error, interrupt context.CancelCauseFunc) bool {
	c.mu.Lock()
	if !c.again(failure) {
		c.mu.Unlock()
		return false
	}
	old := c.exchange
	c.exchange, c.interrupt, c.resumed = nil, interrupt, make(chan struct{})
	if c.canceled != nil {
		interrupt(c.canceled)
	}
	c.mu.Unlock()
	if old != nil {
		old.Close()
	}
	return true
}

// next returns the connection after the one that the call was on. Its errors end the call.
func (c *steadyCall) next(waiting context.Context, failure *Error) (*connection, error) {
	supervisor := c.life.supervisor
	if c.request.options.FailFast {
		next, err := supervisor.Try(c.connection)
		if err != nil && c.connection != nil {
			return nil, failure
		}
		return next, err
	}
	next, err := supervisor.Await(waiting, c.connection)
	if e, ok := errors.AsType[*Error](err); ok {
		e.Outcome = failure.Outcome
		if cause := context.Cause(waiting); cause != nil && c.ctx.Err() == nil { // Cancel
			e.Code, e.Cause = CodeOf(cause), cause
		}
	}
	return next, err
}

// restart starts the call on its next connection.
func (c *steadyCall) restart(waiting context.Context, next *connection) (Exchange, error) {
	again := c.connection != nil
	c.connection, c.repeats = next, c.taken
	exchange, err := c.startOn(next, waiting)
	if err == nil && again {
		c.life.resent.Add(1)
		c.resent++
	}
	return exchange, err
}

// unsuspend ends the waiting: with a new exchange, which learns what the call was told meanwhile, or with none.
func (c *steadyCall) unsuspend(exchange Exchange) {
	c.mu.Lock()
	c.exchange, c.interrupt = exchange, nil
	close(c.resumed)
	c.resumed = nil
	closed, canceled := c.closed, c.canceled
	c.mu.Unlock()
	if exchange == nil {
		return
	}
	if canceled != nil {
		exchange.Cancel(canceled)
	}
	if closed {
		// An error says that the call has ended, which Receive tells.
		_ = exchange.CloseSend()
	}
}

// final completes the error that the call ends with.
func (c *steadyCall) final(err error) error {
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Command != "" && !c.mayHaveRun && !c.hasID() {
		return err
	}
	copied := *e
	copied.Command = c.life.nameOf(&c.request)
	if c.hasID() {
		copied.CommandID = CommandID{Client: c.life.settings.identity.ID(), Number: c.request.number &^ core.Unrecorded}
	}
	if c.mayHaveRun && !e.Outcome.Ran() { // the last attempt did not run, but an earlier one may have
		copied.Outcome = OutcomeUnknown
	}
	return &copied
}

// Receive implements Exchange.
func (c *steadyCall) Receive() (core.Message, error) {
	for c.failed == nil {
		message, err := c.exchange.Receive()
		if err == nil && c.repeats > 0 {
			c.repeats--
			continue
		}
		if err == nil {
			c.taken++
			return message, nil
		}
		if err == io.EOF {
			c.over = true
			return message, err
		}
		c.failed = c.resume(err)
	}
	return core.Message{}, c.failed
}

// Send implements Exchange. While the call waits for a connection it waits too.
func (c *steadyCall) Send(input any) error {
	c.mu.Lock()
	for c.resumed != nil && !c.closed {
		resumed := c.resumed
		c.mu.Unlock()
		<-resumed
		c.mu.Lock()
	}
	exchange, closed := c.exchange, c.closed
	c.sent = c.sent || exchange != nil && !closed
	c.mu.Unlock()
	switch {
	case closed:
		return &Error{Code: FailedPrecondition, Command: c.life.nameOf(&c.request), Message: "Send after CloseSend"}
	case exchange == nil:
		return io.EOF
	}
	return exchange.Send(input)
}

// CloseSend implements Exchange. While the call waits for a connection it only makes a note.
func (c *steadyCall) CloseSend() error {
	c.mu.Lock()
	exchange, closed := c.exchange, c.closed
	c.closed = true
	c.mu.Unlock()
	if exchange == nil || closed {
		return nil
	}
	return exchange.CloseSend()
}

// Cancel implements Exchange.
func (c *steadyCall) Cancel(cause error) {
	if cause == nil {
		cause = context.Canceled
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.canceled == nil {
		c.canceled = cause
	}
	switch {
	case c.interrupt != nil:
		c.interrupt(cause)
	case c.exchange != nil:
		c.exchange.Cancel(cause)
	}
}

// Metadata implements Exchange.
func (c *steadyCall) Metadata() Metadata {
	if c.exchange == nil {
		return nil
	}
	return c.exchange.Metadata()
}

// CallStats implements core.Measured.
func (c *steadyCall) CallStats() CallStats {
	var stats CallStats
	if c.exchange != nil {
		stats = StatsOf(c.exchange)
	}
	stats.Resent = c.resent
	return stats
}

// Close implements Exchange.
func (c *steadyCall) Close() {
	if c.monitor != nil {
		c.tellEnd()
	}
	c.mu.Lock()
	exchange := c.exchange
	c.exchange = nil
	c.mu.Unlock()
	if exchange != nil {
		exchange.Close()
	}
	if c.mayForget() {
		c.life.forgetter.forget(c.request.number, c.connection.journal)
	}
}

// tellEnd tells the call's monitor how it has ended.
func (c *steadyCall) tellEnd() {
	err := c.failed
	if err == nil && !c.over && (c.request.stream || c.taken == 0) {
		err = canceledByCaller()
	}
	c.monitor.End(callEnd(c.request.began, err, c.CallStats()))
}

// mayForget reports whether the journal may forget the command. If there are two copies of it, it must not: a server
// that was frozen, or whose network was, may come to the first one at any time, and would take it for a new command.
func (c *steadyCall) mayForget() bool {
	attempts := c.request.options.Attempts
	return c.isRecorded() && !c.copies && (attempts == nil || attempts.Over && !attempts.MayHaveRun)
}

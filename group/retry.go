package group

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/edict-go/edict/core"
)

// mayRepeat reports whether a command that ended with err may be sent again without the risk of harm. What was
// not sent or refused did not run, so it may, if the reason may pass. What may have run may run twice only if
// it is idempotent; else it may be asked for once more, if a journal knows. What was executed has its answer.
func mayRepeat(err *core.Error, command any, recorded bool) bool {
	if err.Code != core.Unavailable && err.Code != core.ResourceExhausted {
		return false
	}
	switch err.Outcome {
	case core.NotSent:
		return err.Code == core.Unavailable // exhausted is a limit on this side, which stays
	case core.Refused:
		return true
	case core.OutcomeUnknown:
		return recorded || isIdempotent(command)
	}
	return false
}

func isIdempotent(command any) bool {
	idempotent, ok := command.(core.Idempotent)
	return ok && idempotent.Idempotent()
}

// again decides what follows when the attempt on m has failed with err: the command is sent again, after wait,
// or it is not.
func (c *call[T]) again(m *member[T], err error) (wait time.Duration, ok bool) {
	e, isError := errors.AsType[*core.Error](err)
	recorded := c.attempted.Journal != (core.JournalID{})
	if !isError || c.taken > 0 && !recorded || c.ctx.Err() != nil || !mayRepeat(e, c.request.Command, recorded) {
		return 0, false
	}
	c.last = err
	c.ran = c.ran || e.Outcome.Ran()
	if recorded && e.Outcome.Ran() {
		c.asked, c.attempted.MayHaveRun = m.endpoint, true
	}
	c.tried = append(c.tried, m)
	// What did not reach a server costs none anything. gRPC (proposal A6) lets a refusal pass like that once
	// too, because a server that shuts down refuses what is under way to it.
	free := e.Outcome == core.NotSent
	if e.Outcome == core.Refused && e.Code == core.Unavailable && !c.moved {
		c.moved, free = true, true
	}
	others := c.usable(c.group.pool.view.Load()).letThrough()
	if free && others && e.RetryAfter == 0 {
		return 0, true
	}
	if !others {
		c.tried = c.tried[:0]
	}
	most := c.group.config.Retry.MaxAttempts
	if free && (c.failFast || most == 1) || !free && c.attempts >= most {
		return 0, false
	}
	wait = max(c.nextBackoff(), e.RetryAfter)
	if deadline, ok := c.ctx.Deadline(); ok && time.Until(deadline) <= wait {
		return 0, false // rather the reason than a deadline
	}
	if free {
		return wait, true
	}
	if !c.group.budget.withdraw() {
		return 0, false
	}
	c.attempts++
	c.group.retries.Add(1)
	return wait, true
}

// nextBackoff returns how long to wait: between 0 and a bound that doubles each time ("full jitter").
func (c *call[T]) nextBackoff() time.Duration {
	if c.backoff == nil {
		retry := &c.group.config.Retry
		c.backoff = &backoff.ExponentialBackOff{
			InitialInterval: retry.Initial / 2, MaxInterval: retry.Max / 2, RandomizationFactor: 1, Multiplier: 2,
		}
	}
	return c.backoff.NextBackOff()
}

// pause waits before an attempt. The error says why there will be none.
func (c *call[T]) pause(wait time.Duration) error {
	if wait <= 0 {
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-c.ctx.Done():
	case <-c.interrupted():
	case <-c.group.pool.closing:
	}
	return c.stopped()
}

// stopped returns why no attempt is made any more, or nil if there is no reason against one: the call's context
// has ended, it was cancelled, or the group was closed.
func (c *call[T]) stopped() error {
	if c.ctx.Err() != nil {
		return c.giveUp(core.CodeOf(c.ctx.Err()), context.Cause(c.ctx))
	}
	c.mu.Lock()
	canceled := c.canceled
	c.mu.Unlock()
	if canceled != nil {
		return c.giveUp(core.CodeOf(canceled), canceled)
	}
	if c.group.pool.isClosing() {
		return errClosed()
	}
	return nil
}

func (c *call[T]) giveUp(code core.Code, cause error) error {
	message := cause.Error()
	if c.last != nil {
		message += ", while it was to be tried again after: " + c.last.Error()
	} else if failure := c.group.pool.view.Load().cause; failure != nil {
		message += ", while no connection was ready: " + failure.Error()
	}
	return &core.Error{Code: code, Outcome: core.NotSent, Message: message, Cause: cause}
}

// attemptKey is the key of an attempt in its context.
type attemptKey struct{}

// attemptValue is what its context tells of an attempt that is not the first.
type attemptValue struct {
	number int
	hedge  bool
}

// AttemptOf returns the number of the attempt that ctx, as an interceptor of a group's connection got it,
// belongs to: 1 for the first, and for hedges, which are sent beside it, the next.
func AttemptOf(ctx context.Context) int {
	if value, ok := ctx.Value(attemptKey{}).(attemptValue); ok {
		return value.number
	}
	return 1
}

// IsHedge reports whether ctx, as an interceptor of a group's connection got it, belongs to a hedge: an attempt beside
// another one that goes on.
func IsHedge(ctx context.Context) bool {
	value, ok := ctx.Value(attemptKey{}).(attemptValue)
	return ok && value.hedge
}

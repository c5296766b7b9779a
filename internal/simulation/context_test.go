package simulation

import (
	"context"
	"slices"
	"sync"
	"time"
)

// callerContext is a caller's context that ends in an order of the seed's choosing: those who wait on its
// channel learn of it before or after those who have registered a function (context.AfterFunc), never at
// the same time. With a context of package context both happen at once, in any order, and a seed would
// have two stories.
type callerContext struct {
	context.Context // for its values and its cause
	endInner        context.CancelCauseFunc
	functionsFirst  bool
	deadline        time.Time // zero for none
	timer           *time.Timer
	done            chan struct{}

	mu    sync.Mutex // guards the following; held briefly
	err   error
	after []*func()
}

// newContext returns a context that ends when its deadline passes, unless that is the zero time, or by
// its method end.
func newContext(deadline time.Time, functionsFirst bool) *callerContext {
	inner, end := context.WithCancelCause(context.Background())
	c := &callerContext{Context: inner, endInner: end, functionsFirst: functionsFirst, deadline: deadline, done: make(chan struct{})}
	switch left := time.Until(deadline); {
	case deadline.IsZero():
	case left <= 0:
		c.end(context.DeadlineExceeded, nil, func() {})
	default:
		c.timer = time.AfterFunc(left, func() {
			// Once nothing moves, time goes on: that is how this goroutine, which is not the driver, waits.
			c.end(context.DeadlineExceeded, nil, func() { time.Sleep(time.Nanosecond) })
		})
	}
	return c
}

// Deadline implements context.Context.
func (c *callerContext) Deadline() (time.Time, bool) { return c.deadline, !c.deadline.IsZero() }

// Done implements context.Context.
func (c *callerContext) Done() <-chan struct{} { return c.done }

// Err implements context.Context.
func (c *callerContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// AfterFunc is what context.AfterFunc uses.
func (c *callerContext) AfterFunc(f func()) (stop func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		go f()
		return func() bool { return false }
	}
	key := &f
	c.after = append(c.after, key)
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		i := slices.Index(c.after, key)
		if i >= 0 {
			c.after = slices.Delete(c.after, i, i+1)
		}
		return i >= 0
	}
}

// end ends the context; the first call counts. settle waits until nothing moves.
func (c *callerContext) end(err, cause error, settle func()) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	if cause == nil {
		cause = err
	}
	c.endInner(cause) // first: who sees that it has ended may ask why
	c.err = err
	after := c.after
	c.after = nil
	c.mu.Unlock()
	if !c.functionsFirst {
		close(c.done)
		settle()
	}
	for _, f := range after {
		(*f)()
	}
	if c.functionsFirst {
		settle()
		close(c.done)
	}
}

// release stops the context's timer. It must not be used any more.
func (c *callerContext) release() {
	if c.timer != nil {
		c.timer.Stop()
	}
}

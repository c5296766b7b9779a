package core

import "context"

// watch lets calls wait for their end without watching their context: many calls often have the same
// long-lived context, and to wait for two things at once costs each of them several hundred
// nanoseconds (a select, whose queue on the context's channel all of them share). Once enough calls
// in a row have had the same context, the client watches that one for all of them, and wakes those
// calls when it ends.
type watch struct {
	done <-chan struct{}
	stop func() bool // of the AfterFunc on the context
}

// watchAfter is how many calls in a row must have the same context before the client watches it. To
// begin costs an AfterFunc, to end a look at each slot, so contexts of single requests are not worth
// it.
const watchAfter = 64

// countLocked notes that a call with ctx is starting and reports whether ctx should be watched.
func (c *Client) countLocked(done <-chan struct{}) bool {
	if done == nil {
		return false
	}
	if done != c.lastDone {
		c.lastDone, c.repeated = done, 0
		return false
	}
	c.repeated++
	return c.repeated == watchAfter
}

// beginWatch watches ctx from now on, instead of what was watched before.
func (c *Client) beginWatch(ctx context.Context) {
	next := &watch{done: ctx.Done()}
	ready := make(chan struct{})
	next.stop = context.AfterFunc(ctx, func() {
		<-ready
		c.endWatch(next)
	})
	previous := c.watching.Swap(next)
	close(ready)
	if previous != nil {
		previous.stop()
		c.wakeWatched(previous)
	}
	if c.Err() != nil { // the client has ended meanwhile and does not know of this watch
		c.endWatch(next)
	}
}

// endWatch ends w, whose context or client has ended, if it goes on.
func (c *Client) endWatch(w *watch) {
	if w == nil || !c.watching.CompareAndSwap(w, nil) {
		return
	}
	w.stop()
	c.wakeWatched(w)
}

// wakeWatched makes the calls that rely on w look after their context themselves. A call decides by
// Client.watching whether it relies on it, and waits for a token; so the order here, first watching,
// then the tokens, leaves none behind.
func (c *Client) wakeWatched(w *watch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.slots {
		if call := c.slots[i].call; call != nil && call.done == w.done {
			call.wake()
		}
	}
}

package core

import (
	"encoding/binary"
	"sync"
)

// Credit is how many bytes one side may still send on a call before the other side has taken some. The
// zero Credit has none. Safe for concurrent use.
type Credit struct {
	mu        sync.Mutex
	available int           // may be exceeded by one message
	changed   chan struct{} // if not nil: closed when credit has come
}

// maxCredit bounds a call's credit: what can be asked for and what can add up.
const maxCredit = 1<<31 - 1

// Set sets the credit that a call begins with. No other method may run.
func (c *Credit) Set(size int) { c.available = min(size, maxCredit) }

// Take takes size bytes of the credit, if there is any of it: a message may be larger than what is
// left. Otherwise it takes nothing and returns a channel that is closed when there may be some.
func (c *Credit) Take(size int) (wait <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.available > 0 {
		c.available -= size
		return nil
	}
	if c.changed == nil {
		c.changed = make(chan struct{})
	}
	return c.changed
}

// Ready returns nil if there is credit, else a channel that is closed when there may be some.
func (c *Credit) Ready() (wait <-chan struct{}) { return c.Take(0) }

// Add adds what the body of a CREDIT frame gives. It reports whether that is within bounds.
func (c *Credit) Add(body []byte) bool {
	if len(body) != 4 {
		return false
	}
	size := int64(binary.LittleEndian.Uint32(body))
	c.mu.Lock()
	defer c.mu.Unlock()
	if size == 0 || int64(c.available)+size > maxCredit {
		return false
	}
	c.available += int(size)
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
	return true
}

// Return gives back what Take has taken for a message that was not sent after all.
func (c *Credit) Return(size int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.available += size
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
}

// CreditBody returns the body of a CREDIT frame.
func CreditBody(size int) []byte { return binary.LittleEndian.AppendUint32(nil, uint32(size)) }

package core

import (
	"container/list"
	"context"
	"math"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

// Budget bounds the memory that the peers of a process can make it hold: commands that have come and have not
// ended, messages of which a part has come, what streams may have under way (their windows), messages that
// are inflated, results that nobody has taken yet, and what waits to be written. The connections of a process
// share one; each of them takes from it through an Account. Safe for concurrent use.
//
// At its bound nothing stops but what needs more of it: a Send or Start that needs room waits for it,
// commands that come are refused with ResourceExhausted and a retry hint, windows don't grow. Read loops
// go on.
//
// It counts bytes that belong to connections. What applications make of them, and the stacks of goroutines
// beyond a flat sum per command, it does not count.
type Budget struct {
	limit   int64
	pressed atomic.Bool // more than half is in use
	calm    atomic.Bool // less than a quarter is

	mu      sync.Mutex // guards the following, and what accounts and claims say; a leaf, held briefly
	used    int64
	waiting list.List // of *Claim, in order
}

// Purpose is what a part of a Budget is wanted for. The less it matters, the sooner there is none: so what
// has begun can go on when there is no room for more to begin.
type Purpose uint8

const (
	// ForWork is for calls that have been accepted: their results, inputs and messages to be written. It may
	// use all of the budget.
	ForWork Purpose = iota
	// ForCalls is for commands that come, and the first window of a stream: up to three quarters.
	ForCalls
	// ForGrowth is for windows that grow: up to a half.
	ForGrowth

	purposes = iota
)

// share returns how much of limit may be in use after something was taken for p.
func (p Purpose) share(limit int64) int64 {
	switch p {
	case ForCalls:
		return limit - limit/4
	case ForGrowth:
		return limit / 2
	}
	return limit
}

// NewBudget returns a Budget of so many bytes, which should be some times what MaxFrame allows for one
// message. 0 or less is what DefaultBudget has.
func NewBudget(bytes int64) *Budget {
	if bytes <= 0 {
		bytes = defaultBudgetBytes()
	}
	b := &Budget{limit: bytes}
	b.calm.Store(true)
	return b
}

// DefaultBudget is the Budget of connections that were given none: a quarter of the memory limit of the Go
// runtime (GOMEMLIMIT) if there is one when the first of them is made, else 1 GiB.
var DefaultBudget = sync.OnceValue(func() *Budget { return NewBudget(0) })

func defaultBudgetBytes() int64 {
	if limit := debug.SetMemoryLimit(-1); limit < math.MaxInt64 {
		return limit / 4
	}
	return 1 << 30
}

// Limit returns the size of the budget, Used how much of it is in use, in bytes.
func (b *Budget) Limit() int64 { return b.limit }

// Used returns how much of the budget is in use, in bytes.
func (b *Budget) Used() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}

// Account is what one connection has taken of a Budget. A nil Account has no bound and counts nothing. Safe
// for concurrent use.
type Account struct {
	budget *Budget

	// Guarded by budget.mu.
	limit  int64
	used   int64
	closed bool
}

// NewAccount returns the account of a new connection, which may use limit bytes; 0 or less, or more than the
// budget, is all of that.
func (b *Budget) NewAccount(limit int64) *Account {
	a := &Account{budget: b}
	a.SetLimit(limit)
	return a
}

// SetLimit changes how much the account may use. See NewAccount.
func (a *Account) SetLimit(limit int64) {
	a.budget.mu.Lock()
	defer a.budget.mu.Unlock()
	if limit <= 0 || limit > a.budget.limit {
		limit = a.budget.limit
	}
	a.limit = limit
}

// ConnectionCost is what a connection counts for on a server, whatever it does: a goroutine and its buffers.
const ConnectionCost = 8 << 10

// Used returns how much the account has taken, in bytes.
func (a *Account) Used() int64 {
	if a == nil {
		return 0
	}
	a.budget.mu.Lock()
	defer a.budget.mu.Unlock()
	return a.used
}

// Take takes size bytes, to be given back with Give, or reports that there is no room for them. It does not
// wait.
func (a *Account) Take(size int, purpose Purpose) bool {
	if a == nil || size <= 0 {
		return true
	}
	a.budget.mu.Lock()
	defer a.budget.mu.Unlock()
	return a.takeLocked(int64(size), purpose)
}

func (a *Account) takeLocked(size int64, purpose Purpose) bool {
	if a.closed || a.used+size > purpose.share(a.limit) || a.budget.used+size > purpose.share(a.budget.limit) {
		return false
	}
	a.used += size
	a.budget.addLocked(size)
	return true
}

func (b *Budget) addLocked(size int64) {
	b.used += size
	if pressed := b.used > b.limit/2; pressed != b.pressed.Load() {
		b.pressed.Store(pressed)
	}
	if calm := b.used < b.limit/4; calm != b.calm.Load() {
		b.calm.Store(calm)
	}
}

// Pressed reports whether more than half of the budget is in use, so that what need not be held should not be. It
// costs next to nothing.
func (a *Account) Pressed() bool { return a != nil && a.budget.pressed.Load() }

// Calm reports whether less than a quarter of the budget is in use, so that it does not matter if a little is taken
// and not used. It costs next to nothing.
func (a *Account) Calm() bool { return a == nil || a.budget.calm.Load() }

// Give gives back what was taken. After Close it does nothing.
func (a *Account) Give(size int) {
	if a == nil || size <= 0 {
		return
	}
	a.budget.mu.Lock()
	defer a.budget.mu.Unlock()
	if a.closed {
		return
	}
	a.used -= int64(size)
	a.budget.addLocked(-int64(size))
	a.budget.grantLocked()
}

// Close gives back all that is taken still and ends those who wait for more, when the connection has ended.
func (a *Account) Close() {
	if a == nil {
		return
	}
	a.budget.mu.Lock()
	defer a.budget.mu.Unlock()
	a.closed = true
	a.budget.addLocked(-a.used)
	a.used = 0
	a.budget.grantLocked()
}

// Wait is Take, but it waits for room as long as ctx allows. Its errors are ctx's cause, one that matches
// ErrClosed if the account was closed meanwhile, or an *Error with ResourceExhausted if there can never be
// so much room.
func (a *Account) Wait(ctx context.Context, size int, purpose Purpose) error {
	if a.Take(size, purpose) {
		return nil
	}
	claim := a.Claim(size, purpose)
	select {
	case <-claim.Decided():
		return claim.Err()
	default:
	}
	select {
	case <-claim.Decided():
		return claim.Err()
	case <-ctx.Done():
		claim.Withdraw()
		return context.Cause(ctx)
	}
}

// Claim asks for size bytes without waiting for the answer. Claims for the same purpose are granted in their
// order, but for those whose own connection has no room. The caller must wait for the answer or withdraw the
// claim.
func (a *Account) Claim(size int, purpose Purpose) *Claim {
	if a == nil || size <= 0 {
		return &Claim{decided: decided}
	}
	a.budget.mu.Lock()
	defer a.budget.mu.Unlock()
	c := &Claim{account: a, size: int64(size), purpose: purpose, decided: decided}
	switch {
	case a.closed:
		c.err = ErrClosed
	case c.size > purpose.share(a.limit):
		c.err = Errorf(ResourceExhausted, "%d bytes are more than the budget of the connection allows", size)
	case a.takeLocked(c.size, purpose):
		c.granted = true
	default:
		c.decided = make(chan struct{})
		c.place = a.budget.waiting.PushBack(c)
	}
	return c
}

// Claim is a request for a part of a Budget that may be answered later.
type Claim struct {
	account *Account
	size    int64
	purpose Purpose
	decided chan struct{} // closed when place is nil for good

	// Guarded by budget.mu until decided is closed.
	place   *list.Element // in budget.waiting
	granted bool
	err     error
}

// decided is for claims that are from the start.
var decided = func() chan struct{} {
	done := make(chan struct{})
	close(done)
	return done
}()

// Decided is closed when the claim was granted, or can't be any more.
func (c *Claim) Decided() <-chan struct{} { return c.decided }

// Err returns why the claim was not granted, or nil if it was: what it asked for is to be given back then.
// It may be called when Decided is closed.
func (c *Claim) Err() error { return c.err }

// Withdraw ends the claim. What was granted meanwhile is given back.
func (c *Claim) Withdraw() {
	if c.account == nil {
		return
	}
	budget := c.account.budget
	budget.mu.Lock()
	defer budget.mu.Unlock()
	switch {
	case c.place != nil:
		c.decideLocked(ErrClosed)
	case c.granted && !c.account.closed:
		c.granted = false
		c.account.used -= c.size
		budget.addLocked(-c.size)
	}
	budget.grantLocked() // this one may have kept others waiting
}

func (c *Claim) decideLocked(err error) {
	c.account.budget.waiting.Remove(c.place)
	c.place, c.err, c.granted = nil, err, err == nil
	close(c.decided)
}

// grantLocked grants the claims for which there is room now.
func (b *Budget) grantLocked() {
	var blocked [purposes]bool // there was none for an earlier claim
	var next *list.Element
	for place := b.waiting.Front(); place != nil; place = next {
		next = place.Next()
		c := place.Value.(*Claim)
		switch {
		case c.account.closed:
			c.decideLocked(ErrClosed)
		case blocked[c.purpose]:
		case c.account.takeLocked(c.size, c.purpose):
			c.decideLocked(nil)
		default:
			blocked[c.purpose] = c.account.used+c.size <= c.purpose.share(c.account.limit) // else it waits for its own connection
		}
	}
}

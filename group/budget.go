package group

import (
	"sync"
	"sync/atomic"
	"time"
)

// budget bounds retries and hedges to a part of the calls, so that a service that fails does not get a
// multiple of its load on top. It is a token bucket: each call puts a part of a token in, so much comes in
// each second besides, and a retry takes a whole one out. Finagle's RetryBudget works like that; gRPC's retry
// throttling (proposal A6) is of the same kind, with tokens for successes only.
type budget struct {
	perCall   int64 // in thousandths of a token, as all below
	perSecond float64
	most      int64

	tokens atomic.Int64

	mu       sync.Mutex // guards refilled
	refilled time.Time
}

const token = 1000

func newBudget(r Retry) *budget {
	b := &budget{
		perCall: int64(r.Ratio * token), perSecond: r.PerSecond * token, most: int64(r.Reserve * token),
		refilled: time.Now(),
	}
	b.tokens.Store(b.most)
	return b
}

// deposit is for each call, so it is cheap.
func (b *budget) deposit() {
	if b.tokens.Load() < b.most {
		b.tokens.Add(b.perCall)
	}
}

// withdraw takes a token, if there is one.
func (b *budget) withdraw() bool {
	b.refill()
	for {
		left := b.tokens.Load()
		if left < token {
			return false
		}
		if b.tokens.CompareAndSwap(left, left-token) {
			return true
		}
	}
}

func (b *budget) refill() {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	granted := int64(now.Sub(b.refilled).Seconds() * b.perSecond)
	if granted == 0 {
		return // let the fraction grow
	}
	b.refilled = now
	if room := b.most - b.tokens.Load(); room > 0 {
		b.tokens.Add(min(granted, room))
	}
}

// left is how many retries the budget would allow now.
func (b *budget) left() float64 {
	b.refill()
	return float64(b.tokens.Load()) / token
}

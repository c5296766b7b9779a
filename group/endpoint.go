package group

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"
)

// Endpoint is one of the places where a group's commands can go, as a Strategy sees it. It is safe for concurrent
// use.
type Endpoint struct {
	address string
	hash    uint64
	growAt  int64
	wake    func() // tells the pool that it should have a look

	inFlight atomic.Int64
	latency  latency
	crowded  atomic.Bool // a call has found growAt others before it; cleared by the pool, and by a new connection
	next     atomic.Uint64

	breaker   *gobreaker.TwoStepCircuitBreaker[struct{}] // nil: none
	openFor   time.Duration
	openUntil atomic.Int64 // of an open breaker, in Unix nanoseconds
	probing   atomic.Bool  // the breaker is half open
	tripped   atomic.Bool  // it has opened, and the pool has not logged that yet
}

// Address returns the endpoint's address.
func (e *Endpoint) Address() string { return e.address }

// InFlight returns how many of the group's calls are in flight there.
func (e *Endpoint) InFlight() int { return int(e.inFlight.Load()) }

// Latency returns an average of the latest latencies, up to the first result of each call: one that rises at
// once and sinks slowly. 0 means that nothing is known.
func (e *Endpoint) Latency() time.Duration { return e.latency.value(time.Now()) }

// cost is how long a command would take there, by what is known: its turn comes after those in flight. One of
// which nothing is known is tried, with one call.
func (e *Endpoint) cost(now time.Time) float64 {
	known, inFlight := e.latency.value(now), float64(e.inFlight.Load())
	if known == 0 && inFlight > 0 {
		known = time.Second
	}
	return float64(known) * (inFlight + 1)
}

// newEndpoint returns an endpoint without connections.
func newEndpoint(address string, config *Config, wake func()) *Endpoint {
	e := &Endpoint{address: address, hash: hash(address), growAt: int64(config.GrowAt), wake: wake, openFor: config.Breaker.OpenFor}
	if config.Breaker.Disabled {
		return e
	}
	e.breaker = newBreaker(config.Breaker, func(to gobreaker.State) {
		e.probing.Store(to == gobreaker.StateHalfOpen)
		if to == gobreaker.StateOpen {
			e.openUntil.Store(time.Now().Add(e.openFor).UnixNano())
			e.tripped.Store(true)
			wake()
		}
	})
	return e
}

// open reports whether the breaker lets nothing through.
func (e *Endpoint) open() bool { return e.breaker != nil && e.breaker.State() == gobreaker.StateOpen }

// allow asks the breaker. tell, which may be nil, must be called once with what judge says.
func (e *Endpoint) allow() (tell func(error), ok bool) {
	if e.breaker == nil {
		return nil, true
	}
	done, err := e.breaker.Allow()
	if err != nil {
		return nil, false
	}
	if !e.probing.Load() {
		return done, true
	}
	// The breaker waits for this one. It should not wait for a stream that has no results for an hour.
	var once sync.Once
	timer := time.AfterFunc(e.openFor, func() { once.Do(func() { done(errNeither) }) })
	return func(verdict error) {
		timer.Stop()
		once.Do(func() { done(verdict) })
	}, true
}

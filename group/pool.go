package group

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/delegate"
)

// pool keeps the connections of a group: it makes as many as there should be, for the endpoints that are listed,
// and publishes those that are ready. Calls only look at what is published.
type pool[T any] struct {
	config  *Config
	connect Connect[T]

	view    atomic.Pointer[view[T]]
	closing chan struct{} // closed by stop: no more calls are taken

	wakeup   chan struct{}           // capacity 1: run should have a look
	end      context.CancelFunc      // ends the loops: run, resolve and the members' watch
	cut      context.CancelCauseFunc // ends the drains' patience
	patience context.Context         // ended by cut
	loops    sync.WaitGroup
	draining sync.WaitGroup
	stopping sync.Once

	mu        sync.Mutex // guards the following; a leaf
	addresses []string   // what the resolver has said, if run has not taken it yet; else nil
	leaving   []*member[T]
	known     []*member[T]      // all that have not left
	left      edict.ClientStats // what the others have counted

	// Owned by run's goroutine, and by stop after its end.
	endpoints []*pooled[T] // in the order of addresses
	made      uint64       // connections
}

// pooled is an endpoint with its connections. Owned by run's goroutine.
type pooled[T any] struct {
	*Endpoint
	members []*member[T]
	tryAt   time.Time   // no connection is made before
	failure *core.Error // why the last one has ended by itself; nil when one was ready since
	busy    time.Time   // when it has last needed all its connections
	cleared time.Time   // when crowded was last cleared
}

const (
	// retryFailed is how long the pool waits before it makes a connection in place of one that has given up.
	retryFailed = 10 * time.Second
	// looks is how many times the pool looks at an endpoint's load within IdleAfter.
	looks = 4
)

func newPool[T any](connect Connect[T], config *Config) *pool[T] {
	p := &pool[T]{config: config, connect: connect, wakeup: make(chan struct{}, 1), closing: make(chan struct{})}
	p.view.Store(&view[T]{changed: make(chan struct{})})
	ctx, end := context.WithCancel(context.Background())
	p.end = end
	p.patience, p.cut = context.WithCancelCause(context.Background())
	p.loops.Go(func() { p.resolve(ctx) })
	p.loops.Go(func() { p.run(ctx) })
	return p
}

// endpointsListed returns all endpoints. It waits until the resolver has said something.
func (p *pool[T]) endpointsListed(ctx context.Context) ([]listing[T], error) {
	for {
		ready := p.view.Load()
		switch {
		case p.isClosing():
			return nil, errClosed()
		case len(ready.listed) > 0:
			return ready.listed, nil
		}
		select {
		case <-ready.changed:
		case <-ctx.Done():
			cause := context.Cause(ctx)
			return nil, &core.Error{
				Code: core.CodeOf(ctx.Err()), Outcome: core.NotSent, Cause: cause,
				Message: cause.Error() + ", while no endpoint was known",
			}
		}
	}
}

// wake lets run have a look. It never waits.
func (p *pool[T]) wake() {
	select {
	case p.wakeup <- struct{}{}:
	default:
	}
}

// resolve takes what the resolver says.
//
// Started by newPool; ends when p.end is called or the resolver has no more to say; stop waits for it.
func (p *pool[T]) resolve(ctx context.Context) {
	for addresses, err := range p.config.Endpoints.Resolve(ctx) {
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			p.config.Logger.Warn("edict: can't find out the endpoints, the known ones stay", "error", err)
		case len(addresses) == 0:
			p.config.Logger.Warn("edict: the list of endpoints is empty, the known ones stay")
		default:
			p.mu.Lock()
			p.addresses = slices.Clone(addresses)
			p.mu.Unlock()
			p.wake()
		}
	}
}

// run brings the connections to what they should be, each time that something has changed or is due.
//
// Started by newPool; ends when p.end is called; stop waits for it.
func (p *pool[T]) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.wakeup:
		case <-timer.C:
		}
		now := time.Now()
		leaving := p.list(now)
		due := now.Add(time.Hour)
		for _, e := range p.endpoints {
			leaving = append(leaving, p.adjust(ctx, e, now)...)
			if next := p.next(e, now); next.Before(due) {
				due = next
			}
		}
		p.publish() // so that no more commands go to those that leave
		for _, m := range leaving {
			p.drain(m)
		}
		timer.Reset(time.Until(due))
	}
}

// list makes p.endpoints those that the resolver has listed, and returns the connections of those that it has
// not.
func (p *pool[T]) list(now time.Time) (leaving []*member[T]) {
	p.mu.Lock()
	addresses := p.addresses
	p.addresses = nil
	p.mu.Unlock()
	if addresses == nil {
		return nil
	}
	known := make(map[string]*pooled[T], len(p.endpoints))
	for _, e := range p.endpoints {
		known[e.address] = e
	}
	listed := make(map[string]bool, len(addresses))
	p.endpoints = nil
	for _, address := range addresses {
		if listed[address] {
			continue
		}
		listed[address] = true
		e := known[address]
		if e == nil {
			e = &pooled[T]{Endpoint: newEndpoint(address, p.config, p.wake), busy: now, cleared: now}
		}
		p.endpoints = append(p.endpoints, e)
	}
	for address, e := range known {
		if !listed[address] {
			leaving = append(leaving, e.members...)
		}
	}
	return leaving
}

// adjust makes the connections that e lacks, and returns those that it should lose.
func (p *pool[T]) adjust(ctx context.Context, e *pooled[T], now time.Time) (leaving []*member[T]) {
	if e.tripped.Swap(false) {
		p.config.Logger.Warn("edict: too many calls have failed, the endpoint is left alone", "address", e.address, "for", e.openFor)
	}
	leaving = p.removeEnded(e, now)
	wanted := p.wanted(e, now)
	for e.lasting() < wanted && !now.Before(e.tryAt) {
		p.add(ctx, e, nil, now)
	}
	if e.lasting() > wanted {
		leaving = append(leaving, e.removeQuietest())
	}
	return append(leaving, p.replaceAged(ctx, e, now)...)
}

// removeEnded removes connections that have ended by themselves: they have given up.
func (p *pool[T]) removeEnded(e *pooled[T], now time.Time) (ended []*member[T]) {
	for _, m := range slices.Clone(e.members) {
		switch m.sender.State() {
		case delegate.Ready:
			e.failure = nil
			continue
		case delegate.Closed:
		default:
			continue
		}
		e.remove(m)
		ended = append(ended, m)
		e.failure = &core.Error{Code: core.Unavailable, Outcome: core.NotSent, Message: "no connection can be made to " + e.address}
		if loss := m.lastLoss.Load(); loss != nil {
			e.failure.Code, e.failure.Cause = core.CodeOf(*loss), *loss
			e.failure.Message += ": " + (*loss).Error()
		}
		p.config.Logger.Warn("edict: a connection has given up", "address", e.address, "again in", retryFailed, "error", e.failure)
		e.tryAt = now.Add(retryFailed)
	}
	return ended
}

// lasting is how many connections e has, without those made to replace another one.
func (e *pooled[T]) lasting() int {
	n := 0
	for _, m := range e.members {
		if m.replaces == nil {
			n++
		}
	}
	return n
}

// wanted is how many connections e should have: one more than it has if all are crowded, one less if it has not
// needed the last one for a while.
func (p *pool[T]) wanted(e *pooled[T], now time.Time) int {
	has, crowded, load := 0, 0, int64(0)
	for _, m := range e.members {
		if m.replaces != nil {
			continue
		}
		has++
		inFlight := m.inFlight.Load()
		load += inFlight
		if inFlight >= e.growAt {
			crowded++
		}
	}
	if e.crowded.Load() || 2*load > e.growAt*int64(has-1) {
		e.busy = now
	}
	if now.Sub(e.cleared) >= p.config.IdleAfter/looks {
		e.cleared = now
		e.crowded.Store(false)
	}
	switch {
	case has < p.config.Min:
		return p.config.Min
	case crowded == has && has < p.config.Max:
		e.crowded.Store(false)
		return has + 1
	case has > p.config.Min && now.Sub(e.busy) >= p.config.IdleAfter:
		e.busy = now // another one after as long
		return has - 1
	}
	return has
}

// removeQuietest removes the connection with the fewest calls.
func (e *pooled[T]) removeQuietest() *member[T] {
	var quietest *member[T]
	for _, m := range e.members {
		if m.replaces == nil && (quietest == nil || m.inFlight.Load() < quietest.inFlight.Load()) {
			quietest = m
		}
	}
	e.remove(quietest)
	return quietest
}

func (e *pooled[T]) remove(m *member[T]) {
	e.members = slices.DeleteFunc(e.members, func(other *member[T]) bool { return other == m })
	for _, other := range e.members {
		if other.replaces == m {
			other.replaces = nil
		}
	}
}

// replaceAged makes connections in place of those that are too old, one at a time, and returns those whose
// successors are ready.
func (p *pool[T]) replaceAged(ctx context.Context, e *pooled[T], now time.Time) (replaced []*member[T]) {
	for _, m := range slices.Clone(e.members) {
		if m.replaces != nil && m.sender.State() == delegate.Ready {
			old := m.replaces
			e.remove(old)
			replaced = append(replaced, old)
		}
	}
	if now.Before(e.tryAt) || slices.ContainsFunc(e.members, func(m *member[T]) bool { return m.replaces != nil }) {
		return replaced
	}
	for _, m := range e.members {
		if expires, ok := m.expires(); ok && !now.Before(expires) {
			p.add(ctx, e, m, now)
			break
		}
	}
	return replaced
}

// expires returns when m should be replaced. A connection that was lost is a new one when it is ready again.
func (m *member[T]) expires() (time.Time, bool) {
	since := m.ready.Load()
	if m.age == 0 || since == 0 || m.sender.State() != delegate.Ready {
		return time.Time{}, false
	}
	return time.Unix(0, since).Add(m.age), true
}

// add makes a connection.
func (p *pool[T]) add(ctx context.Context, e *pooled[T], replaces *member[T], now time.Time) {
	sender, err := p.connect(e.address)
	if err != nil {
		e.tryAt = now.Add(retryFailed)
		e.failure = &core.Error{Code: core.CodeOf(err), Outcome: core.NotSent, Message: "no connection can be made to " + e.address + ": " + err.Error(), Cause: err}
		p.config.Logger.Warn("edict: an endpoint can't be used", "address", e.address, "again in", retryFailed, "error", err)
		return
	}
	p.made++
	m := &member[T]{sender: sender, endpoint: e.Endpoint, hash: mix(e.hash + p.made), replaces: replaces}
	if p.config.MaxAge > 0 {
		m.age = p.config.MaxAge - rand.N(p.config.MaxAge/4+1)
	}
	ctx, m.stop = context.WithCancel(ctx)
	p.loops.Go(func() { m.watch(ctx) })
	e.members = append(e.members, m)
	p.mu.Lock()
	p.known = append(p.known, m)
	p.mu.Unlock()
}

// next returns when e should be looked at again if nothing happens.
func (p *pool[T]) next(e *pooled[T], now time.Time) time.Time {
	due := now.Add(time.Hour)
	sooner := func(at time.Time) {
		if at.Before(due) {
			due = at
		}
	}
	if now.Before(e.tryAt) {
		sooner(e.tryAt)
	}
	if e.crowded.Load() || e.lasting() > p.config.Min {
		sooner(e.cleared.Add(p.config.IdleAfter / looks))
		sooner(e.busy.Add(p.config.IdleAfter))
	}
	for _, m := range e.members {
		if expires, ok := m.expires(); ok && now.Before(expires) {
			sooner(expires)
		}
	}
	return due
}

// publish tells the calls which connections are ready.
func (p *pool[T]) publish() {
	next := &view[T]{changed: make(chan struct{})}
	for _, e := range p.endpoints {
		listed := listing[T]{Endpoint: e.Endpoint, members: slices.Clone(e.members)}
		if len(e.members) == 0 {
			listed.failure = e.failure
		}
		next.listed = append(next.listed, listed)
		var members []*member[T]
		for _, m := range e.members {
			if m.sender.State() == delegate.Ready {
				members = append(members, m)
			} else if loss := m.lastLoss.Load(); loss != nil {
				next.cause = *loss
			}
		}
		if len(members) > 0 {
			next.endpoints = append(next.endpoints, e.Endpoint)
			next.members = append(next.members, members)
		}
	}
	previous := p.view.Swap(next)
	close(previous.changed)
}

// drain ends a connection when its calls have ended.
func (p *pool[T]) drain(m *member[T]) {
	m.stop()
	p.mu.Lock()
	p.leaving = append(p.leaving, m)
	p.mu.Unlock()
	// Ends when the connection has, at the latest when p.cut is called; stop waits for it.
	p.draining.Go(func() {
		ctx, cancel := p.patience, context.CancelFunc(func() {})
		if p.config.DrainTimeout > 0 {
			ctx, cancel = context.WithTimeout(ctx, p.config.DrainTimeout)
		}
		defer cancel()
		if err := m.sender.Shutdown(ctx); err != nil && p.patience.Err() == nil {
			p.config.Logger.Warn("edict: a connection was given up before its calls had ended", "address", m.endpoint.address, "error", err)
		}
		counted := m.clientStats()
		p.mu.Lock()
		p.leaving = slices.DeleteFunc(p.leaving, func(other *member[T]) bool { return other == m })
		p.known = slices.DeleteFunc(p.known, func(other *member[T]) bool { return other == m })
		p.left.Add(counted)
		p.mu.Unlock()
	})
}

func (p *pool[T]) isClosing() bool {
	select {
	case <-p.closing:
		return true
	default:
		return false
	}
}

// stop takes no more calls and waits until those in flight have ended and the connections with them. If ctx ends
// first, or cut is called, the connections end at once. It may be called again.
func (p *pool[T]) stop(ctx context.Context) error {
	p.stopping.Do(func() {
		close(p.closing)
		p.end()
		p.loops.Wait()
		endpoints := p.endpoints
		p.endpoints = nil
		p.publish()
		for _, e := range endpoints {
			for _, m := range e.members {
				p.drain(m)
			}
		}
	})
	unwatch := context.AfterFunc(ctx, func() { p.cut(context.Cause(ctx)) })
	p.draining.Wait()
	if !unwatch() {
		return context.Cause(ctx)
	}
	return nil
}

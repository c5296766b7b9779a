package group

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/delegate"
)

// pool keeps the connections of a group: it makes as many as there should be, for the endpoints that are listed,
// and publishes those that are ready. Calls only look at what is published.
type pool[T any] struct {
	config  *Config
	connect Connect[T]

	ready   atomic.Pointer[ready[T]]
	closing chan struct{} // closed by stop: no more calls are taken

	wakeup   chan struct{}           // capacity 1: run should have a look
	end      context.CancelFunc      // ends the loops: run, resolve and the members' watch
	cut      context.CancelCauseFunc // ends the drains' patience
	patience context.Context         // ended by cut
	loops    sync.WaitGroup
	draining sync.WaitGroup
	stopping sync.Once

	mu        sync.Mutex // guards the following; a leaf
	addresses []string   // what the resolver has said last; nil before it has said anything
	leaving   []*member[T]

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

// ready is what can be used at some time. It is constant, but for changed, which is closed when there is another.
type ready[T any] struct {
	endpoints []*Endpoint
	members   [][]*member[T] // of each of endpoints; none is empty
	listed    []listing[T]   // all, whether they are ready or not
	changed   chan struct{}
	cause     error // why some connection is not ready, if one is not
}

// listing is an endpoint with all its connections.
type listing[T any] struct {
	*Endpoint
	members []*member[T]
	failure *core.Error // why there will be none soon; nil while one may come
}

// without returns what is left of r without the connections tried, and of the endpoints only the one with that
// address, if it is not empty. Endpoints without any of tried come before the other connections of those with
// one.
func (r *ready[T]) without(tried []*member[T], only string) *ready[T] {
	if len(tried) == 0 && only == "" {
		return r // nearly always
	}
	others, rest := &ready[T]{}, &ready[T]{}
	for i, e := range r.endpoints {
		if only != "" && e.address != only {
			continue
		}
		untried := slices.DeleteFunc(slices.Clone(r.members[i]), func(m *member[T]) bool { return slices.Contains(tried, m) })
		left := rest
		switch len(untried) {
		case 0:
			continue
		case len(r.members[i]):
			left = others
		}
		left.endpoints = append(left.endpoints, e)
		left.members = append(left.members, untried)
	}
	if len(others.endpoints) > 0 {
		return others
	}
	return rest
}

// hopeless returns why no connection will be ready soon, and nil if one may: to the endpoint with that address, or if
// it is empty to any.
func (r *ready[T]) hopeless(only string) *core.Error {
	var failure *core.Error
	found := only == ""
	for _, e := range r.listed {
		if only != "" && e.address != only {
			continue
		}
		found = true
		if e.failure == nil {
			return nil
		}
		failure = e.failure
	}
	if !found {
		return &core.Error{Code: core.Unavailable, Outcome: core.NotSent, Message: only + " is not one of the group's endpoints any more"}
	}
	if failure == nil {
		return nil // nothing is listed yet
	}
	copied := *failure
	return &copied
}

// endpointsListed returns all endpoints. It waits until the resolver has said something.
func (p *pool[T]) endpointsListed(ctx context.Context) ([]listing[T], error) {
	for {
		ready := p.ready.Load()
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

// letThrough reports whether there is an endpoint whose breaker is not open.
func (r *ready[T]) letThrough() bool {
	return slices.ContainsFunc(r.endpoints, func(e *Endpoint) bool { return !e.open() })
}

const (
	// retryFailed is how long the pool waits before it makes a connection in place of one that has given up.
	retryFailed = 10 * time.Second
	// looks is how many times the pool looks at an endpoint's load within IdleAfter.
	looks = 4
)

func newPool[T any](connect Connect[T], config *Config) *pool[T] {
	p := &pool[T]{config: config, connect: connect, wakeup: make(chan struct{}, 1), closing: make(chan struct{})}
	p.ready.Store(&ready[T]{changed: make(chan struct{})})
	ctx, end := context.WithCancel(context.Background())
	p.end = end
	p.patience, p.cut = context.WithCancelCause(context.Background())
	p.loops.Go(func() { p.resolve(ctx) })
	p.loops.Go(func() { p.run(ctx) })
	return p
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
			p.addresses = distinct(addresses)
			p.mu.Unlock()
			p.wake()
		}
	}
}

func distinct(addresses []string) []string {
	var result []string
	for _, address := range addresses {
		if !slices.Contains(result, address) {
			result = append(result, address)
		}
	}
	return result
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
	p.mu.Unlock()
	var listed []*pooled[T]
	for _, address := range addresses {
		i := slices.IndexFunc(p.endpoints, func(e *pooled[T]) bool { return e.address == address })
		if i < 0 {
			listed = append(listed, &pooled[T]{Endpoint: newEndpoint(address, p.config, p.wake), busy: now, cleared: now})
		} else {
			listed = append(listed, p.endpoints[i])
		}
	}
	for _, e := range p.endpoints {
		if !slices.Contains(listed, e) {
			leaving = append(leaving, e.members...)
		}
	}
	p.endpoints = listed
	return leaving
}

// adjust makes the connections that e lacks, and returns those that it should lose.
func (p *pool[T]) adjust(ctx context.Context, e *pooled[T], now time.Time) (leaving []*member[T]) {
	leaving = p.removeEnded(e, now)
	wanted := p.wanted(e, now)
	for p.lasting(e) < wanted && !now.Before(e.tryAt) {
		p.add(ctx, e, nil, now)
	}
	if p.lasting(e) > wanted {
		leaving = append(leaving, p.removeQuietest(e))
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
func (p *pool[T]) lasting(e *pooled[T]) int {
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
func (p *pool[T]) removeQuietest(e *pooled[T]) *member[T] {
	quietest := slices.MinFunc(e.members, func(a, b *member[T]) int { return int(a.inFlight.Load() - b.inFlight.Load()) })
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
	if e.crowded.Load() || p.lasting(e) > p.config.Min {
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
	next := &ready[T]{changed: make(chan struct{})}
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
	previous := p.ready.Swap(next)
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
		p.mu.Lock()
		p.leaving = slices.DeleteFunc(p.leaving, func(other *member[T]) bool { return other == m })
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

package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/edict-go/edict/edicttest"
)

// fault is a kind of thing that happens.
type fault struct {
	name string
	// inject makes it happen and undoes it when it is over. It reports whether it has really happened.
	inject func(d *driver, e event) bool
}

// faults returns the kinds that are wanted and possible here.
func (d *driver) faults() (wanted []*fault, err error) {
	all := d.allFaults()
	if d.only == "" {
		return all, nil
	}
	for name := range strings.SplitSeq(d.only, ",") {
		i := slices.IndexFunc(all, func(f *fault) bool { return f.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no fault %q here", name)
		}
		wanted = append(wanted, all[i])
	}
	return wanted, nil
}

func (d *driver) allFaults() []*fault {
	all := []*fault{
		{"kill server", func(d *driver, e event) bool { return d.pick(d.mortalServers, e).restart(d, e, (*process).kill) }},
		{"drain server", func(d *driver, e event) bool { return d.pick(d.mortalServers, e).restart(d, e, drainMeanwhile) }},
		{"kill again and again", killAgain},
		{"kill client", func(d *driver, e event) bool { return d.pick(d.mortalClients, e).restart(d, e, (*process).kill) }},
		{"drain client", func(d *driver, e event) bool { return d.pick(d.mortalClients, e).restart(d, e, drainMeanwhile) }},
		{"cut", cut},
		{"cut at a byte", cutAtByte},
		{"cut again and again", cutAgain},
		{"stall", stall},
		{"half-open", halfOpen},
		{"corrupt", corrupt},
		{"slow and torn", slowAndTorn},
		{"refuse", refuse},
		{"slow accept", slowAccept},
	}
	if canFreeze {
		all = append(all, &fault{"freeze server", func(d *driver, e event) bool { return d.pick(d.mortalServers, e).freeze(e) }})
	}
	if d.wire != nil {
		all = append(all, &fault{"storm", storm}, &fault{"partition", partition})
	}
	return all
}

// killAgain kills a server that has a journal, and the next ones soon after they have begun.
func killAgain(d *driver, e event) bool {
	random := e.random()
	s := d.durableServers[random.IntN(len(d.durableServers))]
	for range 4 {
		if !s.restart(d, event{length: e.length / 10}, (*process).kill) {
			return false
		}
		<-time.After(time.Duration(random.Int64N(int64(maxLength / 5))))
	}
	return true
}

// cutAgain cuts connections that are resumed, one after the other, also those that are made meanwhile.
func cutAgain(d *driver, e event) bool {
	random := e.random()
	cuts := 0
	for end := time.Now().Add(e.length); time.Now().Before(end); <-time.After(time.Duration(random.Int64N(int64(50 * time.Millisecond)))) {
		if open := d.resumedProxies[random.IntN(len(d.resumedProxies))].Connections(); len(open) > 0 {
			open[random.IntN(len(open))].Cut()
			cuts++
		}
	}
	return cuts > 0
}

// drainMeanwhile drains a process, with other faults going on.
func drainMeanwhile(p *process) { p.drain(drainPatience) }

// pick picks a slot.
func (d *driver) pick(slots []*slot, e event) *slot { return slots[e.random().IntN(len(slots))] }

// proxied picks a connection of a proxy. If there is none it waits for one, as long as it may take to
// start a server.
func (d *driver) proxied(proxies []*edicttest.Proxy, random *rand.Rand) (*edicttest.Proxy, *edicttest.ProxyConnection) {
	proxy := proxies[random.IntN(len(proxies))]
	for deadline := time.Now().Add(readyLimit); time.Now().Before(deadline); <-time.After(10 * time.Millisecond) {
		if open := proxy.Connections(); len(open) > 0 {
			return proxy, open[random.IntN(len(open))]
		}
	}
	return proxy, nil
}

// watch looks out for a kind of fault on a proxy.
type watch struct {
	proxy      *edicttest.Proxy
	kind       edicttest.FaultKind
	connection *edicttest.ProxyConnection // nil: any
	seen       atomic.Bool
}

// watch returns a watch that sees what happens from now on, until it is dropped.
func (d *driver) watch(proxy *edicttest.Proxy, kind edicttest.FaultKind, c *edicttest.ProxyConnection) *watch {
	w := &watch{proxy: proxy, kind: kind, connection: c}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.watches[w] = struct{}{}
	return w
}

func (d *driver) drop(w *watch) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.watches, w)
}

// see tells the watches of a fault that has happened.
func (d *driver) see(proxy *edicttest.Proxy, fault edicttest.Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for w := range d.watches {
		if w.proxy == proxy && w.kind == fault.Kind && (w.connection == nil || w.connection.ID() == fault.Connection) {
			w.seen.Store(true)
		}
	}
}

// happenLimit is how long a fault may take to happen where there is traffic.
const happenLimit = 5 * time.Second

// awaitEnd waits for the end of a connection.
func awaitEnd(c *edicttest.ProxyConnection) {
	select {
	case <-c.Done():
	case <-time.After(happenLimit):
	}
}

// lasts waits for as long as a fault is to last, and longer if it has not happened by then. It reports
// whether it has.
func (e event) lasts(happened func() bool) bool {
	<-time.After(e.length)
	for deadline := time.Now().Add(happenLimit); !happened(); <-time.After(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

func direction(random *rand.Rand) edicttest.Direction { return edicttest.Direction(random.IntN(2)) }

// soon is a point that a connection will come to before long.
func soon(c *edicttest.ProxyConnection, d edicttest.Direction, random *rand.Rand) edicttest.Point {
	return edicttest.Bytes(c.Delivered(d) + random.Int64N(5000))
}

// onConnection makes a fault of a proxied connection: begin orders it, and end, which may be nil, undoes
// it after a while. Without end the connection ends by it.
func onConnection(d *driver, e event, proxies []*edicttest.Proxy, kind edicttest.FaultKind,
	begin func(*rand.Rand, *edicttest.ProxyConnection), end func(*edicttest.ProxyConnection),
) bool {
	random := e.random()
	proxy, c := d.proxied(proxies, random)
	if c == nil {
		return false
	}
	watch := d.watch(proxy, kind, c)
	defer d.drop(watch)
	begin(random, c)
	if end == nil {
		awaitEnd(c)
		return watch.seen.Load()
	}
	defer end(c)
	return e.lasts(watch.seen.Load)
}

func cut(d *driver, e event) bool {
	return onConnection(d, e, d.proxies, edicttest.FaultCut,
		func(_ *rand.Rand, c *edicttest.ProxyConnection) { c.Cut() }, nil)
}

func cutAtByte(d *driver, e event) bool {
	return onConnection(d, e, d.proxies, edicttest.FaultCut, func(random *rand.Rand, c *edicttest.ProxyConnection) {
		where := direction(random)
		c.CutAfter(where, soon(c, where, random))
	}, nil)
}

func stall(d *driver, e event) bool {
	where := direction(e.random())
	return onConnection(d, e, d.proxies, edicttest.FaultStall,
		func(_ *rand.Rand, c *edicttest.ProxyConnection) { c.Stall(where) },
		func(c *edicttest.ProxyConnection) { c.Resume(where) })
}

// halfOpen ends with a cut: without a keepalive nothing else would end the calls.
func halfOpen(d *driver, e event) bool {
	return onConnection(d, e, d.proxies, edicttest.FaultVanish, func(random *rand.Rand, c *edicttest.ProxyConnection) {
		switch where := random.IntN(3); where {
		case 2:
			c.Vanish(edicttest.ToServer)
			c.Vanish(edicttest.ToClient)
		default:
			c.Vanish(edicttest.Direction(where))
		}
	}, (*edicttest.ProxyConnection).Cut)
}

// corrupt is for TLS, which finds out. Nothing else would.
func corrupt(d *driver, e event) bool {
	secure := []*edicttest.Proxy{d.secureProxy}
	return onConnection(d, e, secure, edicttest.FaultCorrupt, func(random *rand.Rand, c *edicttest.ProxyConnection) {
		where := direction(random)
		c.Corrupt(where, soon(c, where, random))
	}, nil)
}

// onProxy makes a fault of a whole proxy: begin orders it, end undoes it. With renew its connections are
// cut, so that there is someone who dials.
func onProxy(d *driver, e event, kind edicttest.FaultKind, renew bool,
	begin func(*rand.Rand, *edicttest.Proxy), end func(*edicttest.Proxy),
) bool {
	random := e.random()
	proxy := d.proxies[random.IntN(len(d.proxies))]
	watch := d.watch(proxy, kind, nil)
	defer d.drop(watch)
	defer end(proxy)
	begin(random, proxy)
	if renew {
		for _, c := range proxy.Connections() {
			c.Cut()
		}
	}
	return e.lasts(watch.seen.Load)
}

func slowAndTorn(d *driver, e event) bool {
	return onProxy(d, e, edicttest.FaultTear, false, func(random *rand.Rand, proxy *edicttest.Proxy) {
		proxy.SetLink(edicttest.Link{
			Latency: time.Duration(random.Int64N(int64(50 * time.Millisecond))), Jitter: 5 * time.Millisecond,
			Bandwidth: 100_000 + random.IntN(1_000_000), Segment: 1 + random.IntN(200),
		})
	}, func(proxy *edicttest.Proxy) { proxy.SetLink(edicttest.Link{}) })
}

func refuse(d *driver, e event) bool {
	return onProxy(d, e, edicttest.FaultRefuse, true,
		func(_ *rand.Rand, proxy *edicttest.Proxy) { proxy.RefuseDials(true) },
		func(proxy *edicttest.Proxy) { proxy.RefuseDials(false) })
}

func slowAccept(d *driver, e event) bool {
	return onProxy(d, e, edicttest.FaultDelay, true,
		func(_ *rand.Rand, proxy *edicttest.Proxy) { proxy.DelayAccepts(e.length / 2) },
		func(proxy *edicttest.Proxy) { proxy.DelayAccepts(0) })
}

// The weather of the wire when there is no storm.
var mild = weather{Delay: 2 * time.Millisecond, Loss: 0.002, Double: 0.005, Late: 0.01}

func storm(d *driver, e event) bool {
	before := d.wire.count()
	defer d.wire.set(mild)
	d.wire.set(weather{Delay: 10 * time.Millisecond, Loss: 0.1, Double: 0.1, Late: 0.2})
	return e.lasts(func() bool {
		now := d.wire.count()
		return now.Lost > before.Lost && now.Doubled > before.Doubled && now.Late > before.Late
	})
}

func partition(d *driver, e event) bool {
	before := d.wire.count()
	defer d.wire.set(mild)
	d.wire.set(weather{Partition: true})
	return e.lasts(func() bool { return d.wire.count().Cut > before.Cut })
}

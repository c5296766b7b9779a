package simulation

import (
	"context"
	"fmt"
	"strings"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/edicttest"
)

// dialClient begins to dial, if there are not too many connections.
func (s *simulation) dialClient() action {
	open := 0
	for _, l := range s.links {
		if l.open() {
			open++
		}
	}
	if open >= 2 || len(s.links) >= 8 || s.draining && !s.one(10) {
		return action{}
	}
	l := &link{
		s: s, number: len(s.links), calls: map[core.Sequence]*call{}, slots: map[uint32]*call{},
		maxInFlight: s.config.maxInFlight, window: s.config.window,
	}
	config := edict.ClientConfig{Name: fmt.Sprint(l.number), MaxFrame: s.config.maxFrame, Window: l.window, WriteTimeout: writeTimeout, KeepaliveInterval: -1}
	if s.one(3) {
		config.MaxInFlight = 2
		l.maxInFlight = min(l.maxInFlight, 2)
	}
	var compressions []edict.Compression
	if s.full {
		compressions, config.CompressionThreshold = s.drawCompressions(), s.drawThreshold()
		l.compression = s.agreed(compressions)
	}
	return action{name: fmt.Sprintf("dial %d", l.number), claims: "dial", do: func() {
		s.links = append(s.links, l)
		ctx, cancel := context.WithCancel(context.Background())
		l.giveUp = cancel
		l.shared = newContext(time.Time{}, s.one(2))
		dial := tapDial(s.network.Dialer("server"), func(t *tap) { l.near = t })
		l.dial = s.run(fmt.Sprint("Dial ", l.number), func() error {
			client, err := edict.Dial(ctx, "simulation", s.commands(), config,
				edict.WithDialer(dial), edict.WithBudget(s.budget), edict.WithCompression(compressions...), edict.WithCodecs(plain{"c"}, plain{"a"}, plain{"b"}))
			looked.Load()
			if err == nil {
				l.client = client
			}
			return err
		})
		synctest.Wait()
		if all := s.network.Connections(); l.near != nil && len(all) > 0 {
			l.connection = all[len(all)-1]
		}
		select {
		case l.far = <-s.accepted:
		default:
		}
	}}
}

// open reports whether the link is dialling or its client lives.
func (l *link) open() bool { return !l.dial.ended || l.alive() }

// pickLink draws one of the links that are usable, nil if none is.
func (s *simulation) pickLink(usable func(*link) bool) *link {
	var candidates []*link
	for _, l := range s.links {
		if usable(l) {
			candidates = append(candidates, l)
		}
	}
	if len(candidates) == 0 {
		return nil
	}
	return pick(s, candidates...)
}

// pickCall draws one of the calls that are usable, nil if none is.
func (s *simulation) pickCall(usable func(*call) bool) *call {
	var candidates []*call
	for _, c := range s.calls {
		if usable(c) {
			candidates = append(candidates, c)
		}
	}
	if len(candidates) == 0 {
		return nil
	}
	return pick(s, candidates...)
}

// startCall starts a call of one of many kinds, also on a client that has ended, now and then.
func (s *simulation) startCall() action {
	l := s.pickLink(func(l *link) bool { return l.client != nil && (l.alive() || s.one(200)) })
	if l == nil {
		return action{}
	}
	going := 0
	for _, c := range s.calls {
		if c.link == l && !c.over {
			going++
		}
	}
	if going >= l.maxInFlight+3 || l.crowded() {
		return action{}
	}
	c := &call{
		id: len(s.calls), link: l, how: manner(s.random.IntN(7)), next: make(chan bool),
		ctx: context.Background(), bulk: s.one(5),
	}
	if c.how != byBare {
		c.size = s.size()
		switch s.random.IntN(30) {
		case 0:
			c.fault = unencodable
		case 1:
			c.fault = undecodable
		}
	}
	if s.full && c.how != byBare && s.random.IntN(4) < s.config.inTurn {
		c.inTurn, c.key = true, s.random.IntN(s.config.keys)
	}
	kind := s.random.IntN(8)
	if l.warm && s.one(2) {
		kind = 1
	}
	if kind == 1 && c.inTurn && !s.racing {
		kind = 4 // of those that wait for their turn the server would refuse several at once
	}
	if kind == 1 && c.observes() && !s.racing {
		kind = 4 // the invocation and the client would both hear of the context's end, in any order
	}
	limit := time.Duration(0)
	if kind >= 5 {
		limit = pick(s, time.Millisecond, 20*time.Millisecond, 300*time.Millisecond, 5*time.Second)
		if s.one(12) {
			limit = -time.Second
		}
		limit += time.Duration(c.id) * 3 // no two of them tie
	}
	functionsFirst := s.one(2) && limit == 0 // see cancelCall
	name := fmt.Sprintf("start %v on %d, %d bytes, fault %d, context %d %v", c, l.number, c.size, c.fault, kind, limit)
	if c.inTurn {
		name += fmt.Sprintf(", key %d", c.key)
	}
	return action{name: name, claims: "start", do: func() {
		c.born, c.bornStep = time.Now(), s.step
		switch {
		case kind == 0: // no end
		case kind == 1:
			c.shared, c.ctx = true, l.shared
		default:
			deadline := time.Time{}
			if limit != 0 {
				deadline = c.born.Add(limit)
			}
			if kind == 2 {
				c.cause = fmt.Errorf("cause %d", c.id)
			}
			c.own = newContext(deadline, functionsFirst)
			c.ctx = c.own
		}
		s.calls = append(s.calls, c)
		if s.racing {
			go c.live()
			return
		}
		before, blocked := l.near.writes, l.near.writing
		go c.live()
		synctest.Wait()
		if blocked && l.near.writing && l.near.writes == before && c.started {
			c.behind = before
		}
	}}
}

// fragment is the size from which messages are sent in parts.
const fragment = 128 << 10

// size draws the size of a letter's text.
func (s *simulation) size() int {
	if !s.one(s.config.large) {
		if len(s.config.compressions) > 0 && s.one(3) {
			return pick(s, 300, 1500, 5000)
		}
		return pick(s, 0, 0, 1, 10, 100, 500)
	}
	limit := s.config.maxFrame
	if s.one(4) {
		return limit + 10
	}
	if limit > fragment && s.one(2) {
		return pick(s, fragment-letterHead, fragment-letterHead+1, 2*fragment, limit-letterHead)
	}
	return pick(s, core.LargeBody-letterHead-1, core.LargeBody-letterHead, 40_000, 64<<10-letterHead)
}

// orderRun lets a command do something.
func (s *simulation) orderRun() action {
	c := s.pickCall(func(c *call) bool {
		r := s.lab.runs[c.id]
		return r != nil && r.state == resting
	})
	if c == nil {
		return action{}
	}
	return s.order(c, s.drawOrder(c))
}

// drawOrder draws what a command is to do.
func (s *simulation) drawOrder(c *call) order {
	o := order{kind: orderFinish, size: s.size()}
	if c.how == byBare {
		o.size = 0
	}
	n := s.random.IntN(20)
	switch {
	case c.how == byDuplex && n < 8:
		o.kind = orderTake
	case c.how.stream() && n < 13:
		o.kind = orderSend
	case n == 19:
		o.kind = orderPanic
	case n == 18:
		o.kind = orderExit
	case n == 17:
		o.kind = orderFail
	case n == 16:
		o.kind = orderBreak
	case n == 15 && s.lab.runs[c.id].ctx.Err() != nil:
		o.kind = orderHeed
	}
	if c.how != byBare && s.one(40) {
		o.fault = pick(s, unencodable, undecodable)
	}
	return o
}

func (s *simulation) order(c *call, o order) action {
	r := s.lab.runs[c.id]
	name := fmt.Sprintf("order %v to %v, %d bytes, fault %d", c, o.kind, o.size, o.fault)
	return action{name: name, claims: r, do: func() { r.orders <- o }}
}

// feedInput lets a caller send an input, or the end of them.
func (s *simulation) feedInput() action {
	c := s.pickCall((*call).mayFeed)
	if c == nil || c.link.crowded() {
		return action{}
	}
	if s.one(8) {
		return s.endInputs(c)
	}
	input := letter{Call: c.id, Index: len(c.fed), Size: s.size()}
	if s.one(20) {
		input.Fault = unencodable
	}
	name := fmt.Sprintf("%v sends an input, %d bytes, fault %d", c, input.Size, input.Fault)
	return action{name: name, claims: c.feeds, do: func() { c.feeds <- input }}
}

func (s *simulation) endInputs(c *call) action {
	return action{name: fmt.Sprintf("%v sends the end of its inputs", c), claims: c.feeds, do: func() { c.feeds <- letter{Index: -1} }}
}

// mayFeed reports whether the call's caller may send an input.
func (c *call) mayFeed() bool {
	return c.feeds != nil && !c.feeding && !c.feedEnd && !c.feedOver && !c.over
}

// letTake lets a caller take a result.
func (s *simulation) letTake() action {
	c := s.pickCall((*call).waitsForDriver)
	if c == nil {
		return action{}
	}
	return s.take(c)
}

func (s *simulation) take(c *call) action {
	return action{name: fmt.Sprintf("%v takes", c), claims: c.next, do: func() { c.next <- true }}
}

// waitsForDriver reports whether the call's caller is between two results.
func (c *call) waitsForDriver() bool { return !c.over && !c.inside }

// letLeave lets a caller take no more.
func (s *simulation) letLeave() action {
	c := s.pickCall((*call).waitsForDriver)
	if c == nil {
		return action{}
	}
	return action{name: fmt.Sprintf("%v leaves", c), claims: c.next, do: func() {
		c.canceled = true
		c.next <- false
	}}
}

// cancelCall ends a call's context, or cancels its invocation.
func (s *simulation) cancelCall() action {
	c := s.pickCall(func(c *call) bool {
		return !c.over && !c.canceled && !c.shared && (c.own != nil || c.invocation != nil)
	})
	if c == nil {
		return action{}
	}
	if c.observes() && c.inside && c.link.room(edicttest.ToServer) < 2*cancelRoom {
		return action{} // it may be cancelled twice, by its invocation and by its caller
	}
	if c.invocation != nil && (c.own == nil || s.one(2)) {
		return action{name: fmt.Sprintf("cancel the invocation of %v", c), do: func() {
			c.canceled, c.invoked = true, true
			c.invocation()
		}}
	}
	return action{name: fmt.Sprintf("cancel %v", c), do: func() {
		c.canceled = true
		c.own.end(context.Canceled, c.cause, s.settle)
	}}
}

// endShared ends the context that many calls of a client share.
func (s *simulation) endShared() action {
	l := s.pickLink(func(l *link) bool {
		return l.alive() && l.shared.Err() == nil && !l.starting() && l.room(edicttest.ToServer) >= 2*cancelRoom*len(s.calls)
	})
	if l == nil {
		return action{}
	}
	return action{name: fmt.Sprintf("end the context that calls of %d share", l.number), claims: alone, do: func() {
		for _, c := range s.calls {
			if c.link == l && c.shared && !c.over {
				c.canceled = true
			}
		}
		l.shared.end(context.Canceled, nil, synctest.Wait)
	}}
}

// warmUp lets the client see the shared context so often in a row that it watches that for all its calls
// (core/watch.go). The calls are refused before they are sent, so that they leave no other trace.
func (s *simulation) warmUp() action {
	l := s.pickLink(func(l *link) bool {
		return l.alive() && l.shared.Err() == nil && !l.warm && !l.shutting && !l.goAwayRead && l.client.InFlight() < l.maxInFlight && !l.starting()
	})
	if l == nil {
		return action{}
	}
	tooLong := edict.Metadata{"long": {strings.Repeat("x", core.MaxMetadataBytes)}}
	return action{name: fmt.Sprintf("let client %d watch its shared context", l.number), claims: alone, do: func() {
		l.warm = true
		for range 70 {
			_, err := l.client.Start(l.shared, edict.Request[*lab]{Command: bare{}, Options: &edict.RequestOptions{Metadata: tooLong}})
			if edict.CodeOf(err) != edict.ResourceExhausted || edict.OutcomeOf(err) != edict.NotSent {
				s.violated("a call with too much metadata ended with %v", err)
			}
		}
	}}
}

// crowded reports whether somebody on the client's side waits, in a seed in which that may be for room in the
// connection's queue. When there is room all who wait for it are woken at once, and it would depend on
// goroutines who is first; so there is one of them at a time.
func (l *link) crowded() bool {
	if !l.s.config.heavy && l.s.config.maxFrame <= 64<<10 {
		return false
	}
	for _, c := range l.s.calls {
		if c.link == l && (c.inside && !c.started || c.feeding) {
			return true
		}
	}
	return false
}

// starting reports whether a Start of the client waits.
func (l *link) starting() bool {
	for _, c := range l.s.calls {
		if c.link == l && c.inside && !c.started {
			return true
		}
	}
	return false
}

// tick lets time pass.
func (s *simulation) tick() action {
	d := pick(s, 300*time.Microsecond, 2*time.Millisecond, 20*time.Millisecond, 300*time.Millisecond, time.Second, 3*time.Second)
	if !s.config.patient && s.one(6) {
		d = pick(s, 6*time.Second, 16*time.Second)
	}
	for _, l := range s.links {
		writing := l.near != nil && l.far != nil && (l.near.writing || l.far.writing)
		l.starved = l.starved || writing && d >= 300*time.Millisecond || d >= writeTimeout
	}
	return action{name: fmt.Sprintf("%v pass", d), claims: alone, do: func() { time.Sleep(d) }}
}

// cutLink cuts a connection.
func (s *simulation) cutLink() action {
	l := s.pickLink(func(l *link) bool { return l.open() && l.connection != nil })
	if l == nil || s.config.patient && !s.one(3) {
		return action{}
	}
	return action{name: fmt.Sprintf("cut %d", l.number), do: l.sever}
}

func (l *link) sever() {
	l.s.counted.cuts++
	l.cut = true
	l.connection.Cut()
}

// endClient closes a client, or shuts it down, or gives up dialling.
func (s *simulation) endClient() action {
	l := s.pickLink((*link).open)
	switch {
	case l == nil:
		return action{}
	case l.client == nil:
		return action{name: fmt.Sprintf("give up dialling %d", l.number), do: l.giveUp}
	case s.one(2):
		return action{name: fmt.Sprintf("close client %d", l.number), do: l.close}
	}
	return action{name: fmt.Sprintf("shut client %d down", l.number), do: l.shutDown}
}

func (l *link) close() {
	l.closing = true
	l.s.run(fmt.Sprint("client Close ", l.number), func() error {
		if err := l.client.Close(); err != nil {
			return err
		}
		return l.near.unused()
	})
}

func (l *link) shutDown() {
	l.shutting, l.closing = true, true
	ctx, cancel := context.WithCancel(context.Background())
	o := l.s.run(fmt.Sprint("client Shutdown ", l.number), func() error { return l.client.Shutdown(ctx) })
	o.cancel = cancel
}

// endServer closes the server or shuts it down.
func (s *simulation) endServer() action {
	if s.config.patient && !s.one(3) {
		return action{}
	}
	if s.one(4) {
		return action{name: "close the server", do: s.closeServer}
	}
	return action{name: "shut the server down", do: s.shutServerDown}
}

func (s *simulation) closeServer() {
	s.draining, s.hasty = true, true
	s.run("server Close", s.server.Close)
}

func (s *simulation) shutServerDown() {
	s.counted.drains++
	s.draining = true
	ctx, cancel := context.WithCancel(context.Background())
	var ends []*tap
	for _, l := range s.links {
		if l.far != nil {
			ends = append(ends, l.far)
		}
	}
	o := s.run("server Shutdown", func() error {
		if err := s.server.Shutdown(ctx); err != nil {
			return err
		}
		for _, end := range ends {
			if err := end.unused(); err != nil {
				return err
			}
		}
		return nil
	})
	o.cancel, o.drains = cancel, true
}

// cancelJob ends the context of a Shutdown.
func (s *simulation) cancelJob() action {
	for _, o := range s.jobs {
		if !o.ended && o.cancel != nil {
			return action{name: "end the context of " + o.name, do: func() {
				s.hasty = s.hasty || o.drains
				o.ceased = true
				o.cancel()
			}}
		}
	}
	return action{}
}

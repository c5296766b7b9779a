package simulation

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/edicttest"
	"github.com/edict-go/edict/journal"
)

// In a lasting life clients and server have WithResume: a client goes over many connections of the network, one after
// the other, which the driver breaks as it likes. It decides also when a client may dial again, and whether it
// succeeds, so that the random pause before that doesn't matter. A server may be shut down, closed or killed, and
// started again; with a journal it remembers. There may be thieves; see thief_test.go.
//
// The model does not look into the frames. It knows the stream of bytes of each session, whichever connections that
// went over (see stream_test.go), and what callers and commands have lived through.
type lasting struct {
	*simulation
	ttl        time.Duration
	journals   bool
	restarts   bool // the server ends now and then, and is started again
	thieves    int  // that are still to come
	large      bool
	keepalive  time.Duration
	path       string // of the journal's file
	journal    *journal.Journal
	mortal     *mortal
	ended      sync.Map // the commands of whose end the journal knows
	up         bool     // the server listens
	generation int      // how many servers there were
	serving    []*operation
	servers    []*edict.Server
	guests     []*guest
	hops       []*hop
	sessions   map[string]*session // that the model knows, by ID; the last one of each
}

// guest is a client, and where it is.
type guest struct {
	*link
	number     int
	dialing    atomic.Bool         // it waits for the driver to let it dial
	verdicts   chan bool           // whether it may
	reached    atomic.Pointer[tap] // what the last dial has led to
	present    *hop
	session    *session // that it had last; nil before the first WELCOME
	mayLose    string   // why its session may be lost, empty if there is no reason
	lossStep   int      // the last step in which its session was lost, or might be
	unsettled  *hop     // whose WELCOME with a new session the client has not read yet, of this server:
	generation int
	stolen     bool // a thief has shown a secret that was good
	closed     bool // by the driver
}

// hop is one connection of the network.
type hop struct {
	guest      *guest
	connection *edicttest.Connection
	near, far  *tap
	delivered  [2]int
	vanished   bool
	cut        bool
	thief      bool
	repeats    bool // everything that somebody has said
	over       bool // the server had closed it before this step

	welcomed     bool
	session      *session
	hello        greeting
	since        time.Time // when the session was resumed on it
	heads        [2]int    // by direction of the writer: the bytes of preface and first frame that don't count
	base         [2]int    // the position in the session's stream of what follows
	acknowledged [2]bool   // by direction of the ACK
	checked      [2]int    // how much of what was written the model has seen
}

// beginLasting makes the network and the server of a lasting life.
func (s *simulation) beginLasting(kind life) {
	s.full = true
	l := &lasting{simulation: s, ttl: 100 * time.Hour, sessions: map[string]*session{}}
	s.lasting = l
	s.config = settings{
		maxFrame:          64 << 10,
		maxInFlight:       pick(s, 1, 2, 3, 3, 5),
		maxInFlightServer: pick(s, 4, 100),
		window:            pick(s, 1, 300, 1000, 100_000),
		buffer:            pick(s, 50, 300, 2000, 256<<10, 256<<10),
		steps:             100 + s.random.IntN(200),
		large:             40,
		keys:              3, inTurn: pick(s, 0, 1),
	}
	if s.one(6) {
		l.large, s.config.maxFrame, s.config.large, s.config.window = true, 400<<10, 3, 100_000
		s.config.buffer = pick(s, 10_000, 256<<10)
	}
	if l.journals = kind.journal; l.journals || s.one(3) {
		l.restarts = true
	} else if s.one(3) {
		l.ttl = 30*time.Second + 7
	}
	if s.one(2) {
		l.keepalive = 20 * time.Second
	}
	if s.one(3) {
		l.thieves = 3
	}
	s.network = edicttest.New(edicttest.Config{Manual: true, Seed: s.seed, Link: edicttest.Link{Buffer: s.config.buffer}})
	s.budget = edict.NewBudget(1 << 30)
	s.calmShare = 0
	if l.journals {
		l.path = filepath.Join(s.t.TempDir(), "journal")
	}
	l.startServer()
	synctest.Wait()
}

// startServer lets a server listen, with the journal of the one before.
func (l *lasting) startServer() {
	listener, err := l.network.Listen("server")
	if err != nil {
		l.violated("the address is not free: %v", err)
	}
	resume := edict.Resume{Bytes: 1, TTL: l.ttl}
	if l.journals {
		if l.journal == nil {
			if l.journal, err = journal.Open(l.path, journal.Config{NoSync: true}); err != nil {
				l.violated("%v", err)
			}
		}
		l.mortal = &mortal{Journal: l.journal, ended: &l.ended}
		resume.Journal = l.mortal
	}
	keepalive := l.keepalive
	if keepalive == 0 {
		keepalive = -1
	}
	server := edict.NewServer(l.lab, fullCommands,
		edict.ServerConfig{
			Name: "server", MaxFrame: l.config.maxFrame, MaxInFlight: l.config.maxInFlight, MaxInFlightServer: l.config.maxInFlightServer,
			Window: l.config.window, IdleWorkers: 2, WriteTimeout: writeTimeout, FrameTimeout: 100 * time.Hour,
			KeepaliveInterval: keepalive, KeepaliveTimeout: 5*time.Second + 3,
		},
		edict.WithResume(resume), edict.WithBudget(l.budget), edict.WithCodecs(plain{"b"}), edict.WithLogger(slog.New(slog.DiscardHandler)))
	l.simulation.server = server
	l.servers = append(l.servers, server)
	l.up, l.draining = true, false
	l.generation++
	l.serving = append(l.serving, l.run(fmt.Sprint("Serve ", l.generation), func() error {
		return server.Serve(tapListener{Listener: listener, accepted: l.accepted, keeps: true})
	}))
}

// choose draws the next step.
func (l *lasting) choose() action {
	for {
		n := l.random.IntN(1000)
		var a action
		switch {
		case n < 440:
			a = l.deliver()
		case n < 530:
			a = l.startCall()
		case n < 680:
			a = l.orderRun()
		case n < 720:
			a = l.feedInput()
		case n < 800:
			a = l.letTake()
		case n < 815:
			a = l.cancelCall()
		case n < 823:
			a = l.letLeave()
		case n < 850:
			a = l.tick()
		case n < 890:
			a = l.letDial(true)
		case n < 897:
			a = l.letDial(false)
		case n < 917:
			a = l.cut()
		case n < 921:
			a = l.vanish()
		case n < 924:
			a = l.endGuest()
		case n < 944:
			a = l.newGuest()
		case n < 950:
			a = l.endServer()
		case n < 985:
			a = l.restart()
		case n < 993:
			a = l.steal()
		default:
			a = l.cancelJob()
		}
		if a.do != nil {
			return a
		}
	}
}

// newGuest begins to dial a client.
func (l *lasting) newGuest() action {
	open := 0
	for _, g := range l.guests {
		if !g.closed {
			open++
		}
	}
	if open >= 2 || len(l.guests) >= 4 {
		return action{}
	}
	g := &guest{
		link: &link{
			s: l.simulation, number: len(l.guests), maxInFlight: l.config.maxInFlight, window: l.config.window,
			shared: newContext(time.Time{}, false),
		},
		number: len(l.guests), verdicts: make(chan bool),
	}
	keepalive := time.Duration(-1)
	if l.keepalive > 0 {
		keepalive = l.keepalive + time.Duration(g.number)*time.Second + 11
	}
	config := edict.ClientConfig{
		Name: fmt.Sprint(g.number), MaxFrame: l.config.maxFrame, Window: g.window, WriteTimeout: writeTimeout,
		FrameTimeout: 100 * time.Hour, KeepaliveInterval: keepalive, KeepaliveTimeout: 4*time.Second + 5,
	}
	return action{name: fmt.Sprintf("dial %d", g.number), do: func() {
		l.guests, l.links = append(l.guests, g), append(l.links, g.link)
		ctx, cancel := context.WithCancel(context.Background())
		g.giveUp = cancel
		g.link.dial = l.run(fmt.Sprint("Dial ", g.number), func() error {
			client, err := edict.NewClient("lasting", fullCommands, config, edict.WithDialer(g.dialNetwork),
				edict.WithResume(edict.Resume{Bytes: 1}), edict.WithReconnect(edict.Reconnect{Initial: 1, Max: 1, Timeout: 1000 * time.Hour}),
				edict.WithBudget(l.budget), edict.WithCodecs(plain{"b"}), edict.WithLogger(slog.New(slog.DiscardHandler)))
			looked.Load()
			if err == nil {
				g.client = client
			}
			_ = ctx
			return err
		})
	}}
}

// dialNetwork dials when the driver lets it.
func (g *guest) dialNetwork(ctx context.Context) (net.Conn, error) {
	looked.Load()
	g.dialing.Store(true)
	select {
	case succeeds := <-g.verdicts:
		looked.Load()
		g.dialing.Store(false)
		if !succeeds {
			return nil, syscall.ECONNREFUSED
		}
	case <-ctx.Done():
		looked.Load()
		g.dialing.Store(false)
		return nil, context.Cause(ctx)
	}
	conn, err := g.s.network.Dial(ctx, "server")
	looked.Load()
	if err != nil {
		return nil, err
	}
	t := &tap{Conn: conn}
	t.keep()
	g.reached.Store(t)
	return t, nil
}

// pickGuest draws one of the clients that are usable, nil if none is.
func (l *lasting) pickGuest(usable func(*guest) bool) *guest {
	var candidates []*guest
	for _, g := range l.guests {
		if usable(g) {
			candidates = append(candidates, g)
		}
	}
	if len(candidates) == 0 {
		return nil
	}
	return pick(l.simulation, candidates...)
}

// letDial lets a client that wants to connect do so, or fail.
func (l *lasting) letDial(succeeds bool) action {
	g := l.pickGuest(func(g *guest) bool { return g.dialing.Load() })
	if g == nil {
		return action{}
	}
	return l.dialNow(g, succeeds)
}

func (l *lasting) dialNow(g *guest, succeeds bool) action {
	return action{name: fmt.Sprintf("let %d dial, %v", g.number, succeeds), do: func() {
		g.reached.Store(nil)
		g.verdicts <- succeeds
		synctest.Wait()
		if near := g.reached.Load(); near != nil {
			l.connected(g, near)
		}
	}}
}

// connected notes a new connection.
func (l *lasting) connected(g *guest, near *tap) *hop {
	all := l.network.Connections()
	h := &hop{guest: g, near: near, connection: all[len(all)-1]}
	select {
	case h.far = <-l.accepted:
	default:
		l.violated("the server has not accepted a connection")
	}
	l.hops = append(l.hops, h)
	g.present = h
	return h
}

// moves reports whether something may be delivered on the hop.
func (h *hop) moves(d edicttest.Direction) bool {
	return !h.cut && !(h.near.closed && h.far.closed) && (h.connection.Pending(d) > 0 || h.connection.EndPending(d))
}

func (h *hop) writer(d edicttest.Direction) *tap {
	if d == edicttest.ToServer {
		return h.near
	}
	return h.far
}

func (h *hop) reader(d edicttest.Direction) *tap { return h.writer(1 - d) }

// deliver lets some bytes arrive: of one frame at most, so that at most one goroutine has something to do.
func (l *lasting) deliver() action {
	type way struct {
		h *hop
		d edicttest.Direction
	}
	var candidates []way
	for _, h := range l.hops {
		for _, d := range []edicttest.Direction{edicttest.ToServer, edicttest.ToClient} {
			if h.moves(d) {
				candidates = append(candidates, way{h, d})
			}
		}
	}
	if len(candidates) == 0 {
		return action{}
	}
	w := pick(l.simulation, candidates...)
	n := w.h.next(w.d)
	switch l.random.IntN(8) {
	case 0:
		n = min(n, 1)
	case 1:
		n = min(n, 1+l.random.IntN(max(1, n)))
	}
	return l.move(w.h, w.d, n)
}

// next returns how many bytes there are to the end of the frame that comes next.
func (h *hop) next(d edicttest.Direction) int {
	pending := h.connection.Pending(d)
	if h.reader(d).closed {
		return pending
	}
	for _, f := range h.writer(d).offered.frames {
		if f.end > h.delivered[d] {
			return f.end - h.delivered[d]
		}
	}
	return pending
}

func (l *lasting) move(h *hop, d edicttest.Direction, n int) action {
	return action{name: fmt.Sprintf("deliver on %d of %d %v, %d", h.connection.ID(), h.guest.number, d, n), do: func() {
		for until := h.delivered[d] + n; ; synctest.Wait() { // in parts, if the network takes less at a time
			moved := h.connection.Deliver(d, until-h.delivered[d])
			if h.delivered[d] += moved; moved == 0 || h.delivered[d] >= until {
				return
			}
		}
	}}
}

// cut cuts a connection, wherever its bytes are.
func (l *lasting) cut() action {
	h := l.pickHop(func(h *hop) bool { return true })
	if h == nil {
		return action{}
	}
	return l.sever(h)
}

func (l *lasting) sever(h *hop) action {
	return action{name: fmt.Sprintf("cut %d of %d", h.connection.ID(), h.guest.number), do: func() {
		l.counted.cuts++
		h.cut = true
		h.connection.Cut()
	}}
}

// vanish makes a connection half-open: one direction of it loses everything from now on.
func (l *lasting) vanish() action {
	h := l.pickHop(func(h *hop) bool { return !h.vanished })
	if h == nil {
		return action{}
	}
	d := edicttest.Direction(l.random.IntN(2))
	return action{name: fmt.Sprintf("%d of %d loses what goes %v", h.connection.ID(), h.guest.number, d), do: func() {
		h.vanished = true
		h.connection.Vanish(d)
	}}
}

// pickHop draws one of the connections that are open and usable.
func (l *lasting) pickHop(usable func(*hop) bool) *hop {
	var candidates []*hop
	for _, h := range l.hops {
		if !h.cut && !(h.near.closed && h.far.closed) && usable(h) {
			candidates = append(candidates, h)
		}
	}
	if len(candidates) == 0 {
		return nil
	}
	return pick(l.simulation, candidates...)
}

// startCall starts a call.
func (l *lasting) startCall() action {
	g := l.pickGuest(func(g *guest) bool { return g.client != nil && !g.closed })
	if g == nil {
		return action{}
	}
	going, waiting := 0, 0
	for _, c := range l.calls {
		if c.link == g.link && !c.over {
			going++
			if c.inside && !c.started {
				waiting++
			}
		}
	}
	if going >= g.maxInFlight+2 || waiting > 0 { // several would go on at once
		return action{}
	}
	c := &call{
		id: len(l.calls), link: g.link, how: manner(l.random.IntN(7)), next: make(chan bool), ctx: context.Background(), bulk: l.one(5),
	}
	if c.how != byBare {
		c.size = l.size()
		switch l.random.IntN(60) {
		case 0:
			c.fault = unencodable
		case 1:
			c.fault = undecodable
		}
		if l.random.IntN(4) < l.config.inTurn {
			c.inTurn, c.key = true, l.random.IntN(l.config.keys)
		}
	}
	kind := l.random.IntN(8)
	limit := time.Duration(0)
	if kind >= 6 {
		limit = pick(l.simulation, 20*time.Millisecond, 300*time.Millisecond, 5*time.Second, 40*time.Second) + time.Duration(c.id)*3
	}
	functionsFirst := l.one(2)
	name := fmt.Sprintf("start %v on %d, %d bytes, fault %d, context %d %v, key %d", c, g.number, c.size, c.fault, kind, limit, c.key)
	return action{name: name, do: func() {
		c.born, c.bornStep = time.Now(), l.step
		if kind > 2 {
			deadline := time.Time{}
			if limit != 0 {
				deadline = c.born.Add(limit)
				c.limited, c.deadline = true, deadline
			}
			if kind == 3 {
				c.cause = fmt.Errorf("cause %d", c.id)
			}
			c.own = newContext(deadline, functionsFirst)
			c.ctx = c.own
		}
		l.calls = append(l.calls, c)
		go c.live()
	}}
}

// cancelCall ends a call's context, or cancels its invocation.
func (l *lasting) cancelCall() action {
	c := l.pickCall(func(c *call) bool { return !c.over && !c.canceled && (c.own != nil || c.invocation != nil) })
	if c == nil {
		return action{}
	}
	if c.invocation != nil && (c.own == nil || l.one(2)) {
		return action{name: fmt.Sprintf("cancel the invocation of %v", c), do: func() {
			c.canceled, c.invoked = true, true
			c.invocation()
		}}
	}
	return action{name: fmt.Sprintf("cancel %v", c), do: func() {
		c.canceled = true
		c.own.end(context.Canceled, c.cause, l.settle)
	}}
}

// tick lets time pass.
func (l *lasting) tick() action {
	d := pick(l.simulation, 300*time.Microsecond, 20*time.Millisecond, time.Second, 3*time.Second)
	if l.one(4) {
		d = pick(l.simulation, 6*time.Second, 16*time.Second, 29*time.Second)
	}
	return action{name: fmt.Sprintf("%v pass", d), do: func() { time.Sleep(d) }}
}

// endGuest closes a client, or shuts it down.
func (l *lasting) endGuest() action {
	g := l.pickGuest(func(g *guest) bool { return g.client != nil && !g.closed })
	if g == nil {
		return action{}
	}
	if l.one(2) {
		return l.closeGuest(g)
	}
	return action{name: fmt.Sprintf("shut client %d down", g.number), do: func() {
		g.closed, g.shutting = true, true
		ctx, cancel := context.WithCancel(context.Background())
		l.run(fmt.Sprint("client Shutdown ", g.number), func() error { return g.client.Shutdown(ctx) }).cancel = cancel
	}}
}

func (l *lasting) closeGuest(g *guest) action {
	return action{name: fmt.Sprintf("close client %d", g.number), do: func() {
		g.closed, g.closing = true, true
		l.run(fmt.Sprint("client Close ", g.number), g.client.Close)
	}}
}

// endServer ends the server in one of three ways: it is shut down, closed, or killed.
func (l *lasting) endServer() action {
	if !l.up || !l.restarts {
		return action{}
	}
	switch {
	case l.journals && !l.one(4):
		return action{name: "kill the server", do: l.kill}
	case l.one(2):
		return action{name: "close the server", do: func() {
			l.serverEnds("the server was closed")
			server := l.simulation.server
			l.run("server Close", server.Close)
		}}
	}
	return action{name: "shut the server down", do: func() {
		l.counted.drains++
		l.draining = true
		l.serverEnds("the server was shut down")
		server := l.simulation.server
		ctx, cancel := context.WithCancel(context.Background())
		o := l.run("server Shutdown", func() error { return shutDown(ctx, server) })
		o.cancel, o.drains = cancel, true
	}}
}

// shutDown shuts a server down, and looks that nothing of it is left when that returns.
func shutDown(ctx context.Context, server *edict.Server) error {
	err := server.Shutdown(ctx)
	if err == nil && (server.InFlight() > 0 || server.Connections() > 0) {
		return errInUse
	}
	return err
}

// serverEnds notes that the sessions that there are end.
func (l *lasting) serverEnds(why string) {
	l.up = false
	for _, g := range l.guests {
		g.mayLose = why
	}
	for _, s := range l.sessions {
		s.mayEnd = true
	}
}

// kill ends the server as SIGKILL would: nothing that it does from now on is seen by anyone.
func (l *lasting) kill() {
	l.counted.kills++
	l.serverEnds("the server was killed")
	l.endProcess()
}

// endProcess ends all servers with a journal that there are: it belongs to the next one.
func (l *lasting) endProcess() {
	l.mortal.dead.Store(true)
	for _, r := range l.lab.runs { // while all of them wait: what is cut wakes them
		if r.state != over {
			r.killed = true
		}
	}
	for _, h := range l.hops {
		if !h.cut {
			h.cut = true
			h.connection.Cut()
		}
	}
	server := l.simulation.server
	l.run("server Close", server.Close)
}

// restart starts a server where one has ended.
func (l *lasting) restart() action {
	if l.up {
		return action{}
	}
	reopens := l.one(2)
	return action{name: fmt.Sprintf("start a server, %v", reopens), do: func() {
		if l.journals && !l.mortal.dead.Load() {
			l.endProcess()
			synctest.Wait()
		}
		if reopens && l.journals {
			if err := l.journal.Close(); err != nil {
				l.violated("the journal can't be closed: %v", err)
			}
			l.journal = nil
		}
		l.startServer()
	}}
}

// abandon is what lasting lives need more.
func (l *lasting) abandon() {
	for _, server := range l.servers {
		_ = server.Close()
	}
	for _, connection := range l.network.Connections() {
		connection.Cut()
	}
	if l.journal != nil {
		_ = l.journal.Close()
	}
}

// heal lets all that has begun come to its end.
func (l *lasting) heal() {
	try := func(moved *bool, a action) {
		if a.do != nil {
			*moved = true
			l.act(a)
		}
	}
	for rounds := 0; ; rounds++ {
		if rounds > 300 {
			l.violated("it does not come to an end")
		}
		moved := false
		for _, h := range l.hops {
			if (h.vanished || h.thief) && !h.cut && !(h.near.closed && h.far.closed) {
				try(&moved, l.sever(h))
			}
			for _, d := range []edicttest.Direction{edicttest.ToServer, edicttest.ToClient} {
				for h.moves(d) {
					try(&moved, l.move(h, d, h.next(d)))
				}
			}
		}
		try(&moved, l.restart())
		for _, g := range l.guests {
			if g.dialing.Load() && !g.closed {
				try(&moved, l.dialNow(g, true))
			}
		}
		for _, c := range l.calls {
			if r := l.lab.runs[c.id]; r != nil && r.state == resting {
				try(&moved, l.order(c, order{kind: orderFinish, size: c.id % 50}))
			}
			if c.mayFeed() {
				try(&moved, l.endInputs(c))
			}
			if c.waitsForDriver() {
				try(&moved, l.take(c))
			}
		}
		if !moved && !l.shutDownWaits() && !l.heldUp() {
			break
		}
	}
	for _, c := range l.calls {
		if !c.over {
			l.violated("%v does not end; %d commands are in flight on the server, %d on the client", c, l.simulation.server.InFlight(), c.link.client.InFlight())
		}
	}
}

// shutDownWaits lets a client that shuts down and can't connect any more give up.
func (l *lasting) shutDownWaits() bool {
	again := false
	for _, g := range l.guests {
		if g.shutting && !g.closing && g.alive() {
			l.act(l.closeGuest(g))
			again = true
		}
	}
	return again
}

// heldUp closes a client whose command waits for the turn of one whose client does not come back: that can't send its
// results, and waits until the server has given up its session.
func (l *lasting) heldUp() bool {
	for _, c := range l.calls {
		g := l.guests[c.link.number]
		if r := l.lab.runs[c.id]; r == nil || r.state == over || !g.closed && !g.stolen {
			continue
		}
		for _, g := range l.guests {
			if g.client != nil && !g.closed {
				l.act(l.closeGuest(g))
			}
		}
		return slices.ContainsFunc(l.calls, func(c *call) bool { return !c.over })
	}
	return false
}

// finish ends all clients and servers and checks that nothing is left.
func (l *lasting) finish() {
	for _, g := range l.guests {
		if g.client != nil && !g.closing {
			l.act(l.closeGuest(g))
		}
		g.giveUp()
	}
	for _, server := range l.servers {
		l.act(action{name: "shut a server down", do: func() {
			l.serverEnds("the server was shut down")
			l.draining = true
			l.run("server Shutdown", func() error { return shutDown(context.Background(), server) }).drains = true
		}})
	}
	l.exhaust()
	l.act(action{name: "a while passes", do: func() { time.Sleep(l.ttl + 10*time.Second) }})
	l.exhaust() // what waited for clients that do not come back
	l.act(action{name: "a while passes", do: func() { time.Sleep(10 * time.Second) }})
	for _, o := range slices.Concat(l.jobs, l.serving) {
		if !o.ended {
			l.violated("%s does not return", o.name)
		}
		if o.cancel != nil {
			o.cancel()
		}
	}
	for i, server := range l.servers {
		if server.Connections() != 0 || server.InFlight() != 0 {
			l.violated("server %d has %d connections and %d commands left", i+1, server.Connections(), server.InFlight())
		}
	}
	for _, c := range l.calls {
		if c.feeds != nil {
			close(c.feeds)
		}
	}
	for _, g := range l.guests {
		if g.client != nil && (g.alive() || g.client.InFlight() != 0) {
			l.violated("client %d goes on, %d in flight", g.number, g.client.InFlight())
		}
		if g.client != nil {
			stats := g.client.Stats()
			l.counted.resumed += int(stats.Resumed)
			l.counted.resent += int(stats.Resent)
		}
	}
	if used := l.budget.Used(); used != 0 {
		l.violated("%d bytes of the budget are in use at the end", used)
	}
	if l.journal != nil {
		if err := l.journal.Close(); err != nil {
			l.violated("%v", err)
		}
	}
	l.count()
	for _, r := range l.lab.runs {
		l.counted.inputs += len(r.taken)
	}
}

// exhaust delivers all there is and lets all commands end.
func (l *lasting) exhaust() {
	for again := true; again; {
		again = false
		for _, h := range l.hops {
			for _, d := range []edicttest.Direction{edicttest.ToServer, edicttest.ToClient} {
				for h.moves(d) {
					l.act(l.move(h, d, h.next(d)))
					again = true
				}
			}
		}
		for _, c := range l.calls {
			if r := l.lab.runs[c.id]; r != nil && r.state == resting {
				l.act(l.order(c, order{kind: orderFinish}))
				again = true
			}
		}
	}
}

package simulation

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/edicttest"
)

// settings are what a seed has chosen for all its life.
type settings struct {
	maxFrame          int
	maxInFlight       int // per connection
	maxInFlightServer int
	window            int
	buffer            int // of the network, per direction
	steps             int
	heavy             bool // there is more to write than is queued
	large             int  // one call in so many has a large body
	patient           bool
	keys              int                 // of commands in turn, the empty one included; 0 if there are no such commands
	inTurn            int                 // so many of 4 calls have one
	compressions      []edict.Compression // that the server has
	threshold         int                 // from which it compresses
	hostile           int                 // clients that are still to come
}

func (c settings) String() string {
	return fmt.Sprintf("%d in flight, %d on the server, window %d, buffer %d", c.maxInFlight, c.maxInFlightServer, c.window, c.buffer)
}

const writeTimeout = 7 * time.Second

// life is what there may be in the life of a seed.
type life struct {
	// racing: some steps are made at once; see race.
	racing bool
	// full: commands in turn, compression and hostile clients, as the seed chooses.
	full bool
	// tight: the budget is small; see budget_test.go. Such a life is a full one.
	tight bool
}

// simulation is the life of one seed. The driver's goroutine owns it.
type simulation struct {
	t        *testing.T
	seed     uint64
	random   *rand.Rand
	config   settings
	network  *edicttest.Network
	accepted chan *tap
	lab      *lab
	server   *edict.Server
	budget   *edict.Budget // of the server and all clients
	// calmShare is a quarter of the budget, which is taken from the start.
	calmShare int64
	served    *operation
	links     []*link
	calls     []*call
	jobs      []*operation // Shutdowns and Closes under way, and those that have ended

	draining bool // the server's Shutdown was called
	hasty    bool // its Close was, or Shutdown's context has ended
	racing   bool // some steps are made at once; see race
	full     bool // see life
	tight    bool // see life

	turns ordering

	step    int
	doing   string // what the step does
	story   []byte // all steps, and what came of them
	counted counts
}

// link is a connection, the client on it included.
type link struct {
	s           *simulation
	number      int
	connection  *edicttest.Connection
	near, far   *tap // the client's end, the server's
	maxInFlight int
	window      int
	dial        *operation
	giveUp      context.CancelFunc // of the dial
	client      *edict.Client[*lab]
	compression string         // that both sides must agree on; empty for none
	shared      *callerContext // which many of its calls have
	warm        bool           // shared was used often enough to be watched

	cut, closing, shutting bool
	starved                bool // time has passed while one of its writes had no room, or may have had none
	// Seen on the wire.
	goAwaySent, goAwayRead bool
	goAwayAt               time.Time
	accepted               int
	calls                  map[core.Sequence]*call
	slots                  map[uint32]*call // that the client has given to the network and the server has not ended
	told                   bool
	nearPing, farPing      time.Time // when the client and the server have sent PING last
}

// operation is a function that waits, running in a goroutine of its own.
type operation struct {
	name   string
	ended  bool
	err    error
	told   bool
	cancel context.CancelFunc // of its context, if it has one
	drains bool               // it is the server's Shutdown
	ceased bool               // its context was ended
}

// looked is for the race detector. That nothing moves orders what goroutines have written before what the
// driver reads; looked orders what the driver has read before what they write next: it adds, they load.
var looked atomic.Int64

// run lets a function that waits run until the driver looks at it.
func (s *simulation) run(name string, f func() error) *operation {
	o := &operation{name: name}
	s.jobs = append(s.jobs, o)
	go func() {
		err := f()
		looked.Load()
		o.err, o.ended = err, true
	}()
	return o
}

// violation is what a check throws; the driver catches it.
type violation struct{ text string }

func (s *simulation) violated(format string, arguments ...any) {
	panic(violation{fmt.Sprintf(format, arguments...)})
}

// note adds to the story.
func (s *simulation) note(format string, arguments ...any) {
	s.story = append(s.story, "    "...)
	s.story = fmt.Appendf(s.story, format, arguments...)
	s.story = append(s.story, '\n')
}

// live runs the life of a seed and returns the hash of its story. It must be called in a bubble.
func live(t *testing.T, seed uint64, kind life) (uint64, *simulation) {
	before := runtime.NumGoroutine()
	buffers.begin()
	s := &simulation{t: t, seed: seed, random: rand.New(rand.NewPCG(seed, 0)), accepted: make(chan *tap, 8), lab: newLab(), racing: kind.racing, full: kind.full || kind.tight, tight: kind.tight}
	s.begin()
	problem := s.guard(func() {
		for s.step < s.config.steps && !s.deserted() {
			if s.racing && s.one(2) {
				s.race()
			} else {
				s.act(s.choose())
			}
		}
		s.racing = false
		s.heal()
	})
	if problem == "" {
		problem = s.guard(s.finish)
	}
	if problem != "" {
		t.Errorf("%v\n%sseed %d, step %d (%s): %s", s.config, s.story, seed, s.step, s.doing, problem)
		s.abandon()
	}
	synctest.Wait()
	if problem == "" && runtime.NumGoroutine() > before {
		if left := inBubble(); len(left) > 0 {
			t.Errorf("%v\n%sseed %d: %d goroutines are left behind\n%s", s.config, s.story, seed, len(left), strings.Join(left, "\n\n"))
		}
	}
	if problems := buffers.end(slices.ContainsFunc(s.calls, func(c *call) bool { return c.left && c.how != byRange })); problem == "" && len(problems) > 0 {
		t.Errorf("%v\n%sseed %d: %s", s.config, s.story, seed, strings.Join(problems, "\n"))
	}
	hash := fnv.New64a()
	_, _ = hash.Write(s.story)
	return hash.Sum64(), s
}

// inBubble returns the stacks of the goroutines in this bubble, without those of package synctest and the caller's.
func inBubble() []string {
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	var left []string
	for i, stack := range strings.Split(string(stacks), "\n\n") {
		if i > 0 && strings.Contains(stack, ", synctest bubble ") && !strings.Contains(stack, "synctest.Test(") && !strings.Contains(stack, "testingSynctestTest(") {
			left = append(left, stack)
		}
	}
	return left
}

// settle waits until nothing moves, in the middle of a step; not if steps are made at once.
func (s *simulation) settle() {
	if !s.racing {
		synctest.Wait()
	}
}

// guard runs f and returns what it has found to be violated, if it has.
func (s *simulation) guard(f func()) (problem string) {
	defer func() {
		if cause := recover(); cause != nil {
			v, ok := cause.(violation)
			if !ok {
				panic(cause)
			}
			problem = v.text
		}
	}()
	f()
	return ""
}

// beginFull chooses what there is in full lives only.
func (s *simulation) beginFull() {
	s.config.keys, s.config.inTurn = 4, 1
	switch {
	case !s.one(2):
	case s.config.heavy:
		s.config.keys, s.config.inTurn = 3, 3
	default: // most wait for each other
		s.config.keys, s.config.inTurn = 3, 3
		s.config.maxInFlight, s.config.maxInFlightServer = 8, pick(s, 8, 100)
	}
	s.config.compressions, s.config.threshold = s.drawCompressions(), s.drawThreshold()
	s.config.hostile = pick(s, 0, 1, 2)
	if s.tight { // those would be refused for the budget's sake
		s.config.hostile, s.config.large = 0, pick(s, 2, 4)
	}
}

func (s *simulation) commands() *edict.Registry[*lab] {
	if s.full {
		return fullCommands
	}
	return commands
}

// pick draws one of some values.
func pick[V any](s *simulation, values ...V) V { return values[s.random.IntN(len(values))] }

// one reports true once in n times.
func (s *simulation) one(n int) bool { return s.random.IntN(n) == 0 }

// begin makes the network and the server, with settings that the seed chooses.
func (s *simulation) begin() {
	s.config = settings{
		maxFrame:          64 << 10,
		maxInFlight:       pick(s, 1, 2, 3, 3, 3, 5),
		maxInFlightServer: pick(s, 2, 4, 100),
		window:            pick(s, 1, 300, 300, 1000, 100_000),
		buffer:            pick(s, 50, 300, 2000, 256<<10, 256<<10),
		steps:             80 + s.random.IntN(160),
		large:             pick(s, 5, 15, 40),
		patient:           s.one(2),
	}
	if s.one(25) && !s.tight { // so many and large that what is queued for the network has no more room
		s.config.maxInFlight, s.config.maxInFlightServer, s.config.buffer, s.config.large = 24, 100, 2000, 1
		s.config.heavy = true
	}
	if s.one(10) && !s.tight { // so large that they are sent in parts
		s.config.maxFrame, s.config.large = 400<<10, 3
	}
	if s.full {
		s.beginFull()
	}
	s.network = edicttest.New(edicttest.Config{Manual: true, Seed: s.seed, Link: edicttest.Link{Buffer: s.config.buffer}})
	listener, err := s.network.Listen("server")
	if err != nil {
		s.t.Fatal(err)
	}
	s.budget = edict.NewBudget(s.drawBudget())
	s.calmShare = s.budget.Limit() / 4
	s.budget.NewAccount(0).Take(int(s.calmShare), core.ForWork) // so that nothing is kept that is not needed
	s.server = edict.NewServer(s.lab, s.commands(),
		edict.ServerConfig{
			Name: "server", MaxFrame: s.config.maxFrame, MaxInFlight: s.config.maxInFlight, MaxInFlightServer: s.config.maxInFlightServer,
			Window: s.config.window, CompressionThreshold: s.config.threshold, IdleWorkers: pick(s, 1, 2, 100), WriteTimeout: writeTimeout, KeepaliveInterval: -1, // see keepalive_test.go
		},
		edict.WithBudget(s.budget), edict.WithCompression(s.config.compressions...), edict.WithCodecs(plain{"b"}, plain{"a"}), edict.WithLogger(slog.New(slog.DiscardHandler)))
	s.served = s.run("Serve", func() error { return s.server.Serve(tapListener{listener, s.accepted}) })
	synctest.Wait()
}

// action is something that the driver may do: one step.
type action struct {
	name string
	do   func() // nil if there is nothing of the kind to be done
	// claims is what no other step at the same time may have to do with, nil if there is no such thing; see race.
	claims any
}

// alone is what an action claims that can't be done at the same time as any other.
const alone = "alone"

// act takes one step, waits until nothing moves, and looks what came of it.
func (s *simulation) act(a action) {
	s.step++
	if s.step > 5000 {
		s.violated("it does not come to an end")
	}
	s.doing = a.name
	s.story = fmt.Appendf(s.story, "%d %s\n", s.step, a.name)
	looked.Add(1)
	time.Sleep(time.Microsecond) // so that no two timers tie
	a.do()
	synctest.Wait()
	s.observe()
	s.tell()
}

// race takes some steps at once: they are chosen one after the other and done without waiting between
// them, so that they meet in any order. What came of them is checked as ever, but a seed has no longer one
// story only.
func (s *simulation) race() {
	var names []string
	var all []action
	for range 2 + s.random.IntN(3) {
		a := s.choose()
		taken := func(other action) bool { return a.claims != nil && a.claims == other.claims }
		if a.claims != alone && !slices.ContainsFunc(all, taken) {
			names, all = append(names, a.name), append(all, a)
		}
	}
	if len(all) == 0 {
		return
	}
	s.act(action{name: strings.Join(names, " + "), do: func() {
		for _, i := range s.random.Perm(len(all)) {
			all[i].do()
		}
	}})
}

// tell adds what has changed to the story.
func (s *simulation) tell() {
	for _, c := range s.calls {
		if v := c.view(); v != c.seen {
			s.note("%v: %v", c, v)
			c.seen = v
		}
		if r := s.lab.runs[c.id]; r != nil {
			if v := r.view(); v != r.seen {
				s.note("run %d: %v", c.id, v)
				r.seen = v
			}
		}
	}
	for _, l := range s.links {
		if l.client != nil && !l.alive() && !l.told {
			l.told = true
			// Not the whole text: when a connection is cut, reading and writing fail at once.
			s.note("client %d has ended: %v, closed %v", l.number, edict.CodeOf(l.client.Err()), errors.Is(l.client.Err(), edict.ErrClosed))
		}
	}
	for _, o := range s.jobs {
		if o.ended && !o.told {
			o.told = true
			// One whose context was ended may have come to its end just in time, or not.
			if code := edict.CodeOf(o.err); !o.ceased {
				s.note("%s: %v", o.name, code)
			}
		}
	}
}

// choose draws the next step.
func (s *simulation) choose() action {
	for {
		n := s.random.IntN(1000)
		if s.config.heavy && n < 300 {
			n = 500 // start more than is delivered
		}
		var a action
		switch {
		case s.full && s.one(50):
			a = s.attackServer()
		case n < 440:
			a = s.deliver(s.random.IntN(max(1, len(s.links))), edicttest.Direction(s.random.IntN(2)))
		case n < 540:
			a = s.startCall()
		case n < 760:
			a = s.orderRun()
		case n < 800:
			a = s.feedInput()
		case n < 890:
			a = s.letTake()
		case n < 915:
			a = s.cancelCall()
		case n < 925:
			a = s.letLeave()
		case n < 955:
			a = s.tick()
		case n < 978:
			a = s.dialClient()
		case n < 982:
			a = s.cutLink()
		case n < 986:
			a = s.endClient()
		case n < 989:
			a = s.endShared()
		case n < 993 && s.step > 60:
			a = s.endServer()
		case n < 996:
			a = s.warmUp()
		default:
			a = s.cancelJob()
		}
		if a.do != nil {
			return a
		}
	}
}

// deserted reports whether nothing more of interest can happen.
func (s *simulation) deserted() bool {
	return s.draining && s.pickLink((*link).open) == nil && s.one(5)
}

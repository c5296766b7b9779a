package group_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/edicttest"
	"github.com/edict-go/edict/group"
	"github.com/edict-go/edict/handler"
	"github.com/edict-go/edict/journal"
	"github.com/edict-go/edict/transport"
)

// mortal is a journal of a server that is killed: what it writes after that does not come to the file.
type mortal struct {
	edict.Journal
	dead  atomic.Bool
	ended chan edict.CommandID // those of whose end the file knows
}

func (m *mortal) End(id edict.CommandID, record *core.Record) error {
	if m.dead.Load() {
		return errors.New("killed")
	}
	err := m.Journal.End(id, record)
	m.ended <- id
	return err
}

// place is where servers with a journal serve, one after the other, over TCP and behind a proxy.
type place struct {
	t      *testing.T
	name   string
	proxy  *edicttest.Proxy
	target string
	marks  *marks

	server *edict.Server
	lab    *lab
	kept   *mortal
	served chan error
}

// placeAt starts a server. If kept is nil it has no journal.
func placeAt(t *testing.T, name string, marks *marks, kept edict.Journal) *place {
	p := &place{t: t, name: name, target: "tcp://127.0.0.1:0", marks: marks}
	p.start(kept)
	proxy, err := edicttest.NewProxy("tcp://127.0.0.1:0", p.target, edicttest.ProxyConfig{})
	if err != nil {
		t.Fatal(err)
	}
	p.proxy = proxy
	t.Cleanup(func() { _ = proxy.Close() })
	return p
}

func (p *place) start(kept edict.Journal) {
	p.t.Helper()
	var listener net.Listener
	until(p.t, "the port is free", func() bool {
		var err error
		listener, err = transport.Listen(p.t.Context(), p.target, nil)
		return err == nil
	})
	p.target = "tcp://" + listener.Addr().String()
	resume := edict.Resume{}
	if p.kept = nil; kept != nil {
		p.kept = &mortal{Journal: kept, ended: make(chan edict.CommandID, 1000)}
		resume.Journal = p.kept
	}
	p.lab = newLab(p.name)
	p.lab.marks = p.marks
	server, served := edict.NewServer(p.lab, labCommands, edict.WithResume(resume), edict.WithLogger(slog.New(slog.DiscardHandler))), make(chan error, 1)
	p.server, p.served = server, served
	go func() { served <- server.Serve(listener) }()
	p.t.Cleanup(func() {
		_ = server.Close()
		_ = server.Shutdown(context.Background())
	})
}

// kill ends the server as SIGKILL would.
func (p *place) kill() {
	if p.kept != nil {
		p.kept.dead.Store(true)
	}
	_ = p.server.Close()
	_ = p.server.Shutdown(context.Background())
	<-p.served
}

// deaf holds up what the server says on all connections from now on.
func (p *place) deaf() {
	for _, connection := range p.proxy.Connections() {
		connection.Stall(edicttest.ToClient)
	}
}

func (p *place) cut() {
	for _, connection := range p.proxy.Connections() {
		connection.Cut()
	}
}

func openJournal(t *testing.T) *journal.Journal {
	kept, err := journal.Open(filepath.Join(t.TempDir(), "journal"), journal.Config{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = kept.Close() })
	return kept
}

// forget forgets the IDs so far.
func (l *lab) forget() {
	for len(l.ids) > 0 {
		<-l.ids
	}
}

// first prefers the endpoints in the order of the list.
type first []string

func (f first) Pick(_ any, endpoints []*group.Endpoint) int {
	best := 0
	for i, e := range endpoints {
		if slices.Index(f, e.Address()) < slices.Index(f, endpoints[best].Address()) {
			best = i
		}
	}
	return best
}

// recorded dials a group whose clients resume, to places of which the first is preferred.
func recorded(t *testing.T, options []edict.DialOption, places ...*place) *group.Group[*lab] {
	t.Helper()
	var addresses []string
	for _, p := range places {
		addresses = append(addresses, p.proxy.Address())
	}
	options = append([]edict.DialOption{
		edict.WithResume(edict.Resume{}), edict.WithReconnect(edict.Reconnect{Initial: 5 * time.Millisecond, Max: 20 * time.Millisecond}),
	}, options...)
	g, err := group.Dial(t.Context(), labCommands, group.Config{
		Endpoints: group.Static(addresses...), Strategy: first(addresses), Logger: slog.New(slog.DiscardHandler),
		Retry: group.Retry{Initial: time.Millisecond, Max: 20 * time.Millisecond},
	}, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Close() })
	prefers(t, g, places...)
	return g
}

// prefers waits until commands go to the first of some places, and all of them are connected.
func prefers(t *testing.T, g *group.Group[*lab], places ...*place) {
	t.Helper()
	until(t, "all are ready", func() bool { return countReady(g) == len(places) })
	until(t, "the calls know", func() bool {
		name, err := edict.Call(t.Context(), g, read{}) // of which no journal knows
		return err == nil && name == places[0].name
	})
	for _, p := range places {
		p.lab.executed.Store(0)
	}
}

// answer is how a call has ended.
type answer[R any] struct {
	value R
	err   error
}

func later[R any](t *testing.T, sender edict.Sender[*lab], command edict.Command[*lab, R], options ...edict.CallOption) <-chan answer[R] {
	ended := make(chan answer[R], 1)
	go func() {
		value, err := edict.Call(t.Context(), sender, command, options...)
		ended <- answer[R]{value, err}
	}()
	return ended
}

func (m *marks) of(id int) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.counts[id]
}

// A server executes a command and is cut off before it can answer, for good. Another one, with the same journal, answers.
func TestAnotherServerAnswersFromTheJournal(t *testing.T) {
	for _, replaced := range []bool{true, false} {
		t.Run(fmt.Sprint("replaced ", replaced), func(t *testing.T) {
			var done marks
			kept := openJournal(t)
			one, two := placeAt(t, "one", &done, kept), placeAt(t, "two", &done, kept)
			three := placeAt(t, "three", &done, openJournal(t)) // which knows nothing
			var options []edict.DialOption
			if !replaced { // then clients find out in time that it is gone
				options = append(options, edict.WithReconnect(edict.Reconnect{Initial: time.Millisecond, Max: time.Millisecond, MaxAttempts: 3}))
			}
			g := recorded(t, options, one, three, two)
			one.deaf()
			marked := later(t, g, mark{ID: 1})
			<-one.kept.ended
			one.kill()
			if replaced { // by one that knows neither the session nor the command
				one.start(nil)
			}
			one.cut()
			if got := <-marked; got.value != 1 || got.err != nil {
				t.Error(got)
			}
			if n := done.of(1); n != 1 {
				t.Errorf("it was executed %d times", n)
			}
			if stats := g.Stats(); stats.Retries != 1 {
				t.Errorf("%d retries", stats.Retries)
			}
		})
	}
}

// The only one that knows is the server itself, when it is there again. The others are not asked.
func TestARestartedServerAnswersFromItsJournal(t *testing.T) {
	var done marks
	kept := openJournal(t)
	one, two := placeAt(t, "one", &done, kept), placeAt(t, "two", &done, openJournal(t))
	g := recorded(t, nil, one, two)
	one.deaf()
	marked, waiting := later(t, g, mark{ID: 1}), later(t, g, wait{})
	stream, err := edict.StartStream(t.Context(), g, report{To: 5})
	if err != nil {
		t.Fatal(err)
	}
	<-one.kept.ended
	<-one.kept.ended
	<-one.lab.started
	one.kill()
	one.cut()
	<-time.After(20 * time.Millisecond) // clients knock meanwhile
	select {
	case got := <-marked:
		t.Fatal("answered by nobody: ", got)
	default:
	}
	one.start(kept)
	one.cut()
	if got := <-marked; got.value != 1 || got.err != nil || done.of(1) != 1 {
		t.Errorf("%v, executed %d times", got, done.of(1))
	}
	for n := range 5 {
		if got, err := stream.Receive(); got != n || err != nil {
			t.Errorf("%d, %v, want %d", got, err, n)
		}
	}
	if _, err := stream.Receive(); err != io.EOF {
		t.Error(err)
	}
	got := <-waiting
	e, ok := errors.AsType[*core.Error](got.err)
	if !ok || e.Outcome != core.OutcomeUnknown || e.Reason != handler.ReasonCut || e.CommandID.Number == 0 {
		t.Errorf("%+v", got.err)
	}
	if n := two.lab.executed.Load(); n != 0 {
		t.Errorf("the other server has executed %d", n)
	}
}

// A stream goes on behind what the caller has taken.
func TestAStreamGoesOnElsewhere(t *testing.T) {
	var done marks
	kept := openJournal(t)
	one, two := placeAt(t, "one", &done, kept), placeAt(t, "two", &done, kept)
	g := recorded(t, nil, one, two)
	stream, err := edict.StartStream(t.Context(), g, report{To: 5, Hold: 2})
	if err != nil {
		t.Fatal(err)
	}
	receive := func(want int) {
		t.Helper()
		if n, err := stream.Receive(); n != want || err != nil {
			t.Fatalf("%d, %v, want %d", n, err, want)
		}
	}
	receive(0)
	receive(1)
	one.deaf()
	close(one.lab.release)
	<-one.kept.ended
	one.kill()
	one.start(nil)
	one.cut()
	for n := 2; n < 5; n++ {
		receive(n)
	}
	if _, err := stream.Receive(); err != io.EOF || done.of(5) != 1 {
		t.Errorf("%v; executed %d times", err, done.of(5))
	}
}

// A server that shuts down hands its journal on. What was on a connection that breaks meanwhile the next one answers.
func TestGoAwayThenCut(t *testing.T) {
	var done marks
	kept := openJournal(t)
	one := placeAt(t, "one", &done, kept)
	g := recorded(t, nil, one)
	waiting := later(t, g, wait{})
	<-one.lab.started
	old, oldLab, oldKept := one.server, one.lab, one.kept
	stopped := make(chan error, 1)
	go func() { stopped <- old.Shutdown(context.Background()) }()
	one.start(kept)
	until(t, "the client has heard of it, and gone to the next one", func() bool { return len(one.proxy.Connections()) == 2 && countReady(g) == 1 })
	before := one.proxy.Connections()[0]
	before.Stall(edicttest.ToClient)
	close(oldLab.release)
	<-oldKept.ended
	before.Cut()
	if got := <-waiting; got.value != "one" || got.err != nil {
		t.Error(got)
	}
	if n := oldLab.executed.Load() + one.lab.executed.Load(); n != 1 {
		t.Errorf("executed %d times", n)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// Who knows nothing is not waited for: the journal is gone, or the endpoint; and nobody waits beyond the context, nor who
// would not wait at all.
func TestNobodyKnowsAnyMore(t *testing.T) {
	for _, test := range []string{"another journal", "not listed", "context", "fail fast"} {
		t.Run(test, func(t *testing.T) {
			var done marks
			one, two := placeAt(t, "one", &done, openJournal(t)), placeAt(t, "two", &done, openJournal(t))
			addresses := []string{one.proxy.Address(), two.proxy.Address()}
			updates := make(chan []string, 2)
			updates <- addresses
			g, err := group.Dial(t.Context(), labCommands, group.Config{
				Endpoints: group.ResolverFunc(listed(updates)), Strategy: first(addresses), Logger: slog.New(slog.DiscardHandler),
			}, edict.WithResume(edict.Resume{}), edict.WithReconnect(edict.Reconnect{Initial: time.Millisecond, Max: time.Millisecond, MaxAttempts: 5}))
			if err != nil {
				t.Fatal(err)
			}
			defer g.Close()
			prefers(t, g, one, two)
			one.deaf()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := make(chan error, 1)
			var options []edict.CallOption
			if test == "fail fast" {
				options = append(options, edict.WithFailFast())
			}
			go func() {
				_, err := edict.Call(ctx, g, mark{ID: 1}, options...)
				ended <- err
			}()
			<-one.kept.ended
			one.kill()
			switch test {
			case "another journal":
				one.start(openJournal(t))
				one.cut()
			case "not listed":
				one.cut()
				updates <- addresses[1:]
			case "context":
				one.cut()
				until(t, "the client has given up", func() bool { return countReady(g) == 1 })
				cancel()
			case "fail fast":
				one.cut()
			}
			err = <-ended
			if e, ok := errors.AsType[*core.Error](err); !ok || e.Outcome != core.OutcomeUnknown || e.CommandID.Number == 0 || done.of(1) != 1 {
				t.Errorf("%+v; executed %d times", err, done.of(1))
			}
			if n := two.lab.executed.Load(); n != 0 || len(two.kept.ended) > 0 {
				t.Error("the other server was asked")
			}
		})
	}
}

// Attempts at a command that may be executed twice have one ID, also if the clients have interceptors.
func TestAttemptsHaveOneID(t *testing.T) {
	options := []edict.DialOption{edict.WithReconnect(edict.Reconnect{Initial: time.Millisecond, Max: time.Millisecond, MaxAttempts: 3})}
	t.Run("without interceptors", func(t *testing.T) { attemptsHaveOneID(t, options) })
	t.Run("with one", func(t *testing.T) {
		attemptsHaveOneID(t, append(options, edict.WithClientInterceptors(
			func(ctx context.Context, call *edict.ClientCall, next edict.ClientNext) (edict.Exchange, error) {
				return next(ctx, call)
			})))
	})
}

func attemptsHaveOneID(t *testing.T, options []edict.DialOption) {
	var done marks
	one, two := placeAt(t, "one", &done, openJournal(t)), placeAt(t, "two", &done, openJournal(t))
	g := recorded(t, options, one, two)
	one.lab.forget()
	two.lab.forget()
	one.deaf()
	read := later(t, g, read{})
	a := <-one.lab.ids
	one.kill()
	one.cut()
	if got := <-read; got.value != "two" || got.err != nil {
		t.Fatal(got)
	}
	if b := <-two.lab.ids; a != b || a.Number == 0 {
		t.Errorf("the IDs are %v and %v", a, b)
	}
	if stats := two.kept.Journal.(*journal.Journal).Stats(); stats.Commands != 0 {
		t.Errorf("what is idempotent is written down: %+v", stats)
	}
}

// So have hedges.
func TestHedgesHaveTheID(t *testing.T) {
	var done marks
	one, two := placeAt(t, "one", &done, openJournal(t)), placeAt(t, "two", &done, openJournal(t))
	addresses := []string{one.proxy.Address(), two.proxy.Address()}
	g, err := group.Dial(t.Context(), labCommands, group.Config{
		Endpoints: group.Static(addresses...), Strategy: first(addresses), Logger: slog.New(slog.DiscardHandler), Hedge: group.Hedge{Quantile: 0.95},
	}, edict.WithResume(edict.Resume{}))
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	prefers(t, g, one, two)
	for range 100 { // so that it knows how long it takes
		if _, err := edict.Call(t.Context(), g, read{}); err != nil {
			t.Fatal(err)
		}
	}
	one.deaf()
	one.lab.forget()
	two.lab.forget()
	if name, err := edict.Call(t.Context(), g, read{}); name != "two" || err != nil {
		t.Error(name, err)
	}
	if a, b := <-one.lab.ids, <-two.lab.ids; a != b || a.Number == 0 || g.Stats().HedgesWon == 0 {
		t.Errorf("the IDs are %v and %v; %+v", a, b, g.Stats())
	}
}

// Clients of a group that have identities of their own are no help to each other: the command is not sent to another one.
func TestAttemptsOfOtherIdentities(t *testing.T) {
	var done marks
	kept := openJournal(t)
	one, two := placeAt(t, "one", &done, kept), placeAt(t, "two", &done, kept)
	addresses := []string{one.proxy.Address(), two.proxy.Address()}
	g, err := group.New(func(address string) (group.Member[*lab], error) {
		return group.Clients(labCommands, edict.WithResume(edict.Resume{}), edict.WithReconnect(edict.Reconnect{Initial: time.Millisecond, Max: time.Millisecond}))(address)
	}, group.Config{Endpoints: group.Static(addresses...), Strategy: first(addresses), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	prefers(t, g, one, two)
	one.deaf()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := edict.Call(ctx, g, mark{ID: 1})
		ended <- err
	}()
	<-one.kept.ended
	one.kill()
	one.start(nil)
	one.cut()
	if err := <-ended; core.OutcomeOf(err) != core.OutcomeUnknown || done.of(1) != 1 || len(two.kept.ended) > 0 {
		t.Errorf("%v; executed %d times", err, done.of(1))
	}
}

// The journal forgets what the group's callers have the answers of, or do not want any more, and nothing that there may be
// two copies of.
func TestTheJournalForgetsWhatAGroupKnows(t *testing.T) {
	var done marks
	kept := openJournal(t)
	one, two := placeAt(t, "one", &done, kept), placeAt(t, "two", &done, kept)
	g := recorded(t, nil, one, two)
	one.deaf()
	marked := later(t, g, mark{ID: -1})
	copied := <-one.kept.ended
	one.kill()
	one.start(kept)
	one.cut()
	if got := <-marked; got.err != nil {
		t.Fatal(got)
	}
	var calls sync.WaitGroup
	for caller := range 4 {
		calls.Go(func() {
			for n := range 100 {
				if n%10 == 0 { // left early
					if stream, err := edict.StartStream(t.Context(), g, report{To: 50}); err == nil {
						_, _ = stream.Receive()
						stream.Cancel()
						_, _ = stream.Receive()
						continue
					}
				}
				if _, err := edict.Call(t.Context(), g, mark{ID: 100*caller + n}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	calls.Wait()
	until(t, "the journal has forgotten", func() bool { return kept.Stats().Commands < 2*64 })
	if record, err := kept.Begin(copied); record == nil || err != nil {
		t.Errorf("of the command that was sent twice is known %v, %v", record, err)
	}
}

// listed resolves to what is sent.
func listed(updates <-chan []string) func(context.Context) iter.Seq2[[]string, error] {
	return func(ctx context.Context) iter.Seq2[[]string, error] {
		return func(yield func([]string, error) bool) {
			for {
				select {
				case addresses := <-updates:
					if !yield(addresses, nil) {
						return
					}
				case <-ctx.Done():
					return
				}
			}
		}
	}
}

package edict_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/edicttest"
	"github.com/edict-go/edict/handler"
	"github.com/edict-go/edict/journal"
)

// resuming is a site whose connections can be resumed, and a client.
func resuming(t *testing.T, story func(t *testing.T, s *site)) {
	atEmptySite(t, func(t *testing.T, s *site) {
		s.options = []edict.ServerOption{edict.WithResume(edict.Resume{})}
		s.start()
		story(t, s)
	})
}

// converse has three calls at the same time: one result, a stream, inputs. All of it must come, once and in order,
// whatever happens to the connection.
func converse(t *testing.T, s *site, client *edict.Client[*lab]) {
	t.Helper()
	ctx := t.Context()
	before := s.lab.executed.Load()
	sum := later(client, ctx, add{2, 3})
	counted, err := edict.StartStream(ctx, client, count{To: 5})
	if err != nil {
		t.Fatal(err)
	}
	summing, err := edict.StartDuplex(ctx, client, sumUp{})
	if err != nil {
		t.Fatal(err)
	}
	for n := range 4 {
		if err := summing.Send(n); err != nil {
			t.Error(err)
		}
	}
	if err := summing.CloseSend(); err != nil {
		t.Error(err)
	}
	if got := <-sum; got.value != 5 || got.err != nil {
		t.Error(got)
	}
	for want := range 5 {
		if n, err := counted.Receive(); n != want || err != nil {
			t.Errorf("%d, %v, want %d", n, err, want)
		}
	}
	if _, err := counted.Receive(); err != io.EOF {
		t.Error(err)
	}
	if n, err := summing.Receive(); n != 6 || err != nil {
		t.Error(n, err)
	}
	if _, err := summing.Receive(); err != io.EOF {
		t.Error(err)
	}
	if got := s.lab.executed.Load() - before; got != 2 {
		t.Errorf("%d of the two commands that count were executed", got)
	}
}

func TestResumeAtEveryByte(t *testing.T) {
	for _, direction := range []edicttest.Direction{edicttest.ToServer, edicttest.ToClient} {
		t.Run(direction.String(), func(t *testing.T) {
			resumed := uint64(0)
			for n := int64(0); ; n++ {
				cut := false
				resuming(t, func(t *testing.T, s *site) {
					client := s.client(edict.WithResume(edict.Resume{}))
					first := s.network.Connections()[0]
					first.CutAfter(direction, edicttest.Bytes(n))
					converse(t, s, client)
					cut = len(s.network.Fired(edicttest.FaultCut)) > 0
					stats := client.Stats()
					if resumed += stats.Resumed; stats.Resumed > 1 || stats.Resent > 0 {
						t.Errorf("cut after %d bytes: %+v", n, stats)
					}
				})
				if t.Failed() {
					t.Fatalf("cut after %d bytes", n)
				}
				if !cut {
					break
				}
			}
			if resumed < 200 {
				t.Errorf("resumed %d times only", resumed)
			}
		})
	}
}

func TestResumeLarge(t *testing.T) {
	for _, direction := range []edicttest.Direction{edicttest.ToServer, edicttest.ToClient} {
		for n := int64(1); n < 3<<20; n += 237_717 {
			resuming(t, func(t *testing.T, s *site) {
				client := s.client(edict.WithResume(edict.Resume{Bytes: 1}))
				s.network.Connections()[0].CutAfter(direction, edicttest.Bytes(n))
				results := []<-chan result[string]{
					later(client, t.Context(), repeat{strings.Repeat("x", 700<<10), 1}),
					later(client, t.Context(), repeat{strings.Repeat("y", 1000), 900}),
					later(client, t.Context(), repeat{strings.Repeat("z", 40<<10), 2}),
				}
				for i, want := range []string{strings.Repeat("x", 700<<10), strings.Repeat("y", 900_000), strings.Repeat("z", 80<<10)} {
					if got := <-results[i]; got.value != want || got.err != nil {
						t.Errorf("%v: %d bytes instead of %d, %v", direction, len(got.value), len(want), got.err)
					}
				}
			})
			if t.Failed() {
				t.Fatalf("cut after %d bytes %v", n, direction)
			}
		}
	}
}

// A network that breaks every connection soon is survived as long as something comes through.
func TestResumeAgainAndAgain(t *testing.T) {
	resumed := uint64(0)
	edicttest.Seeds(t, 20, func(t *testing.T, seed uint64) {
		s := &site{t: t, lab: newLab(), network: edicttest.New(edicttest.Config{
			Seed: seed, Faults: edicttest.Faults{Cut: 1, Tear: 1}, Link: edicttest.Link{Latency: time.Millisecond, Jitter: time.Millisecond},
		})}
		s.options = []edict.ServerOption{edict.WithResume(edict.Resume{TTL: time.Hour})}
		s.start()
		client, err := edict.NewClient("site", labCommands, s.dialing([]edict.DialOption{edict.WithResume(edict.Resume{})})...)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		for range 20 {
			converse(t, s, client)
		}
		stats := client.Stats()
		if resumed += stats.Resumed; stats.Resent > 0 {
			t.Errorf("%+v", stats)
		}
	})
	if resumed == 0 {
		t.Error("nothing was resumed")
	}
}

// A client that does not come back in time, or to a server that does not know it, has calls that end with an Outcome.
func TestResumeTooLate(t *testing.T) {
	resuming(t, func(t *testing.T, s *site) {
		client := s.client(edict.WithResume(edict.Resume{}))
		held := later(client, t.Context(), wait{"held"})
		<-s.lab.started
		s.network.RefuseDials("site", true)
		s.network.Connections()[0].Cut()
		began := time.Now()
		if err := <-s.lab.canceled; err != context.Canceled || time.Since(began) != 30*time.Second {
			t.Errorf("the command ended with %v after %v", err, time.Since(began))
		}
		fresh := later(client, t.Context(), add{1, 2}) // queued, and never on its way
		failing := later(client, t.Context(), add{1, 3}, edict.WithFailFast())
		if got := <-failing; edict.CodeOf(got.err) != edict.Unavailable || edict.OutcomeOf(got.err) != edict.NotSent {
			t.Error(got.err)
		}
		s.network.RefuseDials("site", false)
		got := <-held
		if edict.OutcomeOf(got.err) != edict.OutcomeUnknown || edict.CodeOf(got.err) != edict.Unavailable ||
			!strings.Contains(fmt.Sprint(got.err), "the client was away for 30s") {
			t.Error(got.err)
		}
		if got := <-fresh; got.value != 3 || got.err != nil {
			t.Error(got)
		}
	})
}

// mortal is a journal of a server that is killed: what it writes after that does not come to the file.
type mortal struct {
	edict.Journal
	dead atomic.Bool
}

func (m *mortal) End(id edict.CommandID, record *core.Record) error {
	if m.dead.Load() {
		return errors.New("killed")
	}
	return m.Journal.End(id, record)
}

// startWithJournal starts a server with a journal, which kill ends as SIGKILL would.
func (s *site) startWithJournal(kept edict.Journal, more ...edict.ServerOption) (kill func()) {
	life := &mortal{Journal: kept}
	s.options = append(more, edict.WithResume(edict.Resume{Journal: life}))
	server := s.start()
	return func() {
		life.dead.Store(true)
		s.network.RefuseDials("site", true)
		for _, connection := range s.network.Connections() {
			connection.Cut()
		}
		_ = server.Close()
		if err := server.Shutdown(context.Background()); err != nil {
			s.t.Error(err)
		}
		s.network.RefuseDials("site", false)
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

// A server that is killed and started again answers what had ended, executes what was never begun, and says of the
// rest that nobody knows.
func TestJournal(t *testing.T) {
	atEmptySite(t, func(t *testing.T, s *site) {
		kept := openJournal(t)
		kill := s.startWithJournal(kept)
		client := s.client(edict.WithResume(edict.Resume{}))
		if n, err := edict.Call(t.Context(), client, add{1, 1}); n != 2 || err != nil {
			t.Fatal(n, err)
		}
		cut := later(client, t.Context(), wait{"cut"})
		<-s.lab.started
		// What comes back is held up, so the client does not hear of what ends from now on.
		s.network.Connections()[0].Stall(edicttest.ToClient)
		sum := later(client, t.Context(), add{2, 3})
		failed := later(client, t.Context(), fail{Code: edict.DataLoss, Text: "lost", Reason: "why"})
		stream, err := edict.StartStream(t.Context(), client, count{To: 5, Fail: true})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		executed := s.lab.executed.Load()
		kill()
		never := later(client, t.Context(), add{3, 4})
		s.startWithJournal(kept)

		if got := <-sum; got.value != 5 || got.err != nil {
			t.Error(got)
		}
		if got := <-never; got.value != 7 || got.err != nil {
			t.Error(got)
		}
		if got := <-failed; edict.CodeOf(got.err) != edict.DataLoss || edict.OutcomeOf(got.err) != edict.Executed || !errors.Is(got.err, &edict.Error{Code: edict.DataLoss, Reason: "why"}) {
			t.Error(got.err)
		}
		got := <-cut
		if e, ok := errors.AsType[*edict.Error](got.err); !ok || e.Outcome != edict.OutcomeUnknown || e.Reason != handler.ReasonCut {
			t.Error(got.err)
		}
		for want := range 5 {
			if n, err := stream.Receive(); n != want || err != nil {
				t.Errorf("%d, %v, want %d", n, err, want)
			}
		}
		if _, err := stream.Receive(); edict.CodeOf(err) != edict.DataLoss {
			t.Error(err)
		}
		if now := s.lab.executed.Load(); now != executed+1 { // never alone
			t.Errorf("%d commands were executed, and %d after the restart", executed, now-executed)
		}
	})
}

// texts streams texts of some sizes, as far as that is possible.
type texts struct{ Sizes []int }

func (c texts) Exec(_ context.Context, _ *lab, results edict.Sink[string]) error {
	for _, size := range c.Sizes {
		_ = results.Send(strings.Repeat("t", size)) // one that is too large
	}
	return nil
}

// A result that could not be sent is none, also when the command is answered once more.
func TestJournalKeepsWhatWasSent(t *testing.T) {
	atEmptySite(t, func(t *testing.T, s *site) {
		kept := openJournal(t)
		kill := s.startWithJournal(kept)
		client := s.client(edict.WithResume(edict.Resume{}), edict.ClientConfig{MaxFrame: 64 << 10})
		s.network.Connections()[0].Stall(edicttest.ToClient)
		stream, err := edict.StartStream(t.Context(), client, texts{[]int{10, 100 << 10, 20}})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		kill()
		s.startWithJournal(kept)
		for _, want := range []int{10, 20} {
			if text, err := stream.Receive(); len(text) != want || err != nil {
				t.Errorf("%d bytes, %v, want %d", len(text), err, want)
			}
		}
		if _, err := stream.Receive(); err != io.EOF {
			t.Error(err)
		}
	})
}

// A stream that is asked for once more, and refused by a server that shuts down, is asked for at the next one.
func TestAskedForTwiceMore(t *testing.T) {
	atEmptySite(t, func(t *testing.T, s *site) {
		kept := openJournal(t)
		kill := s.startWithJournal(kept)
		client := s.client(edict.WithResume(edict.Resume{}))
		s.network.Connections()[0].StallAfter(edicttest.ToClient, edicttest.Frames(1))
		stream, err := edict.StartStream(t.Context(), client, count{To: 3})
		if err != nil {
			t.Fatal(err)
		}
		if n, err := stream.Receive(); n != 0 || err != nil {
			t.Fatal(n, err)
		}
		synctest.Wait()
		kill()
		var stalls atomic.Bool
		stalls.Store(true)
		s.network.OnConnect(func(c *edicttest.Connection) {
			if stalls.Load() {
				c.StallAfter(edicttest.ToServer, edicttest.Frames(0))
			}
		})
		s.startWithJournal(kept)
		var rest []int
		ended := make(chan error, 1)
		go func() {
			for {
				n, err := stream.Receive()
				if err != nil {
					ended <- err
					return
				}
				rest = append(rest, n)
			}
		}()
		<-time.After(time.Minute) // the command is on its way
		stalls.Store(false)
		if err := s.server.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.startWithJournal(kept)
		if err := <-ended; err != io.EOF || len(rest) != 2 || rest[0] != 1 || rest[1] != 2 {
			t.Errorf("then came %v, and %v", rest, err)
		}
	})
}

// Results that the client has, the journal forgets.
func TestJournalForgets(t *testing.T) {
	atEmptySite(t, func(t *testing.T, s *site) {
		kept := openJournal(t)
		s.startWithJournal(kept)
		client := s.client(edict.WithResume(edict.Resume{}))
		for n := range 200 {
			if sum, err := edict.Call(t.Context(), client, add{n, 1}); sum != n+1 || err != nil {
				t.Fatal(sum, err)
			}
		}
		synctest.Wait()
		if stats := kept.Stats(); stats.Commands >= 64 {
			t.Errorf("%+v", stats)
		}
	})
}

func TestCommandID(t *testing.T) {
	atEmptySite(t, func(t *testing.T, s *site) {
		s.startWithJournal(openJournal(t))
		client := s.client(edict.WithResume(edict.Resume{}))
		ids := map[edict.CommandID]bool{}
		for range 2 {
			if _, err := edict.Call(t.Context(), client, peek{}); err != nil {
				t.Fatal(err)
			}
			id, ok := edict.CommandIDOf(<-s.lab.contexts)
			if !ok || id.Number == 0 || ids[id] {
				t.Error(id, ok)
			}
			ids[id] = true
		}
	})
	if _, ok := edict.CommandIDOf(t.Context()); ok {
		t.Error("a command without a server has an ID")
	}
}

// A server that shuts down with connections that can be resumed waits for commands, and for nobody else.
func TestShutdownOfResumable(t *testing.T) {
	for _, away := range []bool{false, true} {
		for _, busy := range []bool{false, true} {
			resuming(t, func(t *testing.T, s *site) {
				client := s.client(edict.WithResume(edict.Resume{}))
				if _, err := edict.Call(t.Context(), client, add{1, 2}); err != nil {
					t.Fatal(err)
				}
				var held <-chan result[string]
				if busy {
					held = later(client, t.Context(), wait{"held"})
					<-s.lab.started
				}
				if away {
					s.network.RefuseDials("site", true)
					s.network.Connections()[0].Cut()
					synctest.Wait()
				}
				began := time.Now()
				ended := make(chan error, 1)
				go func() { ended <- s.server.Shutdown(t.Context()) }()
				synctest.Wait()
				if busy {
					if len(ended) > 0 {
						t.Error("it did not wait for the command")
					}
					close(s.lab.release)
				}
				if err := <-ended; err != nil || time.Since(began) > 0 {
					t.Errorf("away %v, busy %v: %v, %v", away, busy, time.Since(began), err)
				}
				if busy && !away {
					if got := <-held; got.err != nil {
						t.Error(got.err)
					}
				}
			})
		}
	}
}

// A client of a server without the option works as if it had none itself, and the other way round.
func TestResumeIsAgreedOn(t *testing.T) {
	for _, onServer := range []bool{false, true} {
		atEmptySite(t, func(t *testing.T, s *site) {
			var options []edict.DialOption
			if onServer {
				s.options = []edict.ServerOption{edict.WithResume(edict.Resume{})}
			} else {
				options = append(options, edict.WithResume(edict.Resume{}))
			}
			s.start()
			client := s.client(options...)
			held := later(client, t.Context(), wait{"held"})
			<-s.lab.started
			s.network.Connections()[0].Cut()
			if err := <-s.lab.canceled; err != context.Canceled {
				t.Error(err)
			}
			if got := <-held; edict.OutcomeOf(got.err) != edict.OutcomeUnknown {
				t.Error(got.err)
			}
			if n, err := edict.Call(t.Context(), client, add{1, 2}); n != 3 || err != nil {
				t.Error(n, err)
			}
		})
	}
}

// A peer that vanishes without a word is noticed by keepalive, on both sides, and the calls go on when it is back.
func TestResumeAfterSilence(t *testing.T) {
	resuming(t, func(t *testing.T, s *site) {
		client := s.client(edict.WithResume(edict.Resume{}))
		held := later(client, t.Context(), wait{"held"})
		<-s.lab.started
		for _, direction := range []edicttest.Direction{edicttest.ToServer, edicttest.ToClient} {
			s.network.Connections()[0].Vanish(direction)
		}
		began := time.Now()
		for change := range client.Changes(t.Context()) {
			if change.To == edict.StateReconnecting {
				break
			}
		}
		if passed := time.Since(began); passed > 25*time.Second {
			t.Errorf("noticed after %v", passed)
		}
		close(s.lab.release)
		if got := <-held; got.value != "held" || got.err != nil {
			t.Error(got)
		}
	})
}

// Wherever the answers break off when a server is killed: the next one goes on behind what the client has.
func TestJournalAtEveryByte(t *testing.T) {
	cuts := 0
	for n := int64(0); !t.Failed(); n++ {
		cut := false
		atEmptySite(t, func(t *testing.T, s *site) {
			kept := openJournal(t)
			kill := s.startWithJournal(kept)
			client := s.client(edict.WithResume(edict.Resume{}))
			s.network.RefuseDials("site", true)
			s.network.Connections()[0].CutAfter(edicttest.ToClient, edicttest.Bytes(n))
			stream, err := edict.StartStream(t.Context(), client, count{To: 5})
			if err != nil {
				t.Fatal(err)
			}
			sum := later(client, t.Context(), add{2, 3})
			synctest.Wait()
			executed := s.lab.executed.Load()
			cut = len(s.network.Fired(edicttest.FaultCut)) > 0
			kill()
			s.startWithJournal(kept)
			for want := range 5 {
				if got, err := stream.Receive(); got != want || err != nil {
					t.Errorf("%d, %v, want %d", got, err, want)
				}
			}
			if _, err := stream.Receive(); err != io.EOF {
				t.Error(err)
			}
			if got := <-sum; got.value != 5 || got.err != nil {
				t.Error(got)
			}
			if again := s.lab.executed.Load() - executed; again > 1 || executed > 0 && again > 0 {
				t.Errorf("%d were executed before, and %d after", executed, again)
			}
			if t.Failed() {
				t.Logf("cut after %d bytes", n)
			}
		})
		if !cut {
			break
		}
		cuts++
	}
	if cuts < 200 {
		t.Errorf("cut at %d bytes only", cuts)
	}
}

// A server that has not the journal of the one before it knows nothing of what that one may have done.
func TestJournalIsLost(t *testing.T) {
	atEmptySite(t, func(t *testing.T, s *site) {
		kill := s.startWithJournal(openJournal(t))
		client := s.client(edict.WithResume(edict.Resume{}))
		s.network.Connections()[0].Stall(edicttest.ToClient)
		sum := later(client, t.Context(), add{2, 3})
		synctest.Wait()
		kill()
		s.startWithJournal(openJournal(t))
		got := <-sum
		if edict.CodeOf(got.err) != edict.Unavailable || edict.OutcomeOf(got.err) != edict.OutcomeUnknown || s.lab.executed.Load() != 1 {
			t.Errorf("%v; %d were executed", got, s.lab.executed.Load())
		}
		if n, err := edict.Call(t.Context(), client, add{3, 4}); n != 7 || err != nil {
			t.Error(n, err)
		}
	})
}

// The error of a command tells the ID that the command has seen, before and after a restart of the server.
func TestCommandIDOfAnError(t *testing.T) {
	atEmptySite(t, func(t *testing.T, s *site) {
		kept := openJournal(t)
		ids := make(chan edict.CommandID, 2)
		note := edict.WithServerInterceptors(func(ctx context.Context, _ *edict.ServerCall, next func(context.Context) error) error {
			id, _ := edict.CommandIDOf(ctx)
			ids <- id
			return next(ctx)
		})
		kill := s.startWithJournal(kept, note)
		client := s.client(edict.WithResume(edict.Resume{}))
		_, err := edict.Call(t.Context(), client, fail{Code: edict.DataLoss})
		if e, ok := errors.AsType[*edict.Error](err); !ok || e.CommandID != <-ids || e.CommandID.Number == 0 {
			t.Errorf("%+v", err)
		}
		cut := later(client, t.Context(), wait{"cut"})
		<-s.lab.started
		kill()
		s.startWithJournal(kept)
		err = (<-cut).err
		if e, ok := errors.AsType[*edict.Error](err); !ok || e.Outcome != edict.OutcomeUnknown || e.CommandID != <-ids {
			t.Errorf("%+v", err)
		}
	})
	resuming(t, func(t *testing.T, s *site) {
		_, err := edict.Call(t.Context(), s.client(edict.WithResume(edict.Resume{})), fail{Code: edict.DataLoss})
		if e, ok := errors.AsType[*edict.Error](err); !ok || e.CommandID != (edict.CommandID{}) {
			t.Errorf("without a journal: %+v", err)
		}
	})
}

// Commands that wait for a client which is away do not hold up a server that shuts down, whatever they wait for.
func TestShutdownFreesWhoWaitsForTheClient(t *testing.T) {
	for _, lostFirst := range []bool{true, false} {
		resuming(t, func(t *testing.T, s *site) {
			client := s.client(edict.WithResume(edict.Resume{}))
			if _, err := edict.StartStream(t.Context(), client, flood{Size: 1000}); err != nil { // waits for credit
				t.Fatal(err)
			}
			if _, err := edict.StartDuplex(t.Context(), client, sumUp{}); err != nil { // waits for inputs
				t.Fatal(err)
			}
			s.network.Connections()[0].Stall(edicttest.ToClient)
			for range 8 { // wait for the client to acknowledge
				later(client, t.Context(), repeat{strings.Repeat("x", 1000), 700})
			}
			synctest.Wait()
			if n := s.server.InFlight(); n < 4 {
				t.Errorf("%d commands wait", n)
			}
			s.network.RefuseDials("site", true)
			began := time.Now()
			ended := make(chan error, 1)
			shutDown := func() { ended <- s.server.Shutdown(t.Context()) }
			if lostFirst {
				s.network.Connections()[0].Cut()
				synctest.Wait()
				go shutDown()
			} else {
				go shutDown()
				synctest.Wait()
				s.network.Connections()[0].Cut()
			}
			if err := <-ended; err != nil || time.Since(began) > 0 {
				t.Errorf("the client was lost first: %v; %v, %v", lostFirst, time.Since(began), err)
			}
			if err := <-s.lab.canceled; edict.CodeOf(err) != edict.Unavailable || !strings.Contains(err.Error(), "the client is away") {
				t.Error(err)
			}
		})
	}
}

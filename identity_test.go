package edict_test

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/delegate"
	"github.com/edict-go/edict/edicttest"
	"github.com/edict-go/edict/journal"
	"github.com/edict-go/edict/transport"
)

// Whatever prints an identity prints its ID, and nothing of its key.
func TestIdentityPrintsAsItsID(t *testing.T) {
	identity, other := edict.NewIdentity(), edict.NewIdentity()
	id := identity.ID()
	if id == other.ID() || id == (edict.ClientID{}) || id != identity.ID() {
		t.Errorf("the IDs are %v and %v", id, other.ID())
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
		if got := fmt.Sprintf(verb, identity); got != id.String() {
			t.Errorf("%s prints %q", verb, got)
		}
	}
}

// resumable lets a raw client ask for a session.
func resumable(config *delegate.Config) { config.Resumes = true }

// numbered writes a COMMAND with a number.
func (c *rawClient) numbered(number uint64, sequence core.Sequence) {
	c.t.Helper()
	c.write(numberedCommand(number, sequence))
}

func numberedCommand(count uint64, sequence core.Sequence) core.Frame {
	return core.Frame{
		Kind: core.KindCommand, Flags: core.FlagNumbered, Number: count, Command: number("add"), Sequence: sequence, Body: []byte(`{"A":2,"B":3}`),
	}
}

// together writes frames at once. If the server ends the connection because of the first, writing another one later would
// fail, and what the server has said be lost.
func (c *rawClient) together(frames ...core.Frame) {
	c.t.Helper()
	var encoded []byte
	for _, frame := range frames {
		encoded = transport.AppendFrame(encoded, frame)
	}
	if _, err := c.conn.NetConn().Write(encoded); err != nil {
		c.t.Fatal(err)
	}
}

// Only who has a client's key can show its ID, and only to the server, and in the handshake, that it signs for.
func TestForgedIdentities(t *testing.T) {
	kept := openJournal(t)
	b := serve(t, edict.WithResume(edict.Resume{Journal: kept}))
	elsewhere := serve(t, edict.WithResume(edict.Resume{Journal: openJournal(t)}))
	without := serve(t, edict.WithResume(edict.Resume{}))
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	_, thief, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	identity := func(body []byte) core.Frame { return core.Frame{Kind: core.KindIdentity, Body: body} }

	// The honest client, whose command is kept, and whose proof others see.
	honest := b.rawClient(resumable)
	proof := honest.agreement.Challenge.Prove(key)
	honest.write(identity(proof))
	honest.numbered(1, core.MakeSequence(0, 1))
	honest.wantResult(core.MakeSequence(0, 1), "5")
	atAnother := elsewhere.rawClient(resumable)
	seen := atAnother.agreement.Challenge.Prove(key)

	for _, test := range []struct {
		name, why string
		b         *bench
		body      func(c *rawClient) []byte
	}{
		{"replayed", "signature", b, func(*rawClient) []byte { return proof }},
		{"seen by another server", "signature", b, func(*rawClient) []byte { return seen }},
		{"replayed to another server", "signature", elsewhere, func(*rawClient) []byte { return proof }},
		{"signed with another key", "signature", b, func(c *rawClient) []byte {
			return append([]byte(public), c.agreement.Challenge.Prove(thief)[ed25519.PublicKeySize:]...)
		}},
		{"the signature of the client for the name of another journal", "signature", b, func(c *rawClient) []byte {
			challenge := c.agreement.Challenge
			challenge.Journal = atAnother.agreement.Challenge.Journal
			return challenge.Prove(key)
		}},
		{"without a signature", "32 bytes", b, func(*rawClient) []byte { return public }},
		{"empty", "0 bytes", b, func(*rawClient) []byte { return nil }},
		{"to a server without a journal", "without an agreement", without, func(c *rawClient) []byte { return c.agreement.Challenge.Prove(key) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := test.b.rawClient(resumable)
			c.together(identity(test.body(c)), numberedCommand(1, core.MakeSequence(0, 1))) // which would be answered from the journal
			c.wantGoAway(test.why)
		})
	}
	t.Run("twice", func(t *testing.T) {
		c := b.rawClient(resumable)
		c.write(identity(c.agreement.Challenge.Prove(key)))
		c.write(identity(c.agreement.Challenge.Prove(key)))
		c.wantGoAway("has shown who it is")
	})
	t.Run("a number without one", func(t *testing.T) {
		c := b.rawClient(resumable)
		c.numbered(1, core.MakeSequence(0, 1))
		c.wantGoAway("has not shown who it is")
	})
	t.Run("a FORGET without one", func(t *testing.T) {
		c := b.rawClient(resumable)
		c.write(core.Frame{Kind: core.KindForget, Body: core.AppendForgotten(nil, []uint64{1})})
		c.wantGoAway("FORGET")
	})

	// The thief's own proof is good, for the thief: the same number is another command.
	c := b.rawClient(resumable)
	c.write(identity(c.agreement.Challenge.Prove(thief)))
	c.write(core.Frame{Kind: core.KindForget, Body: core.AppendForgotten(nil, []uint64{1})})
	executed := b.lab.executed.Load()
	c.numbered(1, core.MakeSequence(0, 1))
	c.wantResult(core.MakeSequence(0, 1), "5")
	if now := b.lab.executed.Load(); now != executed+1 {
		t.Errorf("%d commands were executed, want one", now-executed)
	}
	// And the honest one is known again, on any connection.
	c = b.rawClient(resumable)
	c.write(identity(c.agreement.Challenge.Prove(key)))
	c.numbered(1, core.MakeSequence(3, 1))
	c.wantResult(core.MakeSequence(3, 1), "5")
	if now := b.lab.executed.Load(); now != executed+1 {
		t.Error("the client's own command was executed once more")
	}
}

// A server whose journal has no name does not serve: all of those would be taken for one.
func TestJournalWithoutAName(t *testing.T) {
	server := edict.NewServer(newLab(), labCommands, edict.WithResume(edict.Resume{Journal: nameless{openJournal(t)}}))
	if err := server.ListenAndServe("tcp://127.0.0.1:0"); edict.CodeOf(err) != edict.FailedPrecondition {
		t.Error(err)
	}
}

type nameless struct{ edict.Journal }

func (nameless) Name() edict.JournalID { return edict.JournalID{} }

// Clients that share an identity number their commands from one row, so that no command is taken for another one.
func TestClientsWithOneIdentity(t *testing.T) {
	kept := openJournal(t)
	ids := make(chan edict.CommandID, 1000)
	b := serve(t, edict.WithResume(edict.Resume{Journal: kept}), edict.WithServerInterceptors(
		func(ctx context.Context, _ *edict.ServerCall, next func(context.Context) error) error {
			id, _ := edict.CommandIDOf(ctx)
			ids <- id
			return next(ctx)
		}))
	identity := edict.NewIdentity()
	var calls sync.WaitGroup
	for range 2 {
		client := b.client(edict.WithResume(edict.Resume{}), edict.WithIdentity(identity))
		for range 4 {
			calls.Go(func() {
				for n := range 50 {
					if sum, err := edict.Call(t.Context(), client, add{n, 1}); sum != n+1 || err != nil {
						t.Error(sum, err)
					}
				}
			})
		}
	}
	calls.Wait()
	close(ids)
	seen := map[edict.CommandID]bool{}
	for id := range ids {
		if id.Client != identity.ID() || id.Number == 0 || id.Number > 400 || seen[id] {
			t.Errorf("the ID %v, once more: %v", id, seen[id])
		}
		seen[id] = true
	}
	if n := b.lab.executed.Load(); n != 400 || len(seen) != 400 {
		t.Errorf("%d were executed, of %d IDs", n, len(seen))
	}
}

// A command that may be executed again has an ID, the same on all servers, and is not written down.
func TestIdempotentCommandsHaveIDs(t *testing.T) {
	atEmptySite(t, func(t *testing.T, s *site) {
		ids := make(chan edict.CommandID, 10)
		note := edict.WithServerInterceptors(func(ctx context.Context, _ *edict.ServerCall, next func(context.Context) error) error {
			id, ok := edict.CommandIDOf(ctx)
			if !ok {
				t.Error("no ID")
			}
			ids <- id
			return next(ctx)
		})
		first := openJournal(t)
		kill := s.startWithJournal(first, note)
		client := s.client(edict.WithResume(edict.Resume{}))
		looking := later(client, t.Context(), look{"ada"})
		<-s.lab.started
		if stats := first.Stats(); stats.Commands != 0 {
			t.Errorf("%+v", stats)
		}
		kill()
		s.startWithJournal(openJournal(t), note) // another one
		<-s.lab.started
		close(s.lab.release)
		if got := <-looking; got.value != "ada" || got.err != nil {
			t.Error(got)
		}
		if a, b := <-ids, <-ids; a != b || a.Number == 0 {
			t.Errorf("the IDs are %v and %v", a, b)
		}
	})
}

// A connection that got GOAWAY, and breaks, is not resumed. The server that follows knows what became of its commands.
func TestGoAwayThenCut(t *testing.T) {
	atEmptySite(t, func(t *testing.T, s *site) {
		kept := openJournal(t)
		s.startWithJournal(kept)
		client := s.client(edict.WithResume(edict.Resume{}))
		held := later(client, t.Context(), wait{"held"})
		<-s.lab.started
		old, connection := s.server, s.network.Connections()[0]
		stopped := make(chan error, 1)
		go func() { stopped <- old.Shutdown(t.Context()) }()
		synctest.Wait() // the client has heard of it
		s.startWithJournal(kept)
		connection.Stall(edicttest.ToClient)
		close(s.lab.release)
		synctest.Wait()
		connection.Cut()
		if got := <-held; got.value != "held" || got.err != nil {
			t.Error(got)
		}
		if len(s.lab.started) > 0 {
			t.Error("it was executed once more")
		}
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
}

// So does one that has given the session up, and lives.
func TestAnsweredAfterTheSessionIsGivenUp(t *testing.T) {
	atEmptySite(t, func(t *testing.T, s *site) {
		s.startWithJournal(openJournal(t))
		client := s.client(edict.WithResume(edict.Resume{}))
		s.network.Connections()[0].Stall(edicttest.ToClient)
		sum := later(client, t.Context(), add{2, 3})
		s.network.RefuseDials("site", true)
		s.network.Connections()[0].Cut()
		<-time.After(time.Minute)
		s.network.RefuseDials("site", false)
		if got := <-sum; got.value != 5 || got.err != nil || s.lab.executed.Load() != 1 {
			t.Error(got, s.lab.executed.Load())
		}
	})
}

// freezer is a listener of a server that can be frozen: then what comes is not read.
type freezer struct {
	net.Listener
	frozen atomic.Bool
	thawed chan struct{}
}

func (f *freezer) Accept() (net.Conn, error) {
	conn, err := f.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &freezing{conn, f}, nil
}

type freezing struct {
	net.Conn
	freezer *freezer
}

func (f *freezing) Read(target []byte) (int, error) {
	n, err := f.Conn.Read(target)
	if f.freezer.frozen.Load() {
		<-f.freezer.thawed
	}
	return n, err
}

// A server that was frozen reads a command when it goes on that has been executed elsewhere meanwhile. The journal, which
// both have, must know it still, whatever the client has let it forget.
func TestTheCopyInAFrozenServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kept, lab := openJournal(t), newLab()
		network := edicttest.New(edicttest.Config{})
		freezers := map[string]*freezer{}
		for _, name := range []string{"frozen", "other"} {
			listener, err := network.Listen(name)
			if err != nil {
				t.Fatal(err)
			}
			at := &freezer{Listener: listener, thawed: make(chan struct{})}
			freezers[name] = at
			server := edict.NewServer(lab, labCommands, edict.WithResume(edict.Resume{Journal: kept}), edict.ServerConfig{KeepaliveInterval: -1})
			served := make(chan error, 1)
			go func() { served <- server.Serve(at) }()
			defer func() { _ = server.Close(); <-served; _ = server.Shutdown(context.Background()) }()
		}
		target := "frozen"
		client, err := edict.Dial(t.Context(), "any", labCommands, edict.WithResume(edict.Resume{}), edict.ClientConfig{KeepaliveInterval: -1},
			edict.WithDialer(func(ctx context.Context) (net.Conn, error) { return network.Dial(ctx, target) }))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		<-time.After(time.Second)
		freezers["frozen"].frozen.Store(true)
		sum := make(chan error, 1)
		go func() {
			n, err := edict.Call(t.Context(), client, add{2, 3})
			if err == nil && n != 5 {
				err = fmt.Errorf("2 and 3 is %d", n)
			}
			sum <- err
		}()
		<-time.After(time.Second) // it is in the server's socket
		target = "other"
		network.Connections()[0].Cut()
		if err := <-sum; err != nil || lab.executed.Load() != 1 {
			t.Fatal(err, lab.executed.Load())
		}
		for n := range 200 { // of which the journal forgets most
			if _, err := edict.Call(t.Context(), client, add{n, 1}); err != nil {
				t.Fatal(err)
			}
		}
		<-time.After(time.Second)
		if stats := kept.Stats(); stats.Commands > 64 {
			t.Errorf("nothing was forgotten: %+v", stats)
		}
		freezers["frozen"].frozen.Store(false)
		close(freezers["frozen"].thawed)
		<-time.After(time.Second)
		if n := lab.executed.Load(); n != 201 {
			t.Errorf("%d executions of 201 commands", n)
		}
	})
}

// What is forgotten is said once more on the next connection, in case that the one before was lost with it.
func TestForgetIsSaidAgain(t *testing.T) {
	atEmptySite(t, func(t *testing.T, s *site) {
		kept := openJournal(t)
		kill := s.startWithJournal(kept)
		client := s.client(edict.WithResume(edict.Resume{}))
		for n := range 63 {
			if _, err := edict.Call(t.Context(), client, add{n, 1}); err != nil {
				t.Fatal(err)
			}
		}
		last := later(client, t.Context(), wait{"last"})
		<-s.lab.started
		s.network.Connections()[0].Stall(edicttest.ToServer)
		close(s.lab.release)
		if got := <-last; got.err != nil {
			t.Fatal(got.err)
		}
		synctest.Wait()
		if stats := kept.Stats(); stats.Commands != 64 {
			t.Fatalf("%+v: the FORGET was to get lost", stats)
		}
		kill()
		s.startWithJournal(kept)
		if _, err := edict.Call(t.Context(), client, add{1, 1}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if stats := kept.Stats(); stats.Commands != 1 {
			t.Errorf("%+v", stats)
		}
	})
}

// A client that has left one server's journal does not tell another one to forget.
func TestForgetIsForOneJournal(t *testing.T) {
	atEmptySite(t, func(t *testing.T, s *site) {
		first, second := openJournal(t), &forgotten{Journal: openJournal(t)}
		kill := s.startWithJournal(first)
		client := s.client(edict.WithResume(edict.Resume{}))
		for n := range 70 {
			if n == 40 {
				kill()
				s.startWithJournal(second)
			}
			if _, err := edict.Call(t.Context(), client, add{n, 1}); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if len(second.numbers) > 0 {
			t.Errorf("told to forget %v after 30 calls", second.numbers)
		}
	})
}

// forgotten notes what is to be forgotten.
type forgotten struct {
	*journal.Journal
	numbers []uint64
}

func (f *forgotten) Forget(client edict.ClientID, numbers []uint64) {
	f.numbers = append(f.numbers, numbers...)
	f.Journal.Forget(client, numbers)
}

// A client's error names the journal's problem.
func TestNumbersAreNotSentWithoutAJournal(t *testing.T) {
	resuming(t, func(t *testing.T, s *site) {
		client := s.client(edict.WithResume(edict.Resume{}))
		if _, err := edict.Call(t.Context(), client, peek{}); err != nil {
			t.Fatal(err)
		}
		if id, ok := edict.CommandIDOf(<-s.lab.contexts); ok || client.Journal() != (edict.JournalID{}) {
			t.Error(id, client.Journal())
		}
	})
	atEmptySite(t, func(t *testing.T, s *site) {
		kept := openJournal(t)
		s.startWithJournal(kept)
		if name := s.client(edict.WithResume(edict.Resume{})).Journal(); name != kept.Name() {
			t.Errorf("the journal's name is %v, not %v", name, kept.Name())
		}
		if text := kept.Name().String(); len(text) != 32 || strings.Trim(text, "0123456789abcdef") != "" {
			t.Error(text)
		}
	})
}

// What a client does with Attempts: the ID, whose journal knows, where it may not go, and when it may be forgotten.
func TestAttempts(t *testing.T) {
	atEmptySite(t, func(t *testing.T, s *site) {
		kept := openJournal(t)
		kill := s.startWithJournal(kept)
		identity := edict.NewIdentity()
		client := s.client(edict.WithResume(edict.Resume{}), edict.WithIdentity(identity))
		attempt := func(attempts *core.Attempts, command any) (core.Exchange, error) {
			return client.Start(t.Context(), edict.Request[*lab]{Command: command, Options: &core.RequestOptions{Attempts: attempts}})
		}
		do := func(attempts *core.Attempts, over bool) {
			t.Helper()
			exchange, err := attempt(attempts, add{2, 3})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := exchange.Receive(); err != nil {
				t.Error(err)
			}
			attempts.Over = over
			exchange.Close()
		}
		attempts := &core.Attempts{}
		do(attempts, false)
		if attempts.ID.Client != identity.ID() || attempts.ID.Number != 1 || attempts.Journal != kept.Name() {
			t.Errorf("%+v", attempts)
		}
		do(attempts, false) // is the same command
		if n := s.lab.executed.Load(); n != 1 {
			t.Errorf("%d executions", n)
		}
		for _, over := range []bool{false, true} {
			before := kept.Stats().Commands
			for range 100 {
				do(&core.Attempts{}, over)
			}
			synctest.Wait()
			if more := kept.Stats().Commands - before; more != 100 && !over || more != 100-64 && over {
				t.Errorf("over %v: the journal remembers %d of 100", over, more)
			}
		}
		for range 100 {
			do(&core.Attempts{ID: core.CommandID{Client: identity.ID(), Number: 1}, MayHaveRun: true, Journal: kept.Name()}, true)
		}
		synctest.Wait()
		if record, err := kept.Begin(attempts.ID); record == nil || err != nil {
			t.Errorf("what may lie somewhere was forgotten: %v, %v", record, err)
		}
		idempotent := &core.Attempts{}
		exchange, err := attempt(idempotent, look{"ada"})
		if err != nil || idempotent.ID.Number == 0 || idempotent.Journal != (core.JournalID{}) {
			t.Errorf("%+v, %v", idempotent, err)
		}
		exchange.Close()

		kill()
		s.startWithJournal(openJournal(t))
		wantSum(t, client)
		for _, attempts := range []*core.Attempts{
			{ID: attempts.ID, MayHaveRun: true, Journal: kept.Name()},                    // at another server
			{ID: core.CommandID{Number: 1}, MayHaveRun: true, Journal: client.Journal()}, // of another client
		} {
			executed := s.lab.executed.Load()
			if _, err := attempt(attempts, add{2, 3}); edict.OutcomeOf(err) != edict.NotSent || edict.CodeOf(err) != edict.Unavailable {
				t.Errorf("%+v: %v", attempts, err)
			}
			if s.lab.executed.Load() != executed {
				t.Error("it was executed")
			}
		}
	})
}

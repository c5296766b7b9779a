package edict_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/codec/json"
	"github.com/edict-go/edict/compression/s2"
	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/transport"
)

// A server whose budget is used up refuses newcomers, with a hint when to come again, and goes on with what it has.
func TestNoBudgetForCommands(t *testing.T) {
	const size = 100 << 10
	budget := edict.NewBudget(4 << 20)
	b := serve(t, edict.WithBudget(budget), edict.WithCompression(s2.Compression))
	client := b.client()
	inflating := b.client(edict.WithCompression(s2.Compression)) // later there may be no room for a connection
	var waiting []chan error
	refuse := func(err error) bool {
		t.Helper()
		if err == nil {
			return false
		}
		wantError(t, err, edict.ResourceExhausted, edict.Refused)
		if e, _ := errors.AsType[*edict.Error](err); e.RetryAfter <= 0 || !e.Remote {
			t.Fatalf("%v has no hint when to come again: %v", err, e.RetryAfter)
		}
		return true
	}
	for refused := false; !refused; {
		invocation, err := edict.Start(t.Context(), client, wait{Name: strings.Repeat("w", size)})
		if err != nil {
			t.Fatal(err)
		}
		answer := make(chan error, 1)
		go func() {
			_, err := invocation.Receive()
			answer <- err
		}()
		select {
		case err := <-answer:
			refused = refuse(err)
		case <-b.lab.started:
			waiting = append(waiting, answer)
		}
		if len(waiting) > 40 {
			t.Fatalf("%d commands of 100 KiB, and a budget of 4 MiB", len(waiting))
		}
	}
	if len(waiting) < 15 {
		t.Errorf("only %d commands of 100 KiB, and a budget of 4 MiB", len(waiting))
	}
	if used := budget.Used(); used > budget.Limit() {
		t.Errorf("%d of %d bytes are used", used, budget.Limit())
	}
	wantSum(t, client) // what is small goes on
	_, err := edict.Call(t.Context(), inflating, repeat{strings.Repeat("r", 2<<20), 0})
	if !refuse(err) {
		t.Error("a command of 2 MiB was inflated")
	}
	if text, err := edict.Call(t.Context(), client, repeat{"12345678", 20_000}); len(text) != 160_000 || err != nil {
		t.Errorf("the result of an accepted command: %d, %v", len(text), err) // there is room for work
	}
	close(b.lab.release)
	for _, answer := range waiting {
		if err := <-answer; err != nil {
			t.Errorf("an accepted command: %v", err)
		}
	}
	waitForRoom(t, budget, 2<<20) // not earlier: results that wait for room would take it all again
	if _, err := edict.Call(t.Context(), client, repeat{strings.Repeat("r", size), 0}); err != nil {
		t.Errorf("when the others have ended: %v", err)
	}
}

// waitForRoom waits until so many bytes of the budget are free.
func waitForRoom(t *testing.T, budget *edict.Budget, size int64) {
	t.Helper()
	account := budget.NewAccount(0)
	defer account.Close()
	if err := account.Wait(t.Context(), int(size), core.ForWork); err != nil {
		t.Fatal(err)
	}
}

// A connection that is not begun yet is refused too.
func TestNoBudgetForConnections(t *testing.T) {
	budget := edict.NewBudget(3 * core.ConnectionCost)
	b := serve(t, edict.WithBudget(budget))
	b.client()
	b.client()
	_, err := b.tryClient()
	wantError(t, err, edict.ResourceExhausted, edict.NotSent)
	if e, _ := errors.AsType[*edict.Error](err); e.RetryAfter <= 0 {
		t.Errorf("%v has no hint when to come again", err)
	}
}

// When the results that were sent and not taken have used up a client's budget, a Start waits as long as its
// context allows, and a stream that is not read has stopped itself only.
func TestConnectionLimitOfAClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := serve(t, edict.WithBudget(edict.NewBudget(1<<30)))
		budget := edict.NewBudget(1 << 30)
		client := b.client(edict.WithBudget(budget), edict.ClientConfig{ConnectionBytes: 160 << 10})
		read, err := edict.StartStream(t.Context(), client, flood{Size: 500})
		if err != nil {
			t.Fatal(err)
		}
		var unread []*edict.Invocation[string]
		for range 6 { // three quarters of the connection's limit are for first windows
			invocation, err := edict.StartStream(t.Context(), client, flood{Size: 500})
			if err != nil {
				t.Fatal(err)
			}
			unread = append(unread, invocation)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		_, err = edict.StartStream(ctx, client, flood{Size: 500})
		wantError(t, err, edict.DeadlineExceeded, edict.NotSent)
		if took := time.Since(began); took != time.Second {
			t.Errorf("it waited for %v", took)
		}
		if used := budget.Used(); used > 160<<10 {
			t.Errorf("%d bytes are in use", used)
		}
		for range 1000 { // the others hold up no one who is read, nor calls
			if _, err := read.Receive(); err != nil {
				t.Fatal(err)
			}
		}
		wantSum(t, client)
		started := make(chan error, 1)
		go func() {
			invocation, err := edict.StartStream(t.Context(), client, count{To: 3})
			if err == nil {
				invocation.Cancel()
			}
			started <- err
		}()
		synctest.Wait()
		read.Cancel()
		if err := <-started; err != nil {
			t.Errorf("when another has ended: %v", err)
		}
		for _, invocation := range unread {
			invocation.Cancel()
		}
		read.Cancel()
		client.Close()
		if used := budget.Used(); used != 0 {
			t.Errorf("%d bytes are in use at the end", used)
		}
	})
}

// Start also stops waiting when its client shuts down, or ends.
func TestWaitingForTheBudgetOfAClientEnds(t *testing.T) {
	for name, end := range map[string]func(*edict.Client[*lab]) error{
		"Close":    func(c *edict.Client[*lab]) error { return c.Close() },
		"Shutdown": func(c *edict.Client[*lab]) error { return c.Shutdown(canceledContext()) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := serve(t, edict.WithBudget(edict.NewBudget(1<<30)))
				client := b.client(edict.WithBudget(edict.NewBudget(30 << 10)))
				if _, err := edict.StartStream(t.Context(), client, flood{Size: 500}); err != nil {
					t.Fatal(err)
				}
				ended := make(chan error)
				go func() {
					_, err := edict.StartStream(t.Context(), client, flood{Size: 500})
					ended <- err
				}()
				synctest.Wait()
				_ = end(client)
				wantError(t, <-ended, edict.Unavailable, edict.NotSent)
			})
		})
	}
}

// A result for which a client has no room fails its call, and no other.
func TestNoBudgetForAResult(t *testing.T) {
	budget := edict.NewBudget(1 << 20)
	b := serve(t, edict.WithBudget(edict.NewBudget(1<<30)))
	client := b.client(edict.WithBudget(budget), edict.ClientConfig{MaxFrame: 8 << 20})
	for _, size := range []int{2 << 20, 2<<20 + 1, 5 << 20} {
		_, err := edict.Call(t.Context(), client, repeat{"x", size})
		wantError(t, err, edict.ResourceExhausted, edict.Executed)
	}
	for result, err := range edict.Stream(t.Context(), client, flood{Size: 3 << 20}) {
		if result != "" {
			t.Error("a result came of which the client has no room for")
		}
		wantError(t, err, edict.ResourceExhausted, edict.Executed)
	}
	if text, err := edict.Call(t.Context(), client, repeat{"x", 300 << 10}); len(text) != 300<<10 || err != nil {
		t.Errorf("the next one: %d, %v", len(text), err)
	}
	wantSum(t, client)
	waitForRoom(t, budget, budget.Limit()) // all of it
}

// An input that goes beyond its window and for which a server has no room fails its command, and no other.
func TestNoBudgetForAnInput(t *testing.T) {
	b := serve(t, edict.WithBudget(edict.NewBudget(1<<20)))
	client := b.client(edict.WithBudget(edict.NewBudget(1 << 30)))
	invocation, err := edict.StartDuplex(t.Context(), client, parrot{})
	if err != nil {
		t.Fatal(err)
	}
	if err := invocation.Send(strings.Repeat("i", 2<<20)); err != nil {
		t.Fatal(err)
	}
	_, err = invocation.Receive()
	wantError(t, err, edict.ResourceExhausted, edict.Executed)
	wantSum(t, client)
}

// A result that can't be sent because the budget is used up waits, encoded or not, as long as its command's context
// allows, and goes out when there is room.
func TestResultsWaitForTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		budget := edict.NewBudget(1 << 20)
		b := serve(t, edict.WithBudget(budget))
		client := b.client(edict.WithBudget(edict.NewBudget(1 << 30)))
		hog := budget.NewAccount(0)
		if !hog.Take(900<<10, core.ForWork) {
			t.Fatal("the budget is not free")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := edict.Call(ctx, client, repeat{"x", 300 << 10})
		// Both sides have the deadline at the same instant, and the server's word may come in time.
		if edict.CodeOf(err) != edict.DeadlineExceeded || !edict.OutcomeOf(err).Ran() {
			t.Errorf("while there is no room: %v", err)
		}
		sizes := make(chan int)
		go func() {
			text, err := edict.Call(t.Context(), client, repeat{"x", 300 << 10})
			if err != nil {
				t.Error(err)
			}
			sizes <- len(text)
		}()
		go func() {
			for text, err := range edict.Stream(t.Context(), client, flood{Size: 300 << 10}) {
				if err != nil {
					t.Error(err)
				}
				sizes <- len(text)
				break
			}
		}()
		synctest.Wait()
		wantSum(t, client)
		hog.Close()
		if a, b := <-sizes, <-sizes; a != 300<<10 || b != a {
			t.Errorf("got %d and %d", a, b)
		}
	})
}

// What was begun must go on: a connection that brings a frame byte by byte ends, and is told why; one that
// brings whole frames slowly does not.
func TestAByteASecond(t *testing.T) {
	whole := transport.AppendFrame(nil, core.Frame{Kind: core.KindPing, Body: make([]byte, 64)})
	large := transport.AppendFrame(nil, core.Frame{Kind: core.KindCommand, Command: number("repeat"), Sequence: 1, Body: make([]byte, 50_000)})
	part := transport.AppendFrame(nil, core.Frame{Kind: core.KindCommand, Flags: core.FlagMore, Command: number("repeat"), Sequence: 1, Body: make([]byte, 100)})
	for name, test := range map[string]struct {
		bytes  []byte
		step   int
		pause  time.Duration
		within [2]time.Duration // when it ends; zero: never
	}{
		"header":           {whole[:8], 1, time.Second, [2]time.Duration{30 * time.Second, 31 * time.Second}},
		"small frame":      {whole[:79], 1, time.Second, [2]time.Duration{30 * time.Second, 31 * time.Second}},
		"large frame":      {large, 1, time.Second, [2]time.Duration{30 * time.Second, 31 * time.Second}},
		"large frame half": {large[:30_000], 30_000, time.Second, [2]time.Duration{55 * time.Second, 62 * time.Second}},
		"part":             {part, len(part), time.Second, [2]time.Duration{30 * time.Second, 32 * time.Second}},
		"part of a part":   {part, 1, time.Second, [2]time.Duration{30 * time.Second, 32 * time.Second}},
		"whole frames":     {whole, len(whole), 10 * time.Second, [2]time.Duration{}},
		"slow frames":      {whole, 20, 2 * time.Second, [2]time.Duration{}},
		"slow large frame": {large, 2000, time.Second, [2]time.Duration{}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := serve(t, edict.ServerConfig{KeepaliveInterval: -1}) // the peer answers no PING
				honest := b.client()
				conn := b.handshaken()
				closed := make(chan time.Duration, 1)
				began := time.Now()
				var said []byte
				go func() {
					said, _ = io.ReadAll(conn)
					closed <- time.Since(began)
				}()
				ends := test.within != [2]time.Duration{}
				for rest := test.bytes; time.Since(began) < 3*time.Minute || len(rest) < len(test.bytes); {
					if _, err := conn.Write(rest[:min(test.step, len(rest))]); err != nil {
						break
					}
					if rest = rest[min(test.step, len(rest)):]; len(rest) == 0 {
						if rest = test.bytes; ends || len(rest) > 10_000 {
							break // and silence
						}
					}
					time.Sleep(test.pause)
				}
				if !ends {
					time.Sleep(3 * time.Minute)
					wantSum(t, honest)
					select {
					case took := <-closed:
						t.Errorf("it was ended after %v", took)
					default:
					}
					_ = conn.Close()
					return
				}
				if took := <-closed; took < test.within[0] || took > test.within[1] {
					t.Errorf("it was ended after %v", took)
				}
				if !strings.Contains(string(said), "is not complete after") {
					t.Errorf("it was told %q", said)
				}
				wantSum(t, honest)
			})
		})
	}
}

// The same with real sockets, whose reader waits in another way, and real time. What comes slowly and is whole is
// left to the fake clock: here a busy machine would make it late.
func TestAByteNowAndThenOverSockets(t *testing.T) {
	options := edict.ServerConfig{FrameTimeout: 200 * time.Millisecond}
	serverTLS, clientTLS := certificates(t)
	for name, b := range map[string]*bench{
		"tcp": serveAt(t, "tcp://127.0.0.1:0", nil, nil, options),
		"tls": serveAt(t, "tls://127.0.0.1:0", serverTLS, clientTLS, options),
	} {
		t.Run(name, func(t *testing.T) {
			honest := b.client()
			large := transport.AppendFrame(nil, core.Frame{Kind: core.KindCommand, Command: number("repeat"), Sequence: 1, Body: make([]byte, 5000)})
			for _, size := range []int{1, 10, 100} {
				conn := b.handshaken()
				said := make(chan string, 1)
				began := time.Now()
				go func() {
					all, _ := io.ReadAll(conn)
					said <- string(all)
				}()
				if _, err := conn.Write(large[:size]); err != nil {
					t.Fatal(err)
				}
				if text := <-said; !strings.Contains(text, "is not complete after") {
					t.Errorf("%d bytes: it was told %q", size, text)
				}
				if took := time.Since(began); took < 200*time.Millisecond {
					t.Errorf("%d bytes: it was ended after %v", size, took)
				}
			}
			wantSum(t, honest)
		})
	}
}

// roomy is a codec that makes larger slices than it needs.
type roomy struct{ edict.Codec }

func (c roomy) Append(dst []byte, value any) ([]byte, error) {
	return c.Codec.Append(append(make([]byte, 0, 1<<20), dst...), value)
}

// A result goes when there is room for it, also if there is none for all that its codec has made.
func TestRoomForAResultIsEnough(t *testing.T) {
	budget := edict.NewBudget(1 << 20)
	codecs := edict.WithCodecs(roomy{json.Codec})
	b := serve(t, edict.WithBudget(budget), codecs)
	client := b.client(codecs, edict.WithBudget(edict.NewBudget(1<<30)))
	hog := budget.NewAccount(0)
	defer hog.Close()
	if !hog.Take(700<<10, core.ForWork) {
		t.Fatal("the budget is not free")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	text, err := edict.Call(ctx, client, repeat{"x", 100 << 10})
	if len(text) != 100<<10 || err != nil {
		t.Errorf("got %d bytes, %v", len(text), err)
	}
	for text, err := range edict.Stream(ctx, client, flood{Size: 100 << 10}) {
		if len(text) != 100<<10 || err != nil {
			t.Errorf("got %d bytes, %v", len(text), err)
		}
		break
	}
}

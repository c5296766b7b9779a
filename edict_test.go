package edict_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/transport"
)

func TestCallAndStream(t *testing.T) {
	over(t, func(t *testing.T, b *bench) {
		client := b.client()
		wantSum(t, client)
		next := 0
		for n, err := range edict.Stream(t.Context(), client, count{To: 20_000}) {
			if err != nil || n != next {
				t.Fatalf("result %d is %d, %v", next, n, err)
			}
			next++
		}
		if next != 20_000 {
			t.Fatalf("%d results", next)
		}
		for _, size := range []int{0, 1, 32<<10 - 20, 32 << 10, 100 << 10, 3 << 20} {
			text, err := edict.Call(t.Context(), client, repeat{Text: "x", Times: size})
			if err != nil || len(text) != size {
				t.Fatalf("%d bytes: got %d, %v", size, len(text), err)
			}
			if text, err = edict.Call(t.Context(), client, repeat{Text: strings.Repeat("y", size), Times: 1}); err != nil || len(text) != size {
				t.Fatalf("%d bytes there and back: got %d, %v", size, len(text), err)
			}
		}
	})
}

func TestManyCallersOnOneConnection(t *testing.T) {
	over(t, func(t *testing.T, b *bench) {
		client := b.client()
		var group sync.WaitGroup
		for caller := range 64 {
			group.Go(func() {
				for i := range 50 {
					sum, err := edict.Call(t.Context(), client, add{caller, i})
					if err != nil || sum != caller+i {
						t.Errorf("%d + %d = %d, %v", caller, i, sum, err)
						return
					}
				}
			})
		}
		group.Wait()
		if n := b.lab.executed.Load(); n != 64*50 {
			t.Errorf("%d executions of %d calls", n, 64*50)
		}
	})
}

// A pointer to a command has the command's methods, so it compiles; it must work too.
func TestPointerToCommand(t *testing.T) {
	sum, err := edict.Call(t.Context(), serve(t).client(), &add{2, 3})
	if err != nil || sum != 5 {
		t.Fatal(sum, err)
	}
}

func TestStreamThatFails(t *testing.T) {
	client := serve(t).client()
	var got []int
	var last error
	for n, err := range edict.Stream(t.Context(), client, count{To: 3, Fail: true}) {
		if err != nil {
			last = err
			continue
		}
		got = append(got, n)
	}
	if fmt.Sprint(got) != "[0 1 2]" {
		t.Errorf("results %v", got)
	}
	wantError(t, last, edict.DataLoss, edict.Executed)
}

func TestStartIsAsynchronous(t *testing.T) {
	b := serve(t)
	client := b.client()
	invocation, err := edict.Start(t.Context(), client, wait{"a"})
	if err != nil {
		t.Fatal(err)
	}
	<-b.lab.started
	wantSum(t, client)
	close(b.lab.release)
	if name, err := invocation.Receive(); name != "a" || err != nil {
		t.Fatal(name, err)
	}
	if _, err := invocation.Receive(); err != io.EOF {
		t.Errorf("a second Receive: %v", err)
	}
	invocation.Cancel() // after the end: nothing
}

func TestErrorsSurviveTheWire(t *testing.T) {
	client := serve(t).client()
	shortageError := &edict.Error{Code: edict.FailedPrecondition, Reason: "short"}
	_, err := edict.Call(t.Context(), client, fail{edict.FailedPrecondition, "short", "not enough", 3 * time.Second})
	wantError(t, err, edict.FailedPrecondition, edict.Executed)
	e, ok := errors.AsType[*edict.Error](err)
	if !ok || e.Message != "not enough" || e.RetryAfter != 3*time.Second || !e.Remote || e.Command != "fail" {
		t.Errorf("got %#v", e)
	}
	if !errors.Is(err, edict.FailedPrecondition) || errors.Is(err, edict.NotFound) || !errors.Is(err, shortageError) {
		t.Errorf("errors.Is does not hold for %v", err)
	}
	if detail, ok := edict.DetailOf[shortage](err); !ok || detail.Missing != 7 {
		t.Errorf("detail %v, %v", detail, ok)
	}
	for code := edict.Canceled; code <= edict.Unauthenticated; code++ {
		_, err := edict.Call(t.Context(), client, fail{Code: code})
		wantError(t, err, code, edict.Executed)
		if errors.Is(err, context.Canceled) != (code == edict.Canceled) || errors.Is(err, context.DeadlineExceeded) != (code == edict.DeadlineExceeded) {
			t.Errorf("%v matches the wrong context errors", err)
		}
	}
}

func TestMetadataBothWays(t *testing.T) {
	client := serve(t).client()
	var back edict.Metadata
	text, err := edict.Call(t.Context(), client, peek{},
		edict.WithMetadata(edict.Metadata{"Question": {"why?"}}), edict.WithResponseMetadata(&back))
	if err != nil || text != "why?" || fmt.Sprint(back) != "map[answer:[42 43]]" {
		t.Fatalf("%q, %v, %v", text, back, err)
	}
	huge := edict.Metadata{"big": {strings.Repeat("x", 100<<10)}}
	_, err = edict.Call(t.Context(), client, peek{}, edict.WithMetadata(huge))
	wantError(t, err, edict.ResourceExhausted, edict.NotSent)
	wantSum(t, client)
}

// Fault: Credit was sent, Debit was run, because types were numbered by the order of registration.
func TestRegisteredInAnotherOrder(t *testing.T) {
	b := serve(t)
	other := edict.Commands(edict.ServerStream[count](), edict.Unary[repeat](), edict.Unary[add]())
	client, err := edict.Dial(t.Context(), "test", other, edict.WithDialer(b.dial))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	wantSum(t, client)
	if text, err := edict.Call(t.Context(), client, repeat{"ab", 2}); text != "abab" || err != nil {
		t.Fatal(text, err)
	}
}

type unheardOf struct{ X int }

func (unheardOf) Exec(context.Context, *lab) (int, error) { return 0, nil }

// Fault: an unregistered type wrote half a message, so the next valid command died.
func TestUnregisteredCommandBetweenGoodOnes(t *testing.T) {
	b := serve(t)
	client := b.client()
	wantSum(t, client)
	_, err := edict.Call(t.Context(), client, unheardOf{1})
	wantError(t, err, edict.Unimplemented, edict.NotSent)
	wantSum(t, client)

	// Known to the client only: the handshake tells it.
	both := edict.Commands(edict.Unary[add](), edict.Unary[unheardOf]())
	client, err = edict.Dial(t.Context(), "test", both, edict.WithDialer(b.dial))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	wantSum(t, client)
	_, err = edict.Call(t.Context(), client, unheardOf{1})
	wantError(t, err, edict.Unimplemented, edict.NotSent)
	if !strings.Contains(err.Error(), `the server has no command "unheardOf"`) {
		t.Errorf("%v", err)
	}
	wantSum(t, client)
}

// Fault: one failing Exec gave an innocent call in flight an EOF.
func TestOneFailsAmongHundredInFlight(t *testing.T) {
	over(t, func(t *testing.T, b *bench) {
		client := b.client()
		var group sync.WaitGroup
		for i := range 99 {
			group.Go(func() {
				if name, err := edict.Call(t.Context(), client, wait{fmt.Sprint(i)}); err != nil || name != fmt.Sprint(i) {
					t.Errorf("call %d: %q, %v", i, name, err)
				}
			})
		}
		for range 99 {
			<-b.lab.started
		}
		_, err := edict.Call(t.Context(), client, fail{Code: edict.Aborted, Text: "alone"})
		wantError(t, err, edict.Aborted, edict.Executed)
		close(b.lab.release)
		group.Wait()
	})
}

// Fault: a panicking Exec killed the process. And its text is not for the caller.
func TestPanickingExec(t *testing.T) {
	b := serve(t)
	client := b.client()
	for range 10 {
		_, err := edict.Call(t.Context(), client, misbehave{})
		wantError(t, err, edict.Internal, edict.Executed)
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("the panic's text reached the caller: %v", err)
		}
		_, err = edict.Call(t.Context(), client, misbehave{Error: true})
		wantError(t, err, edict.Internal, edict.Executed)
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("the caller reads %v", err)
		}
		_, err = edict.Call(t.Context(), client, misbehave{Goexit: true})
		wantError(t, err, edict.Internal, edict.Executed)
	}
	wantSum(t, client)
	if log := b.log.String(); !strings.Contains(log, "secret of the server") || !strings.Contains(log, "misbehave.Exec") {
		t.Errorf("the log has no panic with its stack: %s", log)
	}
}

// Fault: a write deadline set for one call stayed on the socket.
func TestDeadlineOfOneCallLeavesTheNextAlone(t *testing.T) {
	over(t, func(t *testing.T, b *bench) {
		client := b.client()
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			_, err := edict.Call(ctx, client, wait{"late"})
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) || edict.CodeOf(err) != edict.DeadlineExceeded {
				t.Fatalf("got %v", err)
			}
			wantSum(t, client)
		}
	})
}

func TestDeadlineAndCancelReachExec(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := serve(t)
		client := b.client()
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		_, err := edict.Call(ctx, client, wait{"deadline"})
		// At that instant the server's word may come first that the command has failed.
		if e, ok := errors.AsType[*edict.Error](err); !ok || e.Code != edict.DeadlineExceeded || e.Outcome != edict.OutcomeUnknown && e.Outcome != edict.Executed {
			t.Errorf("got %v", err)
		}
		if err := <-b.lab.canceled; err != context.DeadlineExceeded && err != context.Canceled {
			t.Errorf("Exec's context ended with %v", err)
		}
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("took %v", took)
		}
		ctx, cancel = context.WithCancel(t.Context())
		go func() { <-b.lab.started; <-b.lab.started; cancel() }()
		_, err = edict.Call(ctx, client, wait{"cancel"})
		wantError(t, err, edict.Canceled, edict.OutcomeUnknown)
		if err := <-b.lab.canceled; err != context.Canceled {
			t.Errorf("Exec's context ended with %v", err)
		}
		// An asynchronous call that no one receives from is cancelled all the same.
		ctx, cancel = context.WithCancel(t.Context())
		if _, err := edict.Start(ctx, client, wait{"dropped"}); err != nil {
			t.Fatal(err)
		}
		<-b.lab.started
		cancel()
		<-b.lab.canceled
		// A command that has a context of its own making hears of it as well.
		synctest.Wait()
		if n := client.InFlight(); n != 0 {
			t.Errorf("%d calls in flight", n)
		}
	})
}

// The context of a command behaves like any other: contexts made from it end with it.
func TestContextOfACommand(t *testing.T) {
	b := serve(t)
	client := b.client(edict.ClientConfig{Name: "tester"})
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	if _, err := edict.Call(ctx, client, peek{}); err != nil {
		t.Fatal(err)
	}
	inside := <-b.lab.contexts
	if peer := edict.PeerOf(inside); peer.Name != "tester" || peer.Codec != "json" {
		t.Errorf("peer %+v", peer)
	}
	if deadline, ok := inside.Deadline(); !ok || time.Until(deadline) < 59*time.Minute {
		t.Errorf("deadline %v, %v", deadline, ok)
	}
	child, stop := context.WithCancel(inside)
	defer stop()
	<-child.Done() // Exec has returned
	if child.Err() != context.Canceled || inside.Err() != context.Canceled {
		t.Errorf("%v, %v", child.Err(), inside.Err())
	}
	if edict.PeerOf(t.Context()).Address != nil || edict.MetadataOf(t.Context()) != nil || edict.Draining(t.Context()) != nil {
		t.Error("outside of a command there is nothing to see")
	}
}

func TestReturningEndsSinkAndContext(t *testing.T) {
	kept := make(chan edict.Sink[int], 1)
	type receiver = func(context.Context, edict.Sink[int]) error
	commands := edict.Commands(edict.ServerStream[callReceiver]())
	listener := transport.NewMemory()
	server := edict.NewServer(receiver(func(_ context.Context, results edict.Sink[int]) error {
		kept <- results
		return nil
	}), commands)
	go server.Serve(listener)
	defer server.Close()
	client, err := edict.Dial(t.Context(), "test", commands, edict.WithDialer(listener.Dial))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, err := range edict.Stream(t.Context(), client, callReceiver{}) {
		t.Errorf("unexpected %v", err)
	}
	if err := (<-kept).Send(1); err == nil {
		t.Error("Send after Exec has returned gives no error")
	}
}

type callReceiver struct{}

func (callReceiver) Exec(ctx context.Context, receiver func(context.Context, edict.Sink[int]) error, results edict.Sink[int]) error {
	return receiver(ctx, results)
}

// Fault: 8 workers were 8 connections; the ninth was accepted and never served.
func TestNinthAndThousandthConnection(t *testing.T) {
	b := serve(t)
	for i := range 1000 {
		client := b.client()
		if i == 8 || i == 999 {
			wantSum(t, client)
		}
	}
	if n := b.server.Connections(); n != 1000 {
		t.Errorf("%d connections", n)
	}
}

func TestConnectionLimit(t *testing.T) {
	over := serveAt(t, "tcp://127.0.0.1:0", nil, nil, edict.ServerConfig{MaxConnections: 2})
	first := over.client()
	over.client()
	_, err := over.tryClient()
	wantError(t, err, edict.ResourceExhausted, edict.NotSent)
	if e, _ := errors.AsType[*edict.Error](err); e.RetryAfter != time.Second || !strings.Contains(e.Message, "too many connections") {
		t.Errorf("got %v, retry after %v", e, e.RetryAfter)
	}
	wantSum(t, first)
}

// A client that connects and says nothing is given up after the handshake's timeout, and so is a
// server by its client.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := serve(t)
		start := time.Now()
		conn, err := b.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("got %v", err)
		}
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("took %v", took)
		}
		start = time.Now()
		silent, other := transport.MemoryPipe()
		defer other.Close()
		_, err = edict.Dial(t.Context(), "test", labCommands, edict.WithDialer(func(context.Context) (net.Conn, error) { return silent, nil }))
		wantError(t, err, edict.Unavailable, edict.NotSent)
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// cutConn is a connection that the test can cut.
func cuttable(b *bench) (dial func(context.Context) (net.Conn, error), cut func()) {
	var mu sync.Mutex
	var conns []net.Conn
	dial = func(ctx context.Context) (net.Conn, error) {
		conn, err := b.dial(ctx)
		mu.Lock()
		defer mu.Unlock()
		conns = append(conns, conn)
		return conn, err
	}
	return dial, func() {
		mu.Lock()
		defer mu.Unlock()
		for _, conn := range conns {
			_ = conn.Close()
		}
	}
}

func TestServerClosesMidResult(t *testing.T) {
	over(t, func(t *testing.T, b *bench) {
		client := b.client()
		invocation, err := edict.StartStream(t.Context(), client, flood{Size: 100 << 10})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := invocation.Receive(); err != nil {
			t.Fatal(err)
		}
		_ = b.server.Close()
		for {
			if _, err = invocation.Receive(); err != nil {
				break
			}
		}
		wantError(t, err, edict.Unavailable, edict.OutcomeUnknown)
		if _, again := invocation.Receive(); again != err {
			t.Errorf("the error does not stay: %v", again)
		}
		_, err = edict.Call(t.Context(), client, add{1, 1})
		wantError(t, err, edict.Unavailable, edict.NotSent)
	})
}

func TestConnectionLossEndsAllCalls(t *testing.T) {
	b := serve(t)
	dial, cut := cuttable(b)
	client := b.client(edict.WithDialer(dial))
	failures := make(chan error, 100)
	for range 100 {
		go func() {
			_, err := edict.Call(t.Context(), client, wait{})
			failures <- err
		}()
	}
	for range 100 {
		<-b.lab.started
	}
	cut()
	for range 100 {
		wantError(t, <-failures, edict.Unavailable, edict.OutcomeUnknown)
		if err := <-b.lab.canceled; err != context.Canceled {
			t.Errorf("Exec's context ended with %v", err)
		}
	}
	<-client.Done()
	if client.Err() == nil {
		t.Error("the client does not say why it ended")
	}
}

// Fault: Close left callers hanging. All return at once, and say what is known.
func TestCloseWithThousandInFlight(t *testing.T) {
	over(t, func(t *testing.T, b *bench) {
		client := b.client()
		failures := make(chan error, 1000)
		for range 1000 {
			go func() {
				_, err := edict.Call(t.Context(), client, wait{})
				failures <- err
			}()
		}
		for range 1000 {
			<-b.lab.started
		}
		if err := errors.Join(client.Close(), client.Close()); err != nil {
			t.Error(err)
		}
		for range 1000 {
			err := <-failures
			wantError(t, err, edict.Unavailable, edict.OutcomeUnknown)
			if !errors.Is(err, edict.ErrClosed) || !errors.Is(err, net.ErrClosed) {
				t.Fatalf("%v does not match ErrClosed", err)
			}
		}
		_, err := edict.Call(t.Context(), client, add{1, 1})
		wantError(t, err, edict.Unavailable, edict.NotSent)
		if n := client.InFlight(); n != 0 {
			t.Errorf("%d in flight", n)
		}
	})
}

// After Close, no more commands run than were sent: outcome NotSent means that it did not run.
func TestOutcomeNotSentIsTrue(t *testing.T) {
	for range 20 {
		b := serve(t)
		client := b.client()
		var sent, notSent, unknown atomic.Int64
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				for {
					_, err := edict.Call(context.Background(), client, add{1, 1})
					switch edict.OutcomeOf(err) {
					case edict.Executed:
						sent.Add(1)
						continue
					case edict.NotSent:
						notSent.Add(1)
					case edict.OutcomeUnknown:
						unknown.Add(1)
					default:
						t.Errorf("got %v", err)
					}
					return
				}
			})
		}
		for b.lab.executed.Load() < 100 {
			wantSum(t, client)
		}
		_ = client.Close()
		group.Wait()
		_ = b.server.Close()
		_ = b.server.Shutdown(context.Background())
		// wantSum's calls are counted by the lab as well, so compare the surplus of the others only.
		if executed := b.lab.executed.Load(); executed < sent.Load() {
			t.Fatalf("%d executed, but %d calls say so", executed, sent.Load())
		}
		if notSent.Load()+unknown.Load() != 8 {
			t.Fatalf("%d not sent, %d unknown", notSent.Load(), unknown.Load())
		}
	}
}

func TestShutdownDrains(t *testing.T) {
	over(t, func(t *testing.T, b *bench) {
		client := b.client()
		invocation, err := edict.Start(t.Context(), client, wait{"a"})
		if err != nil {
			t.Fatal(err)
		}
		<-b.lab.started
		if _, err := edict.Call(t.Context(), client, peek{}); err != nil {
			t.Fatal(err)
		}
		draining := edict.Draining(<-b.lab.contexts)
		done := make(chan error, 1)
		go func() { done <- b.server.Shutdown(t.Context()) }()
		<-draining
		// From now on commands are refused, or not even sent, and none is lost.
		for {
			_, err := edict.Call(t.Context(), client, add{1, 1})
			if err == nil {
				continue // GOAWAY is on its way
			}
			if edict.CodeOf(err) != edict.Unavailable || edict.OutcomeOf(err).Ran() {
				t.Fatalf("got %v", err)
			}
			break
		}
		select {
		case err := <-done:
			t.Fatalf("Shutdown did not wait: %v", err)
		default:
		}
		close(b.lab.release)
		if name, err := invocation.Receive(); name != "a" || err != nil {
			t.Errorf("the running command gave %q, %v", name, err)
		}
		if err := <-done; err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		<-client.Done()
		if err := errors.Join(b.server.Shutdown(t.Context()), b.server.Close(), b.server.Close()); err != nil {
			t.Errorf("once more: %v", err)
		}
		if err := <-b.served; !errors.Is(err, edict.ErrClosed) {
			t.Errorf("Serve: %v", err)
		}
		b.served <- nil // for the clean-up
	})
}

func TestShutdownGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := serve(t)
		client := b.client()
		invocation, err := edict.Start(t.Context(), client, stubborn{"a"})
		if err != nil {
			t.Fatal(err)
		}
		<-b.lab.started
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := b.server.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown: %v", err)
		}
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("took %v", took)
		}
		_, err = invocation.Receive()
		wantError(t, err, edict.Unavailable, edict.OutcomeUnknown)
		close(b.lab.release)
	})
}

func TestClientShutdown(t *testing.T) {
	b := serve(t)
	client := b.client()
	invocation, err := edict.Start(t.Context(), client, wait{"a"})
	if err != nil {
		t.Fatal(err)
	}
	<-b.lab.started
	done := make(chan error, 1)
	go func() { done <- client.Shutdown(t.Context()) }()
	for {
		_, err := edict.Call(t.Context(), client, add{1, 1})
		if err != nil {
			wantError(t, err, edict.Unavailable, edict.NotSent)
			break
		}
	}
	close(b.lab.release)
	if name, err := invocation.Receive(); name != "a" || err != nil {
		t.Error(name, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Fault: an unread stream froze the client.
func TestUnreadStreamHoldsUpItselfOnly(t *testing.T) {
	over(t, func(t *testing.T, b *bench) {
		client := b.client()
		invocation, err := edict.StartStream(t.Context(), client, flood{Size: 10 << 10})
		if err != nil {
			t.Fatal(err)
		}
		for range 200 {
			wantSum(t, client)
		}
		// What the server has sent is a window's worth (and the sums), not more.
		if sent := b.lab.executed.Load() - 200; sent*(10<<10) > 2*256<<10 {
			t.Errorf("the server has sent %d results to someone who reads none", sent)
		}
		for range 100 {
			if _, err := invocation.Receive(); err != nil {
				t.Fatal(err)
			}
		}
		invocation.Cancel()
		for err == nil {
			_, err = invocation.Receive()
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v does not match context.Canceled", err)
		}
		if err := <-b.lab.canceled; err != context.Canceled {
			t.Errorf("Send gave %v", err)
		}
		wantSum(t, client)
	})
}

func TestBreakCancelsTheCommand(t *testing.T) {
	b := serve(t)
	client := b.client()
	for text, err := range edict.Stream(t.Context(), client, flood{Size: 10}) {
		if err != nil || len(text) != 10 {
			t.Fatal(text, err)
		}
		break
	}
	if err := <-b.lab.canceled; err != context.Canceled {
		t.Errorf("Send gave %v", err)
	}
	wantSum(t, client)
}

// Start waits for a place if the server allows no more commands in flight, and a caller's giving up
// frees its place only when the server has ended the command.
func TestInFlightLimitPerConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := serve(t, edict.ServerConfig{MaxInFlight: 2})
		client := b.client()
		ctx, cancel := context.WithCancel(t.Context())
		for range 2 {
			if _, err := edict.Start(ctx, client, stubborn{}); err != nil {
				t.Fatal(err)
			}
			<-b.lab.started
		}
		short, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		_, err := edict.Start(short, client, add{})
		wantError(t, err, edict.DeadlineExceeded, edict.NotSent)
		cancel() // the callers have gone, the commands have not
		synctest.Wait()
		short, stop = context.WithTimeout(t.Context(), time.Second)
		defer stop()
		_, err = edict.Start(short, client, add{})
		wantError(t, err, edict.DeadlineExceeded, edict.NotSent)
		results := make(chan error, 10)
		for range 10 {
			go func() {
				_, err := edict.Call(t.Context(), client, add{})
				results <- err
			}()
		}
		synctest.Wait()
		close(b.lab.release)
		for range 10 {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
	})
}

// A Start that waits for a place is refused at once when there will be none.
func TestWaitingStartLearnsOfTheEnd(t *testing.T) {
	for name, end := range map[string]func(context.Context, *bench, *edict.Client[*lab]) error{
		"server": func(ctx context.Context, b *bench, _ *edict.Client[*lab]) error { return b.server.Shutdown(ctx) },
		"client": func(ctx context.Context, _ *bench, c *edict.Client[*lab]) error { return c.Shutdown(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			b := serve(t, edict.ServerConfig{MaxInFlight: 1})
			client := b.client()
			if _, err := edict.Start(t.Context(), client, wait{}); err != nil {
				t.Fatal(err)
			}
			<-b.lab.started
			waiting := make(chan error, 3)
			for range 3 {
				go func() {
					_, err := edict.Call(t.Context(), client, add{})
					waiting <- err
				}()
			}
			ended := make(chan error, 1)
			go func() { ended <- end(t.Context(), b, client) }()
			for range 3 {
				wantError(t, <-waiting, edict.Unavailable, edict.NotSent)
			}
			close(b.lab.release)
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestInFlightLimitPerServer(t *testing.T) {
	b := serve(t, edict.ServerConfig{MaxInFlightServer: 3})
	var clients []*edict.Client[*lab]
	for range 3 {
		client := b.client()
		clients = append(clients, client)
		if _, err := edict.Start(t.Context(), client, wait{}); err != nil {
			t.Fatal(err)
		}
		<-b.lab.started
	}
	_, err := edict.Call(t.Context(), clients[0], add{})
	wantError(t, err, edict.ResourceExhausted, edict.Refused)
	if e, _ := errors.AsType[*edict.Error](err); e.RetryAfter <= 0 {
		t.Error("no retry hint")
	}
	if n := b.server.InFlight(); n != 3 {
		t.Errorf("%d in flight", n)
	}
	close(b.lab.release)
	for b.server.InFlight() > 0 {
	}
	wantSum(t, clients[0])
}

func TestTooBig(t *testing.T) {
	b := serve(t, edict.ServerConfig{MaxFrame: 100 << 10})
	client := b.client(edict.ClientConfig{MaxFrame: 200 << 10})
	_, err := edict.Call(t.Context(), client, repeat{Text: strings.Repeat("x", 101<<10)})
	wantError(t, err, edict.ResourceExhausted, edict.NotSent)
	_, err = edict.Call(t.Context(), client, repeat{"x", 201 << 10})
	wantError(t, err, edict.ResourceExhausted, edict.Executed)
	wantSum(t, client)
	for _, err := range edict.Stream(t.Context(), client, flood{Size: 201 << 10}) {
		wantError(t, err, edict.ResourceExhausted, edict.Executed)
	}
	wantSum(t, client)
}

// Many commands that block do not hold up those behind them.
func TestBlockedCommandsHoldUpNoOne(t *testing.T) {
	b := serve(t, edict.ServerConfig{IdleWorkers: -1})
	client := b.client()
	for range 3000 {
		if _, err := edict.Start(t.Context(), client, wait{}); err != nil {
			t.Fatal(err)
		}
	}
	wantSum(t, client)
	for range 3000 {
		<-b.lab.started
	}
	close(b.lab.release)
}

func TestInterceptors(t *testing.T) {
	var mu sync.Mutex
	var story []string
	note := func(format string, arguments ...any) {
		mu.Lock()
		defer mu.Unlock()
		story = append(story, fmt.Sprintf(format, arguments...))
	}
	ended := make(chan struct{}, 10)
	serverSide := func(name string) edict.ServerInterceptor {
		return func(ctx context.Context, call *edict.ServerCall, next func(context.Context) error) error {
			note("%s in %s %v", name, call.Name, call.Command)
			call.OnResult(func(result any) error { note("%s sees %v", name, result); return nil })
			if call.Metadata().Get("deny") != "" {
				return edict.Errorf(edict.PermissionDenied, "denied by %s", name)
			}
			err := next(ctx)
			note("%s out %v", name, err)
			return err
		}
	}
	clientSide := func(name string) edict.ClientInterceptor {
		return func(ctx context.Context, call *edict.ClientCall, next edict.ClientNext) (edict.Exchange, error) {
			note("%s in %s", name, call.Name)
			call.SetMetadata("seen-by", name)
			exchange, err := next(ctx, call)
			if err != nil {
				return nil, err
			}
			return edict.ObserveEnd(call, exchange, func(err error) { note("%s end %v", name, err); ended <- struct{}{} }), nil
		}
	}
	b := serve(t, edict.WithServerInterceptors(serverSide("s1"), serverSide("s2")))
	client := b.client(edict.WithClientInterceptors(clientSide("c1"), clientSide("c2")))
	tell := func() string {
		<-ended
		<-ended
		mu.Lock()
		defer mu.Unlock()
		defer func() { story = nil }()
		return strings.Join(story, "; ")
	}
	wantSum(t, client)
	if got, want := tell(), "c1 in add; c2 in add; s1 in add {2 3}; s2 in add {2 3}; s1 sees 5; s2 sees 5; s2 out <nil>; s1 out <nil>; c2 end <nil>; c1 end <nil>"; got != want {
		t.Errorf("unary:\n got %s\nwant %s", got, want)
	}
	for _, err := range edict.Stream(t.Context(), client, count{To: 2}) {
		if err != nil {
			t.Error(err)
		}
	}
	if got, want := tell(), "c1 in count; c2 in count; s1 in count {2 false}; s2 in count {2 false}; s1 sees 0; s2 sees 0; s1 sees 1; s2 sees 1; s2 out <nil>; s1 out <nil>; c2 end <nil>; c1 end <nil>"; got != want {
		t.Errorf("stream:\n got %s\nwant %s", got, want)
	}
	executed := b.lab.executed.Load()
	_, err := edict.Call(t.Context(), client, add{1, 1}, edict.WithMetadata(edict.Metadata{"deny": {"yes"}}))
	wantError(t, err, edict.PermissionDenied, edict.Refused)
	if b.lab.executed.Load() != executed {
		t.Error("a refused command was executed")
	}
}

type calculator interface{ plus(a, b int) int }

type realCalculator struct{}

func (realCalculator) plus(a, b int) int { return a + b }

type plus struct{ A, B int }

func (c plus) Exec(_ context.Context, receiver calculator) (int, error) {
	return receiver.plus(c.A, c.B), nil
}

func TestReceiverIsAnInterface(t *testing.T) {
	commands := edict.Commands(edict.Unary[plus]())
	listener := transport.NewMemory()
	server := edict.NewServer[calculator](realCalculator{}, commands)
	go server.Serve(listener)
	defer server.Close()
	client, err := edict.Dial(t.Context(), "test", commands, edict.WithDialer(listener.Dial))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if sum, err := edict.Call(t.Context(), client, plus{2, 3}); sum != 5 || err != nil {
		t.Fatal(sum, err)
	}
}

// A fake of the server's side in a user's test.
type fakeLab struct{ sent []any }

func (f *fakeLab) Start(_ context.Context, request edict.Request[*lab]) (edict.Exchange, error) {
	f.sent = append(f.sent, request.Command)
	if request.Stream {
		return edict.Reply(1, 2, 3), nil
	}
	return edict.Reply(42), nil
}

func TestFakeSender(t *testing.T) {
	fake := &fakeLab{}
	sum, err := edict.Call(t.Context(), fake, add{1, 1})
	if sum != 42 || err != nil {
		t.Fatal(sum, err)
	}
	var got []int
	for n, err := range edict.Stream(t.Context(), fake, count{To: 9}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, n)
	}
	if fmt.Sprint(got, fake.sent) != "[1 2 3] [{1 1} {9 false}]" {
		t.Error(got, fake.sent)
	}
}

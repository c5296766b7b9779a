package edicttest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/edicttest"
)

// till is the receiver of the proxy's tests: the commands tell it that they run.
type till struct{ executed chan string }

// ring returns its text.
type ring struct{ Text string }

func (c ring) Exec(_ context.Context, t *till) (string, error) {
	t.executed <- c.Text
	return c.Text, nil
}

// hold runs until it is cancelled.
type hold struct{}

func (hold) Exec(ctx context.Context, t *till) (string, error) {
	t.executed <- "hold"
	<-ctx.Done()
	return "", ctx.Err()
}

// tally streams the numbers below To.
type tally struct{ To int }

func (c tally) Exec(_ context.Context, _ *till, out edict.Sink[int]) error {
	for n := range c.To {
		if err := out.Send(n); err != nil {
			return err
		}
	}
	return nil
}

var tillCommands = edict.Commands(edict.Unary[ring](), edict.Unary[hold](), edict.ServerStream[tally]())

// shop is a server with a proxy in front of it.
type shop struct {
	t      *testing.T
	till   *till
	server *edict.Server
	proxy  *edicttest.Proxy
	faults chan edicttest.Fault // as they happen
}

// open starts both, the proxy and the server each at a free port.
func open(t *testing.T, config edicttest.ProxyConfig) *shop {
	return openAt(t, "tcp://127.0.0.1:0", "tcp://127.0.0.1:0", config)
}

func openAt(t *testing.T, proxyAddress, serverAddress string, config edicttest.ProxyConfig) *shop {
	t.Helper()
	s := &shop{t: t, till: &till{make(chan string, 10_000)}, faults: make(chan edicttest.Fault, 10_000)}
	s.server = edict.NewServer(s.till, tillCommands, edict.WithLogger(slog.New(slog.DiscardHandler)))
	listener, err := s.server.Listen(serverAddress)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.server.Serve(listener) }()
	t.Cleanup(func() {
		s.stop()
		<-served
	})
	scheme, _, _ := strings.Cut(serverAddress, "://")
	s.proxy, err = edicttest.NewProxy(proxyAddress, scheme+"://"+listener.Addr().String(), config)
	if err != nil {
		t.Fatal(err)
	}
	s.proxy.OnFault(func(fault edicttest.Fault) { s.faults <- fault })
	t.Cleanup(func() {
		if err := s.proxy.Close(); err != nil {
			t.Errorf("the proxy did not end well: %v", err)
		}
		if open := s.proxy.Connections(); len(open) > 0 {
			t.Errorf("%d connections are open after Close", len(open))
		}
	})
	return s
}

// stop ends the server; then no command runs any more.
func (s *shop) stop() {
	_ = s.server.Close()
	if err := s.server.Shutdown(context.Background()); err != nil {
		s.t.Errorf("the server did not end: %v", err)
	}
}

// dial connects a client through the proxy and returns the connection's other face too.
func (s *shop) dial() (*edict.Client[*till], *edicttest.ProxyConnection) {
	s.t.Helper()
	client, err := edict.Dial(context.Background(), s.proxy.Address(), tillCommands)
	if err != nil {
		s.t.Fatalf("Dial: %v", err)
	}
	s.t.Cleanup(func() { _ = client.Close() })
	open := s.proxy.Connections()
	return client, open[len(open)-1]
}

// wantFault waits for the next fault, which must be of this kind.
func (s *shop) wantFault(kind edicttest.FaultKind) edicttest.Fault {
	s.t.Helper()
	select {
	case fault := <-s.faults:
		if fault.Kind != kind {
			s.t.Fatalf("the fault is %v, want a %v", fault, kind)
		}
		if fired := s.proxy.Fired(kind); !slices.Contains(fired, fault) {
			s.t.Fatalf("Fired has %v, without %v", fired, fault)
		}
		return fault
	case <-time.After(10 * time.Second):
		s.t.Fatalf("no fault has happened, want a %v", kind)
		panic("unreachable")
	}
}

// wantRing makes a call that must succeed.
func (s *shop) wantRing(client *edict.Client[*till], text string) {
	s.t.Helper()
	answer, err := edict.Call(context.Background(), client, ring{text})
	if err != nil || answer != text {
		s.t.Fatalf("ring %.20q = %.20q, %v", text, answer, err)
	}
}

// wantLost checks that an error is that of a call whose connection broke under it.
func (s *shop) wantLost(err error) {
	s.t.Helper()
	if edict.CodeOf(err) != edict.Unavailable || edict.OutcomeOf(err) != edict.OutcomeUnknown {
		s.t.Fatalf("got %v, want unavailable, outcome unknown", err)
	}
}

// wantExecuted waits until a command runs that tells this.
func (s *shop) wantExecuted(text string) {
	s.t.Helper()
	select {
	case got := <-s.till.executed:
		if got != text {
			s.t.Fatalf("%q was executed, want %q", got, text)
		}
	case <-time.After(10 * time.Second):
		s.t.Fatalf("%q is not executed", text)
	}
}

// wantNothingExecuted checks that no other command has run or will.
func (s *shop) wantNothingExecuted() {
	s.t.Helper()
	s.stop()
	select {
	case got := <-s.till.executed:
		s.t.Fatalf("%q was executed", got)
	default:
	}
}

func TestProxyPassesOn(t *testing.T) {
	socket := func(t *testing.T, name string) string { return "unix://" + filepath.Join(t.TempDir(), name) }
	for name, test := range map[string]func(t *testing.T) (proxy, server string){
		"tcp":         func(*testing.T) (string, string) { return "tcp://127.0.0.1:0", "tcp://127.0.0.1:0" },
		"unix":        func(t *testing.T) (string, string) { return socket(t, "proxy"), socket(t, "server") },
		"tcp to unix": func(t *testing.T) (string, string) { return "tcp://127.0.0.1:0", socket(t, "server") },
	} {
		t.Run(name, func(t *testing.T) {
			proxy, server := test(t)
			s := openAt(t, proxy, server, edicttest.ProxyConfig{})
			client, connection := s.dial()
			s.wantRing(client, "small")
			s.wantRing(client, strings.Repeat("large", 300_000))
			next := 0
			for n, err := range edict.Stream(context.Background(), client, tally{10_000}) {
				if err != nil || n != next {
					t.Fatalf("got %d, %v, want %d", n, err, next)
				}
				next++
			}
			if next != 10_000 {
				t.Errorf("got %d results", next)
			}
			if fired := s.proxy.Fired(); len(fired) > 0 {
				t.Errorf("unasked faults: %v", fired)
			}
			_ = client.Close()
			<-connection.Done() // both sides have closed, and the proxy after them
			if connection.Delivered(edicttest.ToServer) < 1_500_000 || connection.Delivered(edicttest.ToClient) < 1_500_000 {
				t.Errorf("delivered %d and %d bytes", connection.Delivered(edicttest.ToServer), connection.Delivered(edicttest.ToClient))
			}
		})
	}
}

func TestProxyCut(t *testing.T) {
	s := open(t, edicttest.ProxyConfig{})
	client, connection := s.dial()
	holding, err := edict.Start(context.Background(), client, hold{})
	if err != nil {
		t.Fatal(err)
	}
	s.wantExecuted("hold")
	connection.Cut()
	_, err = holding.Receive()
	s.wantLost(err)
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the error is %v, want a reset in its chain", err)
	}
	s.wantFault(edicttest.FaultCut)
	<-connection.Done()
	<-client.Done()
	connection.Cut() // does nothing any more
	if fired := s.proxy.Fired(); len(fired) != 1 {
		t.Errorf("fired: %v, want one cut", fired)
	}
	again, _ := s.dial() // the proxy goes on
	s.wantRing(again, "again")
}

// Where a command is cut decides whether it runs. The caller can't know, and is told so.
func TestProxyCutAfterAPointOfTheCommand(t *testing.T) {
	for _, point := range []edicttest.Point{
		edicttest.InFrame(0, 1), edicttest.InFrame(0, 20), edicttest.Frames(1),
	} {
		t.Run(point.String(), func(t *testing.T) {
			s := open(t, edicttest.ProxyConfig{})
			client, connection := s.dial()
			connection.Stall(edicttest.ToClient) // no result is quicker than the cut
			connection.CutAfter(edicttest.ToServer, point)
			_, err := edict.Call(context.Background(), client, ring{"cut"})
			s.wantLost(err)
			<-connection.Done()
			if cuts := s.proxy.Fired(edicttest.FaultCut); len(cuts) != 1 || cuts[0].Offset != connection.Delivered(edicttest.ToServer) {
				t.Errorf("fired: %v; delivered %d bytes", cuts, connection.Delivered(edicttest.ToServer))
			}
			if point == edicttest.Frames(1) {
				s.wantExecuted("cut")
			}
			s.wantNothingExecuted()
		})
	}
}

func TestProxyCutAfterAPointOfTheResults(t *testing.T) {
	s := open(t, edicttest.ProxyConfig{})
	client, connection := s.dial()
	connection.CutAfter(edicttest.ToClient, edicttest.Frames(3))
	var got []int
	var failure error
	for n, err := range edict.Stream(context.Background(), client, tally{10}) {
		if failure = err; err == nil {
			got = append(got, n)
		}
	}
	s.wantLost(failure)
	if !slices.Equal(got, []int{0, 1, 2}) {
		t.Errorf("the results before the cut are %v, want 0, 1 and 2", got)
	}
	s.wantFault(edicttest.FaultCut)
}

// Wherever a connection is cut, in the handshake, a command or its result: what the caller is told
// holds.
func TestProxyCutAfterEachByte(t *testing.T) {
	for _, direction := range []edicttest.Direction{edicttest.ToServer, edicttest.ToClient} {
		t.Run(direction.String(), func(t *testing.T) {
			s := open(t, edicttest.ProxyConfig{})
			var at atomic.Int64
			s.proxy.OnConnect(func(c *edicttest.ProxyConnection) { c.CutAfter(direction, edicttest.Bytes(at.Load())) })
			outcomes := map[string]int{}
			told := map[string]edict.Outcome{} // of each command
			for err := errors.New("none yet"); err != nil; at.Add(1) {
				text := fmt.Sprint("byte ", at.Load())
				told[text], err = callOnce(s.proxy.Address(), ring{text})
				outcomes[told[text].String()]++
			}
			s.stop()
			close(s.till.executed)
			ran := map[string]int{}
			for text := range s.till.executed {
				ran[text]++
			}
			for text, outcome := range told {
				switch {
				case ran[text] > 1,
					ran[text] > 0 && outcome == edict.NotSent, ran[text] == 0 && outcome == edict.Executed:
					t.Errorf("%s: executed %d times, and the caller was told %v", text, ran[text], outcome)
				}
			}
			if cuts := len(s.proxy.Fired(edicttest.FaultCut)); cuts < len(told)-1 {
				t.Errorf("%d cuts in %d connections", cuts, len(told))
			}
			t.Logf("%d offsets: %v", len(told), outcomes)
		})
	}
}

// callOnce connects, makes a call and returns its outcome.
func callOnce(address string, command ring) (edict.Outcome, error) {
	client, err := edict.Dial(context.Background(), address, tillCommands)
	if err != nil {
		return edict.OutcomeOf(err), err
	}
	defer func() { _ = client.Close() }()
	_, err = edict.Call(context.Background(), client, command)
	return edict.OutcomeOf(err), err
}

func TestProxyStall(t *testing.T) {
	s := open(t, edicttest.ProxyConfig{})
	client, connection := s.dial()
	connection.Stall(edicttest.ToClient)
	ringing, err := edict.Start(context.Background(), client, ring{"late"})
	if err != nil {
		t.Fatal(err)
	}
	fault := s.wantFault(edicttest.FaultStall) // the result has come to the proxy, and not farther
	if fault.Offset != connection.Delivered(edicttest.ToClient) {
		t.Errorf("%d bytes are delivered, %d when the stall began", connection.Delivered(edicttest.ToClient), fault.Offset)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errors.New("waited long enough"))
	other, err := edict.Call(ctx, client, ring{"not at all"})
	if err == nil || edict.OutcomeOf(err) != edict.NotSent {
		t.Errorf("got %q, %v from a call whose context had ended", other, err)
	}
	connection.Resume(edicttest.ToClient)
	if answer, err := ringing.Receive(); err != nil || answer != "late" {
		t.Errorf("got %q, %v after the stall", answer, err)
	}
	s.wantRing(client, "as before")
}

// A caller that waits for a stalled server is freed by its context.
func TestProxyStallAfter(t *testing.T) {
	s := open(t, edicttest.ProxyConfig{})
	client, connection := s.dial()
	connection.StallAfter(edicttest.ToClient, edicttest.Frames(1))
	s.wantRing(client, "first")
	s.wantExecuted("first")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s.proxy.OnFault(func(edicttest.Fault) { cancel() })
	_, err := edict.Call(ctx, client, ring{"second"})
	if !errors.Is(err, context.Canceled) || edict.OutcomeOf(err) != edict.OutcomeUnknown {
		t.Errorf("got %v, want canceled, outcome unknown", err)
	}
	s.wantExecuted("second") // which the caller could not know
}

func TestProxyVanish(t *testing.T) {
	s := open(t, edicttest.ProxyConfig{})
	client, connection := s.dial()
	connection.Vanish(edicttest.ToServer)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := edict.Call(ctx, client, ring{"lost"})
		ended <- err
	}()
	s.wantFault(edicttest.FaultVanish)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) || edict.OutcomeOf(err) != edict.OutcomeUnknown {
		t.Errorf("got %v, want canceled, outcome unknown", err)
	}
	_ = client.Close() // the end vanishes too
	select {
	case <-connection.Done():
		t.Error("the server's side of a half-open connection has ended")
	default:
	}
	connection.Cut()
	<-connection.Done()
	s.wantNothingExecuted()
}

func TestProxyCorrupt(t *testing.T) {
	s := open(t, edicttest.ProxyConfig{})
	client, connection := s.dial()
	const text = `{"Text":"` // the payload's beginning, after 16 bytes of header
	connection.Corrupt(edicttest.ToServer, edicttest.InFrame(0, 16+len(text)))
	answer, err := edict.Call(context.Background(), client, ring{"bell"})
	if err != nil || answer != "cell" {
		t.Errorf("got %q, %v, want \"cell\": nothing but TLS protects the payload", answer, err)
	}
	s.wantFault(edicttest.FaultCorrupt)
	s.wantRing(client, "bell")

	connection.Corrupt(edicttest.ToServer, edicttest.Bytes(0)) // has passed: nothing happens
	s.wantRing(client, "bell")
	if fired := s.proxy.Fired(); len(fired) != 1 {
		t.Errorf("fired: %v, want one", fired)
	}

	s.proxy.OnConnect(func(c *edicttest.ProxyConnection) { c.Corrupt(edicttest.ToServer, edicttest.Bytes(0)) })
	_, err = edict.Dial(context.Background(), s.proxy.Address(), tillCommands)
	if edict.CodeOf(err) != edict.Unavailable || edict.OutcomeOf(err) != edict.NotSent {
		t.Errorf("got %v from a server that was greeted in a foreign way, want unavailable, not sent", err)
	}
	s.wantFault(edicttest.FaultCorrupt)
}

func TestProxyRefuseDials(t *testing.T) {
	s := open(t, edicttest.ProxyConfig{})
	before, _ := s.dial()
	s.proxy.RefuseDials(true)
	_, err := edict.Dial(context.Background(), s.proxy.Address(), tillCommands)
	if edict.CodeOf(err) != edict.Unavailable || edict.OutcomeOf(err) != edict.NotSent {
		t.Errorf("got %v, want unavailable, not sent", err)
	}
	s.wantFault(edicttest.FaultRefuse)
	s.wantRing(before, "still here")
	s.proxy.RefuseDials(false)
	after, _ := s.dial()
	s.wantRing(after, "back again")
}

func TestProxyDelayAccepts(t *testing.T) {
	s := open(t, edicttest.ProxyConfig{})
	const delay = 50 * time.Millisecond
	s.proxy.DelayAccepts(delay)
	start := time.Now()
	client, _ := s.dial()
	if took := time.Since(start); took < delay {
		t.Errorf("connected within %v", took)
	}
	s.wantFault(edicttest.FaultDelay)
	s.wantRing(client, "at last")

	s.proxy.DelayAccepts(time.Hour)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s.proxy.OnFault(func(edicttest.Fault) { cancel() })
	_, err := edict.Dial(ctx, s.proxy.Address(), tillCommands)
	if !errors.Is(err, context.Canceled) || edict.OutcomeOf(err) != edict.NotSent {
		t.Errorf("got %v, want canceled, not sent", err)
	}
}

// Latency delays and does not slow down: many reads are under way at the same time.
func TestProxyLatency(t *testing.T) {
	s := open(t, edicttest.ProxyConfig{Link: edicttest.Link{Latency: 100 * time.Millisecond, Buffer: 8 << 20}})
	client, _ := s.dial()
	start := time.Now()
	s.wantRing(client, "small")
	if took := time.Since(start); took < 200*time.Millisecond {
		t.Errorf("there and back took %v", took)
	}
	start = time.Now()
	s.wantRing(client, strings.Repeat("large", 800_000)) // 125 reads of 32 KiB each way: 25 s, one at a time
	if took := time.Since(start); took > 12*time.Second {
		t.Errorf("4 MB took %v", took)
	}
	s.proxy.SetLink(edicttest.Link{})
	s.wantRing(client, "quick")
}

func TestProxyBandwidth(t *testing.T) {
	s := open(t, edicttest.ProxyConfig{})
	client, _ := s.dial()
	s.proxy.SetLink(edicttest.Link{Bandwidth: 1 << 20})
	start := time.Now()
	s.wantRing(client, strings.Repeat("x", 100<<10))
	if took := time.Since(start); took < 180*time.Millisecond {
		t.Errorf("200 KiB at 1 MiB/s took %v", took)
	}
}

func TestProxySegment(t *testing.T) {
	s := open(t, edicttest.ProxyConfig{Link: edicttest.Link{Segment: 7, Jitter: time.Millisecond}})
	client, _ := s.dial()
	for i := range 20 {
		s.wantRing(client, strings.Repeat("torn", 10*i))
	}
	s.wantFault(edicttest.FaultTear)
}

// A proxy is for any service: one whose client says that it has no more to say, and then listens.
func TestProxyHalfClose(t *testing.T) {
	s := openRaw(t, edicttest.ProxyConfig{Link: edicttest.Link{Latency: 10 * time.Millisecond}})
	client, server := s.connect()
	request := bytes.Repeat([]byte("request"), 100_000)
	go func() {
		_, _ = client.Write(request)
		_ = client.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(server)
	if err != nil || !bytes.Equal(got, request) {
		t.Fatalf("the server got %d bytes, %v", len(got), err)
	}
	_, _ = server.Write([]byte("answer"))
	_ = server.Close()
	got, err = io.ReadAll(client)
	if err != nil || string(got) != "answer" {
		t.Errorf("the client got %q, %v", got, err)
	}
}

// A reset on one side is one on the other.
func TestProxyPassesResetsOn(t *testing.T) {
	s := openRaw(t, edicttest.ProxyConfig{})
	for _, reset := range []string{"client", "server"} {
		client, server := s.connect()
		from, to := client, server
		if reset == "server" {
			from, to = server, client
		}
		_, _ = from.Write([]byte("last words"))
		words := make([]byte, 10)
		if _, err := io.ReadFull(to, words); err != nil || string(words) != "last words" {
			t.Errorf("got %q, %v", words, err)
		}
		_ = from.(*net.TCPConn).SetLinger(0)
		_ = from.Close()
		if _, err := to.Read(words); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("after a reset by the %s the other side got %v", reset, err)
		}
	}
	if fired := s.proxy.Fired(); len(fired) > 0 {
		t.Errorf("unasked faults: %v", fired)
	}
}

// One who goes on to speak to a peer that has ended is told so, as without a proxy.
func TestProxyPassesOnThatNobodyListens(t *testing.T) {
	s := openRaw(t, edicttest.ProxyConfig{Link: edicttest.Link{Latency: 5 * time.Millisecond}})
	client, server := s.connect()
	_ = server.Close()
	if n, err := client.Read(make([]byte, 1)); err != io.EOF {
		t.Fatalf("got %d bytes, %v from a server that has closed", n, err)
	}
	_ = client.SetWriteDeadline(time.Now().Add(10 * time.Second))
	var err error
	for err == nil {
		_, err = client.Write([]byte("are you there?"))
	}
	if !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("writing to a server that has closed: %v", err)
	}
	<-(<-s.connected).Done()
}

// What vanishes is also the end.
func TestProxyVanishOfTheEnd(t *testing.T) {
	s := openRaw(t, edicttest.ProxyConfig{})
	vanished := make(chan struct{}, 1)
	s.proxy.OnFault(func(edicttest.Fault) { vanished <- struct{}{} })
	client, server := s.connect()
	connection := <-s.connected
	connection.Vanish(edicttest.ToServer)
	_ = client.Close()
	<-vanished
	_ = server.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	var timeout net.Error
	if _, err := server.Read(make([]byte, 1)); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("the server got %v, want nothing at all", err)
	}
}

// What Segment tears does not come together: if it does once, because the reader is slow, then not
// always.
func TestProxySegmentTears(t *testing.T) {
	s := openRaw(t, edicttest.ProxyConfig{Link: edicttest.Link{Segment: 4}})
	client, server := s.connect()
	text := make([]byte, 1000)
	for range 20 {
		_, _ = client.Write(text)
		first, err := server.Read(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(server, text[first:]); err != nil {
			t.Fatal(err)
		}
		if first < len(text) {
			return
		}
	}
	t.Error("1000 bytes have always come in one piece")
}

// A sender whose receiver is slow is slowed down: the proxy holds no more than Buffer.
func TestProxyBuffer(t *testing.T) {
	s := openRaw(t, edicttest.ProxyConfig{Link: edicttest.Link{Buffer: 1000}})
	client, server := s.connect()
	connection := <-s.connected
	connection.Stall(edicttest.ToServer)
	const limit = 64 << 20 // more than the system's buffers hold
	sent, chunk := 0, make([]byte, 1<<20)
	for sent < limit {
		_ = client.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
		n, err := client.Write(chunk)
		sent += n
		if err != nil {
			break // no room for a while
		}
	}
	if sent >= limit {
		t.Fatalf("%d bytes went into a stalled connection", sent)
	}
	_ = client.(*net.TCPConn).CloseWrite()
	connection.Resume(edicttest.ToServer)
	if got, err := io.Copy(io.Discard, server); err != nil || got != int64(sent) {
		t.Errorf("the server got %d of %d bytes, %v", got, sent, err)
	}
}

func TestProxyWithoutAServer(t *testing.T) {
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = gone.Close()
	proxy, err := edicttest.NewProxy("tcp://127.0.0.1:0", "tcp://"+gone.Addr().String(), edicttest.ProxyConfig{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = edict.Dial(context.Background(), proxy.Address(), tillCommands)
	if edict.CodeOf(err) != edict.Unavailable || edict.OutcomeOf(err) != edict.NotSent {
		t.Errorf("got %v, want unavailable, not sent", err)
	}
	for range 2 {
		if err := proxy.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	for _, address := range []string{"", "127.0.0.1:0", "udp://127.0.0.1:0", "tcp://"} {
		if _, err := edicttest.NewProxy(address, "tcp://127.0.0.1:1", edicttest.ProxyConfig{}); err == nil {
			t.Errorf("a proxy listens at %q", address)
		}
		if _, err := edicttest.NewProxy("tcp://127.0.0.1:0", address, edicttest.ProxyConfig{}); err == nil {
			t.Errorf("a proxy has the target %q", address)
		}
	}
}

// Close ends what goes on: connections, a client that waits to be accepted, a stalled direction.
func TestProxyCloseEndsEverything(t *testing.T) {
	s := open(t, edicttest.ProxyConfig{Link: edicttest.Link{Latency: time.Hour}})
	s.proxy.SetLink(edicttest.Link{})
	client, connection := s.dial()
	connection.Stall(edicttest.ToServer)
	ringing, err := edict.Start(context.Background(), client, ring{"held"})
	if err != nil {
		t.Fatal(err)
	}
	s.wantFault(edicttest.FaultStall)
	s.proxy.DelayAccepts(time.Hour)
	waiting := make(chan error, 1)
	go func() {
		_, err := edict.Dial(context.Background(), s.proxy.Address(), tillCommands)
		waiting <- err
	}()
	s.wantFault(edicttest.FaultDelay)
	_ = s.proxy.Close()
	if err := <-waiting; edict.OutcomeOf(err) != edict.NotSent {
		t.Errorf("the client that waited got %v", err)
	}
	_, err = ringing.Receive()
	s.wantLost(err)
	s.wantNothingExecuted()
}

// rawShop is a proxy in front of a bare listener.
type rawShop struct {
	t         *testing.T
	listener  net.Listener
	proxy     *edicttest.Proxy
	connected chan *edicttest.ProxyConnection
}

func openRaw(t *testing.T, config edicttest.ProxyConfig) *rawShop {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	proxy, err := edicttest.NewProxy("tcp://127.0.0.1:0", "tcp://"+listener.Addr().String(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = proxy.Close()
		_ = listener.Close()
	})
	connected := make(chan *edicttest.ProxyConnection, 10)
	proxy.OnConnect(func(c *edicttest.ProxyConnection) { connected <- c })
	return &rawShop{t, listener, proxy, connected}
}

// connect returns the two ends of a connection through the proxy.
func (s *rawShop) connect() (client, server net.Conn) {
	s.t.Helper()
	client, err := net.Dial("tcp", strings.TrimPrefix(s.proxy.Address(), "tcp://"))
	if err != nil {
		s.t.Fatal(err)
	}
	server, err = s.listener.Accept()
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = client.Close()
		_ = server.Close()
	})
	return client, server
}

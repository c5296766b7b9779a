package delegate

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict/codec"
	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/transport"
)

var (
	addShape   = codec.Shape{"unary", ". struct", "A int", "B int", "> int"}
	otherShape = codec.Shape{"unary", ". struct", "A int", "B string", "> int"}
	countShape = codec.Shape{"stream", ". struct", "To int", "> int"}

	add   = Command{"Add", addShape}
	count = Command{"Count", countShape}
)

// ending is how one side's handshake ended.
type ending struct {
	Agreement
	err error
}

// meet lets a client and a server perform their handshake.
func meet(t *testing.T, client, server Config, refusal *core.Error) (clients, servers ending) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		near, far := transport.MemoryPipe()
		a, b := transport.NewConn(near, transport.Config{}), transport.NewConn(far, transport.Config{})
		done := make(chan struct{})
		go func() {
			defer close(done)
			servers.Agreement, servers.err = NewAcceptor(server).Accept(b, refusal)
			if servers.err != nil {
				b.Close(servers.err)
			}
		}()
		clients.Agreement, clients.err = Connect(t.Context(), a, client)
		if clients.err != nil {
			_ = a.Flush(t.Context())
			a.Close(clients.err)
		}
		<-done
		a.Close(nil)
		b.Close(nil)
		a.Wait()
		b.Wait()
	})
	return clients, servers
}

// wantError checks the error of one side.
func wantError(t *testing.T, side string, got ending, words ...string) {
	t.Helper()
	if got.err == nil {
		t.Errorf("the %s has connected, want an error with %q", side, words)
		return
	}
	for _, word := range words {
		if !strings.Contains(got.err.Error(), word) {
			t.Errorf("the %s's error is %q, want it to contain %q", side, got.err, word)
		}
	}
	if side == "client" {
		if e, ok := got.err.(*core.Error); !ok || e.Outcome != core.NotSent || !e.Code.Valid() {
			t.Errorf("the client's error is %#v, want a *core.Error with NotSent", got.err)
		}
	}
}

func TestBothSidesAgree(t *testing.T) {
	client := Config{Name: "the client", Codecs: []string{"a", "b"}, Commands: []Command{count, add}, MaxInFlight: 500, Window: 12345}
	server := Config{Name: "the server", Codecs: []string{"b", "a"}, Commands: []Command{add, count}, MaxInFlight: 100}
	clients, servers := meet(t, client, server, nil)
	if clients.err != nil || servers.err != nil {
		t.Fatal(clients.err, servers.err)
	}
	if c := clients; c.Version != 1 || c.Codec != "a" || c.PeerName != "the server" || c.MaxInFlight != 100 || c.Window != 12345 || len(c.Unusable) != 0 {
		t.Errorf("the client has %+v", c.Agreement)
	}
	if s := servers; s.Version != 1 || s.Codec != "a" || s.PeerName != "the client" || s.MaxInFlight != 100 || s.Window != 12345 ||
		!slices.Equal(s.Names, []string{"Count", "Add"}) || !slices.Equal(s.Commands, []int{1, 0}) {
		t.Errorf("the server has %+v", s.Agreement)
	}
}

func TestTheSmallerInFlightLimitHolds(t *testing.T) {
	for _, limits := range [][2]int{{5, 7}, {7, 5}} {
		clients, _ := meet(t, Config{Codecs: []string{"a"}, MaxInFlight: limits[0]}, Config{Codecs: []string{"a"}, MaxInFlight: limits[1]}, nil)
		if clients.err != nil || clients.MaxInFlight != 5 {
			t.Errorf("limits %v: the client uses %d, %v", limits, clients.MaxInFlight, clients.err)
		}
	}
}

// TestTheAgreedFrameSizeHolds: each side sends no more than the other accepts.
func TestTheAgreedFrameSizeHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := transport.MemoryPipe()
		a, b := transport.NewConn(near, transport.Config{}), transport.NewConn(far, transport.Config{})
		go func() {
			if _, err := NewAcceptor(Config{Codecs: []string{"a"}, MaxFrame: 80_000}).Accept(b, nil); err != nil {
				t.Error(err)
			}
		}()
		if _, err := Connect(t.Context(), a, Config{Codecs: []string{"a"}, MaxFrame: 90_000}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for conn, limit := range map[*transport.Conn]int{a: 80_000, b: 90_000} {
			if err := conn.Post(core.Frame{Kind: core.KindPing, Body: make([]byte, limit+1)}); !errors.Is(err, core.ResourceExhausted) {
				t.Errorf("a frame of %d bytes: %v", limit+1, err)
			}
			if err := conn.Post(core.Frame{Kind: core.KindPing, Body: make([]byte, limit)}); err != nil {
				t.Errorf("a frame of %d bytes: %v", limit, err)
			}
		}
		for conn, limit := range map[*transport.Conn]int{a: 90_000, b: 80_000} {
			if frame, err := conn.Receive(); err != nil || frame.Oversize || len(frame.Body) != limit {
				t.Errorf("a frame of %d bytes arrived with %d, oversize %v, %v", limit, len(frame.Body), frame.Oversize, err)
			}
		}
		a.Close(nil)
		b.Close(nil)
		a.Wait()
		b.Wait()
	})
}

func TestTheClientsOrderOfCodecsDecides(t *testing.T) {
	for _, c := range []struct {
		client, server []string
		want           string
	}{
		{[]string{"mus", "json"}, []string{"json", "mus"}, "mus"},
		{[]string{"json", "mus"}, []string{"mus", "json"}, "json"},
		{[]string{"new", "json"}, []string{"old", "json"}, "json"},
	} {
		clients, servers := meet(t, Config{Codecs: c.client}, Config{Codecs: c.server}, nil)
		if clients.err != nil || clients.Codec != c.want || servers.Codec != c.want {
			t.Errorf("%v and %v: %q and %q, %v; want %q", c.client, c.server, clients.Codec, servers.Codec, clients.err, c.want)
		}
	}
}

func TestTheCompressionThatIsChosen(t *testing.T) {
	for _, c := range []struct {
		client, server []string
		want           string
	}{
		{nil, nil, ""},
		{[]string{"s2"}, nil, ""},
		{nil, []string{"s2"}, ""},
		{[]string{"s2"}, []string{"zstd"}, ""},
		{[]string{"s2", "zstd"}, []string{"zstd", "s2"}, "s2"},
		{[]string{"zstd", "s2"}, []string{"zstd", "s2"}, "zstd"},
		{[]string{"new", "zstd"}, []string{"s2", "zstd"}, "zstd"},
	} {
		clients, servers := meet(t, Config{Codecs: []string{"a"}, Compressions: c.client, MaxFrame: 90_000},
			Config{Codecs: []string{"a"}, Compressions: c.server, MaxFrame: 80_000}, nil)
		if clients.err != nil || servers.err != nil || clients.Compression != c.want || servers.Compression != c.want {
			t.Errorf("%v and %v: %q and %q, %v, %v; want %q", c.client, c.server, clients.Compression, servers.Compression, clients.err, servers.err, c.want)
		}
		if clients.MaxReceive != 90_000 || clients.MaxSend != 80_000 || servers.MaxReceive != 80_000 || servers.MaxSend != 90_000 {
			t.Errorf("the limits are %+v and %+v", clients.Agreement, servers.Agreement)
		}
	}
}

func TestNoCommonCodecIsAClearErrorOnBothSides(t *testing.T) {
	clients, servers := meet(t, Config{Codecs: []string{"mus", "msgpack"}}, Config{Codecs: []string{"json"}}, nil)
	for side, got := range map[string]ending{"client": clients, "server": servers} {
		wantError(t, side, got, "no common codec: the client offers mus, msgpack, the server has json")
	}
	if core.CodeOf(clients.err) != core.FailedPrecondition {
		t.Errorf("the code is %v", core.CodeOf(clients.err))
	}
	_, servers = meet(t, Config{}, Config{Codecs: []string{"json"}}, nil)
	wantError(t, "server", servers, "the client offers none")
}

func TestCommandsThatTheServerDoesNotHave(t *testing.T) {
	clients, servers := meet(t,
		Config{Codecs: []string{"a"}, Commands: []Command{{"New", addShape}, add, {"Newer", countShape}}},
		Config{Codecs: []string{"a"}, Commands: []Command{{"Old", addShape}, add}}, nil)
	if clients.err != nil || servers.err != nil {
		t.Fatal(clients.err, servers.err)
	}
	if len(clients.Unusable) != 2 || clients.Unusable[1] != nil {
		t.Errorf("unusable are %v, want 0 and 2", clients.Unusable)
	}
	for number, name := range map[int]string{0: "New", 2: "Newer"} {
		e := clients.Unusable[number]
		if e == nil || e.Code != core.Unimplemented || e.Outcome != core.NotSent || e.Message != fmt.Sprintf("the server has no command %q", name) {
			t.Errorf("number %d is unusable for %+v", number, e)
		}
	}
	if !slices.Equal(servers.Commands, []int{-1, 1, -1}) {
		t.Errorf("on the server the numbers stand for %v", servers.Commands)
	}
}

func TestACommandOfAnotherShapeIsReportedWithItsField(t *testing.T) {
	client := Config{Codecs: []string{"a"}, Commands: []Command{count, add, {"Same", addShape}}}
	server := Config{Codecs: []string{"a"}, Commands: []Command{{"Add", otherShape}, {"Count", addShape}, {"Same", addShape}}}
	clients, _ := meet(t, client, server, nil)
	wantError(t, "client", clients,
		"command Add: field B is int here, string on the server", "command Count: it is a stream command here, a unary command on the server")
	if e := clients.err.(*core.Error); e.Code != core.FailedPrecondition || e.Reason != ReasonShape || strings.Contains(e.Error(), "Same") {
		t.Errorf("got %+v", e)
	}
}

func TestDifferencesCanBeAllowed(t *testing.T) {
	for _, names := range []bool{true, false} {
		client := Config{
			Codecs: []string{"a"}, Commands: []Command{count, add}, AllowDifferences: true,
			NamesFields: func(codec string) bool { return names && codec == "a" },
		}
		clients, servers := meet(t, client, Config{Codecs: []string{"a"}, Commands: []Command{{"Add", otherShape}, count}}, nil)
		if clients.err != nil || servers.err != nil {
			t.Fatal(clients.err, servers.err)
		}
		e := clients.Unusable[1]
		if names && len(clients.Unusable) > 0 {
			t.Errorf("a codec that names fields copes, but %v is unusable", clients.Unusable)
		}
		if !names && (len(clients.Unusable) != 1 || e.Code != core.FailedPrecondition || e.Outcome != core.NotSent ||
			!strings.Contains(e.Message, "field B is int here, string on the server, and the codec a does not name fields")) {
			t.Errorf("unusable are %+v", e)
		}
	}
}

func TestManyDifferencesStillFit(t *testing.T) {
	long := func(kind string) codec.Shape {
		shape := codec.Shape{"unary", ". struct"}
		for i := range 100 {
			shape = append(shape, fmt.Sprintf("FieldNumber%d %s", i, kind))
		}
		return append(shape, "> int")
	}
	client, server := Config{Codecs: []string{"a"}}, Config{Codecs: []string{"a"}}
	for i := range 300 {
		client.Commands = append(client.Commands, Command{fmt.Sprint("Command", i), long("int")})
		server.Commands = append(server.Commands, Command{fmt.Sprint("Command", i), long("string")})
	}
	clients, _ := meet(t, client, server, nil)
	wantError(t, "client", clients, "command Command0: field FieldNumber0 is int here, string on the server", "command Command299: its shape differs")
}

func TestARefusalReachesTheClient(t *testing.T) {
	refusal := &core.Error{Code: core.ResourceExhausted, Reason: "full", Message: "the server has too many connections", RetryAfter: 3 * time.Second}
	clients, servers := meet(t, Config{Codecs: []string{"a"}}, Config{Codecs: []string{"a"}}, refusal)
	wantError(t, "client", clients, "the server rejected the connection: the server has too many connections")
	if e := clients.err.(*core.Error); e.Code != core.ResourceExhausted || e.RetryAfter != 3*time.Second || e.Reason != "full" || !e.Remote {
		t.Errorf("got %+v", e)
	}
	wantError(t, "server", servers, "too many connections")
}

func TestAHelloThatIsTooLargeIsRejected(t *testing.T) {
	client := Config{Codecs: []string{"a"}}
	for i := range 5000 {
		client.Commands = append(client.Commands, Command{fmt.Sprint("AQuiteLongName", i), addShape})
	}
	clients, servers := meet(t, client, Config{Codecs: []string{"a"}}, nil)
	for side, got := range map[string]ending{"client": clients, "server": servers} {
		wantError(t, side, got, "the HELLO is larger than 65536 bytes (HandshakeBytes of the server)")
	}
	if core.CodeOf(clients.err) != core.ResourceExhausted {
		t.Errorf("the code is %v", core.CodeOf(clients.err))
	}
	clients, _ = meet(t, client, Config{Codecs: []string{"a"}, HandshakeBytes: 1 << 20}, nil)
	if clients.err != nil {
		t.Errorf("with a larger limit: %v", clients.err)
	}
}

func TestLimitsOutOfRangeAreMadeToFit(t *testing.T) {
	c := Config{MaxFrame: 1, Window: math.MaxInt, MaxInFlight: 1 << 30}.WithDefaults()
	if c.MaxFrame != minFrame || c.Window != 1<<31-1 || c.MaxInFlight != core.MaxSlots {
		t.Errorf("got %+v", c)
	}
	if c := (Config{MaxFrame: math.MaxInt}).WithDefaults(); c.MaxFrame != transport.NoLimit {
		t.Errorf("got %+v", c)
	}
	clients, servers := meet(t, Config{Codecs: []string{"a"}, MaxFrame: math.MaxInt, Window: math.MaxInt}, Config{Codecs: []string{"a"}, MaxFrame: math.MaxInt}, nil)
	if clients.err != nil || servers.err != nil {
		t.Error(clients.err, servers.err)
	}
}

// What one side says, for tests in which the other is a bare connection.

var lists = Config{Name: "x", Codecs: []string{"a"}, Commands: []Command{add}}.WithDefaults()

func helloBytes(oldest, newest byte, h hello) []byte {
	p := preface(oldest, newest)
	return transport.AppendFrame(p[:], core.Frame{Kind: core.KindHello, Body: appendHello(nil, h)})
}

func goodHello() hello {
	return hello{
		name: "raw", codecs: []string{"a"}, commands: []commandID{{"Add", addShape.Fingerprint()}},
		maxFrame: minFrame, window: 1000,
	}
}

func welcomeBytes(version byte, w welcome) []byte {
	p := preface(version, version)
	return transport.AppendFrame(p[:], core.Frame{Kind: core.KindWelcome, Body: appendWelcome(nil, w)})
}

func goodWelcome() welcome {
	return welcome{name: "raw", codec: "a", maxFrame: minFrame, maxInFlight: 10, window: 100}
}

// acceptRaw runs a server's handshake with a client that says what talk writes. It returns how it
// ended, after how long, and what the server said.
func acceptRaw(t *testing.T, config Config, talk func(conn net.Conn)) (got ending, after time.Duration, said []byte) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		near, far := transport.MemoryPipe()
		server := transport.NewConn(far, transport.Config{})
		talking, listening := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(talking)
			talk(near)
		}()
		go func() {
			defer close(listening)
			said, _ = io.ReadAll(near)
		}()
		start := time.Now()
		got.Agreement, got.err = NewAcceptor(config).Accept(server, nil)
		after = time.Since(start)
		_ = server.Flush(t.Context()) // fails if the handshake has
		server.Close(got.err)
		server.Wait()
		<-talking
		<-listening
		near.Close()
	})
	return got, after, said
}

// connectRaw runs a client's handshake with a server that says what talk writes.
func connectRaw(t *testing.T, config Config, talk func(conn net.Conn)) (got ending, after time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		near, far := transport.MemoryPipe()
		client := transport.NewConn(near, transport.Config{})
		talking := make(chan struct{})
		go func() {
			defer close(talking)
			talk(far)
		}()
		start := time.Now()
		got.Agreement, got.err = Connect(t.Context(), client, config)
		after = time.Since(start)
		client.Close(got.err)
		client.Wait()
		<-talking
		far.Close()
	})
	return got, after
}

// saying writes text and ends the sending side.
func saying(text []byte) func(net.Conn) {
	return func(conn net.Conn) {
		_, _ = conn.Write(text)
		_ = conn.(interface{ CloseWrite() error }).CloseWrite()
	}
}

// rejection returns the error in the REJECT that a server has said.
func rejection(t *testing.T, said []byte) *core.Error {
	t.Helper()
	if len(said) < 8+transport.HeaderSize || string(said[:6]) != magic || core.Kind(said[8+4]) != core.KindReject {
		t.Fatalf("the server said %q, want its preface and a REJECT", said)
	}
	e, err := decodeReject(said[8+transport.HeaderSize:])
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestVersionsOfAClient(t *testing.T) {
	for _, c := range []struct{ oldest, newest byte }{{1, 1}, {1, 2}, {1, 255}, {0, 1}} {
		got, _, said := acceptRaw(t, lists, saying(helloBytes(c.oldest, c.newest, goodHello())))
		if got.err != nil || got.Version != 1 || string(said[:8]) != magic+"\x01\x01" {
			t.Errorf("versions %d to %d: %+v, and the server said %q; want version 1", c.oldest, c.newest, got, said)
		}
	}
	for _, c := range []struct{ oldest, newest byte }{{2, 2}, {2, 9}, {0, 0}, {255, 255}} {
		got, _, said := acceptRaw(t, lists, saying(helloBytes(c.oldest, c.newest, goodHello())))
		words := fmt.Sprintf("the client speaks the versions %d to %d of the protocol, the server 1 to 1", c.oldest, c.newest)
		wantError(t, "server", got, words)
		if e := rejection(t, said); e.Code != core.FailedPrecondition || e.Message != words || e.Outcome != core.Refused {
			t.Errorf("versions %d to %d: the client is told %+v", c.oldest, c.newest, e)
		}
	}
}

func TestVersionsOfAServer(t *testing.T) {
	future := preface(2, 7)
	reject := transport.AppendFrame(future[:], core.Frame{
		Kind: core.KindReject, Body: appendReject(nil, &core.Error{Code: core.FailedPrecondition, Message: "you are too old"}),
	})
	got, _ := connectRaw(t, lists, saying(reject))
	wantError(t, "client", got, "the server rejected the connection: you are too old")

	got, _ = connectRaw(t, lists, saying(welcomeBytes(2, goodWelcome())))
	wantError(t, "client", got, "the server chose version 2 of the protocol; this client speaks 1 to 1")

	rangeOnly := preface(1, 2) // has not chosen
	got, _ = connectRaw(t, lists, saying(transport.AppendFrame(rangeOnly[:], core.Frame{Kind: core.KindWelcome, Body: appendWelcome(nil, goodWelcome())})))
	wantError(t, "client", got, "version")
}

func TestAStrangerIsTold(t *testing.T) {
	got, after, said := acceptRaw(t, lists, saying([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")))
	wantError(t, "server", got, "the client does not speak Edict", "GET / HT")
	if len(said) > 0 || after != 0 {
		t.Errorf("the server said %q after %v, want nothing, at once: a stranger does not understand it", said, after)
	}
	got, after = connectRaw(t, lists, saying([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")))
	wantError(t, "client", got, "the server does not speak Edict", "HTTP/1.1")
	if after != 0 {
		t.Errorf("the client waited for %v", after)
	}
}

func TestSilenceHasALimit(t *testing.T) {
	quiet := func(conn net.Conn) { <-time.After(time.Hour) }
	for _, timeout := range []time.Duration{0, 700 * time.Millisecond} {
		config := lists
		config.HandshakeTimeout = timeout
		want := timeout
		if want == 0 {
			want = 5 * time.Second
		}
		got, after, _ := acceptRaw(t, config, quiet)
		wantError(t, "server", got, fmt.Sprintf("the client did not complete its handshake within %v", want))
		if after != want {
			t.Errorf("the server waited for %v, want %v", after, want)
		}
		config.HandshakeTimeout = want
		got, after = connectRaw(t, config, quiet)
		wantError(t, "client", got, fmt.Sprintf("no answer from the server within %v", want))
		if after != want || core.CodeOf(got.err) != core.Unavailable {
			t.Errorf("the client waited for %v, want %v, and got %v", after, want, got.err)
		}
	}
}

// TestEveryByteInTimeIsNotEnough: the limit is for the whole, not for each read.
func TestEveryByteInTimeIsNotEnough(t *testing.T) {
	slowly := func(text []byte) func(net.Conn) {
		return func(conn net.Conn) {
			for i := range text {
				<-time.After(100 * time.Millisecond)
				if _, err := conn.Write(text[i : i+1]); err != nil {
					return
				}
			}
		}
	}
	got, after, _ := acceptRaw(t, lists, slowly(helloBytes(1, 1, goodHello())))
	wantError(t, "server", got, "within 5s")
	if after != 5*time.Second {
		t.Errorf("the server waited for %v", after)
	}
	got, after = connectRaw(t, lists, slowly(welcomeBytes(1, welcome{name: strings.Repeat("x", 100), codec: "a", maxFrame: minFrame, maxInFlight: 1})))
	wantError(t, "client", got, "within 5s")
	if after != 5*time.Second {
		t.Errorf("the client waited for %v", after)
	}
}

func TestTheDeadlineEndsWithTheHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := transport.MemoryPipe()
		a, b := transport.NewConn(near, transport.Config{}), transport.NewConn(far, transport.Config{})
		go func() {
			if _, err := NewAcceptor(lists).Accept(b, nil); err != nil {
				t.Error(err)
			}
		}()
		if _, err := Connect(t.Context(), a, lists); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Hour)
		for from, to := range map[*transport.Conn]*transport.Conn{a: b, b: a} {
			if err := from.Post(core.Frame{Kind: core.KindPing}); err != nil {
				t.Errorf("an hour later: %v", err)
			}
			if _, err := to.Receive(); err != nil {
				t.Errorf("an hour later: %v", err)
			}
		}
		a.Close(nil)
		b.Close(nil)
		a.Wait()
		b.Wait()
	})
}

func TestConnectHeedsItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := transport.MemoryPipe()
		defer far.Close()
		client := transport.NewConn(near, transport.Config{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		_, err := Connect(ctx, client, lists)
		wantError(t, "client", ending{err: err}, "deadline exceeded")
		if time.Since(start) != time.Second || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
		client.Wait()
	})
}

func TestTruncatedAtEveryByte(t *testing.T) {
	whole := helloBytes(1, 1, goodHello())
	for cut := range whole {
		got, after, said := acceptRaw(t, lists, saying(whole[:cut]))
		wantError(t, "server", got, "the client closed the connection during the handshake")
		if !errors.Is(got.err, io.ErrUnexpectedEOF) || after != 0 || len(said) > 0 {
			t.Errorf("cut at %d: %v after %v, said %q", cut, got.err, after, said)
		}
	}
	whole = welcomeBytes(1, goodWelcome())
	for cut := range whole {
		got, after := connectRaw(t, lists, saying(whole[:cut]))
		wantError(t, "client", got, "the server closed the connection")
		if after != 0 {
			t.Errorf("cut at %d: after %v", cut, after)
		}
	}
}

// TestGarbageAtEveryPoint: what follows is random from some byte on. Whatever comes of it, it comes in
// time and without harm.
func TestGarbageAtEveryPoint(t *testing.T) {
	random := rand.NewChaCha8([32]byte{'e', 'd', 'i', 'c', 't'})
	garbage := make([]byte, 500)
	limit := lists.HandshakeTimeout + rejectLinger
	for _, whole := range [][]byte{helloBytes(1, 1, goodHello()), welcomeBytes(1, goodWelcome())} {
		for at := range len(whole) + 1 {
			for range 3 {
				_, _ = random.Read(garbage)
				text := append(slices.Clone(whole[:at]), garbage...)
				got, after, _ := acceptRaw(t, lists, saying(text))
				if after > limit || got.err == nil && at < 8+transport.HeaderSize {
					t.Errorf("garbage from %d: the server has %+v after %v", at, got, after)
				}
				got, after = connectRaw(t, lists, saying(text))
				if after > limit || got.err == nil && at < 8+transport.HeaderSize {
					t.Errorf("garbage from %d: the client has %+v after %v", at, got, after)
				}
			}
		}
	}
}

func TestUnknownFieldsAreSkipped(t *testing.T) {
	unknown := appendField(appendNumber(nil, 99, 1), 1<<40, []byte("a field of the future"))
	body := append(slices.Clone(unknown), appendHello(nil, goodHello())...)
	body = append(body, unknown...)
	first := preface(1, 1)
	got, _, _ := acceptRaw(t, lists, saying(transport.AppendFrame(first[:], core.Frame{Kind: core.KindHello, Body: body})))
	if got.err != nil || got.PeerName != "raw" {
		t.Errorf("the server has %+v", got)
	}
	body = append(slices.Clone(unknown), appendWelcome(nil, goodWelcome())...)
	got, _ = connectRaw(t, lists, saying(transport.AppendFrame(first[:], core.Frame{Kind: core.KindWelcome, Body: append(body, unknown...)})))
	if got.err != nil || got.PeerName != "raw" {
		t.Errorf("the client has %+v", got)
	}
	e, err := decodeReject(append(unknown, appendReject(nil, &core.Error{Code: core.Aborted})...))
	if err != nil || e.Code != core.Aborted {
		t.Errorf("the REJECT is %v, %v", e, err)
	}
	if e, err := decodeReject(unknown); err != nil || e.Code != core.Unavailable || e.Message != "no reason given" {
		t.Errorf("a REJECT without a reason is %v, %v", e, err)
	}
}

func TestAHelloThatIsWrong(t *testing.T) {
	with := func(change func(*hello)) []byte {
		h := goodHello()
		change(&h)
		return helloBytes(1, 1, h)
	}
	first := preface(1, 1)
	body := func(body ...byte) []byte {
		return transport.AppendFrame(first[:], core.Frame{Kind: core.KindHello, Body: body})
	}
	for words, text := range map[string][]byte{
		"a HELLO frame is wanted first, not COMMAND":     transport.AppendFrame(first[:], core.Frame{Kind: core.KindCommand}),
		"the client's limits are out of range":           with(func(h *hello) { h.maxFrame = minFrame - 1 }),
		"client's limits are out of range":               with(func(h *hello) { h.maxFrame = transport.NoLimit + 1 }),
		"limits are out of range":                        with(func(h *hello) { h.window = 0 }),
		"more than 64 codecs":                            with(func(h *hello) { h.codecs = make([]string, 65) }),
		"more than 64 compressions":                      with(func(h *hello) { h.compressions = make([]string, 65) }),
		"field 6: text of 1025 bytes":                    with(func(h *hello) { h.compressions = []string{strings.Repeat("x", 1025)} }),
		"text of 1025 bytes, at most 1024":               with(func(h *hello) { h.name = strings.Repeat("x", 1025) }),
		"field 2: text of 1025 bytes":                    with(func(h *hello) { h.codecs = []string{strings.Repeat("x", 1025)} }),
		"field 3: a command of 1033 bytes":               with(func(h *hello) { h.commands[0].name = strings.Repeat("x", 1025) }),
		"malformed HELLO: a malformed tag":               body(0xff),
		"malformed HELLO: field 1 is malformed":          body(1, 5, 'x'),
		"field 1 is malformed":                           body(1),
		"malformed HELLO: field 3: a command of 7 bytes": body(3, 7, 1, 2, 3, 4, 5, 6, 7),
		"malformed HELLO: field 4: a malformed number":   body(4, 2, 1, 1),
		"field 5: a malformed number":                    body(5, 0),
		"field 4: a malformed number":                    body(4, 1, 0x80),
		"field 7 is malformed":                           body(7, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1),
	} {
		got, after, said := acceptRaw(t, lists, saying(text))
		wantError(t, "server", got, words)
		if e := rejection(t, said); !strings.Contains(e.Message, words) || e.Outcome != core.Refused || after != 0 {
			t.Errorf("%s: the client is told %v after %v", words, e, after)
		}
	}
}

func TestAWelcomeThatIsWrong(t *testing.T) {
	with := func(change func(*welcome)) []byte {
		w := goodWelcome()
		change(&w)
		return welcomeBytes(1, w)
	}
	first := preface(1, 1)
	answer := func(kind core.Kind, body ...byte) []byte {
		return transport.AppendFrame(first[:], core.Frame{Kind: kind, Body: body})
	}
	for words, text := range map[string][]byte{
		`the server chose the codec "b", which was not offered`:        with(func(w *welcome) { w.codec = "b" }),
		`the server chose the compression "s2", which was not offered`: with(func(w *welcome) { w.compression = "s2" }),
		"field 7: text of 1025 bytes":                                  with(func(w *welcome) { w.compression = strings.Repeat("x", 1025) }),
		`chose the codec ""`:                                           with(func(w *welcome) { w.codec = "" }),
		"the server's limits are out of range":                         with(func(w *welcome) { w.maxFrame = 5 }),
		"server's limits are out of range":                             with(func(w *welcome) { w.maxFrame = 1 << 40 }),
		"limits are out of range":                                      with(func(w *welcome) { w.maxInFlight = 0 }),
		"are out of range":                                             with(func(w *welcome) { w.window = 0 }),
		"a command number out of range":                                with(func(w *welcome) { w.differences = []difference{{1, ""}} }),
		"field 3: a malformed command number":                          with(func(w *welcome) { w.differences = []difference{{1 << 20, ""}} }),
		"the server answered with a PING frame":                        answer(core.KindPing),
		"the server's WELCOME: a malformed tag":                        answer(core.KindWelcome, 0x80),
		"the server's REJECT: a malformed tag":                         answer(core.KindReject, 0x80),
		"the peer's error is malformed":                                answer(core.KindReject, 1, 1, 5),
		"answer is larger than 65536 bytes":                            answer(core.KindWelcome, make([]byte, 70_000)...),
	} {
		got, after := connectRaw(t, lists, saying(text))
		wantError(t, "client", got, words)
		if after != 0 {
			t.Errorf("%s: after %v", words, after)
		}
	}
}

// TestARejectedClientHasTimeToRead: the server does not close before the client has, or a second has
// passed.
func TestARejectedClientHasTimeToRead(t *testing.T) {
	wrong := helloBytes(9, 9, goodHello())
	_, after, _ := acceptRaw(t, lists, func(conn net.Conn) {
		_, _ = conn.Write(wrong)
		<-time.After(300 * time.Millisecond)
		_ = conn.(interface{ CloseWrite() error }).CloseWrite()
	})
	if after != 300*time.Millisecond {
		t.Errorf("the server waited for %v, want 300ms: until the client has closed", after)
	}
	_, after, _ = acceptRaw(t, lists, func(conn net.Conn) { _, _ = conn.Write(wrong) })
	if after != rejectLinger {
		t.Errorf("the server waited for %v, want %v at most", after, rejectLinger)
	}
	_, after, _ = acceptRaw(t, lists, func(conn net.Conn) { // talks on and on
		_, _ = conn.Write(wrong)
		_, _ = io.Copy(conn, io.LimitReader(rand.NewChaCha8([32]byte{}), 10<<20))
	})
	if after > rejectLinger {
		t.Errorf("the server listened for %v", after)
	}
}

// TestAHelloOfAGigabyteIsSkippedWhileItsTimeLasts, and not stored: see TestAnAnnouncedGigabyte in
// package transport.
func TestAHelloOfAGigabyteIsSkippedWhileItsTimeLasts(t *testing.T) {
	first := preface(1, 1)
	start := append(first[:], make([]byte, transport.HeaderSize)...)
	binary.LittleEndian.PutUint32(start[8:], 1<<30)
	start[8+4] = byte(core.KindHello)
	got, after, _ := acceptRaw(t, lists, func(conn net.Conn) {
		_, _ = conn.Write(start)
		_, _ = conn.Write(bytes.Repeat([]byte("x"), 1<<20))
	})
	wantError(t, "server", got, "within 5s")
	if after != 5*time.Second {
		t.Errorf("after %v", after)
	}
}

func TestTheKeepaliveThatIsGranted(t *testing.T) {
	const off = -1
	for _, c := range []struct {
		client, server         time.Duration // settings
		clientPings, serverOwn time.Duration
	}{
		{0, 0, 15 * time.Second, 15 * time.Second},
		{8 * time.Second, 3 * time.Second, 8 * time.Second, 3 * time.Second},
		{time.Millisecond, 0, minKeepalive, 15 * time.Second},
		{1500 * time.Microsecond, time.Millisecond, minKeepalive, time.Millisecond},
		{20*time.Millisecond + 1, 0, 20*time.Millisecond + 1, 15 * time.Second},
		{off, 0, 0, 15 * time.Second},
		{0, off, 15 * time.Second, 0},
		{1000 * time.Hour, 1000 * time.Hour, maxKeepalive, maxKeepalive},
	} {
		clients, servers := meet(t, Config{Codecs: []string{"a"}, KeepaliveInterval: c.client},
			Config{Codecs: []string{"a"}, KeepaliveInterval: c.server, KeepaliveTimeout: time.Second}, nil)
		if clients.err != nil || servers.err != nil || clients.KeepaliveInterval != c.clientPings || servers.KeepaliveInterval != c.serverOwn {
			t.Errorf("%v and %v: the client pings after %v, the server after %v", c.client, c.server, clients.KeepaliveInterval, servers.KeepaliveInterval)
		}
		if clients.KeepaliveTimeout != DefaultKeepaliveTimeout || servers.KeepaliveTimeout != time.Second {
			t.Errorf("timeouts of %v and %v", clients.KeepaliveTimeout, servers.KeepaliveTimeout)
		}
	}
	// One that does not know of keepalives grants none; one that says too much is not believed.
	for granted, want := range map[uint64]time.Duration{0: 0, 1: 15 * time.Second, 1 << 63: maxKeepalive} {
		reply := goodWelcome()
		reply.keepalive = granted
		got, _ := connectRaw(t, lists, saying(welcomeBytes(1, reply)))
		if got.err != nil || got.KeepaliveInterval != want {
			t.Errorf("granted %d: %v, %v", granted, got.KeepaliveInterval, got.err)
		}
	}
	greeting := goodHello()
	greeting.keepalive = 1 << 63
	if got, _, said := acceptRaw(t, lists, saying(helloBytes(1, 1, greeting))); got.err != nil || len(said) == 0 {
		t.Errorf("the server has %+v", got)
	}
}

// The handshake is the first that is known of the way to the server and back.
func TestTheRoundTripOfTheHandshake(t *testing.T) {
	got, _ := connectRaw(t, lists, func(conn net.Conn) {
		<-time.After(30 * time.Millisecond)
		_, _ = conn.Write(welcomeBytes(1, goodWelcome()))
	})
	if got.err != nil || got.RoundTripTime != 30*time.Millisecond {
		t.Errorf("%v, %v", got.RoundTripTime, got.err)
	}
}

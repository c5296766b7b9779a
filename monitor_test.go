package edict_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/transport"
)

// ledger is a monitor that keeps what it is told.
type ledger struct {
	begin func(ctx context.Context, name string, call edict.CallBegin) (context.Context, []byte) // nil: to be told of all

	mu    sync.Mutex // guards the following
	begun map[string]int
	ended []string
	took  []time.Duration
}

func (l *ledger) of(name string) edict.CommandMonitor { return &page{l, name} }

// page is the ledger's of one command.
type page struct {
	ledger *ledger
	name   string
}

func (p *page) Begin(ctx context.Context, call edict.CallBegin) (intercept context.Context, metadata []byte) {
	l := p.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.begun == nil {
		l.begun = map[string]int{}
	}
	l.begun[p.name]++
	if l.begin == nil {
		return nil, nil
	}
	return l.begin(ctx, p.name, call)
}

func (p *page) End(call edict.CallEnd) {
	l := p.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	l.begun[p.name]--
	code := "ok"
	if call.Err != nil {
		code = edict.CodeOf(call.Err).String()
	}
	l.ended = append(l.ended, fmt.Sprintf("%s: %s, %v, %d, %d", p.name, code, call.Outcome, call.RequestBytes, call.ResponseBytes))
	l.took = append(l.took, call.Took)
}

// take returns what has ended, sorted, and forgets it. All that began must have.
func (l *ledger) take(t *testing.T) []string {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, n := range l.begun {
		if n != 0 {
			t.Errorf("%d of %s have begun and not ended, or the reverse", n, name)
		}
	}
	for _, took := range l.took {
		if took < 0 || took > time.Minute {
			t.Errorf("it took %v", took)
		}
	}
	ended := slices.Sorted(slices.Values(l.ended))
	l.ended, l.took = nil, nil
	return ended
}

// picky can be encoded if it is not Unsayable, and decoded if it is not Unheard.
type picky struct{ Unsayable, Unheard bool }

func (p picky) MarshalText() ([]byte, error) {
	if p.Unsayable {
		return nil, errors.New("unsayable")
	}
	return fmt.Appendf(nil, "%v", p.Unheard), nil
}

func (p *picky) UnmarshalText(text []byte) error {
	if string(text) == "true" {
		return errors.New("unheard")
	}
	return nil
}

func (picky) Exec(context.Context, *lab) (int, error) { return 1, nil }

// A monitor is told of each call once, and of all in the same way: alone, or among interceptors, and of clients that reconnect.
func TestMonitors(t *testing.T) {
	passServer := edict.WithServerInterceptors(func(ctx context.Context, _ *edict.ServerCall, next func(context.Context) error) error {
		return next(ctx)
	})
	passClient := edict.WithClientInterceptors(func(ctx context.Context, call *edict.ClientCall, next edict.ClientNext) (edict.Exchange, error) {
		return next(ctx, call)
	})
	for _, place := range []string{"alone", "first", "last", "second", "reconnecting"} {
		t.Run(place, func(t *testing.T) {
			var onClient, onServer ledger
			monitorServer := edict.WithServerMonitor(edict.ServerMonitor{Command: onServer.of})
			monitorClient := edict.WithClientMonitor(edict.ClientMonitor{Command: onClient.of})
			servers, clients := []edict.ServerOption{monitorServer}, []edict.DialOption{monitorClient}
			switch place {
			case "first":
				servers, clients = append(servers, passServer), append(clients, passClient)
			case "last":
				servers, clients = []edict.ServerOption{passServer, monitorServer}, []edict.DialOption{passClient, monitorClient}
			case "second":
				var other ledger
				servers = []edict.ServerOption{edict.WithServerMonitor(edict.ServerMonitor{Command: other.of}), monitorServer}
				clients = []edict.DialOption{edict.WithClientMonitor(edict.ClientMonitor{Command: other.of}), monitorClient}
			case "reconnecting":
				clients = append(clients, edict.WithReconnect(edict.Reconnect{}))
			}
			b := serve(t, servers...)
			client := b.client(clients...)
			story := func(wantClient, wantServer string) {
				t.Helper()
				for _, side := range []struct {
					name   string
					ledger *ledger
					want   string
				}{{"client", &onClient, wantClient}, {"server", &onServer, wantServer}} {
					var want []string
					if side.want != "" {
						want = []string{side.want}
					}
					if got := side.ledger.take(t); !reflect.DeepEqual(got, want) {
						t.Errorf("the %s was told %q, want %q", side.name, got, want)
					}
				}
			}
			wantSum(t, client)
			story("add: ok, executed, 13, 1", "add: ok, executed, 13, 1")

			_, _ = edict.Call(t.Context(), client, fail{Code: edict.NotFound})
			size := len(`{"Code":5,"Reason":"","Text":"","Retry":0}`)
			both := fmt.Sprintf("fail: not found, executed, %d, 0", size)
			story(both, both)

			for range edict.Stream(t.Context(), client, count{To: 3}) {
			}
			story("count: ok, executed, 21, 3", "count: ok, executed, 21, 3")

			_, err := edict.Upload(t.Context(), client, sumUp{}, func(yield func(int, error) bool) { _ = yield(7, nil) && yield(8, nil) })
			if err != nil {
				t.Fatal(err)
			}
			story("sumUp: ok, executed, 17, 2", "sumUp: ok, executed, 17, 2")

			for _, c := range []misbehave{{}, {Goexit: true}, {Error: true}} {
				if _, err := edict.Call(t.Context(), client, c); err == nil {
					t.Error("no error")
				}
				size := len(fmt.Sprintf(`{"Goexit":%v,"Error":%v}`, c.Goexit, c.Error))
				both := fmt.Sprintf("misbehave: internal, executed, %d, 0", size)
				if c.Error && (place == "last" || place == "second") { // an interceptor sees the error itself, not what becomes of it
					story(both, fmt.Sprintf("misbehave: unknown, executed, %d, 0", size))
				} else {
					story(both, both)
				}
			}

			gone, cancel := context.WithCancel(t.Context())
			cancel()
			_, _ = edict.Call(gone, client, add{})
			story("add: canceled, not sent, 0, 0", "")

			ctx, cancel := context.WithCancel(t.Context())
			invocation, err := edict.Start(ctx, client, wait{})
			if err != nil {
				t.Fatal(err)
			}
			<-b.lab.started
			cancel()
			_, err = invocation.Receive()
			if err == nil {
				t.Error("no error")
			}
			_ = b.server.Close()
			if err := b.server.Shutdown(context.Background()); err != nil {
				t.Error(err)
			}
			// The server's word that the command was cancelled may come first.
			story(fmt.Sprintf("wait: canceled, %v, 11, 0", edict.OutcomeOf(err)), "wait: canceled, executed, 11, 0")

			_ = client.Close()
			if _, err := edict.Call(t.Context(), client, add{}); err == nil {
				t.Error("no error")
			}
			story("add: unavailable, not sent, 0, 0", "")
		})
	}
}

// A stream that its caller leaves is told as one: with the code Canceled.
func TestMonitorOfAStreamThatIsLeft(t *testing.T) {
	var onClient ledger
	client := serve(t).client(edict.WithClientMonitor(edict.ClientMonitor{Command: onClient.of}))
	for range edict.Stream(t.Context(), client, count{To: 1 << 30}) {
		break
	}
	if got := onClient.take(t); !reflect.DeepEqual(got, []string{"count: canceled, unknown, 30, 1"}) {
		t.Errorf("told: %q", got)
	}
}

// So is one whose results have all been taken, but for the end, which has come too.
func TestMonitorOfAStreamThatIsLeftAtItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var onClient ledger
		client := serve(t).client(edict.WithClientMonitor(edict.ClientMonitor{Command: onClient.of}))
		invocation, err := edict.StartStream(t.Context(), client, count{To: 1})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // all has come
		for range invocation.Results() {
			break
		}
		if got := onClient.take(t); !reflect.DeepEqual(got, []string{"count: canceled, unknown, 21, 1"}) {
			t.Errorf("told: %q", got)
		}
	})
}

// talkative ends well, with more metadata than a response may have.
type talkative struct{}

func (talkative) Exec(ctx context.Context, _ *lab) (int, error) {
	edict.SetMetadata(ctx, "too-much", strings.Repeat("x", 70_000))
	return 1, nil
}

// A server's monitor is told what the client is, also if that is not what Exec has returned.
func TestMonitorOfAResponseThatCanNotBeEncoded(t *testing.T) {
	var onClient, onServer ledger
	commands := edict.Commands(edict.Unary[talkative]())
	server := edict.NewServer(&lab{}, commands, edict.WithServerMonitor(edict.ServerMonitor{Command: onServer.of}))
	client := dialTo(t, server, commands, edict.WithClientMonitor(edict.ClientMonitor{Command: onClient.of}))
	if _, err := edict.Call(t.Context(), client, talkative{}); edict.CodeOf(err) != edict.ResourceExhausted {
		t.Error(err)
	}
	for name, of := range map[string]*ledger{"client": &onClient, "server": &onServer} {
		if got := of.take(t); len(got) != 1 || !strings.HasPrefix(got[0], "talkative: resource exhausted, executed,") {
			t.Errorf("the %s was told %q", name, got)
		}
	}
}

// dialTo returns a client of a server, over a listener in memory. Both end with the test.
func dialTo[T any](t *testing.T, server *edict.Server, commands *edict.Registry[T], options ...edict.DialOption) *edict.Client[T] {
	t.Helper()
	listener, served := transport.NewMemory(), make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	client, err := edict.Dial(t.Context(), "memory", commands, append(options, edict.WithDialer(listener.Dial))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = client.Close()
		_ = server.Close()
		if err := server.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		<-served
	})
	return client
}

// panicky is a context that panics when a call asks for its deadline.
type panicky struct{ context.Context }

func (panicky) Deadline() (time.Time, bool) { panic("of the context") }

// A call that ends in a panic of its caller's code, before it is sent, has ended.
func TestMonitorOfAPanicOfTheCaller(t *testing.T) {
	for _, options := range [][]edict.DialOption{nil, {edict.WithClientInterceptors(
		func(ctx context.Context, call *edict.ClientCall, next edict.ClientNext) (edict.Exchange, error) {
			return next(ctx, call)
		})}} {
		var onClient ledger
		client := serve(t).client(append([]edict.DialOption{edict.WithClientMonitor(edict.ClientMonitor{Command: onClient.of})}, options...)...)
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			_, _ = edict.Call(panicky{t.Context()}, client, add{})
		}()
		if got := onClient.take(t); !reflect.DeepEqual(got, []string{"add: internal, not sent, 0, 0"}) {
			t.Errorf("told: %q", got)
		}
	}
}

// What can't be encoded is told on the client; what can't be decoded there too, but not on the server, where no interceptor sees it.
func TestMonitorOfWhatIsNoCommand(t *testing.T) {
	var onClient, onServer ledger
	commands := edict.Commands(edict.Unary[picky]())
	server := edict.NewServer(newLab(), commands, edict.WithServerMonitor(edict.ServerMonitor{Command: onServer.of}))
	client := dialTo(t, server, commands, edict.WithClientMonitor(edict.ClientMonitor{Command: onClient.of}))
	for _, test := range []struct {
		command picky
		want    string
	}{
		{picky{}, "picky: ok, executed, 7, 1"},
		{picky{Unsayable: true}, "picky: invalid argument, not sent, 0, 0"},
		{picky{Unheard: true}, "picky: invalid argument, refused, 6, 0"},
	} {
		_, _ = edict.Call(t.Context(), client, test.command)
		if got := onClient.take(t); !reflect.DeepEqual(got, []string{test.want}) {
			t.Errorf("the client was told %q, want %q", got, test.want)
		}
	}
	if got := onServer.take(t); !reflect.DeepEqual(got, []string{"picky: ok, executed, 7, 1"}) {
		t.Errorf("the server was told %q", got)
	}
}

// A monitor chooses which calls go through its interceptor, with which context. Of those it is not told the end, and other
// interceptors see all.
func TestMonitorsIntercept(t *testing.T) {
	type key struct{}
	for _, place := range []string{"first", "last"} {
		t.Run(place, func(t *testing.T) {
			var mu sync.Mutex
			var story []string
			note := func(what string, ctx context.Context) {
				mu.Lock()
				defer mu.Unlock()
				story = append(story, fmt.Sprintf("%s %v", what, ctx.Value(key{})))
			}
			chooseMarked := func(ctx context.Context, _ string, call edict.CallBegin) (context.Context, []byte) {
				if !call.Described {
					return nil, nil
				}
				return context.WithValue(ctx, key{}, "begun"), nil
			}
			onClient, onServer := ledger{begin: chooseMarked}, ledger{begin: chooseMarked}
			monitorServer := edict.WithServerMonitor(edict.ServerMonitor{
				Command: onServer.of,
				Intercept: func(ctx context.Context, _ *edict.ServerCall, next func(context.Context) error) error {
					note("server", ctx)
					return next(context.WithValue(ctx, key{}, "intercepted"))
				},
				Key: key{}, Value: func(core.Scope) any { return "of the command" },
			})
			monitorClient := edict.WithClientMonitor(edict.ClientMonitor{
				Command: onClient.of,
				Intercept: func(ctx context.Context, call *edict.ClientCall, next edict.ClientNext) (edict.Exchange, error) {
					note("client", ctx)
					return next(ctx, call)
				},
			})
			sees := edict.WithServerInterceptors(func(ctx context.Context, _ *edict.ServerCall, next func(context.Context) error) error {
				note("other", ctx)
				return next(ctx)
			})
			servers, clients := []edict.ServerOption{monitorServer, sees}, []edict.DialOption{monitorClient}
			if place == "last" {
				pass := edict.WithServerInterceptors(func(ctx context.Context, _ *edict.ServerCall, next func(context.Context) error) error {
					return next(ctx)
				})
				servers = []edict.ServerOption{pass, monitorServer, sees}
			}
			b := serve(t, servers...)
			client := b.client(clients...)
			if _, err := edict.Call(t.Context(), client, peek{}); err != nil {
				t.Fatal(err)
			}
			ctx := <-b.lab.contexts
			note("Exec", ctx)
			note("Exec", ctx)
			if _, err := edict.Call(t.Context(), client, peek{}, edict.WithMetadata(edict.Metadata{"question": {"marked"}})); err != nil {
				t.Fatal(err)
			}
			note("Exec", <-b.lab.contexts)
			want := []string{
				"other of the command", "Exec of the command", "Exec of the command",
				"client begun", "server begun", "other intercepted", "Exec intercepted",
			}
			if !reflect.DeepEqual(story, want) {
				t.Errorf("got %q\nwant %q", story, want)
			}
			for _, l := range []*ledger{&onClient, &onServer} {
				if l.begun["peek"] != 1 || len(l.ended) != 1 { // one has begun, and was not told to end
					t.Errorf("told of %q, and %v", l.ended, l.begun)
				}
			}
		})
	}
}

// What a monitor adds to the metadata of a call comes to the server, beside what the caller sends, and the server's sees it encoded.
func TestMonitorsMetadata(t *testing.T) {
	added := core.SetEncodedMetadata(nil, "question", "of the monitor")
	onClient := ledger{begin: func(context.Context, string, edict.CallBegin) (context.Context, []byte) {
		return nil, added
	}}
	seen := ""
	onServer := ledger{begin: func(_ context.Context, _ string, call edict.CallBegin) (context.Context, []byte) {
		seen = string(core.FindMetadata(call.Metadata, "question"))
		return nil, nil
	}}
	for _, options := range [][]edict.DialOption{nil, {edict.WithClientInterceptors(
		func(ctx context.Context, call *edict.ClientCall, next edict.ClientNext) (edict.Exchange, error) {
			call.SetMetadata("other", "too")
			return next(ctx, call)
		})}} {
		b := serve(t, edict.WithServerMonitor(edict.ServerMonitor{Command: onServer.of}))
		client := b.client(append([]edict.DialOption{edict.WithClientMonitor(edict.ClientMonitor{Command: onClient.of})}, options...)...)
		answer, err := edict.Call(t.Context(), client, peek{}, edict.WithMetadata(edict.Metadata{"mine": {"1"}}))
		if err != nil || answer != "of the monitor" || seen != answer {
			t.Errorf("Exec got %q, the monitor %q, %v", answer, seen, err)
		}
		if metadata := edict.MetadataOf(<-b.lab.contexts); metadata.Get("mine") != "1" {
			t.Errorf("the caller's metadata: %v", metadata)
		}
	}
	if string(added) != string(core.SetEncodedMetadata(nil, "question", "of the monitor")) {
		t.Error("what the monitor returned was changed")
	}
}

// The durations of both sides are those of the call, on a client from its start, with what it has waited.
func TestMonitorsDurations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var onClient, onServer ledger
		b := serve(t, edict.WithServerMonitor(edict.ServerMonitor{Command: onServer.of}))
		client := b.client(edict.ClientConfig{MaxInFlight: 1}, edict.WithClientMonitor(edict.ClientMonitor{Command: onClient.of}))
		first, err := edict.Start(t.Context(), client, wait{})
		if err != nil {
			t.Fatal(err)
		}
		<-b.lab.started
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if _, err := edict.Call(ctx, client, add{}); err == nil { // it waits for a slot
			t.Error("no error")
		}
		time.Sleep(time.Second) // of the bubble's clock
		close(b.lab.release)
		if _, err := first.Receive(); err != nil {
			t.Error(err)
		}
		if want := []time.Duration{2 * time.Second, 3 * time.Second}; !slices.Equal(onClient.took, want) {
			t.Errorf("on the client they took %v", onClient.took)
		}
		if want := []time.Duration{3 * time.Second}; !slices.Equal(onServer.took, want) {
			t.Errorf("on the server it took %v", onServer.took)
		}
	})
}

package edict_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/compression/s2"
)

// An interceptor finds out the sizes of calls on both sides, as they are before compression, and they agree.
func TestSizesOfCalls(t *testing.T) {
	for _, compressed := range []bool{false, true} {
		t.Run(fmt.Sprintf("compressed=%v", compressed), func(t *testing.T) {
			var mu sync.Mutex
			sizes := map[string]edict.CallStats{}
			note := func(side, name string, stats edict.CallStats) {
				mu.Lock()
				defer mu.Unlock()
				sizes[side+" "+name] = stats
			}
			servers := []edict.ServerOption{edict.WithServerInterceptors(
				func(ctx context.Context, call *edict.ServerCall, next func(context.Context) error) error {
					if call.Begun() {
						t.Error("Exec was called before next")
					}
					err := next(ctx)
					if !call.Begun() {
						t.Error("Exec was not called")
					}
					note("server", call.Name, call.Stats())
					return err
				})}
			clients := []edict.DialOption{edict.WithClientInterceptors(
				func(ctx context.Context, call *edict.ClientCall, next edict.ClientNext) (edict.Exchange, error) {
					exchange, err := next(ctx, call)
					if err != nil {
						return nil, err
					}
					return &noting{exchange, func(stats edict.CallStats) { note("client", call.Name, stats) }}, nil
				}, func(ctx context.Context, call *edict.ClientCall, next edict.ClientNext) (edict.Exchange, error) {
					exchange, err := next(ctx, call)
					if err != nil {
						return nil, err
					}
					return edict.ObserveEnd(call, exchange, func(error) {}), nil // sizes are known through it
				})}
			if compressed {
				servers, clients = append(servers, edict.WithCompression(s2.Compression)), append(clients, edict.WithCompression(s2.Compression))
			}
			client := serve(t, servers...).client(clients...)
			if _, err := edict.Call(t.Context(), client, repeat{Text: strings.Repeat("x", 50_000), Times: 2}); err != nil {
				t.Fatal(err)
			}
			for _, err := range edict.Stream(t.Context(), client, count{To: 1000}) {
				if err != nil {
					t.Fatal(err)
				}
			}
			want := map[string]edict.CallStats{
				"repeat": {RequestBytes: 50_000 + int64(len(`{"Text":"","Times":2}`)), ResponseBytes: 100_000 + 2},
				"count":  {RequestBytes: sizes["server count"].RequestBytes, ResponseBytes: 10 + 90*2 + 900*3},
			}
			for name, stats := range want {
				for _, side := range []string{"client", "server"} {
					if sizes[side+" "+name] != stats {
						t.Errorf("%s of %s: %+v, want %+v", side, name, sizes[side+" "+name], stats)
					}
				}
			}
		})
	}
}

// noting tells the statistics of a call before it is closed.
type noting struct {
	edict.Exchange
	note func(edict.CallStats)
}

func (n *noting) Close() {
	n.note(edict.StatsOf(n.Exchange))
	n.Exchange.Close()
}

// SetMetadata and Metadata together: each key arrives once, as it was set last.
func TestSetMetadataOfAnInterceptor(t *testing.T) {
	got := make(chan edict.Metadata, 1)
	looked := make(chan string, 1)
	b := serve(t, edict.WithServerInterceptors(func(ctx context.Context, call *edict.ServerCall, next func(context.Context) error) error {
		got <- call.Metadata()
		looked <- call.MetadataValue("Trace") + call.MetadataValue("tenant") + call.MetadataValue("absent")
		return next(ctx)
	}))
	client := b.client(edict.WithClientInterceptors(func(ctx context.Context, call *edict.ClientCall, next edict.ClientNext) (edict.Exchange, error) {
		call.SetMetadata("TRACE", "1")
		call.SetMetadata("Trace", strings.Repeat("2", 100)) // more than there is space for
		call.SetMetadata("tenant", "eight")
		return next(ctx, call)
	}))
	given := edict.Metadata{"tenant": {"seven"}, "other": {"x"}}
	if _, err := edict.Call(t.Context(), client, add{2, 3}, edict.WithMetadata(given)); err != nil {
		t.Fatal(err)
	}
	if m := <-got; len(m) != 3 || len(m["trace"]) != 1 || m.Get("tenant") != "eight" || m.Get("other") != "x" {
		t.Errorf("the metadata is %v", m)
	}
	if text := <-looked; text != strings.Repeat("2", 100)+"eight" {
		t.Errorf("looked up: %q", text)
	}
	if given.Get("tenant") != "seven" {
		t.Errorf("the caller's metadata has become %v", given)
	}
	// Together they are still bounded.
	large := edict.Metadata{"large": {strings.Repeat("x", 64<<10-100)}}
	_, err := edict.Call(t.Context(), client, add{2, 3}, edict.WithMetadata(large))
	wantError(t, err, edict.ResourceExhausted, edict.NotSent)
}

// The log of a panic gets the context that an interceptor has made for it.
func TestThePanicsLogHasAContext(t *testing.T) {
	type key struct{}
	var logged bytes.Buffer
	handler := contextual{slog.NewTextHandler(&logged, nil), key{}}
	b := serve(t, edict.WithLogger(slog.New(handler)), edict.WithServerInterceptors(
		func(ctx context.Context, call *edict.ServerCall, next func(context.Context) error) error {
			ctx = context.WithValue(ctx, key{}, "of this call")
			call.LogWith(ctx)
			return next(ctx)
		}))
	_, err := edict.Call(t.Context(), b.client(), misbehave{})
	wantError(t, err, edict.Internal, edict.Executed)
	if !strings.Contains(logged.String(), `value="of this call"`) {
		t.Errorf("logged: %s", &logged)
	}
}

// contextual adds a value of the context to what is logged.
type contextual struct {
	slog.Handler
	key any
}

func (c contextual) Handle(ctx context.Context, record slog.Record) error {
	record.AddAttrs(slog.Any("value", ctx.Value(c.key)))
	return c.Handler.Handle(ctx, record)
}

// Both sides count the same frames and bytes, and what was counted stays when connections end.
func TestTraffic(t *testing.T) {
	b := serve(t)
	first, second := b.client(), b.client()
	for range 10 {
		wantSum(t, first)
		wantSum(t, second)
	}
	text, err := edict.Call(t.Context(), first, repeat{Text: "x", Times: 1 << 20}) // in parts
	if err != nil || len(text) != 1<<20 {
		t.Fatal(len(text), err)
	}
	one, two := first.Stats().Traffic, second.Stats().Traffic
	if two.FramesSent != 11 || one.FramesSent < 12 || one.BytesReceived < 1<<20 || two.BytesReceived > 10<<10 || two.Batches == 0 || two.Batches > 11 {
		t.Errorf("the clients have counted %+v and %+v", one, two)
	}
	first.Close()
	second.Close()
	if err := b.server.Shutdown(t.Context()); err != nil { // waits for the sessions
		t.Fatal(err)
	}
	sum := first.Stats().Traffic
	sum.Add(second.Stats().Traffic)
	all := b.server.Stats().Traffic
	if sum.BytesSent != all.BytesReceived || sum.FramesSent != all.FramesReceived {
		t.Errorf("the clients have sent %+v, the server received %+v", sum, all)
	}
	// At the end frames may come that a client does not read any more.
	if all.BytesSent < sum.BytesReceived || all.FramesSent < sum.FramesReceived || sum.FramesReceived < 22 {
		t.Errorf("the server has sent %+v, the clients received %+v", all, sum)
	}
}

// What waits is counted: a call for a slot, a result and an input for credit.
func TestWaitsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := serve(t)
		client := b.client(edict.ClientConfig{MaxInFlight: 1})
		stream, err := edict.StartStream(t.Context(), client, count{To: 100_000})
		if err != nil {
			t.Fatal(err)
		}
		second := make(chan error, 1)
		go func() {
			_, err := edict.Call(t.Context(), client, add{2, 3})
			second <- err
		}()
		synctest.Wait() // nobody takes results, so all wait for that
		if n := b.server.Stats().Total.CreditWaits; n != 1 {
			t.Errorf("%d waits of results for credit", n)
		}
		if n := client.Stats().SlotWaits; n != 1 {
			t.Errorf("%d waits for a slot", n)
		}
		stream.Cancel()
		for range stream.Results() {
		}
		if err := <-second; err != nil {
			t.Fatal(err)
		}

		duplex, err := edict.StartDuplex(t.Context(), client, deaf{})
		if err != nil {
			t.Fatal(err)
		}
		sent := make(chan error, 1)
		go func() {
			for {
				if err := duplex.Send(strings.Repeat("x", 1000)); err != nil {
					sent <- err
					return
				}
			}
		}()
		synctest.Wait()
		if n := client.Stats().CreditWaits; n != 1 {
			t.Errorf("%d waits of inputs for credit", n)
		}
		duplex.Cancel()
		for range duplex.Results() {
		}
		if err := <-sent; err != io.EOF {
			t.Error(err)
		}
	})
}

// An interceptor sees what goes with a command, may take it away, and may send another command.
func TestWhatAClientInterceptorChanges(t *testing.T) {
	got := make(chan edict.Metadata, 1)
	b := serve(t, edict.WithServerInterceptors(func(ctx context.Context, call *edict.ServerCall, next func(context.Context) error) error {
		if call.HasMetadata() != (len(call.Metadata()) > 0) {
			t.Errorf("HasMetadata is %v with %v", call.HasMetadata(), call.Metadata())
		}
		got <- call.Metadata()
		return next(ctx)
	}))
	change := func(*edict.ClientCall) {}
	client := b.client(edict.WithClientInterceptors(func(ctx context.Context, call *edict.ClientCall, next edict.ClientNext) (edict.Exchange, error) {
		change(call)
		return next(ctx, call)
	}))
	given := edict.WithMetadata(edict.Metadata{"tenant": {"seven", "eight"}, "user": {"ada"}})
	for name, test := range map[string]struct {
		change func(*edict.ClientCall)
		want   edict.Metadata
		sum    int
	}{
		"nothing":       {func(*edict.ClientCall) {}, edict.Metadata{"tenant": {"seven", "eight"}, "user": {"ada"}}, 5},
		"several":       {func(call *edict.ClientCall) { call.SetMetadata("Tenant", "1", "2") }, edict.Metadata{"tenant": {"1", "2"}, "user": {"ada"}}, 5},
		"taken away":    {func(call *edict.ClientCall) { call.SetMetadata("tenant"); call.SetMetadata("USER") }, nil, 5},
		"other command": {func(call *edict.ClientCall) { call.Command = add{20, 30} }, edict.Metadata{"tenant": {"seven", "eight"}, "user": {"ada"}}, 50},
		"other type":    {func(call *edict.ClientCall) { call.Command = repeat{"1", 3} }, edict.Metadata{"tenant": {"seven", "eight"}, "user": {"ada"}}, 0},
	} {
		change = func(call *edict.ClientCall) {
			test.change(call)
			if metadata := call.Metadata(); metadata == nil || len(metadata) != len(test.want) ||
				!slices.Equal(metadata["tenant"], test.want["tenant"]) || call.MetadataValue("TENANT") != test.want.Get("tenant") {
				t.Errorf("%s: %v, %q on the client", name, metadata, call.MetadataValue("tenant"))
			}
		}
		sum, err := edict.Call(t.Context(), client, add{2, 3}, given)
		if test.sum != 0 && (sum != test.sum || err != nil) {
			t.Errorf("%s: %d, %v", name, sum, err)
		}
		if metadata := <-got; !reflect.DeepEqual(metadata, test.want) {
			t.Errorf("%s: %v on the server, want %v", name, metadata, test.want)
		}
	}
}

// The age of a command counts from its arrival; any number of interceptors see the same.
func TestTheAgeOfACommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for many := range 4 {
			var ages []time.Duration
			interceptors := make([]edict.ServerInterceptor, many)
			for i := range interceptors {
				interceptors[i] = func(ctx context.Context, call *edict.ServerCall, next func(context.Context) error) error {
					time.Sleep(time.Second) // of the bubble's clock
					err := next(ctx)
					ages = append(ages, call.Age())
					return err
				}
			}
			b := serve(t, edict.WithServerInterceptors(interceptors...))
			client := b.client()
			for range 3 {
				wantSum(t, client)
			}
			if len(ages) != 3*many {
				t.Fatalf("%d interceptors were called %d times", many, len(ages))
			}
			for _, age := range ages {
				if age != time.Duration(many)*time.Second {
					t.Errorf("%d interceptors: the age is %v", many, age)
				}
			}
			client.Close()
			b.server.Close()
		}
	})
	if age := (&edict.ServerCall{}).Age(); age != 0 {
		t.Errorf("the age of a fake is %v", age)
	}
}

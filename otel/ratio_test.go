package edictotel_test

import (
	"context"
	"fmt"
	"math"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/baggage"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/edict-go/edict"
	edictotel "github.com/edict-go/edict/otel"
)

// follow is a sampler as WithRatio wants it.
var follow = sdktrace.ParentBased(sdktrace.AlwaysSample())

// A trace begins for a share of the calls, and is whole: each CLIENT span has its SERVER span, and there are no others.
func TestRatio(t *testing.T) {
	for _, ratio := range []float64{0, 0.5, 1} {
		t.Run(fmt.Sprint(ratio), func(t *testing.T) {
			c := collect(t, follow, edictotel.WithRatio(ratio))
			b := serve(t, c.telemetry.ServerOption())
			client := b.client(c.telemetry.ClientOption())
			const calls = 1000
			for range calls {
				if _, err := edict.Call(t.Context(), client, add{2, 3}); err != nil {
					t.Fatal(err)
				}
			}
			if p := at(t, c.metrics(), "rpc.server.call.duration",
				"edict.outcome=executed,rpc.method=add,rpc.response.status_code=OK,rpc.system.name=edict"); p.count != calls {
				t.Errorf("%d calls are counted", p.count)
			}
			b.end()
			servers := map[trace.SpanID]bool{}
			for _, span := range c.of(trace.SpanKindServer) {
				servers[span.Parent.SpanID()] = true
			}
			clients := c.of(trace.SpanKindClient)
			for _, span := range clients {
				if !servers[span.SpanContext.SpanID()] {
					t.Error("a CLIENT span has no SERVER span")
				}
			}
			if n := len(clients); len(servers) != n || float64(n) < calls*(ratio-0.15) || float64(n) > calls*(ratio+0.15) {
				t.Errorf("%d CLIENT and %d SERVER spans of %d calls", n, len(servers), calls)
			}
		})
	}
}

// What follows from a call that was decided against is not sampled either: spans in Exec, and calls that are made there. It has an
// ID for logs, of the command alone.
func TestWhatFollowsFromTheUnsampled(t *testing.T) {
	c := collect(t, follow, edictotel.WithRatio(0))
	all := collect(t, follow, edictotel.WithRatio(1))
	behind := serve(t, all.telemetry.ServerOption())
	next := behind.client(all.telemetry.ClientOption())
	b := serve(t, c.telemetry.ServerOption(), edict.WithServerInterceptors(
		func(ctx context.Context, call *edict.ServerCall, next func(context.Context) error) error {
			if metadata := call.Metadata(); len(metadata) > 0 {
				t.Errorf("sent: %v", metadata)
			}
			return next(ctx)
		}))
	ids := map[trace.TraceID]bool{}
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSampler(follow)).Tracer("of Exec")
	b.lab.seen = func(ctx context.Context) {
		of := trace.SpanContextFromContext(ctx)
		if again := trace.SpanContextFromContext(ctx); !of.IsValid() || of.IsSampled() || !of.Equal(again) {
			t.Errorf("in Exec: %v, and then %v", of, again)
		}
		ids[of.TraceID()] = true
		under, span := tracer.Start(ctx, "child")
		if span.IsRecording() || span.SpanContext().TraceID() != of.TraceID() {
			t.Error("a span in Exec is recorded, or of another trace")
		}
		for _, ctx := range []context.Context{ctx, under} {
			if _, err := edict.Call(ctx, next, add{2, 3}); err != nil {
				t.Error(err)
			}
		}
		if peer := edict.PeerOf(ctx); peer.Codec != "json" { // what the command's own context has
			t.Errorf("the peer is %+v", peer)
		}
	}
	client := b.client(c.telemetry.ClientOption())
	for range 3 {
		if _, err := edict.Call(t.Context(), client, add{2, 3}); err != nil {
			t.Fatal(err)
		}
	}
	b.end()
	behind.end()
	if len(ids) != 3 {
		t.Errorf("3 commands have %d traces", len(ids))
	}
	if spans := all.spans.GetSpans(); len(spans) > 0 {
		t.Errorf("%d spans behind", len(spans))
	}
}

// What a command of an unsampled trace does belongs to it: the trace and its parent, who the client's span is, are there when
// somebody asks, whether or not the server's telemetry has looked at them.
func TestTheParentOfTheUnsampled(t *testing.T) {
	for name, options := range map[string][]edictotel.Option{"by default": nil, "with a ratio": {edictotel.WithRatio(0.5)}} {
		for _, baggaged := range []bool{false, true} { // those with baggage go the long way
			t.Run(fmt.Sprintf("%s/baggage=%v", name, baggaged), func(t *testing.T) {
				c := collect(t, follow, options...)
				b := serve(t, c.telemetry.ServerOption())
				var inside []trace.SpanContext
				b.lab.seen = func(ctx context.Context) {
					inside = append(inside, trace.SpanContextFromContext(ctx), trace.SpanContextFromContext(ctx))
				}
				outside := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsRandom})
				ctx := trace.ContextWithSpanContext(t.Context(), outside)
				if baggaged {
					member, err := baggage.NewMember("tenant", "seven")
					if err != nil {
						t.Fatal(err)
					}
					bag, err := baggage.New(member)
					if err != nil {
						t.Fatal(err)
					}
					ctx = baggage.ContextWithBaggage(ctx, bag)
				}
				client := b.client(c.telemetry.ClientOption())
				if _, err := edict.Call(ctx, client, add{2, 3}); err != nil {
					t.Fatal(err)
				}
				// What a caller sends under the same key does not count.
				own := edict.Metadata{"traceparent": {"00-ffffffffffffffffffffffffffffffff-ffffffffffffffff-01"}}
				if _, err := edict.Call(ctx, client, add{2, 3}, edict.WithMetadata(own)); err != nil {
					t.Fatal(err)
				}
				b.end()
				for _, of := range inside {
					if !of.Equal(outside.WithRemote(true)) {
						t.Errorf("in Exec there is %+v, want %+v", of, outside)
					}
				}
				if spans := c.spans.GetSpans(); len(inside) != 4 || len(spans) > 0 {
					t.Errorf("%d looks, %d spans", len(inside), len(spans))
				}
			})
		}
	}
}

// The end of a command reaches the contexts that are made of an unsampled one.
func TestTheContextOfTheUnsampledEnds(t *testing.T) {
	c := collect(t, follow, edictotel.WithRatio(0))
	b := serve(t, c.telemetry.ServerOption())
	ended := make(chan error, 1)
	b.lab.seen = func(ctx context.Context) {
		child, cancel := context.WithCancel(ctx)
		go func() {
			<-child.Done()
			ended <- context.Cause(child)
			cancel()
		}()
	}
	if _, err := edict.Call(t.Context(), b.client(c.telemetry.ClientOption()), add{2, 3}); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != context.Canceled {
		t.Errorf("it has ended with %v", err)
	}
}

// Baggage travels with the unsampled too; and who is within a trace stays there.
func TestRatioLeavesTheRest(t *testing.T) {
	c := collect(t, follow, edictotel.WithRatio(0))
	b := serve(t, c.telemetry.ServerOption())
	client := b.client(c.telemetry.ClientOption())
	tenant := ""
	b.lab.seen = func(ctx context.Context) { tenant = baggage.FromContext(ctx).Member("tenant").Value() }
	member, err := baggage.NewMember("tenant", "seven")
	if err != nil {
		t.Fatal(err)
	}
	bag, err := baggage.New(member)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := edict.Call(baggage.ContextWithBaggage(t.Context(), bag), client, add{2, 3}); err != nil || tenant != "seven" {
		t.Errorf("the tenant is %q, %v", tenant, err)
	}
	if n := len(c.spans.GetSpans()); n != 0 {
		t.Errorf("%d spans", n)
	}
	ctx, span := sdktrace.NewTracerProvider().Tracer("of the caller").Start(t.Context(), "parent")
	if _, err := edict.Call(ctx, client, add{2, 3}); err != nil {
		t.Fatal(err)
	}
	span.End()
	b.end()
	if got := c.one(trace.SpanKindServer).SpanContext.TraceID(); got != span.SpanContext().TraceID() {
		t.Errorf("the trace is %v", got)
	}
}

// The coin is tossed once, where the call begins: not again for the attempts beneath a Sender.
func TestRatioOfASender(t *testing.T) {
	c := collect(t, follow, edictotel.WithRatio(0.5))
	b := serve(t, c.telemetry.ServerOption())
	traced := edictotel.Sender(c.telemetry, labCommands, b.client(c.telemetry.ClientOption()))
	const calls = 200
	for range calls {
		if _, err := edict.Call(t.Context(), traced, add{2, 3}); err != nil {
			t.Fatal(err)
		}
	}
	b.end()
	internal, clients, servers := len(c.of(trace.SpanKindInternal)), len(c.of(trace.SpanKindClient)), len(c.of(trace.SpanKindServer))
	if internal == 0 || internal == calls || clients != internal || servers != internal {
		t.Errorf("%d INTERNAL, %d CLIENT, %d SERVER spans", internal, clients, servers)
	}
}

// Durations tell what the SDK's instruments would: names, units, attributes, counts.
func TestDurations(t *testing.T) {
	durations := edictotel.NewDurations()
	reader := sdkmetric.NewManualReader(sdkmetric.WithProducer(durations))
	own := collect(t, follow, edictotel.WithDurations(durations),
		edictotel.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))))
	own.reader = reader
	sdk := collect(t, follow)
	for _, c := range []*collected{own, sdk} {
		b := serve(t, c.telemetry.ServerOption())
		client := b.client(c.telemetry.ClientOption())
		var calling sync.WaitGroup
		for range 4 {
			calling.Go(func() {
				for range 50 {
					_, _ = edict.Call(t.Context(), client, add{2, 3})
					_, _ = edict.Call(t.Context(), client, fail{Code: edict.NotFound})
				}
			})
		}
		calling.Wait()
		b.end()
	}
	got, want := own.metrics(), sdk.metrics()
	for _, name := range []string{"rpc.client.call.duration", "rpc.server.call.duration"} {
		g, w := got[name], want[name]
		if g.Unit != w.Unit || g.Description != w.Description {
			t.Errorf("%s: %q in %q, want %q in %q", name, g.Description, g.Unit, w.Description, w.Unit)
		}
		gotData, wantData := g.Data.(metricdata.Histogram[float64]), w.Data.(metricdata.Histogram[float64])
		if gotData.Temporality != wantData.Temporality || len(gotData.DataPoints) != 2 || len(wantData.DataPoints) != 2 {
			t.Fatalf("%s: %+v, want %+v", name, gotData, wantData)
		}
		for _, p := range gotData.DataPoints {
			low, _ := p.Min.Value()
			high, ok := p.Max.Value()
			if p.Count != 200 || !ok || low <= 0 || high < low || p.Sum < 200*low || p.Sum > 200*high || len(p.Exemplars) == 0 ||
				time.Since(p.StartTime) < 0 || p.Time.Before(p.StartTime) {
				t.Errorf("%s: %+v", name, p)
			}
			sum := uint64(0)
			for _, n := range p.BucketCounts {
				sum += n
			}
			if sum != p.Count {
				t.Errorf("%s: %d in buckets of %d", name, sum, p.Count)
			}
			same := false
			for _, w := range wantData.DataPoints {
				same = same || p.Attributes.Equals(&w.Attributes) && p.Count == w.Count && reflect.DeepEqual(p.Bounds, w.Bounds)
			}
			if !same {
				t.Errorf("%s: the SDK has no %+v", name, p)
			}
		}
	}
	if _, err := edictotel.New(edictotel.WithDurations(durations)); err == nil {
		t.Error("they belong to two")
	}
	if metrics, err := edictotel.NewDurations().Produce(t.Context()); metrics != nil || err != nil {
		t.Errorf("of no Telemetry: %v, %v", metrics, err)
	}
}

// A duration is in the bucket where the SDK has it: up to and with its end. That of a command begins when it comes.
func TestBucketsOfDurations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		durations := edictotel.NewDurations(0.02, 0.01, 0.02) // in any order
		c := collect(t, follow, edictotel.WithDurations(durations))
		b := serve(t, c.telemetry.ServerOption())
		next := make(chan time.Duration, 1)
		b.lab.seen = func(context.Context) { time.Sleep(<-next) } // of the bubble's clock
		client := b.client(c.telemetry.ClientOption())
		const ms = time.Millisecond
		for _, took := range []time.Duration{0, 10 * ms, 11 * ms, 20 * ms, 25 * ms} {
			next <- took
			if _, err := edict.Call(t.Context(), client, add{2, 3}); err != nil {
				t.Fatal(err)
			}
		}
		b.end()
		scopes, err := durations.Produce(t.Context())
		if err != nil || len(scopes) != 1 || len(scopes[0].Metrics) != 2 {
			t.Fatal(scopes, err)
		}
		for _, m := range scopes[0].Metrics {
			p := m.Data.(metricdata.Histogram[float64]).DataPoints[0]
			low, _ := p.Min.Value()
			high, _ := p.Max.Value()
			if !reflect.DeepEqual(p.Bounds, []float64{0.01, 0.02}) || !reflect.DeepEqual(p.BucketCounts, []uint64{2, 2, 1}) ||
				math.Abs(p.Sum-0.066) > 1e-9 || low != 0 || high != 0.025 {
				t.Errorf("%s: %+v", m.Name, p)
			}
		}
	})
}

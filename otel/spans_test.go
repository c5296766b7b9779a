package edictotel_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/group"
	edictotel "github.com/edict-go/edict/otel"
)

// texts returns a span's attributes as in "a=1", sorted.
func texts(span tracetest.SpanStub) string {
	var all []string
	for _, kv := range span.Attributes {
		all = append(all, string(kv.Key)+"="+kv.Value.String())
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func TestSpansOfACall(t *testing.T) {
	c := collect(t, nil, edictotel.WithServerAddress("calc.example.com"))
	client := serve(t, c.telemetry.ServerOption()).client(c.telemetry.ClientOption())
	if sum, err := edict.Call(t.Context(), client, add{2, 3}); sum != 5 || err != nil {
		t.Fatal(sum, err)
	}
	outer, inner := c.one(trace.SpanKindClient), c.one(trace.SpanKindServer)
	if outer.Name != "add" || inner.Name != "add" {
		t.Errorf("names %q and %q", outer.Name, inner.Name)
	}
	if outer.Parent.IsValid() || inner.Parent.SpanID() != outer.SpanContext.SpanID() ||
		inner.SpanContext.TraceID() != outer.SpanContext.TraceID() || !inner.Parent.IsRemote() {
		t.Errorf("the server's span %v has the parent %v, want the client's %v", inner.SpanContext, inner.Parent, outer.SpanContext)
	}
	common := "edict.outcome=executed edict.request.size=13 edict.response.size=1 rpc.method=add rpc.response.status_code=OK rpc.system.name=edict"
	if got := texts(inner); got != common {
		t.Errorf("the server's attributes are\n%s, want\n%s", got, common)
	}
	if got := texts(outer); got != common+" server.address=calc.example.com" {
		t.Errorf("the client's attributes are\n%s", got)
	}
	for _, span := range []tracetest.SpanStub{outer, inner} {
		if span.Status.Code != codes.Unset || len(span.Events) > 0 || span.InstrumentationScope.Name != "github.com/edict-go/edict/otel" ||
			!strings.HasSuffix(span.InstrumentationScope.SchemaURL, "/1.43.0") {
			t.Errorf("got %+v", span)
		}
	}
}

// The status of each side, and the outcome, for all ways in which a call can end.
func TestHowSpansEnd(t *testing.T) {
	type want struct {
		code, outcome string
		status        codes.Code
	}
	for name, test := range map[string]struct {
		call           func(ctx context.Context, b *bench, client *edict.Client[*lab]) error
		client, server want // the zero want: no span
	}{
		"an error that is the caller's fault": {
			func(ctx context.Context, _ *bench, client *edict.Client[*lab]) error {
				_, err := edict.Call(ctx, client, fail{Code: edict.NotFound})
				return err
			},
			want{"NOT_FOUND", "executed", codes.Error},
			want{"NOT_FOUND", "executed", codes.Unset},
		},
		"an error that is the server's fault": {
			func(ctx context.Context, _ *bench, client *edict.Client[*lab]) error {
				_, err := edict.Call(ctx, client, fail{Code: edict.DataLoss})
				return err
			},
			want{"DATA_LOSS", "executed", codes.Error},
			want{"DATA_LOSS", "executed", codes.Error},
		},
		"a panic": {
			func(ctx context.Context, _ *bench, client *edict.Client[*lab]) error {
				_, err := edict.Call(ctx, client, boom{})
				return err
			},
			want{"INTERNAL", "executed", codes.Error},
			want{"INTERNAL", "executed", codes.Error},
		},
		"refused by an interceptor": {
			func(ctx context.Context, _ *bench, client *edict.Client[*lab]) error {
				_, err := edict.Call(ctx, client, add{}, edict.WithMetadata(edict.Metadata{"refuse": {"yes"}}))
				return err
			},
			want{"PERMISSION_DENIED", "refused", codes.Error},
			want{"PERMISSION_DENIED", "refused", codes.Unset},
		},
		"not sent": {
			func(ctx context.Context, _ *bench, client *edict.Client[*lab]) error {
				ctx, cancel := context.WithCancel(ctx)
				cancel()
				_, err := edict.Call(ctx, client, add{})
				return err
			},
			want{"CANCELLED", "not_sent", codes.Error},
			want{},
		},
		"cancelled": {
			func(ctx context.Context, b *bench, client *edict.Client[*lab]) error {
				ctx, cancel := context.WithCancel(ctx)
				go func() {
					<-b.lab.started
					cancel()
				}()
				_, err := edict.Call(ctx, client, wait{})
				return err
			},
			want{"CANCELLED", "unknown", codes.Error},
			want{"CANCELLED", "executed", codes.Unset},
		},
		"the server closes": {
			func(ctx context.Context, b *bench, client *edict.Client[*lab]) error {
				go func() {
					<-b.lab.started
					b.server.Close()
				}()
				_, err := edict.Call(ctx, client, wait{})
				return err
			},
			want{"UNAVAILABLE", "unknown", codes.Error},
			want{"CANCELLED", "executed", codes.Unset},
		},
		"a stream to its end": {
			func(ctx context.Context, _ *bench, client *edict.Client[*lab]) error {
				for _, err := range edict.Stream(ctx, client, count{To: 100}) {
					if err != nil {
						return err
					}
				}
				return errDone
			},
			want{"OK", "executed", codes.Unset},
			want{"OK", "executed", codes.Unset},
		},
		"a stream that is left": {
			func(ctx context.Context, _ *bench, client *edict.Client[*lab]) error {
				for range edict.Stream(ctx, client, count{To: -1}) {
					break
				}
				return errDone
			},
			want{"CANCELLED", "unknown", codes.Unset},
			want{"CANCELLED", "executed", codes.Unset},
		},
		"inputs": {
			func(ctx context.Context, _ *bench, client *edict.Client[*lab]) error {
				sum, err := edict.Upload(ctx, client, total{}, func(yield func(int, error) bool) {
					for n := range 100 {
						if !yield(n, nil) {
							return
						}
					}
				})
				if sum != 4950 || err != nil {
					return err
				}
				return errDone
			},
			want{"OK", "executed", codes.Unset},
			want{"OK", "executed", codes.Unset},
		},
	} {
		for sampling, of := range map[string]struct {
			sampler sdktrace.Sampler
			options []edictotel.Option
		}{
			"sampled":                 {sdktrace.AlwaysSample(), nil},
			"not sampled by a ratio":  {follow, []edictotel.Option{edictotel.WithRatio(0)}},
			"not sampled":             {sdktrace.NeverSample(), nil},
			"not sampled, in a trace": {sdktrace.ParentBased(sdktrace.NeverSample()), []edictotel.Option{edictotel.WithUnsampledParents()}},
		} {
			t.Run(name+"/"+sampling, func(t *testing.T) {
				c := collect(t, of.sampler, of.options...)
				refuse := func(ctx context.Context, call *edict.ServerCall, next func(context.Context) error) error {
					if call.MetadataValue("refuse") != "" {
						return edict.Errorf(edict.PermissionDenied, "no")
					}
					return next(ctx)
				}
				b := serve(t, c.telemetry.ServerOption(), edict.WithServerInterceptors(refuse))
				client := b.client(c.telemetry.ClientOption())
				if err := test.call(t.Context(), b, client); err == nil {
					t.Fatal("there is no error")
				} else if test.client.status == codes.Unset && err != errDone {
					t.Fatal(err)
				}
				b.end()
				metrics := c.metrics()
				for kind, want := range map[trace.SpanKind]want{trace.SpanKindClient: test.client, trace.SpanKindServer: test.server} {
					counted := points(metrics["rpc."+kind.String()+".call.duration"])
					spans := c.of(kind)
					if want.code == "" {
						if len(spans) > 0 || len(counted) > 0 {
							t.Errorf("%v: there are the spans %v and the durations %v", kind, spans, counted)
						}
						continue
					}
					is := ",rpc.response.status_code=" + want.code + ","
					if len(counted) != 1 || counted[0].count != 1 || !strings.Contains(counted[0].attributes, is) ||
						!strings.Contains(counted[0].attributes, "edict.outcome="+want.outcome+",") {
						t.Errorf("%v: the durations %+v, want one with %s and %s", kind, counted, want.code, want.outcome)
					}
					if sampling != "sampled" {
						if len(spans) > 0 {
							t.Errorf("there are %v spans: %v", kind, spans)
						}
						continue
					}
					span := c.one(kind)
					if got := value(span, "rpc.response.status_code"); got != want.code {
						t.Errorf("%v: code %s, want %s", kind, got, want.code)
					}
					if got := value(span, "edict.outcome"); got != want.outcome {
						t.Errorf("%v: outcome %s, want %s", kind, got, want.outcome)
					}
					if span.Status.Code != want.status {
						t.Errorf("%v: status %v, want %v", kind, span.Status, want.status)
					}
					if is := value(span, "error.type"); want.status == codes.Error && is != want.code {
						t.Errorf("%v: error.type %q", kind, is)
					}
				}
				for _, running := range points(metrics["edict.server.active_requests"]) {
					if running.value != 0 {
						t.Errorf("%v commands run at the end", running.value)
					}
				}
			})
		}
	}
}

// errDone says that a call went as it should.
var errDone = errors.New("done")

// A call that was started, cancelled and dropped, as is allowed, has a span all the same.
func TestTheSpanOfADroppedCall(t *testing.T) {
	c := collect(t, nil)
	client := serve(t, c.telemetry.ServerOption()).client(c.telemetry.ClientOption())
	func() {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel() // which cancels the call
		if _, err := edict.Start(ctx, client, wait{}); err != nil {
			t.Fatal(err)
		}
	}()
	waitFor(t, func() bool { return len(c.of(trace.SpanKindClient)) == 1 })
	if span := c.one(trace.SpanKindClient); value(span, "rpc.response.status_code") != "CANCELLED" || span.Status.Code != codes.Unset {
		t.Errorf("got %v", span)
	}
}

// Baggage and the trace arrive in Exec, by whatever propagator is set.
func TestPropagation(t *testing.T) {
	for name, options := range map[string][]edictotel.Option{
		"the default": nil,
		"another one": {edictotel.WithPropagator(propagation.NewCompositeTextMapPropagator(renamed{propagation.TraceContext{}}, propagation.Baggage{}))},
	} {
		t.Run(name, func(t *testing.T) {
			c := collect(t, nil, options...)
			b := serve(t, c.telemetry.ServerOption())
			var member string
			var inside trace.SpanContext
			b.lab.seen = func(ctx context.Context) {
				member = baggage.FromContext(ctx).Member("tenant").Value()
				inside = trace.SpanContextFromContext(ctx)
			}
			tenant, err := baggage.NewMember("tenant", "seven")
			if err != nil {
				t.Fatal(err)
			}
			bag, err := baggage.New(tenant)
			if err != nil {
				t.Fatal(err)
			}
			ctx := baggage.ContextWithBaggage(t.Context(), bag)
			back := edict.Metadata{"language": {"de"}}
			if _, err := edict.Call(ctx, b.client(c.telemetry.ClientOption()), add{}, edict.WithMetadata(back)); err != nil {
				t.Fatal(err)
			}
			if member != "seven" {
				t.Errorf("the baggage is %q", member)
			}
			if span := c.one(trace.SpanKindServer); inside.SpanID() != span.SpanContext.SpanID() ||
				span.Parent.SpanID() != c.one(trace.SpanKindClient).SpanContext.SpanID() {
				t.Errorf("Exec runs in %v, the server's span is %v", inside, span)
			}
			if len(back) != 1 {
				t.Errorf("the caller's metadata has become %v", back)
			}
		})
	}
}

// renamed is a propagator with another key.
type renamed struct{ propagation.TraceContext }

func (r renamed) Inject(ctx context.Context, carrier propagation.TextMapCarrier) {
	inner := propagation.MapCarrier{}
	r.TraceContext.Inject(ctx, inner)
	carrier.Set("X-Trace", inner.Get("traceparent"))
}

func (r renamed) Extract(ctx context.Context, carrier propagation.TextMapCarrier) context.Context {
	if !slices.Contains(carrier.Keys(), "x-trace") {
		return ctx
	}
	return r.TraceContext.Extract(ctx, propagation.MapCarrier{"traceparent": carrier.Get("X-Trace")})
}

// An interceptor outside that calls next again gives each call a span, and the server sees the right parent.
func TestCallsThatAreMadeAgain(t *testing.T) {
	c := collect(t, nil)
	twice := func(ctx context.Context, call *edict.ClientCall, next edict.ClientNext) (edict.Exchange, error) {
		first, err := next(ctx, call)
		if err != nil {
			return nil, err
		}
		if _, err := first.Receive(); err != nil {
			return nil, err
		}
		first.Close()
		return next(ctx, call)
	}
	client := serve(t, c.telemetry.ServerOption()).client(edict.WithClientInterceptors(twice), c.telemetry.ClientOption())
	if _, err := edict.Call(t.Context(), client, add{}); err != nil {
		t.Fatal(err)
	}
	outer, inner := c.of(trace.SpanKindClient), c.of(trace.SpanKindServer)
	if len(outer) != 2 || len(inner) != 2 {
		t.Fatalf("%d and %d spans", len(outer), len(inner))
	}
	for i := range outer {
		if inner[i].Parent.SpanID() != outer[i].SpanContext.SpanID() {
			t.Errorf("the parent of the server's span %d is not the client's", i)
		}
	}
}

// counting is a sampler that counts how often it is asked, and samples nothing.
type counting struct{ asked *int }

func (c counting) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	*c.asked++
	return sdktrace.NeverSample().ShouldSample(p)
}
func (counting) Description() string { return "counting" }

// The sampler decides about the root alone, and the decision travels.
func TestUnsampledCalls(t *testing.T) {
	for name, test := range map[string]struct {
		options       []edictotel.Option
		first, second int // how often the sampler is asked for a root, and for a call that follows from it
	}{
		"by default":     {nil, 1, 0},
		"asked for each": {[]edictotel.Option{edictotel.WithUnsampledParents()}, 2, 2},
	} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			c := collect(t, counting{&asked}, test.options...)
			other := serve(t, c.telemetry.ServerOption())
			b := serve(t, c.telemetry.ServerOption())
			var inside trace.SpanContext
			b.lab.seen = func(ctx context.Context) { inside = trace.SpanContextFromContext(ctx) }
			if _, err := edict.Call(t.Context(), b.client(c.telemetry.ClientOption()), add{}); err != nil {
				t.Fatal(err)
			}
			if !inside.IsValid() || inside.IsSampled() {
				t.Errorf("Exec runs in %v, want a trace that is not sampled", inside)
			}
			// What Exec calls belongs to the same trace.
			ctx := trace.ContextWithRemoteSpanContext(t.Context(), inside)
			var further trace.SpanContext
			other.lab.seen = func(ctx context.Context) { further = trace.SpanContextFromContext(ctx) }
			before := asked
			if _, err := edict.Call(ctx, other.client(c.telemetry.ClientOption()), add{}); err != nil {
				t.Fatal(err)
			}
			if further.TraceID() != inside.TraceID() || further.IsSampled() {
				t.Errorf("what Exec calls runs in %v, not in the trace of %v", further, inside)
			}
			if before != test.first || asked-before != test.second {
				t.Errorf("the sampler was asked %d times, then %d times, want %d and %d", before, asked-before, test.first, test.second)
			}
			if spans := c.spans.GetSpans(); len(spans) > 0 {
				t.Errorf("%d spans", len(spans))
			}
		})
	}
}

// Without roots, a call outside of a trace has no span and asks no sampler, but one that belongs to a trace has.
func TestWithoutRoots(t *testing.T) {
	c := collect(t, nil, edictotel.WithoutRoots())
	b := serve(t, c.telemetry.ServerOption())
	var sent []string
	b.lab.seen = func(ctx context.Context) {
		for key := range edict.MetadataOf(ctx) {
			sent = append(sent, key)
		}
	}
	client := b.client(c.telemetry.ClientOption())
	if _, err := edict.Call(t.Context(), client, add{}); err != nil {
		t.Fatal(err)
	}
	if spans := c.spans.GetSpans(); len(spans) > 0 || len(sent) > 0 {
		t.Errorf("%d spans outside of a trace, and the metadata %v", len(spans), sent)
	}
	ctx, root := sdktrace.NewTracerProvider().Tracer("test").Start(t.Context(), "root")
	if _, err := edict.Call(ctx, client, add{}); err != nil {
		t.Fatal(err)
	}
	root.End()
	if outer, inner := c.one(trace.SpanKindClient), c.one(trace.SpanKindServer); outer.Parent.SpanID() != root.SpanContext().SpanID() || inner.Parent.SpanID() != outer.SpanContext.SpanID() {
		t.Errorf("the spans below a root are %v and %v", outer, inner)
	}
	if p := at(t, c.metrics(), "rpc.client.call.duration", "edict.outcome=executed,rpc.method=add,rpc.response.status_code=OK,rpc.system.name=edict"); p.count != 2 {
		t.Errorf("%d durations", p.count)
	}
}

// Each attempt of a group is a span with its number, and Sender's span is around them.
func TestAttemptsOfAGroup(t *testing.T) {
	c := collect(t, nil)
	turnAway := func(context.Context, *edict.ServerCall, func(context.Context) error) error {
		return edict.Errorf(edict.ResourceExhausted, "too much")
	}
	full := serve(t, c.telemetry.ServerOption(), edict.WithServerInterceptors(turnAway))
	g := groupOf(t, group.Config{Retry: group.Retry{MaxAttempts: 3, Initial: time.Millisecond}}, map[string]*bench{"full": full}, c.telemetry.ClientOption())
	_, err := edict.Call(t.Context(), edictotel.Sender(c.telemetry, labCommands, edict.Sender[*lab](g)), add{})
	if edict.CodeOf(err) != edict.ResourceExhausted {
		t.Fatal(err)
	}
	around := c.one(trace.SpanKindInternal)
	if around.Name != "add" || value(around, "edict.attempts") != "3" || around.Status.Code != codes.Error ||
		value(around, "edict.outcome") != "refused" || value(around, "rpc.method") != "add" {
		t.Errorf("the span around the attempts is %v", texts(around))
	}
	var numbers []string
	for _, span := range c.of(trace.SpanKindClient) {
		numbers = append(numbers, value(span, "edict.attempt"))
		if span.Parent.SpanID() != around.SpanContext.SpanID() {
			t.Errorf("attempt %s is not below the span around", value(span, "edict.attempt"))
		}
	}
	if fmt.Sprint(numbers) != "[ 2 3]" || len(c.of(trace.SpanKindServer)) != 3 {
		t.Errorf("attempts %q, and %d spans of the server", numbers, len(c.of(trace.SpanKindServer)))
	}
}

// A hedge is told apart from the attempt that it is beside.
func TestHedges(t *testing.T) {
	c := collect(t, nil)
	servers := map[string]*bench{"east": serve(t, c.telemetry.ServerOption()), "west": serve(t, c.telemetry.ServerOption())}
	g := groupOf(t, group.Config{Hedge: group.Hedge{Quantile: 0.95}}, servers, c.telemetry.ClientOption())
	waitFor(t, func() bool { // until both serve, and the usual latency is known
		if _, err := edict.Call(t.Context(), g, read{}); err != nil {
			t.Fatal(err)
		}
		for _, b := range servers {
			if b.server.Stats().Total.Commands == 0 {
				return false
			}
		}
		return len(c.of(trace.SpanKindClient)) > 200
	})
	c.spans.Reset()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := edict.Call(ctx, edictotel.Sender(c.telemetry, labCommands, edict.Sender[*lab](g)), read{Stall: true})
		ended <- err
	}()
	for _, b := range servers {
		<-b.lab.started
	}
	cancel()
	<-ended
	for _, b := range servers {
		b.end()
	}
	hedges := map[string]string{}
	for _, span := range c.of(trace.SpanKindClient) {
		hedges[value(span, "edict.hedge")] = value(span, "edict.attempt")
	}
	if len(hedges) != 2 || hedges["true"] != "2" || hedges[""] != "" {
		t.Errorf("hedges and their attempts: %v", hedges)
	}
}

// A call that a reconnecting client sends again is one span, which says so, and one span per server.
func TestCallsThatAreSentAgain(t *testing.T) {
	c := collect(t, nil)
	first, second := serve(t, c.telemetry.ServerOption()), serve(t, c.telemetry.ServerOption())
	first.lab.stall.Store(true)
	go func() {
		<-first.lab.started
		first.listener.Close()
		first.server.Close()
	}()
	dials := 0
	client, err := edict.Dial(t.Context(), "memory", labCommands, c.telemetry.ClientOption(),
		edict.WithReconnect(edict.Reconnect{Initial: time.Millisecond}),
		edict.WithDialer(func(ctx context.Context) (net.Conn, error) {
			if dials++; dials == 1 {
				return first.listener.Dial(ctx)
			}
			return second.listener.Dial(ctx)
		}))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := edict.Call(t.Context(), client, read{}); err != nil {
		t.Fatal(err)
	}
	first.end()
	outer := c.one(trace.SpanKindClient)
	if value(outer, "edict.resent") != "1" || outer.Status.Code != codes.Unset {
		t.Errorf("the client's span: %s", texts(outer))
	}
	inner := c.of(trace.SpanKindServer)
	if len(inner) != 2 || inner[0].Parent.SpanID() != outer.SpanContext.SpanID() || inner[1].Parent.SpanID() != outer.SpanContext.SpanID() {
		t.Errorf("%d spans of servers: %v", len(inner), inner)
	}
}

package edictotel_test

import (
	"context"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/group"
	"github.com/edict-go/edict/internal/echo"
	"github.com/edict-go/edict/internal/leak"
	edictotel "github.com/edict-go/edict/otel"
	"github.com/edict-go/edict/transport"
)

func TestMain(m *testing.M) { leak.Main(m) }

// lab is the receiver of the tests' commands.
type lab struct {
	logger  *slog.Logger
	stall   atomic.Bool // the next read waits for the end of its context
	started chan struct{}
	seen    func(ctx context.Context) // called by add, if it is not nil
}

type add struct{ A, B int }

func (c add) Exec(ctx context.Context, l *lab) (int, error) {
	if l.seen != nil {
		l.seen(ctx)
	}
	return c.A + c.B, nil
}

// fail fails with a code and a message.
type fail struct {
	Code    edict.Code
	Message string
}

func (c fail) Exec(context.Context, *lab) (int, error) {
	return 0, edict.Errorf(c.Code, "%s", c.Message)
}

// boom logs and panics.
type boom struct{ Message string }

func (c boom) Exec(ctx context.Context, l *lab) (int, error) {
	l.logger.InfoContext(ctx, "about to panic")
	panic(c.Message)
}

// wait waits for the end of its context.
type wait struct{}

func (wait) Exec(ctx context.Context, l *lab) (int, error) {
	l.started <- struct{}{}
	<-ctx.Done()
	return 0, context.Cause(ctx)
}

// read is idempotent. It waits for the end of its context if it or the server stalls.
type read struct{ Stall bool }

func (c read) Exec(ctx context.Context, l *lab) (int, error) {
	if c.Stall || l.stall.Swap(false) {
		l.started <- struct{}{}
		<-ctx.Done()
		return 0, ctx.Err()
	}
	return 1, nil
}

func (read) Idempotent() bool { return true }

// count streams numbers, without end if To is negative.
type count struct{ To int }

func (c count) Exec(_ context.Context, _ *lab, out edict.Sink[int]) error {
	for n := 0; c.To < 0 || n < c.To; n++ {
		if err := out.Send(n); err != nil {
			return err
		}
	}
	return nil
}

// total adds its inputs.
type total struct{}

func (total) Exec(_ context.Context, _ *lab, inputs edict.Source[int], out edict.Sink[int]) error {
	sum := 0
	for n, err := range inputs.All() {
		if err != nil {
			return err
		}
		sum += n
	}
	return out.Send(sum)
}

var labCommands = edict.Commands(
	edict.Unary[add](), edict.Unary[fail](), edict.Unary[boom](), edict.Unary[wait](), edict.Unary[read](),
	edict.ServerStream[count](), edict.Duplex[total](),
)

func newLab() *lab {
	return &lab{logger: slog.New(slog.DiscardHandler), started: make(chan struct{}, 10)}
}

// collected is where the telemetry of a test goes.
type collected struct {
	t         testing.TB
	spans     *tracetest.InMemoryExporter
	reader    *sdkmetric.ManualReader
	telemetry *edictotel.Telemetry
}

// collect makes a Telemetry, which samples everything unless sampler is not nil.
func collect(t testing.TB, sampler sdktrace.Sampler, options ...edictotel.Option) *collected {
	t.Helper()
	if sampler == nil {
		sampler = sdktrace.AlwaysSample()
	}
	c := &collected{t: t, spans: tracetest.NewInMemoryExporter(), reader: sdkmetric.NewManualReader()}
	tracers := sdktrace.NewTracerProvider(sdktrace.WithSyncer(c.spans), sdktrace.WithSampler(sampler))
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(c.reader))
	options = append([]edictotel.Option{edictotel.WithTracerProvider(tracers), edictotel.WithMeterProvider(meters)}, options...)
	var err error
	if c.telemetry, err = edictotel.New(options...); err != nil {
		t.Fatal(err)
	}
	return c
}

// bench is a server in memory, and what its clients dial.
type bench struct {
	t        testing.TB
	lab      *lab
	server   *edict.Server
	listener *transport.Memory
	ended    bool
}

// serve starts a server. It ends with the test, when all its commands have: their spans are complete then.
func serve(t testing.TB, options ...edict.ServerOption) *bench {
	t.Helper()
	b := &bench{t: t, lab: newLab(), listener: transport.NewMemory()}
	options = append([]edict.ServerOption{edict.WithLogger(slog.New(slog.DiscardHandler))}, options...)
	b.server = edict.NewServer(b.lab, labCommands, options...)
	served := make(chan error, 1)
	go func() { served <- b.server.Serve(b.listener) }()
	t.Cleanup(func() {
		b.end()
		<-served
	})
	return b
}

// end shuts the server down and waits for its commands.
func (b *bench) end() {
	b.t.Helper()
	if b.ended {
		return
	}
	b.ended = true
	_ = b.server.Close()
	if err := b.server.Shutdown(context.Background()); err != nil {
		b.t.Error(err)
	}
}

func (b *bench) client(options ...edict.DialOption) *edict.Client[*lab] {
	b.t.Helper()
	client, err := edict.Dial(b.t.Context(), "memory", labCommands, append(options, edict.WithDialer(b.listener.Dial))...)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { client.Close() })
	return client
}

// groupOf returns a group of servers.
func groupOf(t testing.TB, config group.Config, servers map[string]*bench, options ...edict.DialOption) *group.Group[*lab] {
	t.Helper()
	var addresses []string
	for address := range servers {
		addresses = append(addresses, address)
	}
	slices.Sort(addresses)
	config.Endpoints = group.Static(addresses...)
	config.Logger = slog.New(slog.DiscardHandler)
	g, err := group.New(func(address string) (group.Member[*lab], error) {
		return group.Clients(labCommands, append(options, edict.WithDialer(servers[address].listener.Dial))...)(address)
	}, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	if err := g.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	return g
}

// of returns the spans of a kind, in the order in which they ended.
func (c *collected) of(kind trace.SpanKind) []tracetest.SpanStub {
	var found []tracetest.SpanStub
	for _, span := range c.spans.GetSpans() {
		if span.SpanKind == kind {
			found = append(found, span)
		}
	}
	return found
}

// one returns the only span of a kind.
func (c *collected) one(kind trace.SpanKind) tracetest.SpanStub {
	c.t.Helper()
	found := c.of(kind)
	if len(found) != 1 {
		c.t.Fatalf("%d %v spans, want 1", len(found), kind)
	}
	return found[0]
}

// value returns an attribute of a span as a string, "" if it is not there.
func value(span tracetest.SpanStub, key attribute.Key) string {
	for _, kv := range span.Attributes {
		if kv.Key == key {
			return kv.Value.String()
		}
	}
	return ""
}

// metrics returns all metrics by their names.
func (c *collected) metrics() map[string]metricdata.Metrics {
	c.t.Helper()
	var resource metricdata.ResourceMetrics
	if err := c.reader.Collect(context.Background(), &resource); err != nil {
		c.t.Fatal(err)
	}
	all := map[string]metricdata.Metrics{}
	for _, scope := range resource.ScopeMetrics {
		for _, m := range scope.Metrics {
			all[m.Name] = m
		}
	}
	return all
}

// point is a data point: its attributes, and its value, or of a histogram its sum and count.
type point struct {
	attributes string // as in "a=1,b=2", in the order of the keys
	value      float64
	count      uint64
}

func points(m metricdata.Metrics) []point {
	var all []point
	number := func(set attribute.Set, value float64, count uint64) {
		all = append(all, point{set.Encoded(attribute.DefaultEncoder()), value, count})
	}
	switch data := m.Data.(type) {
	case metricdata.Sum[int64]:
		for _, p := range data.DataPoints {
			number(p.Attributes, float64(p.Value), 0)
		}
	case metricdata.Gauge[float64]:
		for _, p := range data.DataPoints {
			number(p.Attributes, p.Value, 0)
		}
	case metricdata.Histogram[float64]:
		for _, p := range data.DataPoints {
			number(p.Attributes, p.Sum, p.Count)
		}
	case metricdata.Histogram[int64]:
		for _, p := range data.DataPoints {
			number(p.Attributes, float64(p.Sum), p.Count)
		}
	}
	return all
}

// at returns the point of a metric with exactly these attributes, in the order of the keys.
func at(t testing.TB, metrics map[string]metricdata.Metrics, name, attributes string) point {
	t.Helper()
	for _, p := range points(metrics[name]) {
		if p.attributes == attributes {
			return p
		}
	}
	t.Errorf("%s has no point {%s}, but %v", name, attributes, points(metrics[name]))
	return point{}
}

// discard is a span exporter that keeps nothing.
type discard struct{}

func (discard) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return nil }
func (discard) Shutdown(context.Context) error                             { return nil }

// payload is the message of the published comparisons.
var payload = echo.Echo{Flag: true, Number: 1 << 40, Text: strings.Repeat("x", 128), Ratio: 0.5}

// serveEcho returns a client of a server over TCP. telemetry may be nil.
func serveEcho(t testing.TB, codec edict.Codec, telemetry *edictotel.Telemetry) *edict.Client[*echo.Receiver] {
	t.Helper()
	if telemetry == nil {
		return serveEchoWith(t, codec, nil, nil)
	}
	return serveEchoWith(t, codec, []edict.ServerOption{telemetry.ServerOption()}, []edict.DialOption{telemetry.ClientOption()})
}

// serveEchoWith is serveEcho with any options.
func serveEchoWith(t testing.TB, codec edict.Codec, servers []edict.ServerOption, dials []edict.DialOption) *edict.Client[*echo.Receiver] {
	t.Helper()
	client, stop := startEcho(t, codec, servers, dials)
	t.Cleanup(stop)
	return client
}

// startEcho is serveEchoWith for those who end it themselves.
func startEcho(t testing.TB, codec edict.Codec, servers []edict.ServerOption, dials []edict.DialOption) (_ *edict.Client[*echo.Receiver], stop func()) {
	t.Helper()
	servers, dials = append(servers, edict.WithCodecs(codec)), append(dials, edict.WithCodecs(codec))
	server := edict.NewServer(&echo.Receiver{}, echo.Commands, servers...)
	listener, err := server.Listen("tcp://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	client, err := edict.Dial(t.Context(), "tcp://"+listener.Addr().String(), echo.Commands, dials...)
	if err != nil {
		t.Fatal(err)
	}
	return client, func() {
		client.Close()
		_ = server.Close()
		if err := server.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		<-served
	}
}

// cpuOf makes calls, so many at a time, and returns the processor time that they took.
func cpuOf(t testing.TB, client *edict.Client[*echo.Receiver], inFlight, calls int) time.Duration {
	var left atomic.Int64
	left.Store(int64(calls))
	var running sync.WaitGroup
	ctx := t.Context()
	before := cpuTime()
	for range inFlight {
		running.Go(func() {
			for left.Add(-1) >= 0 {
				if reply, err := edict.Call(ctx, client, payload); err != nil || reply != echo.Message(payload) {
					t.Error(reply, err)
				}
			}
		})
	}
	running.Wait()
	return cpuTime() - before
}

// cpuTime returns the processor time of this process, which other processes disturb less than the clock.
func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// waitFor waits until a condition holds that the garbage collector or another goroutine brings about.
func waitFor(t testing.TB, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !condition(); runtime.GC() {
		if time.Now().After(deadline) {
			t.Fatal("it does not come about")
		}
	}
}

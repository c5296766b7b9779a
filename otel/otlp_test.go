package edictotel_test

import (
	"context"
	"net"
	"slices"
	"sync"
	"testing"

	"go.opentelemetry.io/contrib/bridges/otelslog"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploggrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	collogs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	colmetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"

	"github.com/edict-go/edict"
	edictotel "github.com/edict-go/edict/otel"
)

// collector is an OTLP collector that keeps what it gets.
type collector struct {
	mu      sync.Mutex // guards the following
	spans   []*tracepb.Span
	metrics []*metricspb.Metric
	logs    []*logspb.LogRecord
}

// startCollector returns a collector and its address. It ends with the test.
func startCollector(t *testing.T) (c *collector, address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c = &collector{}
	server := grpc.NewServer()
	coltrace.RegisterTraceServiceServer(server, traces{c: c})
	colmetrics.RegisterMetricsServiceServer(server, numbers{c: c})
	collogs.RegisterLogsServiceServer(server, records{c: c})
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return c, listener.Addr().String()
}

type traces struct {
	coltrace.UnimplementedTraceServiceServer
	c *collector
}

func (s traces) Export(_ context.Context, request *coltrace.ExportTraceServiceRequest) (*coltrace.ExportTraceServiceResponse, error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	for _, resource := range request.ResourceSpans {
		for _, scope := range resource.ScopeSpans {
			s.c.spans = append(s.c.spans, scope.Spans...)
		}
	}
	return &coltrace.ExportTraceServiceResponse{}, nil
}

type numbers struct {
	colmetrics.UnimplementedMetricsServiceServer
	c *collector
}

func (s numbers) Export(_ context.Context, request *colmetrics.ExportMetricsServiceRequest) (*colmetrics.ExportMetricsServiceResponse, error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	for _, resource := range request.ResourceMetrics {
		for _, scope := range resource.ScopeMetrics {
			s.c.metrics = append(s.c.metrics, scope.Metrics...)
		}
	}
	return &colmetrics.ExportMetricsServiceResponse{}, nil
}

type records struct {
	collogs.UnimplementedLogsServiceServer
	c *collector
}

func (s records) Export(_ context.Context, request *collogs.ExportLogsServiceRequest) (*collogs.ExportLogsServiceResponse, error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	for _, resource := range request.ResourceLogs {
		for _, scope := range resource.ScopeLogs {
			s.c.logs = append(s.c.logs, scope.LogRecords...)
		}
	}
	return &collogs.ExportLogsServiceResponse{}, nil
}

// Spans, metrics and logs of both sides reach a collector over OTLP, and what belongs together has the same trace: also
// what Edict itself logs of a command, its panic.
func TestOTLP(t *testing.T) {
	collected, address := startCollector(t)
	ctx := context.Background()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	spans, err := otlptracegrpc.New(ctx, otlptracegrpc.WithEndpoint(address), otlptracegrpc.WithInsecure())
	must(err)
	tracers := sdktrace.NewTracerProvider(sdktrace.WithBatcher(spans))
	numbers, err := otlpmetricgrpc.New(ctx, otlpmetricgrpc.WithEndpoint(address), otlpmetricgrpc.WithInsecure())
	must(err)
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewPeriodicReader(numbers)))
	records, err := otlploggrpc.New(ctx, otlploggrpc.WithEndpoint(address), otlploggrpc.WithInsecure())
	must(err)
	loggers := sdklog.NewLoggerProvider(sdklog.WithProcessor(sdklog.NewBatchProcessor(records)))

	telemetry, err := edictotel.New(edictotel.WithTracerProvider(tracers), edictotel.WithMeterProvider(meters))
	must(err)
	logger := otelslog.NewLogger("calc", otelslog.WithLoggerProvider(loggers))
	b := serve(t, telemetry.ServerOption(), edict.WithLogger(logger))
	b.lab.logger = logger
	client := b.client(telemetry.ClientOption())
	defer telemetry.ObserveClient("calc", client)()
	defer telemetry.ObserveServer("calc", b.server)()
	if sum, err := edict.Call(t.Context(), client, add{2, 3}); sum != 5 || err != nil {
		t.Fatal(sum, err)
	}
	if _, err := edict.Call(t.Context(), client, boom{"oh"}); edict.CodeOf(err) != edict.Internal {
		t.Fatal(err)
	}
	b.end()
	must(tracers.Shutdown(ctx))
	must(meters.Shutdown(ctx))
	must(loggers.Shutdown(ctx))

	collected.mu.Lock()
	defer collected.mu.Unlock()
	find := func(name string, kind tracepb.Span_SpanKind) *tracepb.Span {
		i := slices.IndexFunc(collected.spans, func(s *tracepb.Span) bool { return s.Name == name && s.Kind == kind })
		if i < 0 {
			t.Fatalf("the collector has no %v span of %s among %v", kind, name, collected.spans)
		}
		return collected.spans[i]
	}
	for _, name := range []string{"add", "boom"} {
		outer, inner := find(name, tracepb.Span_SPAN_KIND_CLIENT), find(name, tracepb.Span_SPAN_KIND_SERVER)
		if string(inner.ParentSpanId) != string(outer.SpanId) || string(inner.TraceId) != string(outer.TraceId) {
			t.Errorf("%s: the server's span is not below the client's: %v, %v", name, inner, outer)
		}
	}
	for _, name := range []string{"rpc.client.call.duration", "rpc.server.call.duration", "edict.client.frames", "edict.server.commands"} {
		if !slices.ContainsFunc(collected.metrics, func(m *metricspb.Metric) bool { return m.Name == name }) {
			t.Errorf("the collector has no %s", name)
		}
	}
	boomed := find("boom", tracepb.Span_SPAN_KIND_SERVER)
	for _, text := range []string{"about to panic", "edict: command panicked"} {
		i := slices.IndexFunc(collected.logs, func(r *logspb.LogRecord) bool { return r.Body.GetStringValue() == text })
		if i < 0 {
			t.Errorf("the collector has no log %q among %v", text, collected.logs)
			continue
		}
		if r := collected.logs[i]; string(r.TraceId) != string(boomed.TraceId) || string(r.SpanId) != string(boomed.SpanId) {
			t.Errorf("the log %q is of the span %x in %x, want %x in %x", text, r.SpanId, r.TraceId, boomed.SpanId, boomed.TraceId)
		}
	}
}

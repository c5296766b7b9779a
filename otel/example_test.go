package edictotel_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"

	"go.opentelemetry.io/contrib/bridges/otelslog"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/group"
	edictotel "github.com/edict-go/edict/otel"
	"github.com/edict-go/edict/transport"
)

// Calc is a receiver.
type Calc struct{ logger *slog.Logger }

// Divide is a command.
type Divide struct{ A, B int }

// Exec implements edict.Command. What it logs with its ctx belongs to the call's trace.
func (d Divide) Exec(ctx context.Context, calc *Calc) (int, error) {
	if d.B == 0 {
		calc.logger.WarnContext(ctx, "someone wants to divide by zero")
		return 0, edict.Errorf(edict.InvalidArgument, "can't divide by zero")
	}
	return d.A / d.B, nil
}

// CalcCommands has the commands of Calc.
var CalcCommands = edict.Commands(edict.Unary[Divide]())

// A server and a client with spans and metrics. These providers keep them in memory; those of a service have an exporter,
// as in examples/otel.
func Example() {
	ctx := context.Background()
	spans := tracetest.NewInMemoryExporter()
	reader := sdkmetric.NewManualReader()
	tracers := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))

	telemetry, err := edictotel.New(edictotel.WithTracerProvider(tracers), edictotel.WithMeterProvider(meters))
	if err != nil {
		log.Fatal(err)
	}
	listener := transport.NewMemory() // in the place of a network
	server := edict.NewServer(&Calc{slog.New(slog.DiscardHandler)}, CalcCommands, telemetry.ServerOption())
	go server.Serve(listener)
	defer telemetry.ObserveServer("calc", server)()

	client, err := edict.Dial(ctx, "memory", CalcCommands, telemetry.ClientOption(), edict.WithDialer(listener.Dial))
	if err != nil {
		log.Fatal(err)
	}
	defer telemetry.ObserveClient("calc", client)()

	fmt.Println(edict.Call(ctx, client, Divide{12, 3}))
	_, err = edict.Call(ctx, client, Divide{7, 0})
	fmt.Println(err)
	client.Close()
	if err := server.Shutdown(ctx); err != nil {
		log.Fatal(err)
	}

	for _, span := range spans.GetSpans() {
		fmt.Printf("%v %s %v\n", span.SpanKind, span.Name, span.Status.Code)
	}
	var metrics metricdata.ResourceMetrics
	if err := reader.Collect(ctx, &metrics); err != nil {
		log.Fatal(err)
	}
	for _, m := range metrics.ScopeMetrics[0].Metrics {
		if durations, ok := m.Data.(metricdata.Histogram[float64]); ok {
			fmt.Println(m.Name, len(durations.DataPoints))
		}
	}
	// Output:
	// 4 <nil>
	// edict: Divide: invalid argument: can't divide by zero (executed)
	// server Divide Unset
	// client Divide Unset
	// server Divide Unset
	// client Divide Error
	// rpc.client.call.duration 2
	// rpc.server.call.duration 2
}

// A program with many calls: a coin is tossed for each that belongs to no trace, before the SDK hears of it, and how long calls take
// is counted without the SDK.
func ExampleWithRatio() {
	ctx := context.Background()
	newReader := func(durations *edictotel.Durations) *sdkmetric.ManualReader { // one with an exporter takes the same option
		return sdkmetric.NewManualReader(sdkmetric.WithProducer(durations))
	}
	exporter := tracetest.NewInMemoryExporter()

	tracers := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.AlwaysSample())))
	durations := edictotel.NewDurations(0.0001, 0.001, 0.01, 0.1, 1, 10)
	reader := newReader(durations) // sdkmetric.WithProducer(durations)
	telemetry, err := edictotel.New(
		edictotel.WithTracerProvider(tracers), edictotel.WithRatio(0.01),
		edictotel.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))), edictotel.WithDurations(durations))
	if err != nil {
		log.Fatal(err)
	}
	defer tracers.Shutdown(ctx)

	listener := transport.NewMemory()
	server := edict.NewServer(&Calc{slog.New(slog.DiscardHandler)}, CalcCommands, telemetry.ServerOption())
	go server.Serve(listener)
	defer server.Close()
	client, err := edict.Dial(ctx, "memory", CalcCommands, telemetry.ClientOption(), edict.WithDialer(listener.Dial))
	if err != nil {
		log.Fatal(err)
	}
	for range 100 {
		if _, err := edict.Call(ctx, client, Divide{12, 3}); err != nil {
			log.Fatal(err)
		}
	}
	client.Close()
	if err := server.Shutdown(ctx); err != nil {
		log.Fatal(err)
	}
	var metrics metricdata.ResourceMetrics
	if err := reader.Collect(ctx, &metrics); err != nil {
		log.Fatal(err)
	}
	for _, scope := range metrics.ScopeMetrics {
		for _, m := range scope.Metrics {
			if durations, ok := m.Data.(metricdata.Histogram[float64]); ok {
				fmt.Println(m.Name, durations.DataPoints[0].Count)
			}
		}
	}
	// Output:
	// rpc.client.call.duration 100
	// rpc.server.call.duration 100
}

// What a server and its commands log belongs to the trace of the call, through OpenTelemetry's bridge for slog.
func Example_logs() {
	ctx := context.Background()
	telemetry, err := edictotel.New(edictotel.WithTracerProvider(sdktrace.NewTracerProvider()))
	if err != nil {
		log.Fatal(err)
	}
	loggers := sdklog.NewLoggerProvider(sdklog.WithProcessor(sdklog.NewSimpleProcessor(printer{})))
	logger := otelslog.NewLogger("calc", otelslog.WithLoggerProvider(loggers))

	listener := transport.NewMemory()
	server := edict.NewServer(&Calc{logger}, CalcCommands, telemetry.ServerOption(), edict.WithLogger(logger))
	go server.Serve(listener)
	defer server.Close()
	client, err := edict.Dial(ctx, "memory", CalcCommands, telemetry.ClientOption(), edict.WithDialer(listener.Dial))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	_, err = edict.Call(ctx, client, Divide{7, 0})
	fmt.Println(edict.CodeOf(err))
	// Output:
	// someone wants to divide by zero (in a trace: true)
	// invalid argument
}

// printer is an exporter of logs.
type printer struct{}

func (printer) Export(_ context.Context, records []sdklog.Record) error {
	for _, record := range records {
		fmt.Printf("%s (in a trace: %v)\n", record.Body().AsString(), record.TraceID().IsValid() && record.SpanID().IsValid())
	}
	return nil
}
func (printer) Shutdown(context.Context) error   { return nil }
func (printer) ForceFlush(context.Context) error { return nil }

// All attempts of a group's call belong to one trace.
func ExampleSender() {
	ctx := context.Background()
	spans := tracetest.NewInMemoryExporter()
	telemetry, err := edictotel.New(edictotel.WithTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))))
	if err != nil {
		log.Fatal(err)
	}
	listener := transport.NewMemory()
	server := edict.NewServer(&Calc{}, CalcCommands)
	go server.Serve(listener)
	defer server.Close()

	calcs, err := group.Dial(ctx, CalcCommands, group.Config{Endpoints: group.Static("tcp://10.0.0.1:9000")},
		telemetry.ClientOption(), edict.WithDialer(listener.Dial))
	if err != nil {
		log.Fatal(err)
	}
	defer calcs.Close()
	defer telemetry.ObserveGroup("calcs", calcs)()
	traced := edictotel.Sender(telemetry, CalcCommands, calcs)
	fmt.Println(edict.Call(ctx, traced, Divide{12, 4}))

	for _, span := range spans.GetSpans() {
		fmt.Println(span.SpanKind, span.Name, "below another:", span.Parent.IsValid())
	}
	// Output:
	// 3 <nil>
	// client Divide below another: true
	// internal Divide below another: false
}

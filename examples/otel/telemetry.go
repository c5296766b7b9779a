package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/contrib/bridges/otelslog"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploggrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	edictotel "github.com/edict-go/edict/otel"
)

// telemetry is what a service has of OpenTelemetry.
type telemetry struct {
	edict   *edictotel.Telemetry
	tracers *sdktrace.TracerProvider
	meters  *sdkmetric.MeterProvider
	loggers *sdklog.LoggerProvider
	spans   *tracetest.InMemoryExporter // to be printed; nil: they are not

	prometheus net.Listener
	web        *http.Server
	served     chan error
}

// setUp makes providers that keep the spans, unless they are too many for that, serve metrics to Prometheus at an
// address, and send everything to a collector if there is one.
func setUp(ctx context.Context, listen, collector string, keep bool) (*telemetry, error) {
	t := &telemetry{served: make(chan error, 1)}
	// A service samples: sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(0.01))).
	var tracing []sdktrace.TracerProviderOption
	var logging []sdklog.LoggerProviderOption
	if keep {
		t.spans = tracetest.NewInMemoryExporter()
		tracing = append(tracing, sdktrace.WithSyncer(t.spans))
	}
	registry := prometheus.NewRegistry()
	exporter, err := otelprometheus.New(otelprometheus.WithRegisterer(registry))
	if err != nil {
		return nil, err
	}
	metering := []sdkmetric.Option{sdkmetric.WithReader(exporter)}
	if collector != "" {
		spans, err := otlptracegrpc.New(ctx, otlptracegrpc.WithEndpoint(collector), otlptracegrpc.WithInsecure())
		if err != nil {
			return nil, err
		}
		metrics, err := otlpmetricgrpc.New(ctx, otlpmetricgrpc.WithEndpoint(collector), otlpmetricgrpc.WithInsecure())
		if err != nil {
			return nil, err
		}
		logs, err := otlploggrpc.New(ctx, otlploggrpc.WithEndpoint(collector), otlploggrpc.WithInsecure())
		if err != nil {
			return nil, err
		}
		tracing = append(tracing, sdktrace.WithBatcher(spans))
		metering = append(metering, sdkmetric.WithReader(sdkmetric.NewPeriodicReader(metrics)))
		logging = append(logging, sdklog.WithProcessor(sdklog.NewBatchProcessor(logs)))
	}
	t.tracers = sdktrace.NewTracerProvider(tracing...)
	t.meters = sdkmetric.NewMeterProvider(metering...)
	t.loggers = sdklog.NewLoggerProvider(logging...)

	t.edict, err = edictotel.New(edictotel.WithTracerProvider(t.tracers), edictotel.WithMeterProvider(t.meters))
	if err != nil {
		return nil, err
	}
	if t.prometheus, err = net.Listen("tcp", listen); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	t.web = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { t.served <- t.web.Serve(t.prometheus) }()
	return t, nil
}

// url is where Prometheus finds the metrics.
func (t *telemetry) url() string { return "http://" + t.prometheus.Addr().String() + "/metrics" }

// logger returns a logger that knows of the trace that a context belongs to.
func (t *telemetry) logger(name string) *slog.Logger {
	return otelslog.NewLogger(name, otelslog.WithLoggerProvider(t.loggers))
}

// close sends what is left to the collector, and ends the Prometheus endpoint.
func (t *telemetry) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := errors.Join(t.tracers.Shutdown(ctx), t.meters.Shutdown(ctx), t.loggers.Shutdown(ctx), t.web.Shutdown(ctx))
	<-t.served
	return err
}

// trees returns the spans as text, each below its parent.
func trees(spans tracetest.SpanStubs) string {
	var text strings.Builder
	var below func(parent string, depth int)
	slices.SortStableFunc(spans, func(a, b tracetest.SpanStub) int { return a.StartTime.Compare(b.StartTime) })
	below = func(parent string, depth int) {
		for _, span := range spans {
			of := ""
			if span.Parent.IsValid() {
				of = span.Parent.SpanID().String()
			}
			if of != parent {
				continue
			}
			fmt.Fprintf(&text, "%s%s %s", strings.Repeat("    ", depth), span.SpanKind, span.Name)
			for _, kv := range span.Attributes {
				switch kv.Key {
				case "rpc.response.status_code", "edict.outcome", "edict.attempt", "edict.attempts":
					fmt.Fprintf(&text, "  %s=%s", kv.Key, kv.Value.String())
				}
			}
			text.WriteString("\n")
			below(span.SpanContext.SpanID().String(), depth+1)
		}
	}
	below("", 1)
	return text.String()
}

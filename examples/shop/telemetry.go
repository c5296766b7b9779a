package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	edictotel "github.com/edict-go/edict/otel"
)

// telemetry is what a process tells of itself: spans to collectors, and metrics, profiles and pages over HTTP.
type telemetry struct {
	edict   *edictotel.Telemetry
	mux     *http.ServeMux // add pages to it before serve
	tracers *sdktrace.TracerProvider
	meters  *sdkmetric.MeterProvider

	web    *http.Server
	served chan error
}

// collectorVariable is where the exporter of OTLP finds the address of a collector, beside our own.
const collectorVariable = "OTEL_EXPORTER_OTLP_ENDPOINT"

// setUp makes the telemetry of a process of this name. Spans go to the collector at an address.
func setUp(ctx context.Context, name, collector string) (*telemetry, error) {
	exporter, err := otlptracegrpc.New(ctx, otlptracegrpc.WithEndpointURL("http://"+collector))
	if err != nil {
		return nil, err
	}
	tracing := []sdktrace.TracerProviderOption{
		sdktrace.WithResource(resource.NewSchemaless(semconv.ServiceName(name))),
		// All calls are sampled: there are few. A service has sdktrace.WithSampler, and keeps the slow ones with a collector
		// that samples by the tail.
		sdktrace.WithBatcher(exporter, sdktrace.WithBatchTimeout(200*time.Millisecond)),
	}
	if os.Getenv(collectorVariable) != "" {
		other, err := otlptracegrpc.New(ctx)
		if err != nil {
			return nil, err
		}
		tracing = append(tracing, sdktrace.WithBatcher(other))
	}
	registry := prometheus.NewRegistry()
	metrics, err := otelprometheus.New(otelprometheus.WithRegisterer(registry), otelprometheus.WithoutScopeInfo(), otelprometheus.WithoutTargetInfo())
	if err != nil {
		return nil, err
	}
	t := &telemetry{
		mux:     http.NewServeMux(),
		tracers: sdktrace.NewTracerProvider(tracing...),
		meters:  sdkmetric.NewMeterProvider(sdkmetric.WithReader(metrics)),
		served:  make(chan error, 1),
	}
	t.mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	t.mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	t.mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	t.edict, err = edictotel.New(edictotel.WithTracerProvider(t.tracers), edictotel.WithMeterProvider(t.meters))
	return t, err
}

// serve begins to answer over HTTP. Nobody is asked who they are: the address should be one of loopback.
func (t *telemetry) serve(address string) (net.Addr, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	t.web = &http.Server{Handler: t.mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { t.served <- t.web.Serve(listener) }() // ends with close, which waits for it
	return listener.Addr(), nil
}

// close ends the pages, and sends the last spans if the collectors still take them.
func (t *telemetry) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var err error
	if t.web != nil {
		err = t.web.Close()
		<-t.served
	}
	_ = t.tracers.Shutdown(ctx) // a collector that is gone is no failure of this process
	return errors.Join(err, t.meters.Shutdown(ctx))
}

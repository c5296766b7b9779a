//go:build !race

package edictotel_test

import (
	"testing"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/internal/echo"
	edictotel "github.com/edict-go/edict/otel"
)

// What a call that is not sampled allocates for telemetry, both sides together, is bounded: six are those of any
// interceptors, one is for metadata, four for the SDK's spans, two for traceparent.
func TestAllocationsOfAnUnsampledCall(t *testing.T) {
	telemetry, err := edictotel.New(
		edictotel.WithTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample()))),
		edictotel.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))))
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	allocations := func(client *edict.Client[*echo.Receiver]) float64 {
		return testing.AllocsPerRun(500, func() {
			if _, err := edict.Call(ctx, client, payload); err != nil {
				t.Error(err)
			}
		})
	}
	without := allocations(serveEcho(t, echo.MUS, nil))
	with := allocations(serveEcho(t, echo.MUS, telemetry))
	pass := allocations(serveEchoWith(t, echo.MUS,
		[]edict.ServerOption{edict.WithServerInterceptors(passServer)}, []edict.DialOption{edict.WithClientInterceptors(passClient)}))
	t.Logf("%v without, %v with interceptors that do nothing, %v with telemetry", without, pass, with)
	if with-without > 13.5 {
		t.Errorf("%v allocations without telemetry, %v with it", without, with)
	}
}

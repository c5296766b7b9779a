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

// What a call that is not sampled allocates for telemetry, both sides together, is bounded: two are those of any
// interceptors, and of a call whose decision is the SDK's two the span, one is the metadata, and one where the server keeps that.
// With WithRatio there is nothing.
func TestAllocationsOfAnUnsampledCall(t *testing.T) {
	ctx := t.Context()
	allocations := func(client *edict.Client[*echo.Receiver]) float64 {
		return testing.AllocsPerRun(500, func() {
			if _, err := edict.Call(ctx, client, payload); err != nil {
				t.Error(err)
			}
		})
	}
	telemetry := func(options ...edictotel.Option) *edictotel.Telemetry {
		telemetry, err := edictotel.New(append(options,
			edictotel.WithTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample()))),
			edictotel.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))))...)
		if err != nil {
			t.Fatal(err)
		}
		return telemetry
	}
	without := allocations(serveEcho(t, echo.MUS, nil))
	for name, test := range map[string]struct {
		client *edict.Client[*echo.Receiver]
		most   float64
	}{
		"interceptors that do nothing": {serveEchoWith(t, echo.MUS,
			[]edict.ServerOption{edict.WithServerInterceptors(passServer)}, []edict.DialOption{edict.WithClientInterceptors(passClient)}), 2.5},
		"telemetry":               {serveEcho(t, echo.MUS, telemetry()), 4.5},
		"WithRatio":               {serveEcho(t, echo.MUS, telemetry(edictotel.WithRatio(0))), 0.5},
		"WithRatio and Durations": {serveEcho(t, echo.MUS, telemetry(edictotel.WithRatio(0), edictotel.WithDurations(edictotel.NewDurations()))), 0.5},
	} {
		with := allocations(test.client)
		t.Logf("%v allocations without, %v with %s", without, with, name)
		if with-without > test.most {
			t.Errorf("%v allocations without, %v with %s", without, with, name)
		}
	}
}

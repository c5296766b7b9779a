package edictotel_test

import (
	"fmt"
	"testing"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	edictotel "github.com/edict-go/edict/otel"
)

// BenchmarkUnary measures what telemetry costs a command that does nothing, with 1 of 100 traces sampled and all default
// metrics: cpu-ns/op of with and of without, which take turns, and how much more with is.
func BenchmarkUnary(b *testing.B) {
	for _, n := range []int{16, 256} {
		b.Run(fmt.Sprintf("inflight=%d", n), func(b *testing.B) {
			tracers := sdktrace.NewTracerProvider(
				sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(0.01))), sdktrace.WithBatcher(discard{}))
			defer tracers.Shutdown(b.Context())
			telemetry, err := edictotel.New(edictotel.WithTracerProvider(tracers),
				edictotel.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))))
			if err != nil {
				b.Fatal(err)
			}
			without := serveEcho(b, nil, nil)
			with := serveEcho(b, telemetry.ServerOption(), telemetry.ClientOption())
			const round = 2000
			var cost [2]time.Duration
			var rounds int
			b.ReportAllocs()
			for range 20 { // warm
				cpuOf(b, without, n, round)
				cpuOf(b, with, n, round)
			}
			for b.Loop() {
				rounds++
				cost[0] += cpuOf(b, without, n, round)
				cost[1] += cpuOf(b, with, n, round)
			}
			calls := float64(rounds * round)
			b.ReportMetric(float64(cost[0])/calls, "without-cpu-ns/call")
			b.ReportMetric(float64(cost[1])/calls, "with-cpu-ns/call")
			b.ReportMetric(100*(float64(cost[1])/float64(cost[0])-1), "%more")
			b.ReportMetric(100*(1-float64(cost[0])/float64(cost[1])), "%less-throughput")
		})
	}
}

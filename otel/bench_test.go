package edictotel_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/codec/json"
	"github.com/edict-go/edict/internal/echo"
	edictotel "github.com/edict-go/edict/otel"
)

// BenchmarkUnary measures what telemetry costs a command that does nothing, with 1 of 100 traces sampled and all default
// metrics; and what it costs calls outside of a trace, WithoutRoots. All take turns; the figures are medians of the
// processor time per call, of both sides together. As all processors are busy, throughput is less by as much.
func BenchmarkUnary(b *testing.B) {
	for _, codec := range []edict.Codec{json.Codec, echo.MUS} {
		for _, n := range []int{1, 16, 256} {
			b.Run(fmt.Sprintf("codec=%s/inflight=%d", codec.Name(), n), func(b *testing.B) {
				tracers := sdktrace.NewTracerProvider(
					sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(0.01))), sdktrace.WithBatcher(discard{}))
				defer tracers.Shutdown(b.Context())
				clients := [3]*edict.Client[*echo.Receiver]{serveEcho(b, codec, nil)}
				for i, more := range [][]edictotel.Option{nil, {edictotel.WithoutRoots()}} {
					telemetry, err := edictotel.New(append(more, edictotel.WithTracerProvider(tracers),
						edictotel.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))))...)
					if err != nil {
						b.Fatal(err)
					}
					clients[i+1] = serveEcho(b, codec, telemetry)
				}
				const round = 2000
				var costs [3][]time.Duration
				for b.Loop() {
					for i, client := range clients {
						costs[i] = append(costs[i], cpuOf(b, client, n, round)/round)
					}
				}
				var median [3]float64
				for i := range costs {
					slices.Sort(costs[i])
					median[i] = float64(costs[i][len(costs[i])/2])
				}
				b.ReportMetric(0, "ns/op") // of a round, which is of no interest
				b.ReportMetric(median[0], "without-ns")
				b.ReportMetric(median[1], "with-ns")
				b.ReportMetric(100*(1-median[0]/median[1]), "with-%less")
				b.ReportMetric(median[2], "no-roots-ns")
				b.ReportMetric(100*(1-median[0]/median[2]), "no-roots-%less")
			})
		}
	}
}

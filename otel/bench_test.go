package edictotel_test

import (
	"context"
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
// metrics. All take turns; the figures are medians of rounds: the time per call, which is what a closed loop's throughput is
// made of, how much less that throughput is, and the processor time per call, of both sides together.
func BenchmarkUnary(b *testing.B) {
	for _, codec := range []edict.Codec{json.Codec, echo.MUS} {
		for _, load := range []struct{ inFlight, calls int }{{1, 2_000}, {16, 10_000}, {256, 30_000}} {
			b.Run(fmt.Sprintf("codec=%s/inflight=%d", codec.Name(), load.inFlight), func(b *testing.B) {
				everything := sdktrace.NewTracerProvider(sdktrace.WithBatcher(discard{})) // that it is asked about
				defer everything.Shutdown(b.Context())
				all := edictotel.WithTracerProvider(everything)
				tracers := sdktrace.NewTracerProvider(
					sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(0.01))), sdktrace.WithBatcher(discard{}))
				defer tracers.Shutdown(b.Context())
				telemetry := func(more ...edictotel.Option) *edictotel.Telemetry {
					telemetry, err := edictotel.New(append([]edictotel.Option{
						edictotel.WithTracerProvider(tracers),
						edictotel.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))),
					}, more...)...)
					if err != nil {
						b.Fatal(err)
					}
					return telemetry
				}
				contenders := []*contender{
					{name: "without"},
					{name: "with", telemetry: telemetry()},
					{name: "ratio", telemetry: telemetry(all, edictotel.WithRatio(0.01), edictotel.WithDurations(edictotel.NewDurations()))},
					{
						name: "pass", servers: []edict.ServerOption{edict.WithServerInterceptors(passServer)},
						dials: []edict.DialOption{edict.WithClientInterceptors(passClient)},
					},
				}
				for b.Loop() {
					for _, c := range contenders {
						c.round(b, codec, load.inFlight, load.calls)
					}
				}
				b.ReportMetric(0, "ns/op") // of a round, which is of no interest
				for _, c := range contenders {
					b.ReportMetric(median(c.took), c.name+"-ns")
					b.ReportMetric(median(c.processor), c.name+"-cpu-ns")
					if c != contenders[0] {
						b.ReportMetric(100*(1-median(contenders[0].took)/median(c.took)), c.name+"-%less")
					}
				}
			})
		}
	}
}

// contender is one of those that BenchmarkUnary compares.
type contender struct {
	name      string
	telemetry *edictotel.Telemetry // may be nil
	servers   []edict.ServerOption
	dials     []edict.DialOption

	took, processor []float64 // nanoseconds per call, one for each round
}

// round measures so many calls. It begins with a server of its own and ends it: what others keep, their goroutines above
// all, would make each garbage collection dearer for those that allocate most.
func (c *contender) round(b *testing.B, codec edict.Codec, inFlight, calls int) {
	servers, dials := c.servers, c.dials
	if c.telemetry != nil {
		servers, dials = append(servers, c.telemetry.ServerOption()), append(dials, c.telemetry.ClientOption())
	}
	client, stop := startEcho(b, codec, servers, dials)
	defer stop()
	cpuOf(b, client, inFlight, calls/10) // the first ones find empty pools
	began := time.Now()
	processor := cpuOf(b, client, inFlight, calls)
	c.took = append(c.took, float64(time.Since(began))/float64(calls))
	c.processor = append(c.processor, float64(processor)/float64(calls))
}

func median(values []float64) float64 { return slices.Sorted(slices.Values(values))[len(values)/2] }

// passServer and passClient do nothing: what they cost is what any interceptors do.
func passServer(ctx context.Context, _ *edict.ServerCall, next func(context.Context) error) error {
	return next(ctx)
}

func passClient(ctx context.Context, call *edict.ClientCall, next edict.ClientNext) (edict.Exchange, error) {
	return next(ctx, call)
}

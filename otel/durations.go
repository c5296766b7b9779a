package edictotel

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/semconv/v1.43.0/rpcconv"
)

// Durations are the histograms rpc.client.call.duration and rpc.server.call.duration, counted without the SDK, whose
// Record takes longer than all else that telemetry does with most calls. It is a Producer for readers of the SDK:
//
//	durations := edictotel.NewDurations()
//	reader := sdkmetric.NewPeriodicReader(exporter, sdkmetric.WithProducer(durations))
//	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
//	telemetry, err := edictotel.New(edictotel.WithDurations(durations), edictotel.WithMeterProvider(meters))
//
// Each reader needs it, or it lacks these two. They have the same names, attributes and buckets as the SDK's, and
// exemplars of sampled calls. But views don't change them, and they are cumulative: for a reader that wants
// deltas leave Durations out. It is for one Telemetry. Safe for concurrent use.
type Durations struct {
	bounds []float64       // in seconds
	until  []time.Duration // the same
	began  time.Time

	mu        sync.Mutex // guards telemetry
	telemetry *Telemetry // nil before New
}

// NewDurations returns histograms whose buckets end at bounds, in seconds; without any at those of the semantic
// conventions, 0.005 to 10.
func NewDurations(bounds ...float64) *Durations {
	if len(bounds) == 0 {
		bounds = []float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}
	}
	d := &Durations{bounds: slices.Compact(slices.Sorted(slices.Values(bounds))), began: time.Now()}
	for _, bound := range d.bounds {
		d.until = append(d.until, time.Duration(math.Round(bound*1e9)))
	}
	return d
}

// WithDurations lets d count how long calls take, in place of instruments of the MeterProvider.
func WithDurations(d *Durations) Option { return func(s *settings) { s.durations = d } }

// belongTo lets d tell what t counts.
func (d *Durations) belongTo(t *Telemetry) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.telemetry != nil {
		return errors.New("edictotel: the Durations belong to another Telemetry")
	}
	d.telemetry = t
	return nil
}

// Produce implements the SDK's Producer.
func (d *Durations) Produce(context.Context) ([]metricdata.ScopeMetrics, error) {
	d.mu.Lock()
	t := d.telemetry
	d.mu.Unlock()
	if t == nil {
		return nil, nil
	}
	var metrics []metricdata.Metrics
	for _, of := range []struct {
		*side
		called interface {
			Name() string
			Description() string
			Unit() string
		}
	}{{&t.client, rpcconv.ClientCallDuration{}}, {&t.server, rpcconv.ServerCallDuration{}}} {
		if points := of.points(d); len(points) > 0 {
			metrics = append(metrics, metricdata.Metrics{
				Name: of.called.Name(), Description: of.called.Description(), Unit: of.called.Unit(),
				Data: metricdata.Histogram[float64]{DataPoints: points, Temporality: metricdata.CumulativeTemporality},
			})
		}
	}
	if len(metrics) == 0 {
		return nil, nil
	}
	return []metricdata.ScopeMetrics{{
		Scope: instrumentation.Scope{Name: scope, SchemaURL: semconv.SchemaURL}, Metrics: metrics,
	}}, nil
}

// points returns what the side has counted.
func (s *side) points(d *Durations) (points []metricdata.HistogramDataPoint[float64]) {
	now := time.Now()
	for _, c := range *s.commands.Load() {
		for i := range c.results {
			for j := range c.results[i] {
				if r := c.results[i][j].Load(); r != nil {
					if point := r.point(d); point.Count > 0 {
						point.Attributes, point.StartTime, point.Time = r.set, d.began, now
						points = append(points, point)
					}
				}
			}
		}
	}
	return points
}

// point returns what has been counted.
func (t *tally) point(d *Durations) metricdata.HistogramDataPoint[float64] {
	sum := t.sum()
	p := metricdata.HistogramDataPoint[float64]{
		Bounds: slices.Clone(d.bounds), BucketCounts: sum.buckets, Count: sum.calls, Sum: sum.took.Seconds(),
	}
	if sum.calls > 0 {
		p.Min, p.Max = metricdata.NewExtrema(sum.least.Seconds()), metricdata.NewExtrema(sum.most.Seconds())
	}
	for i := range t.exemplars {
		if e := t.exemplars[i].Load(); e != nil {
			p.Exemplars = append(p.Exemplars, *e)
		}
	}
	return p
}

// bucket returns the number of the bucket that a duration is in.
func (d *Durations) bucket(took time.Duration) int {
	bucket := 0
	for bucket < len(d.until) && took > d.until[bucket] {
		bucket++
	}
	return bucket
}

// setOf returns attributes as a set.
func setOf(attributes ...[]attribute.KeyValue) attribute.Set {
	return attribute.NewSet(slices.Concat(attributes...)...)
}

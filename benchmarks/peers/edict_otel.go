package peers

import (
	"context"
	"errors"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/benchmarks/peer"
	"github.com/edict-go/edict/benchmarks/peers/edictecho"
	"github.com/edict-go/edict/codec/json"
	edictotel "github.com/edict-go/edict/otel"
)

func init() {
	registerObserved("edict-otel", "edict-mus", edictecho.MUS)
	registerObserved("edict-json-otel", "edict-json", json.Codec)
}

// registerObserved registers a peer of the plain commands with OpenTelemetry on both sides.
func registerObserved(name, without string, codec edict.Codec) {
	peer.Register(peer.Peer{
		Name: name, About: without + " with OpenTelemetry as docs/telemetry.md sets it up: all default metrics, spans of 1 of 100 calls",
		Serve: func(options peer.ServeOptions) (peer.Server, error) {
			o, err := observe()
			if err != nil {
				return nil, err
			}
			server, err := serveEdict(&edictecho.Receiver{}, edictecho.Commands, options, edict.WithCodecs(codec), o.telemetry.ServerOption())
			return observedServer{server, o}, err
		},
		Dial: func(ctx context.Context, options peer.DialOptions) (peer.Client, error) {
			o, err := observe()
			if err != nil {
				return nil, err
			}
			client, err := dialEdict(ctx, edictecho.Commands, options, edict.WithCodecs(codec), o.telemetry.ClientOption())
			return observedClient{edictClient{client}, o}, err
		},
	})
}

// observer is the telemetry of one side. Each side has one of its own, as two processes would.
type observer struct {
	telemetry *edictotel.Telemetry
	tracers   *sdktrace.TracerProvider
	meters    *sdkmetric.MeterProvider
}

// observe sets telemetry up. Spans are batched, and exported to nowhere: what a collector costs is not Edict's.
func observe() (*observer, error) {
	durations := edictotel.NewDurations()
	o := &observer{
		tracers: sdktrace.NewTracerProvider(sdktrace.WithBatcher(nowhere{})), // which samples all that it is asked about
		meters:  sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader(sdkmetric.WithProducer(durations)))),
	}
	var err error
	o.telemetry, err = edictotel.New(
		edictotel.WithTracerProvider(o.tracers), edictotel.WithRatio(0.01),
		edictotel.WithMeterProvider(o.meters), edictotel.WithDurations(durations))
	return o, err
}

func (o *observer) end(err error) error {
	ctx := context.Background()
	return errors.Join(err, o.tracers.Shutdown(ctx), o.meters.Shutdown(ctx))
}

type observedServer struct {
	peer.Server
	observer *observer
}

func (s observedServer) Close() error { return s.observer.end(s.Server.Close()) }

type observedClient struct {
	edictClient
	observer *observer
}

func (c observedClient) Close() error { return c.observer.end(c.edictClient.Close()) }

// nowhere is a span exporter that keeps nothing.
type nowhere struct{}

func (nowhere) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return nil }
func (nowhere) Shutdown(context.Context) error                             { return nil }

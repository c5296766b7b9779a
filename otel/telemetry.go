package edictotel

import (
	"cmp"
	"errors"
	"math"
	"sync"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/edict-go/edict"
)

// scope is the name of the instrumentation.
const scope = "github.com/edict-go/edict/otel"

// Telemetry makes the interceptors and observes the connections of a process.
type Telemetry struct {
	settings settings
	tracer   trace.Tracer
	client   side
	server   side

	mu       sync.Mutex // guards the following; held while those observed are asked for their counters
	observed map[*observed]struct{}
	gone     map[string]*totals // what those that are no longer observed have counted, by name
}

// Option changes what New does.
type Option func(*settings)

type settings struct {
	tracers          trace.TracerProvider
	meters           metric.MeterProvider
	propagator       propagation.TextMapPropagator
	onlyBaggage      bool // is what propagator has for calls without a trace
	serverAddress    string
	messageSizes     bool
	unsampledParents bool
	withoutRoots     bool
	hasRatio         bool
	ratio            uint32 // of 1<<32 roots so many are begun, less one; with hasRatio
	endpoints        bool
	durations        *Durations // nil: the MeterProvider's
}

// WithTracerProvider sets where spans come from; the default is the global one, otel.GetTracerProvider.
func WithTracerProvider(provider trace.TracerProvider) Option {
	return func(s *settings) { s.tracers = provider }
}

// WithMeterProvider sets where instruments come from; the default is the global one, otel.GetMeterProvider.
func WithMeterProvider(provider metric.MeterProvider) Option {
	return func(s *settings) { s.meters = provider }
}

// WithPropagator sets how a trace travels in the metadata of commands; the default is W3C's trace context and baggage,
// whatever the global propagator is.
func WithPropagator(propagator propagation.TextMapPropagator) Option {
	return func(s *settings) { s.propagator = propagator }
}

// WithServerAddress sets server.address of client spans and durations: the host that the program dials, without a port.
// It is of use for one service per Telemetry.
func WithServerAddress(host string) Option { return func(s *settings) { s.serverAddress = host } }

// WithMessageSizes adds histograms of the sizes of requests and responses, under the names that the semantic conventions
// had for them up to version 1.39. They cost as much again as all other metrics of a call; the bytes in all are counted
// without them.
func WithMessageSizes() Option { return func(s *settings) { s.messageSizes = true } }

// WithUnsampledParents asks the sampler also about calls whose parent is not sampled. It costs a quarter of a microsecond
// on each side of each call, and changes nothing for samplers that follow their parents, which are the usual ones.
func WithUnsampledParents() Option { return func(s *settings) { s.unsampledParents = true } }

// WithoutRoots begins no traces: only calls that belong to one get spans. It is for clients whose calls outside of a trace
// are too many to ask the sampler about each, and for servers all of whose clients decide for them. Such calls pay for
// their metrics alone, and nothing is added to their metadata.
func WithoutRoots() Option { return func(s *settings) { s.withoutRoots = true } }

// WithRatio begins a trace for that share of the calls that belong to none, 0 to 1, and asks the sampler about those only: it
// should take them all, as sdktrace.ParentBased(sdktrace.AlwaysSample()) does. The other ones are only
// counted: they have no span, and nothing is added to their metadata but baggage.
//
// So a server begins no trace with WithRatio: what comes without one is what its caller has decided against, and that
// holds for all that follows from it. Give it to both sides, or to none. A server some of whose clients have
// no telemetry takes a Telemetry without WithRatio, if it is to begin traces for them.
func WithRatio(share float64) Option {
	return func(s *settings) {
		s.hasRatio, s.withoutRoots = true, share <= 0
		s.ratio = uint32(min(max(share*(1<<32)-1, 0), math.MaxUint32))
	}
}

// WithEndpoints adds the attribute edict.endpoint, the address of an endpoint as the group's Resolver has it, to
// edict.group.endpoints, and the metrics edict.group.endpoint.in_flight and edict.group.endpoint.latency. It is for groups
// whose endpoints don't change all the time: each address is a time series of its own for ever.
func WithEndpoints() Option { return func(s *settings) { s.endpoints = true } }

// New returns a Telemetry. An error is that of the MeterProvider.
func New(options ...Option) (*Telemetry, error) {
	t := &Telemetry{observed: map[*observed]struct{}{}, gone: map[string]*totals{}}
	for _, option := range options {
		option(&t.settings)
	}
	s := &t.settings
	if s.tracers == nil {
		s.tracers = otel.GetTracerProvider()
	}
	if s.meters == nil {
		s.meters = otel.GetMeterProvider()
	}
	if s.propagator == nil {
		s.onlyBaggage = true
		s.propagator = propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
	}
	t.tracer = s.tracers.Tracer(scope, trace.WithSchemaURL(semconv.SchemaURL))
	m := &maker{meter: s.meters.Meter(scope, metric.WithSchemaURL(semconv.SchemaURL))}
	t.client.init(t, m, trace.SpanKindClient)
	t.server.init(t, m, trace.SpanKindServer)
	t.initInstruments(m)
	if s.durations != nil {
		m.note(s.durations.belongTo(t))
	}
	return t, errors.Join(m.problems...)
}

// ClientOption is edict.WithClientMonitor with ClientMonitor. It should be given before interceptors, unless those make the
// trace that calls belong to. Beneath a group it sees each attempt.
func (t *Telemetry) ClientOption() edict.DialOption {
	return edict.WithClientMonitor(t.ClientMonitor())
}

// ServerOption is edict.WithServerMonitor with ServerMonitor. It should be given before interceptors: what these do and log then
// belongs to the span. Commands that the server refuses without decoding them don't reach it; edict.server.commands
// counts them.
func (t *Telemetry) ServerOption() edict.ServerOption {
	return edict.WithServerMonitor(t.ServerMonitor())
}

// The attributes in Edict's own words. doc.go says what they mean.
const (
	outcomeKey      = attribute.Key("edict.outcome")
	attemptKey      = attribute.Key("edict.attempt")
	attemptsKey     = attribute.Key("edict.attempts")
	hedgeKey        = attribute.Key("edict.hedge")
	resentKey       = attribute.Key("edict.resent")
	requestSizeKey  = attribute.Key("edict.request.size")
	responseSizeKey = attribute.Key("edict.response.size")
	nameKey         = attribute.Key("edict.name")
	stateKey        = attribute.Key("edict.connection.state")
	breakerKey      = attribute.Key("edict.breaker.state")
	waitKey         = attribute.Key("edict.wait.reason")
	statusKey       = attribute.Key("edict.command.status")
	endpointKey     = attribute.Key("edict.endpoint")
)

var systemName = semconv.RPCSystemNameKey.String("edict")

// codeNames are the values of rpc.response.status_code: those of gRPC, so that dashboards for it fit.
var codeNames = [...]string{
	0:                        "OK",
	edict.Canceled:           "CANCELLED",
	edict.Unknown:            "UNKNOWN",
	edict.InvalidArgument:    "INVALID_ARGUMENT",
	edict.DeadlineExceeded:   "DEADLINE_EXCEEDED",
	edict.NotFound:           "NOT_FOUND",
	edict.AlreadyExists:      "ALREADY_EXISTS",
	edict.PermissionDenied:   "PERMISSION_DENIED",
	edict.ResourceExhausted:  "RESOURCE_EXHAUSTED",
	edict.FailedPrecondition: "FAILED_PRECONDITION",
	edict.Aborted:            "ABORTED",
	edict.OutOfRange:         "OUT_OF_RANGE",
	edict.Unimplemented:      "UNIMPLEMENTED",
	edict.Internal:           "INTERNAL",
	edict.Unavailable:        "UNAVAILABLE",
	edict.DataLoss:           "DATA_LOSS",
	edict.Unauthenticated:    "UNAUTHENTICATED",
}

// outcomeNames are the values of edict.outcome.
var outcomeNames = [...]string{
	edict.OutcomeUnknown: "unknown", edict.NotSent: "not_sent", edict.Refused: "refused", edict.Executed: "executed",
}

// serverFaults are the codes that make a server's span an error.
var serverFaults = [len(codeNames)]bool{
	edict.Unknown: true, edict.DeadlineExceeded: true, edict.Unimplemented: true,
	edict.Internal: true, edict.Unavailable: true, edict.DataLoss: true,
}

// known returns the code itself, or Unknown if there is no such code.
func known(code edict.Code) edict.Code {
	if int(code) >= len(codeNames) {
		return edict.Unknown
	}
	return code
}

// knownOutcome is known for outcomes.
func knownOutcome(outcome edict.Outcome) edict.Outcome {
	if int(outcome) >= len(outcomeNames) {
		return edict.OutcomeUnknown
	}
	return cmp.Or(outcome, edict.OutcomeUnknown)
}

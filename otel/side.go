package edictotel

import (
	"context"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/semconv/v1.43.0/rpcconv"
	"go.opentelemetry.io/otel/trace"

	"github.com/edict-go/edict"
)

// side is what the clients of a Telemetry have in common, or its servers.
type side struct {
	telemetry *Telemetry
	kind      trace.SpanKind
	duration  metric.Float64Histogram // nil with WithDurations
	// With WithMessageSizes; else nil.
	requestSize, responseSize metric.Int64Histogram

	commands atomic.Pointer[map[string]*command] // constant: it is replaced by one with more of them
	mu       sync.Mutex                          // held to replace it
}

// command is what is known of the calls with one name, so that a call has nothing to make but what differs. It is the
// edict.CommandMonitor of the calls that need nothing but counting.
type command struct {
	begun [shards]begun // servers only; first, so that each has a cache line of its own

	side       *side
	name       string
	attributes []attribute.KeyValue
	start      []trace.SpanStartOption
	record     []metric.RecordOption
	observe    metric.ObserveOption
	results    [len(codeNames)][len(outcomeNames)]atomic.Pointer[result]
}

// Begin implements edict.CommandMonitor.
func (c *command) Begin(ctx context.Context, call edict.CallBegin) (intercept context.Context, metadata []byte) {
	if c.side.kind == trace.SpanKindClient {
		return c.side.beginClient(ctx, c)
	}
	if !c.side.leavesAlone(ctx, call) {
		return ctx, nil
	}
	c.begins()
	return nil, nil
}

// End implements edict.CommandMonitor.
func (c *command) End(end edict.CallEnd) { c.side.end(context.Background(), c, nil, &end) }

// begins counts a command that begins to run, if this is a server; end counts it out.
func (c *command) begins() {
	if c.side.kind != trace.SpanKindServer {
		return
	}
	p := places.Get().(*place)
	c.begun[p.number%shards].Add(1)
	places.Put(p)
}

// counted returns what has been counted of all calls. Those that run are some too many, if some end meanwhile.
func (c *command) counted() (running, requestBytes, responseBytes int64) {
	for i := range c.results {
		for j := range c.results[i] {
			if r := c.results[i][j].Load(); r != nil {
				sum := r.sum()
				running -= int64(sum.calls)
				requestBytes += sum.requestBytes
				responseBytes += sum.responseBytes
			}
		}
	}
	for i := range c.begun {
		running += c.begun[i].Load()
	}
	return running, requestBytes, responseBytes
}

// result is an end that a call can have.
type result struct {
	tally                           // first, so that its shards have cache lines of their own
	attributes []attribute.KeyValue // of the span, beside the command's
	set        attribute.Set
	record     []metric.RecordOption // the same
	failed     bool
}

func (s *side) init(t *Telemetry, m *maker, kind trace.SpanKind) {
	s.telemetry, s.kind = t, kind
	s.commands.Store(&map[string]*command{})
	name := "client"
	if kind == trace.SpanKindServer {
		name = "server"
	}
	switch {
	case t.settings.durations != nil:
	case kind == trace.SpanKindClient:
		duration, err := rpcconv.NewClientCallDuration(m.meter)
		m.note(err)
		s.duration = duration.Inst()
	default:
		duration, err := rpcconv.NewServerCallDuration(m.meter)
		m.note(err)
		s.duration = duration.Inst()
	}
	if t.settings.messageSizes {
		s.requestSize = m.histogram("rpc."+name+".request.size", "By", "What a call sends to the server, before compression.")
		s.responseSize = m.histogram("rpc."+name+".response.size", "By", "What a call has from the server, before compression.")
	}
	requests := m.counter("edict."+name+".request.io", "By", "Encoded commands and inputs, before compression.")
	responses := m.counter("edict."+name+".response.io", "By", "Encoded results, before compression.")
	var active metric.Int64ObservableUpDownCounter
	if kind == trace.SpanKindServer {
		active = m.number("edict.server.active_requests", "{command}", "Commands in their interceptors or Exec.")
	}
	m.callback(func(_ context.Context, o metric.Observer) error {
		for _, c := range *s.commands.Load() {
			running, requestBytes, responseBytes := c.counted()
			o.ObserveInt64(requests, requestBytes, c.observe)
			o.ObserveInt64(responses, responseBytes, c.observe)
			if active != nil {
				o.ObserveInt64(active, running, c.observe)
			}
		}
		return nil
	})
}

// command returns what is known of the calls with that name, a registered one.
func (s *side) command(name string) *command {
	if c := (*s.commands.Load())[name]; c != nil {
		return c
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before := *s.commands.Load()
	if c := before[name]; c != nil {
		return c
	}
	c := &command{side: s, name: name, attributes: []attribute.KeyValue{systemName, semconv.RPCMethod(name)}}
	if host := s.telemetry.settings.serverAddress; host != "" && s.kind == trace.SpanKindClient {
		c.attributes = append(c.attributes, semconv.ServerAddress(host))
	}
	c.start = []trace.SpanStartOption{trace.WithSpanKind(s.kind)}
	set := metric.WithAttributeSet(attribute.NewSet(c.attributes...))
	c.record, c.observe = []metric.RecordOption{set}, set
	with := maps.Clone(before)
	with[name] = c
	s.commands.Store(&with)
	return c
}

// result returns what is known of calls that end like that.
func (c *command) result(s *side, code edict.Code, outcome edict.Outcome) *result {
	code, outcome = known(code), knownOutcome(outcome)
	place := &c.results[code][outcome]
	if r := place.Load(); r != nil {
		return r
	}
	r := &result{
		attributes: []attribute.KeyValue{semconv.RPCResponseStatusCode(codeNames[code]), outcomeKey.String(outcomeNames[outcome])},
		failed:     code != 0 && (s.kind != trace.SpanKindServer || serverFaults[code]),
	}
	if r.failed {
		r.attributes = append(r.attributes, semconv.ErrorTypeKey.String(codeNames[code]))
	}
	r.set = setOf(c.attributes, r.attributes)
	r.record = []metric.RecordOption{metric.WithAttributeSet(r.set)}
	r.init(s.telemetry.settings.durations)
	if !place.CompareAndSwap(nil, r) { // what another call has counted there must stay
		return place.Load()
	}
	return r
}

// begin begins the span of a call. If it needs none, because its parent is not sampled, span is nil. traced is false if
// the call belongs to no trace, or to one that WithRatio has decided against, so that there is nothing to tell the server.
func (s *side) begin(ctx context.Context, c *command) (_ context.Context, span trace.Span, traced bool) {
	settings := &s.telemetry.settings
	isRoot := spanKey != nil && ctx.Value(spanKey) == nil // most of those that are not sampled
	if !isRoot {
		parent := trace.SpanFromContext(ctx)
		if _, decided := parent.(*unsampled); decided {
			return ctx, nil, false
		}
		of := parent.SpanContext()
		isRoot = !of.IsValid()
		if !isRoot && !of.IsSampled() && !parent.IsRecording() && !settings.unsampledParents {
			return ctx, nil, true
		}
	}
	if isRoot && settings.hasRatio && (s.kind == trace.SpanKindServer || !settings.tossCoin()) {
		if s.kind != trace.SpanKindClient { // nobody sees the context of those
			ctx = withoutSampling(ctx)
		}
		return ctx, nil, false
	}
	if isRoot && settings.withoutRoots {
		return ctx, nil, false
	}
	ctx, span = s.telemetry.tracer.Start(ctx, c.name, c.start...)
	if span.IsRecording() {
		span.SetAttributes(c.attributes...)
	}
	return ctx, span, true
}

// tossCoin decides for WithRatio.
func (s *settings) tossCoin() bool { return !s.withoutRoots && rand.Uint32() <= s.ratio }

// end records how a call has ended. span is nil if it has none.
func (s *side) end(ctx context.Context, c *command, span trace.Span, end *edict.CallEnd) {
	code := edict.CodeOf(end.Err)
	r := c.result(s, code, end.Outcome)
	durations := s.telemetry.settings.durations
	r.add(durations, end)
	if durations == nil {
		s.duration.Record(ctx, end.Took.Seconds(), r.record...)
	}
	if s.requestSize != nil {
		if end.Outcome != edict.NotSent {
			s.requestSize.Record(ctx, end.RequestBytes, c.record...)
		}
		if end.Err == nil {
			s.responseSize.Record(ctx, end.ResponseBytes, c.record...)
		}
	}
	if span == nil || !span.IsRecording() {
		return // End of a span that is not recorded does nothing
	}
	if durations != nil {
		r.exemplify(durations, end.Took, span)
	}
	attributes := make([]attribute.KeyValue, len(r.attributes), len(r.attributes)+3)
	copy(attributes, r.attributes)
	attributes = append(attributes, requestSizeKey.Int64(end.RequestBytes), responseSizeKey.Int64(end.ResponseBytes))
	if end.Resent > 0 {
		attributes = append(attributes, resentKey.Int(end.Resent))
	}
	span.SetAttributes(attributes...)
	if r.failed && end.Err != errLeft {
		span.SetStatus(codes.Error, codeNames[known(code)])
	}
	span.End()
}

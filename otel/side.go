package edictotel

import (
	"context"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

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

// command is what is known of the calls with one name, so that a call has nothing to make but what differs.
type command struct {
	shards [8]shard // first, so that each has cache lines of its own

	name       string
	attributes []attribute.KeyValue
	start      []trace.SpanStartOption
	record     []metric.RecordOption
	observe    metric.ObserveOption
	results    [len(codeNames)][len(outcomeNames)]atomic.Pointer[result]
}

// shard is a part of what is counted of a command: each processor has one to itself, as a rule, for to write to a cache line
// that another one has written to costs more than all else of counting.
type shard struct {
	active                      atomic.Int64 // servers only
	requestBytes, responseBytes atomic.Int64
	_                           [40]byte // the rest of the cache line
}

// place says which shards a processor uses. It is to be given back at once, so that there are hardly more of them than
// processors.
type place struct{ number uint32 }

// places has one for each processor: a Pool gives what the same one has put there last.
var (
	places    = sync.Pool{New: func() any { return &place{lastPlace.Add(1)} }}
	lastPlace atomic.Uint32
)

// of returns the processor's shard of a command.
func (p *place) of(c *command) *shard { return &c.shards[p.number%uint32(len(c.shards))] }

// begins counts a command that begins to run; end counts it out.
func (c *command) begins() {
	p := places.Get().(*place)
	p.of(c).active.Add(1)
	places.Put(p)
}

// counted returns the sums of all shards.
func (c *command) counted() (active, requestBytes, responseBytes int64) {
	for i := range c.shards {
		active += c.shards[i].active.Load()
		requestBytes += c.shards[i].requestBytes.Load()
		responseBytes += c.shards[i].responseBytes.Load()
	}
	return active, requestBytes, responseBytes
}

// result is an end that a call can have.
type result struct {
	attributes []attribute.KeyValue // of the span, beside the command's
	set        attribute.Set
	record     []metric.RecordOption // the same
	counts     *counts               // nil without WithDurations
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
	c := &command{name: name, attributes: []attribute.KeyValue{systemName, semconv.RPCMethod(name)}}
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
	if durations := s.telemetry.settings.durations; durations != nil {
		r.counts = newCounts(durations)
	}
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

// end records how a call has ended. left is true if its caller took no more results.
func (s *side) end(ctx context.Context, c *command, span trace.Span, took time.Duration, err error, outcome edict.Outcome, left bool, stats edict.CallStats) {
	code := edict.CodeOf(err)
	r := c.result(s, code, outcome)
	p := places.Get().(*place)
	if r.counts != nil {
		r.counts.add(s.telemetry.settings.durations, p, took, span)
	}
	counted := p.of(c)
	if s.kind == trace.SpanKindServer {
		counted.active.Add(-1)
	}
	if stats.RequestBytes > 0 {
		counted.requestBytes.Add(stats.RequestBytes)
	}
	if stats.ResponseBytes > 0 {
		counted.responseBytes.Add(stats.ResponseBytes)
	}
	places.Put(p)
	if r.counts == nil {
		s.duration.Record(ctx, took.Seconds(), r.record...)
	}
	if s.requestSize != nil {
		if outcome != edict.NotSent {
			s.requestSize.Record(ctx, stats.RequestBytes, c.record...)
		}
		if err == nil {
			s.responseSize.Record(ctx, stats.ResponseBytes, c.record...)
		}
	}
	if span == nil || !span.IsRecording() {
		return // End of a span that is not recorded does nothing
	}
	span.SetAttributes(r.attributes...)
	span.SetAttributes(requestSizeKey.Int64(stats.RequestBytes), responseSizeKey.Int64(stats.ResponseBytes))
	if stats.Resent > 0 {
		span.SetAttributes(resentKey.Int(stats.Resent))
	}
	if r.failed && !left {
		span.SetStatus(codes.Error, codeNames[known(code)])
	}
	span.End()
}

package edictotel

import (
	"context"
	"io"
	"maps"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/trace"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/group"
)

// ClientMonitor returns what watches a client's calls; ClientOption is the usual way to give it to a client.
func (t *Telemetry) ClientMonitor() edict.ClientMonitor {
	return edict.ClientMonitor{
		Command:   func(name string) edict.CommandMonitor { return t.client.command(name) },
		Intercept: t.client.interceptClient,
	}
}

// ClientInterceptor returns the client's monitor as an interceptor, for a place within others.
func (t *Telemetry) ClientInterceptor() edict.ClientInterceptor {
	monitor := t.ClientMonitor()
	return monitor.Interceptor()
}

// beginClient begins a call. If it has no span that is recorded it is only counted, and the server told of its trace.
func (s *side) beginClient(ctx context.Context, c *command) (intercept context.Context, metadata []byte) {
	ctx, span, traced := s.begin(ctx, c)
	isRecorded := span != nil && span.IsRecording()
	if !isRecorded && s.telemetry.settings.onlyBaggage && baggage.FromContext(ctx).Len() == 0 {
		if !traced {
			return nil, nil
		}
		if parent, ok := traceparent(ctx); ok {
			return nil, parent
		}
	}
	return &begunContext{ctx, span, traced}, nil
}

// begunContext is the context that interceptClient gets of beginClient: that of the span.
type begunContext struct {
	context.Context
	span   trace.Span // nil if there is none
	traced bool
}

// interceptClient surrounds the calls that are not only counted.
func (s *side) interceptClient(ctx context.Context, call *edict.ClientCall, next edict.ClientNext) (edict.Exchange, error) {
	begun := ctx.(*begunContext)
	ctx, traced := begun.Context, begun.traced
	e := &clientExchange{
		side: s, command: s.command(call.Name), stream: call.Stream, began: core.Now(), ctx: context.Background(), span: begun.span,
	}
	if traced {
		e.ctx = ctx
	}
	e.recording = e.span != nil && e.span.IsRecording()
	if e.recording {
		if number := group.AttemptOf(ctx); number > 1 {
			e.span.SetAttributes(attemptKey.Int(number))
		}
		if group.IsHedge(ctx) {
			e.span.SetAttributes(hedgeKey.Bool(true))
		}
	}
	s.inject(ctx, call, traced)
	returned := false
	defer func() {
		if !returned { // encoding the command has panicked
			e.finish(edict.CallEnd{Err: edict.Internal, Outcome: edict.NotSent})
		}
	}()
	exchange, err := next(ctx, call)
	returned = true
	if err != nil {
		e.finish(edict.CallEnd{Err: err, Outcome: edict.OutcomeOf(err)})
		return nil, err
	}
	e.Exchange = exchange
	return e, nil
}

// inject puts into the metadata what the server is to know.
func (s *side) inject(ctx context.Context, call *edict.ClientCall, traced bool) {
	settings := &s.telemetry.settings
	if !traced {
		if settings.onlyBaggage && baggage.FromContext(ctx).Len() == 0 {
			return
		}
		if settings.hasRatio { // there may be a span that says that nothing is sampled
			ctx = trace.ContextWithSpanContext(ctx, trace.SpanContext{})
		}
	}
	settings.propagator.Inject(ctx, (*clientCarrier)(call))
}

// clientExchange is a call that is to be recorded when it has ended.
type clientExchange struct {
	edict.Exchange
	side      *side
	command   *command
	stream    bool
	recording bool // span is
	began     time.Duration
	ctx       context.Context // Background if the call belongs to no trace
	span      trace.Span      // nil if there is none

	received bool        // Receive has told the end, which is
	err      error       // nil is well
	finished atomic.Bool // of those that are recorded
	canceled atomic.Bool
}

// Receive implements core.Exchange.
func (e *clientExchange) Receive() (core.Message, error) {
	message, err := e.Exchange.Receive()
	switch {
	case err == io.EOF, err == nil && !e.stream:
		e.received, e.err = true, nil
	case err != nil:
		e.received, e.err = true, err
	}
	return message, err
}

// Cancel implements core.Exchange. Whoever has cancelled a call may drop it, so that nobody closes it.
func (e *clientExchange) Cancel(cause error) {
	e.Exchange.Cancel(cause)
	if e.recording && !e.canceled.Swap(true) {
		runtime.SetFinalizer(e, (*clientExchange).drop)
	}
}

// drop ends the span of a call that was cancelled and dropped; it is the finalizer.
func (e *clientExchange) drop() { e.finish(edict.CallEnd{Err: errLeft}) }

// errLeft is how a call ends whose caller takes no more results.
var errLeft error = &edict.Error{Code: edict.Canceled, Message: "the caller takes no more results"}

// Close implements core.Exchange.
func (e *clientExchange) Close() {
	if !e.received {
		e.err = errLeft
	}
	stats := edict.StatsOf(e.Exchange)
	e.Exchange.Close()
	e.finish(edict.CallEnd{Err: e.err, Outcome: edict.OutcomeOf(e.err), CallStats: stats})
}

// CallStats implements core.Measured.
func (e *clientExchange) CallStats() edict.CallStats { return edict.StatsOf(e.Exchange) }

// finish records the call, once.
func (e *clientExchange) finish(end edict.CallEnd) {
	if e.recording && e.finished.Swap(true) { // the finalizer was first
		return
	}
	end.Took = core.Now() - e.began
	e.side.end(e.ctx, e.command, e.span, &end)
}

// clientCarrier lets a propagator write to the metadata of a command. It is a propagation.TextMapCarrier.
type clientCarrier edict.ClientCall

func (c *clientCarrier) Get(key string) string { return (*edict.ClientCall)(c).MetadataValue(key) }
func (c *clientCarrier) Set(key, value string) { (*edict.ClientCall)(c).SetMetadata(key, value) }

func (c *clientCarrier) Keys() []string {
	return slices.Collect(maps.Keys((*edict.ClientCall)(c).Metadata()))
}

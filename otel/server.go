package edictotel

import (
	"context"
	"errors"
	"strings"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/handler"
)

// ServerMonitor returns what watches a server's commands; ServerOption is the usual way to give it to a server.
func (t *Telemetry) ServerMonitor() edict.ServerMonitor {
	monitor := edict.ServerMonitor{
		Command:   func(name string) edict.CommandMonitor { return t.server.command(name) },
		Intercept: t.server.interceptServer,
	}
	if spanKey != nil {
		monitor.Key, monitor.Value = spanKey, t.settings.parentOf
	}
	return monitor
}

// ServerInterceptor returns the server's monitor as an interceptor, for a place within others.
func (t *Telemetry) ServerInterceptor() edict.ServerInterceptor {
	monitor := t.ServerMonitor()
	return monitor.Interceptor()
}

// leavesAlone reports whether a command needs no span, so that it is only counted: it belongs to a trace that is not sampled,
// or to none and this side begins none. parentOf returns what its context has.
func (s *side) leavesAlone(ctx context.Context, call edict.CallBegin) bool {
	settings := &s.telemetry.settings
	if spanKey == nil || ctx.Value(spanKey) != nil || call.Described && !settings.onlyBaggage {
		return false
	}
	if call.Described {
		switch parent := core.FindMetadata(call.Metadata, "traceparent"); {
		case core.FindMetadata(call.Metadata, "baggage") != nil, core.FindMetadata(call.Metadata, "tracestate") != nil:
			return false
		case parent != nil:
			return !settings.unsampledParents && isUnsampled(parent)
		}
	}
	return settings.hasRatio || settings.withoutRoots
}

// parentOf returns the span that is the parent of what a command does which is only counted; nil if it has none.
func (s *settings) parentOf(of core.Scope) any {
	if value := of.Metadata().Get("traceparent"); value != "" {
		ctx := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{"traceparent": value})
		return trace.SpanFromContext(ctx)
	}
	if s.hasRatio {
		return trace.Span(new(unsampled))
	}
	return nil
}

// interceptServer surrounds the commands that are not only counted.
func (s *side) interceptServer(ctx context.Context, call *edict.ServerCall, next func(context.Context) error) (err error) {
	c := s.command(call.Name)
	c.begins()
	if call.HasMetadata() {
		ctx = s.telemetry.settings.propagator.Extract(ctx, serverCarrier{call})
	}
	ctx, span, traced := s.begin(ctx, c)
	recordWith := context.Background()
	if traced {
		recordWith = ctx
	}
	returned := false
	defer func() {
		recorded := err
		switch {
		case !returned: // a panic, which goes on, or runtime.Goexit
			recorded = edict.Internal
			call.LogWith(ctx)
		case errors.Is(err, handler.ErrRecorded):
			recorded = nil
		case err != nil && edict.CodeOf(err) == edict.Unknown && ctx.Err() != nil:
			recorded = ctx.Err() // which is what the caller hears of
		}
		outcome := edict.Executed
		if recorded != nil && !call.Begun() {
			outcome = edict.Refused
		}
		s.end(recordWith, c, span, &edict.CallEnd{Took: call.Age(), Err: recorded, Outcome: outcome, CallStats: call.Stats()})
	}()
	err = next(ctx)
	returned = true
	return err
}

// serverCarrier lets a propagator read the metadata of a command. It is a propagation.TextMapCarrier.
type serverCarrier struct{ call *edict.ServerCall }

func (c serverCarrier) Get(key string) string { return c.call.MetadataValue(key) }
func (c serverCarrier) Set(string, string)    {}

func (c serverCarrier) Keys() []string {
	var keys []string
	for key := range c.call.Metadata() {
		keys = append(keys, key)
	}
	return keys
}

// Values returns all values of a key, for propagators that take several (propagation.ValuesGetter).
func (c serverCarrier) Values(key string) []string {
	if c.call.MetadataValue(key) == "" {
		return nil // nearly always, and then nothing need be decoded
	}
	return c.call.Metadata()[strings.ToLower(key)]
}

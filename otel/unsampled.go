package edictotel

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"sync/atomic"

	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// unsampled is the span in the context of a call that WithRatio has decided against: all that follows from the call
// finds a parent that is not sampled, and isn't either. It has no IDs until somebody asks for them, as a log does.
type unsampled struct {
	noop.Span
	of atomic.Pointer[trace.SpanContext]
}

// withoutSampling returns a context within ctx in which nothing is sampled.
func withoutSampling(ctx context.Context) context.Context {
	return trace.ContextWithSpan(ctx, new(unsampled))
}

// SpanContext implements trace.Span.
func (u *unsampled) SpanContext() trace.SpanContext {
	if of := u.of.Load(); of != nil {
		return *of
	}
	of := newUnsampledSpanContext()
	if !u.of.CompareAndSwap(nil, &of) {
		return *u.of.Load()
	}
	return of
}

func newUnsampledSpanContext() trace.SpanContext {
	var config trace.SpanContextConfig
	binary.NativeEndian.PutUint64(config.TraceID[:], rand.Uint64())
	binary.NativeEndian.PutUint64(config.TraceID[8:], rand.Uint64())
	binary.NativeEndian.PutUint64(config.SpanID[:], rand.Uint64()|1) // 0 would be none
	return trace.NewSpanContext(config)
}

// spanKey is what package trace asks a context for the span with. If it should ever ask otherwise, it is nil.
var spanKey = func() any {
	var asked keyOf
	trace.SpanFromContext(&asked)
	found := new(unsampled)
	if asked.key == nil || trace.SpanFromContext(context.WithValue(context.Background(), asked.key, trace.Span(found))) != trace.Span(found) {
		return nil
	}
	return asked.key
}()

// keyOf is a context that remembers what it was asked for.
type keyOf struct {
	context.Context
	key any
}

func (k *keyOf) Value(key any) any {
	k.key = key
	return nil
}

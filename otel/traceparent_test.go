package edictotel

import (
	"context"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/edict-go/edict/core"
)

// What the short way sends is what the propagator would, and is sent only of what the short way can tell.
func TestTraceparent(t *testing.T) {
	state, err := trace.ParseTraceState("vendor=1")
	if err != nil {
		t.Fatal(err)
	}
	whole := trace.SpanContextConfig{TraceID: trace.TraceID{1, 2, 0xab, 15: 9}, SpanID: trace.SpanID{7: 0xf0}}
	for _, test := range []struct {
		config trace.SpanContextConfig
		ok     bool
	}{
		{whole, true},
		{trace.SpanContextConfig{TraceID: whole.TraceID, SpanID: whole.SpanID, TraceFlags: trace.FlagsRandom}, true},
		{trace.SpanContextConfig{TraceID: whole.TraceID, SpanID: whole.SpanID, TraceFlags: trace.FlagsSampled}, false},
		{trace.SpanContextConfig{TraceID: whole.TraceID, SpanID: whole.SpanID, TraceState: state}, false},
		{trace.SpanContextConfig{}, true}, // there is nothing to send
	} {
		ctx := trace.ContextWithSpanContext(t.Context(), trace.NewSpanContext(test.config))
		encoded, ok := traceparent(ctx)
		if ok != test.ok {
			t.Errorf("%+v: %v", test.config, ok)
		}
		if !ok {
			continue
		}
		carrier := propagation.MapCarrier{}
		propagation.TraceContext{}.Inject(ctx, carrier)
		got, err := core.DecodeMetadata(encoded)
		if err != nil || len(got) != len(carrier) || got.Get("traceparent") != carrier["traceparent"] {
			t.Errorf("sends %v, %v, want %v", got, err, carrier)
		}
		if parent := got.Get("traceparent"); parent != "" && !isUnsampled([]byte(parent)) {
			t.Errorf("%s is not taken for unsampled", parent)
		}
	}
}

// The short way takes a traceparent only if the propagator does, and does not find it sampled.
func TestIsUnsampled(t *testing.T) {
	const good = "00-0102ab00000000000000000000000009-00000000000000f0-00"
	values := []string{good, good[:54] + "1", good[:54] + "2", good[:54] + "3", good[:54] + "4", good[:53] + "10", good + "-more", good[:54], ""}
	for i := range len(good) {
		for _, with := range []string{"-", "g", "A", "0", "f", " "} {
			values = append(values, good[:i]+with+good[i+1:])
		}
	}
	values = append(values, "00-"+strings.Repeat("0", 32)+good[35:], good[:36]+strings.Repeat("0", 16)+good[52:])
	for _, value := range values {
		ctx := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{"traceparent": value})
		of := trace.SpanContextFromContext(ctx)
		want := of.IsValid() && !of.IsSampled() && strings.HasPrefix(value, "00-") // other versions go the long way
		if got := isUnsampled([]byte(value)); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
	if !isUnsampled([]byte(good)) {
		t.Error("it finds nothing unsampled")
	}
}

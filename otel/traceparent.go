package edictotel

import (
	"bytes"
	"context"
	"encoding/hex"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/trace"

	"github.com/edict-go/edict/core"
)

// Most calls of a trace belong to one that is not sampled. What they tell the server is always the same but for the IDs, and nobody
// looks at those, as a rule. So for them there is this, which does what propagation.TraceContext does without its carriers.

// noParent is the metadata of such a call, where the IDs are missing: version 00, IDs of 16 and 8 bytes, flags.
var (
	noParent      = core.SetEncodedMetadata(nil, "traceparent", "00-"+strings.Repeat("0", 32)+"-"+strings.Repeat("0", 16)+"-00")
	noParentBegin = bytes.Index(noParent, []byte("00-")) // where the value begins
)

// traceparent returns the metadata of a call whose context has a span that is not sampled, and none if the span says more
// than that. If there is no span it is nil.
func traceparent(ctx context.Context) (encoded []byte, ok bool) {
	of := trace.SpanContextFromContext(ctx)
	if !of.IsValid() {
		return nil, true
	}
	if of.IsSampled() || of.TraceState().Len() > 0 {
		return nil, false
	}
	encoded = slices.Clone(noParent)
	value := encoded[noParentBegin:]
	traceID, spanID := of.TraceID(), of.SpanID()
	hex.Encode(value[3:35], traceID[:])
	hex.Encode(value[36:52], spanID[:])
	if of.TraceFlags()&trace.FlagsRandom != 0 {
		value[54] = '2'
	}
	return encoded, true
}

// isUnsampled reports whether the value of a traceparent, of version 00, says that the trace is not sampled. It is false if
// the value is malformed.
func isUnsampled(value []byte) bool {
	if len(value) != 55 || string(value[:3]) != "00-" || value[35] != '-' || value[52] != '-' || value[53] != '0' ||
		value[54] != '0' && value[54] != '2' {
		return false
	}
	return isID(value[3:35]) && isID(value[36:52])
}

// isID reports whether all are hexadecimal digits, in lower case, and not all are 0.
func isID(digits []byte) bool {
	var seen byte
	for _, digit := range digits {
		seen |= digitKinds[digit]
	}
	return seen == someDigit
}

// digitKinds are the kinds of bytes: 0 for the digit 0, someDigit for others, noDigit. A table, for who compares digits, which are
// random, makes the processor guess wrongly.
var digitKinds = func() (kinds [256]byte) {
	for i := range kinds {
		switch {
		case i == '0':
		case i >= '1' && i <= '9', i >= 'a' && i <= 'f':
			kinds[i] = someDigit
		default:
			kinds[i] = noDigit
		}
	}
	return kinds
}()

const (
	someDigit = 1 << iota
	noDigit
)

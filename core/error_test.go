package core_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/edict-go/edict/core"
)

// overTheWire returns what the other side gets of e.
func overTheWire(e *core.Error) *core.Error { return core.DecodeError(core.AppendError(nil, e)) }

// errPoor is a sentinel as a package of commands declares it.
var errPoor = &core.Error{Code: core.FailedPrecondition, Reason: "insufficient-funds"}

type limit struct{ Have, Want int }

func TestWhatTravelsWithAnError(t *testing.T) {
	sent := &core.Error{
		Code: core.FailedPrecondition, Outcome: core.Executed, Reason: "insufficient-funds",
		Message: "you are poor: ✓", RetryAfter: 1500 * time.Millisecond,
		Command: "Debit", Cause: errors.New("local"),
	}
	sent = sent.WithDetail(limit{1, 2}).WithDetail(&limit{3, 4}).WithDetail("text")
	got := overTheWire(sent)
	if got.Code != sent.Code || got.Outcome != sent.Outcome || got.Reason != sent.Reason || got.Message != sent.Message || got.RetryAfter != sent.RetryAfter {
		t.Errorf("got %+v, want %+v", got, sent)
	}
	if !got.Remote || got.Command != "" || got.Cause != nil {
		t.Errorf("got %+v: Remote must be set, Command and Cause stay at home", got)
	}
	wrapped := fmt.Errorf("calling: %w", got)
	if !errors.Is(wrapped, errPoor) || !errors.Is(wrapped, core.FailedPrecondition) || errors.Is(wrapped, core.NotFound) {
		t.Error("the sentinel and the code are not found")
	}
	if found, ok := errors.AsType[*core.Error](wrapped); !ok || found != got {
		t.Error("AsType does not find the error")
	}
	if d, ok := core.DetailOf[limit](wrapped); !ok || d != (limit{1, 2}) {
		t.Errorf("the detail is %v, %v; want the first of its type", d, ok)
	}
	if d, ok := core.DetailOf[*limit](wrapped); !ok || *d != (limit{1, 2}) {
		t.Errorf("the detail by pointer is %v, %v", d, ok)
	}
	if s, ok := core.DetailOf[string](wrapped); !ok || s != "text" {
		t.Errorf("the text is %q, %v", s, ok)
	}
	if _, ok := core.DetailOf[float64](wrapped); ok {
		t.Error("there is a detail that nobody added")
	}
	if _, ok := core.DetailOf[limit](io.EOF); ok {
		t.Error("a foreign error has a detail")
	}
}

func TestSentinelsNeedTheSameCodeAndReason(t *testing.T) {
	for _, e := range []*core.Error{
		{Code: core.FailedPrecondition, Reason: "something-else"},
		{Code: core.NotFound, Reason: "insufficient-funds"},
		{Code: core.FailedPrecondition},
	} {
		if errors.Is(overTheWire(e), errPoor) {
			t.Errorf("%+v is taken for %+v", e, errPoor)
		}
	}
	without := &core.Error{Code: core.NotFound}
	if errors.Is(&core.Error{Code: core.NotFound}, without) {
		t.Error("two errors without a Reason are taken for the same")
	}
}

func TestContextErrorsHoldAcrossTheWire(t *testing.T) {
	for _, sent := range []error{context.Canceled, context.DeadlineExceeded} {
		got := overTheWire(core.AsError(fmt.Errorf("while working: %w", sent)))
		if !errors.Is(got, sent) {
			t.Errorf("%v became %v", sent, got)
		}
	}
	if errors.Is(overTheWire(&core.Error{Code: core.Canceled}), context.DeadlineExceeded) {
		t.Error("a cancel is taken for a timeout")
	}
}

func TestTheSixteenCodesHaveTheirCanonicalNumbers(t *testing.T) {
	names := []string{
		"canceled", "unknown", "invalid argument", "deadline exceeded", "not found", "already exists",
		"permission denied", "resource exhausted", "failed precondition", "aborted", "out of range",
		"unimplemented", "internal", "unavailable", "data loss", "unauthenticated",
	}
	for i, name := range names {
		code := core.Code(i + 1)
		if code.String() != name || code.Error() != name || !code.Valid() || overTheWire(&core.Error{Code: code}).Code != code {
			t.Errorf("code %d is %q, want %q", i+1, code, name)
		}
	}
	for _, code := range []core.Code{0, 17, 255} {
		if code.Valid() || code.String() != fmt.Sprintf("code(%d)", code) {
			t.Errorf("%v is valid", code)
		}
		if got := overTheWire(&core.Error{Code: code}).Code; got != core.Unknown {
			t.Errorf("code %d arrives as %v, want Unknown", code, got)
		}
	}
}

func TestCodeOf(t *testing.T) {
	for want, err := range map[core.Code]error{
		0:                     nil,
		core.Unknown:          io.EOF,
		core.NotFound:         fmt.Errorf("x: %w", core.NotFound),
		core.Aborted:          fmt.Errorf("x: %w", &core.Error{Code: core.Aborted}),
		core.Canceled:         context.Canceled,
		core.DeadlineExceeded: fmt.Errorf("x: %w", context.DeadlineExceeded),
	} {
		if got := core.CodeOf(err); got != want {
			t.Errorf("CodeOf(%v) is %v, want %v", err, got, want)
		}
		e := core.AsError(err)
		if (e == nil) != (err == nil) || e != nil && e.Code != want {
			t.Errorf("AsError(%v) is %v", err, e)
		}
	}
	if e := core.AsError(&core.Error{Code: 99}); e.Code != core.Unknown {
		t.Errorf("an invalid code becomes %v, want Unknown", e.Code)
	}
	original := &core.Error{Code: core.NotFound}
	core.AsError(original).Message = "changed"
	if original.Message != "" {
		t.Error("AsError returns the user's own error to be changed")
	}
}

func TestOutcomes(t *testing.T) {
	for _, outcome := range []core.Outcome{core.OutcomeUnknown, core.NotSent, core.Refused, core.Executed} {
		if got := overTheWire(&core.Error{Code: core.Internal, Outcome: outcome}).Outcome; got != outcome {
			t.Errorf("%v arrives as %v", outcome, got)
		}
		if ran := outcome != core.NotSent && outcome != core.Refused; outcome.Ran() != ran {
			t.Errorf("%v.Ran() is %v", outcome, !ran)
		}
	}
	if got := overTheWire(&core.Error{Outcome: 9}).Outcome; got != core.OutcomeUnknown {
		t.Errorf("an outcome of the future arrives as %v, want unknown", got)
	}
	for want, err := range map[core.Outcome]error{
		core.Executed: nil, core.OutcomeUnknown: io.EOF, core.Refused: fmt.Errorf("x: %w", &core.Error{Outcome: core.Refused}),
	} {
		if got := core.OutcomeOf(err); got != want {
			t.Errorf("OutcomeOf(%v) is %v, want %v", err, got, want)
		}
	}
}

func TestTheTextOfAnError(t *testing.T) {
	for want, e := range map[string]*core.Error{
		"edict: not found: no such thing":                      {Code: core.NotFound, Message: "no such thing"},
		"edict: Add: not found (executed)":                     {Code: core.NotFound, Command: "Add", Outcome: core.Executed},
		"edict: Add: internal: oh (outcome unknown)":           {Code: core.Internal, Command: "Add", Message: "oh"},
		"edict: Add: unavailable: gone (not sent)":             {Code: core.Unavailable, Command: "Add", Message: "gone", Outcome: core.NotSent},
		"edict: Add: aborted: not now (refused, not executed)": {Code: core.Aborted, Command: "Add", Message: "not now", Outcome: core.Refused},
		"edict: code(0)": {},
	} {
		if e.Error() != want {
			t.Errorf("got %q, want %q", e.Error(), want)
		}
	}
}

func TestErrorfKeepsItsCause(t *testing.T) {
	e := core.Errorf(core.NotFound, "reading %s: %w", "x", io.ErrUnexpectedEOF)
	if !errors.Is(e, io.ErrUnexpectedEOF) || e.Message != "reading x: unexpected EOF" || !errors.Is(e, core.NotFound) {
		t.Errorf("got %+v", e)
	}
	if !errors.Is(core.ErrClosed, net.ErrClosed) {
		t.Error("ErrClosed is not net.ErrClosed")
	}
}

func TestASentinelStaysAsItIs(t *testing.T) {
	sentinel := &core.Error{Code: core.Aborted, Reason: "lost", Message: "general"}
	once := sentinel.With("now %d", 1).WithDetail(1).WithRetryAfter(time.Second)
	twice, other := once.WithDetail(2), once.WithDetail("three")
	if sentinel.Message != "general" || len(sentinel.Details) != 0 || sentinel.RetryAfter != 0 || len(once.Details) != 1 {
		t.Errorf("the sentinel is %+v, the first copy %+v", sentinel, once)
	}
	if string(twice.Details[1].JSON) != "2" || string(other.Details[1].JSON) != `"three"` {
		t.Errorf("two copies share their details: %q and %q", twice.Details, other.Details)
	}
	if !errors.Is(twice, sentinel) || twice.Message != "now 1" || twice.RetryAfter != time.Second {
		t.Errorf("got %+v", twice)
	}
	wrapped := core.Errorf(core.Aborted, "while moving: %w", twice)
	if !errors.Is(overTheWire(wrapped), sentinel) || len(wrapped.Details) != 2 || wrapped.RetryAfter != time.Second {
		t.Errorf("wrapped it is %+v", wrapped)
	}
}

func TestADetailThatJSONCanNotEncodeIsDescribed(t *testing.T) {
	e := (&core.Error{Code: core.Internal}).WithDetail(make(chan int)).WithDetail(nil)
	if len(e.Details) != 2 || !strings.Contains(string(e.Details[0].JSON), "unsupported type") || e.Details[1].Type != "nil" {
		t.Errorf("got %q", e.Details)
	}
}

func TestAMalformedErrorIsStillAnError(t *testing.T) {
	whole := core.AppendError(nil, (&core.Error{
		Code: core.NotFound, Outcome: core.Refused, Reason: "reason", Message: "message", RetryAfter: time.Second,
	}).WithDetail("detail"))
	for cut := range whole {
		e := core.DecodeError(whole[:cut])
		wantOutcome := core.Refused
		if cut < 2 {
			wantOutcome = core.OutcomeUnknown
		}
		if e.Code != core.Internal || e.Outcome != wantOutcome || e.Message != "the peer's error is malformed" || !e.Remote {
			t.Errorf("cut at %d: %+v", cut, e)
		}
	}
	if e := core.DecodeError(append(whole, 1, 2, 3)); e.Code != core.NotFound || e.Message != "message" {
		t.Errorf("with more behind it: %+v; a newer peer may say more", e)
	}
	for name, body := range map[string][]byte{
		"a retry hint beyond any clock": {5, 0, 255, 255, 255, 255, 255, 255, 255, 255, 127, 0, 0, 0},
		"65 details":                    append([]byte{5, 0, 0, 0, 0, 65}, make([]byte, 2*65)...),
		"a message of 2^63 bytes":       {5, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255, 127},
	} {
		if e := core.DecodeError(body); e.Code != core.Internal {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

func TestARetryHintIsNeverNegative(t *testing.T) {
	if got := overTheWire(&core.Error{Code: core.Aborted, RetryAfter: -time.Second}).RetryAfter; got != 0 {
		t.Errorf("got %v, want 0", got)
	}
	if got := overTheWire(&core.Error{Code: core.Aborted, RetryAfter: 1<<63 - 1}).RetryAfter; got != (1<<63-1)/1000*1000 {
		t.Errorf("got %v, want the longest there is, in microseconds", got)
	}
}

func TestMetadata(t *testing.T) {
	m := core.Metadata{}
	m.Set("Tenant", "seven")
	m.Add("TENANT", "eight")
	m.Add("binary", "\x00\xff")
	m.Set("none")
	if m.Get("tEnAnT") != "seven" || m.Get("absent") != "" || core.Metadata(nil).Get("x") != "" {
		t.Errorf("got %q", m)
	}
	encoded, err := core.AppendMetadata([]byte("before"), m)
	if err != nil {
		t.Fatal(err)
	}
	got, err := core.DecodeMetadata(encoded[len("before"):])
	if err != nil || !slices.Equal(got["tenant"], []string{"seven", "eight"}) || got.Get("binary") != "\x00\xff" || len(got) != 2 {
		t.Errorf("got %q, %v", got, err)
	}
	clone := m.Clone()
	clone["tenant"][0] = "changed"
	if m.Get("tenant") != "seven" || core.Metadata(nil).Clone() == nil {
		t.Error("a clone shares its values, or is nil")
	}
	if none, err := core.DecodeMetadata(nil); none != nil || err != nil {
		t.Errorf("nothing decodes to %v, %v", none, err)
	}
	upper, err := core.AppendMetadata(nil, core.Metadata{"UPPER": {"x"}})
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := core.DecodeMetadata(upper); got.Get("upper") != "x" {
		t.Errorf("a key set without Set arrives as %q", got)
	}
}

// What looks at encoded metadata without decoding it agrees with what decodes it.
func TestEncodedMetadata(t *testing.T) {
	var encoded []byte
	for _, step := range []struct{ key, value string }{{"Trace", "1"}, {"tenant", "seven"}, {"trace", "22"}, {"empty", ""}, {"tenant", "8"}} {
		before := encoded
		copied := bytes.Clone(before)
		encoded = core.SetEncodedMetadata(encoded, step.key, step.value)
		if !bytes.Equal(before, copied) {
			t.Errorf("setting %s has changed what was there", step.key)
		}
	}
	decoded, err := core.DecodeMetadata(encoded)
	if want := (core.Metadata{"trace": {"22"}, "tenant": {"8"}, "empty": {""}}); err != nil || !reflect.DeepEqual(decoded, want) {
		t.Errorf("got %v, %v", decoded, err)
	}
	for key, want := range map[string]string{"trace": "22", "tenant": "8", "empty": "", "absent": ""} {
		if got := core.LookUpMetadata(encoded, key); got != want {
			t.Errorf("%s is %q", key, got)
		}
	}
	// Of several values the first, and setting replaces all of them.
	several, err := core.AppendMetadata(nil, core.Metadata{"a": {"1", "2"}, "b": {"3"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := core.LookUpMetadata(several, "a"); got != "1" {
		t.Errorf("the first value is %q", got)
	}
	decoded, err = core.DecodeMetadata(core.SetEncodedMetadata(several, "a", "4"))
	if want := (core.Metadata{"a": {"4"}, "b": {"3"}}); err != nil || !reflect.DeepEqual(decoded, want) {
		t.Errorf("got %v, %v", decoded, err)
	}
	if got := core.LookUpMetadata([]byte("\x01k\x02v"), "k"); got != "" {
		t.Errorf("malformed metadata has %q", got)
	}
}

func TestMetadataIsBounded(t *testing.T) {
	fits := func(m core.Metadata, want bool) {
		t.Helper()
		encoded, err := core.AppendMetadata([]byte("x"), m)
		if want != (err == nil) {
			t.Errorf("%d keys: %v", len(m), err)
		}
		if err != nil && (!errors.Is(err, core.ResourceExhausted) || string(encoded) != "x") {
			t.Errorf("got %v, and %d bytes left behind", err, len(encoded)-1)
		}
		if err == nil {
			if _, err := core.DecodeMetadata(encoded[1:]); err != nil {
				t.Errorf("what was encoded is refused: %v", err)
			}
		}
	}
	entries := core.Metadata{"k": make([]string, core.MaxMetadataEntries)}
	fits(entries, true)
	entries.Add("k", "")
	fits(entries, false)
	fits(core.Metadata{"k": {strings.Repeat("x", core.MaxMetadataBytes-5)}}, true) // 1+1+3+value
	fits(core.Metadata{"k": {strings.Repeat("x", core.MaxMetadataBytes-4)}}, false)

	// What a peer sends that does not heed the limits.
	if _, err := core.DecodeMetadata(make([]byte, 2*core.MaxMetadataEntries+2)); !errors.Is(err, core.ResourceExhausted) {
		t.Errorf("too many entries: %v", err)
	}
	if _, err := core.DecodeMetadata(make([]byte, core.MaxMetadataBytes+1)); !errors.Is(err, core.ResourceExhausted) {
		t.Errorf("too many bytes: %v", err)
	}
	for _, malformed := range []string{"\x01", "\x01k", "\x01k\x02v", "\x01k\x01vx", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "\xff"} {
		if m, err := core.DecodeMetadata([]byte(malformed)); !errors.Is(err, core.InvalidArgument) {
			t.Errorf("%q: %v, %v", malformed, m, err)
		}
	}
}

func TestSequences(t *testing.T) {
	for _, c := range []struct {
		slot       uint32
		generation uint64
	}{{0, 0}, {1, 0}, {0, 1}, {core.MaxSlots - 1, 1<<40 - 1}, {0xabcdef, 0x123456789a}} {
		s := core.MakeSequence(c.slot, c.generation)
		if s.Slot() != c.slot || s.Generation() != c.generation {
			t.Errorf("%v has slot %d and generation %d, want %d and %d", s, s.Slot(), s.Generation(), c.slot, c.generation)
		}
	}
	if s := core.MakeSequence(5, 7).String(); s != "5.7" {
		t.Error(s)
	}
}

func TestBuffersHaveRoom(t *testing.T) {
	for size := 1; size <= 16<<20; size = size*3/2 + 1 {
		for _, near := range []int{size - 1, size, size + 1} {
			for range 2 { // the second one is, most likely, the first one again
				buffer := core.GetBuffer(near)
				if len(buffer.Bytes) != 0 || cap(buffer.Bytes) < near {
					t.Fatalf("a buffer for %d bytes has length %d and capacity %d", near, len(buffer.Bytes), cap(buffer.Bytes))
				}
				// Twice for the class, twice more for a buffer that append has grown before it was released.
				if near > 1<<12 && near <= 4<<20 && cap(buffer.Bytes) > 4*near+128 {
					t.Fatalf("a buffer for %d bytes has a capacity of %d", near, cap(buffer.Bytes))
				}
				buffer.Bytes = append(buffer.Bytes, make([]byte, near)...)
				buffer.Release()
			}
		}
	}
}

func TestABufferOfAnyCapacityServesItsClass(t *testing.T) {
	for capacity := 0; capacity < 20_000; capacity += 7 {
		(&core.Buffer{Bytes: make([]byte, 0, capacity)}).Release()
		if buffer := core.GetBuffer(capacity); cap(buffer.Bytes) < capacity {
			t.Fatalf("a buffer for %d bytes has a capacity of %d", capacity, cap(buffer.Bytes))
		}
	}
	(*core.Buffer)(nil).Release()
}

func TestDecodeAMessage(t *testing.T) {
	if n, err := core.Decode[int](core.Message{Value: 5}); n != 5 || err != nil {
		t.Errorf("got %d, %v", n, err)
	}
	if _, err := core.Decode[string](core.Message{Value: 5}); !errors.Is(err, core.Internal) || !strings.Contains(err.Error(), "int where string") {
		t.Errorf("a value of another type: %v", err)
	}
	if n, err := core.Decode[int](core.Message{Body: []byte("xx"), Coder: &core.ResultDecoder[int]{Decode: length}}); n != 2 || err != nil {
		t.Errorf("got %d, %v", n, err)
	}
	_, err := core.Decode[int](core.Message{Coder: &core.ResultDecoder[int]{Decode: length}})
	if !errors.Is(err, core.Internal) || !errors.Is(err, io.ErrUnexpectedEOF) || core.OutcomeOf(err) != core.Executed {
		t.Errorf("a result that can't be decoded: %v", err)
	}
}

// length decodes to the length of what it gets.
func length(source []byte) (int, error) {
	if len(source) == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	return len(source), nil
}

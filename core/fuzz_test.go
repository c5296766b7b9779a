package core_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/edict-go/edict/core"
)

func FuzzDecodeError(f *testing.F) {
	f.Add([]byte{})
	f.Add(core.AppendError(nil, &core.Error{Code: core.NotFound}))
	f.Add(core.AppendError(nil, (&core.Error{
		Code: core.Aborted, Outcome: core.Executed, Reason: "r", Message: "m", RetryAfter: time.Hour,
	}).WithDetail(5).WithDetail("x")))
	f.Add([]byte{99, 99, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, body []byte) {
		e := core.DecodeError(body)
		if !e.Remote || !e.Code.Valid() || e.Outcome > core.Executed || e.RetryAfter < 0 {
			t.Fatalf("decoded to %+v", e)
		}
		size := len(e.Reason) + len(e.Message)
		for _, detail := range e.Details {
			size += len(detail.Type) + len(detail.JSON)
		}
		if size > len(body)+len("the peer's error is malformed") {
			t.Errorf("%d bytes became %d", len(body), size)
		}
		if again := core.DecodeError(core.AppendError(nil, e)); !reflect.DeepEqual(again, e) {
			t.Errorf("encoded and decoded again it is %+v, was %+v", again, e)
		}
	})
}

func FuzzDecodeMetadata(f *testing.F) {
	whole, _ := core.AppendMetadata(nil, core.Metadata{"a": {"1", "2"}, "b": {""}})
	f.Add([]byte{})
	f.Add(whole)
	f.Add(whole[:3])
	f.Add([]byte("\x01A\x01x\x01a\x01y"))
	f.Fuzz(func(t *testing.T, encoded []byte) {
		m, err := core.DecodeMetadata(encoded)
		if checked := core.CheckMetadata(encoded); core.CodeOf(checked) != core.CodeOf(err) {
			t.Fatalf("decoding says %v, checking %v", err, checked)
		}
		for key, values := range m {
			if got := core.LookUpMetadata(encoded, key); got != values[0] {
				t.Fatalf("%q is %q, and %q when it is looked up", key, values[0], got)
			}
		}
		if err != nil {
			return
		}
		again, err := core.AppendMetadata(nil, m)
		if err != nil {
			t.Fatalf("%q can't be encoded: %v", m, err)
		}
		decoded, err := core.DecodeMetadata(again)
		if err != nil {
			t.Fatalf("%q can't be decoded: %v", again, err)
		}
		third, err := core.AppendMetadata(nil, decoded)
		if err != nil {
			t.Fatalf("%q can't be encoded: %v", decoded, err)
		}
		if once, err := core.DecodeMetadata(third); err != nil || !reflect.DeepEqual(once, decoded) {
			t.Errorf("%q became %q (%v)", decoded, once, err)
		}
	})
}

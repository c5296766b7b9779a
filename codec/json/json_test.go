package json_test

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/edict-go/edict/codec"
	"github.com/edict-go/edict/codec/codectest"
	"github.com/edict-go/edict/codec/json"
)

func TestConformance(t *testing.T) {
	codectest.Conformance(t, json.Codec, codectest.Orders()...)
	codectest.Conformance(t, json.Codec, "", "<html> & \u2028 \x00")
	codectest.Conformance(t, json.Codec, &codectest.Orders()[1])
	codectest.Conformance(t, json.Codec, struct{}{})
	codectest.Conformance[any](t, json.Codec, map[string]any{"a": []any{1.5, nil, "x"}})
	codectest.Conformance(t, json.Codec, map[netip.Addr]time.Time{netip.IPv6Loopback(): {}})
}

func TestTrailingValue(t *testing.T) {
	for _, input := range []string{"1 2", "1,", "{}{}", "1\n2", "null]"} {
		var value any
		if err := json.Codec.Decode([]byte(input), &value); err == nil {
			t.Errorf("decoded %v from %q", value, input)
		}
	}
}

func TestCheck(t *testing.T) {
	type inner struct{ Done chan int }
	type outer struct{ Inner []map[string]*inner }
	type hidden struct {
		call    func()
		Skipped func() `json:"-"`
	}
	_ = hidden{}.call
	accept := []any{
		codectest.Order{}, codectest.Tree{}, hidden{}, time.Time{}, map[int]any{}, map[netip.Addr]bool{},
	}
	for _, value := range accept {
		if err := json.Codec.Check(reflect.TypeOf(value)); err != nil {
			t.Errorf("%T: %v", value, err)
		}
	}
	refuse := map[string]any{
		"outer.Inner[][].Done is of type chan int": outer{},
		"func()":               func() {},
		"complex128":           []complex128{},
		"can't be decoded":     struct{ Err error }{},
		"keys of type float64": map[float64]int{},
	}
	for want, value := range refuse {
		if err := json.Codec.Check(reflect.TypeOf(value)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%T: %v, want %q", value, err, want)
		}
	}
}

// panicking panics in both directions.
type panicking struct{}

func (panicking) MarshalJSON() ([]byte, error) { panic("marshal") }
func (*panicking) UnmarshalJSON([]byte) error  { panic("unmarshal") }

func TestErrors(t *testing.T) {
	codectest.AppendError[any](t, json.Codec, make(chan int))
	codectest.AppendError(t, json.Codec, panicking{})
	// An encoder that failed is used again.
	codectest.Conformance(t, json.Codec, "after an error")
	if err := json.Codec.Decode([]byte("{}"), &panicking{}); err == nil {
		t.Error("the panic of UnmarshalJSON is no error")
	}
	if err := json.Codec.Decode([]byte("{}"), nil); err == nil {
		t.Error("decoded into nil")
	}
	deep := strings.Repeat("[", 1<<20)
	if err := json.Codec.Decode([]byte(deep), new(any)); err == nil {
		t.Error("decoded a million levels")
	}
}

func FuzzDecode(f *testing.F) { codectest.Fuzz(f, json.Codec, codectest.Orders()...) }

func FuzzDecodeAny(f *testing.F) {
	codectest.Fuzz[any](f, json.Codec, map[string]any{"a": []any{1.5, nil, "x"}}, 7.0)
}

func BenchmarkItem(b *testing.B) {
	item := codectest.Item{Name: strings.Repeat("x", 128), Count: 7}
	coder := codec.CoderFor[codectest.Item](json.Codec)
	encoded, _ := coder.Append(nil, item)
	b.Run("Append", func(b *testing.B) {
		b.ReportAllocs()
		buffer := make([]byte, 0, 256)
		for b.Loop() {
			_, _ = coder.Append(buffer, item)
		}
	})
	b.Run("Decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = coder.Decode(encoded)
		}
	})
}

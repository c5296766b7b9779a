package msgpack_test

import (
	"bytes"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/edict-go/edict/codec"
	"github.com/edict-go/edict/codec/codectest"
	"github.com/edict-go/edict/codec/msgpack"
)

func forBoth(t *testing.T, test func(t *testing.T, c codec.Codec)) {
	for _, c := range []codec.Codec{msgpack.Codec, msgpack.Map} {
		t.Run(c.Name(), func(t *testing.T) { test(t, c) })
	}
}

func TestConformance(t *testing.T) {
	forBoth(t, func(t *testing.T, c codec.Codec) {
		codectest.Conformance(t, c, codectest.Orders()...)
		codectest.Conformance(t, c, "", "text")
		codectest.Conformance(t, c, &codectest.Orders()[1])
		codectest.Conformance(t, c, struct{}{})
		codectest.Conformance[any](t, c, map[string]any{"a": []any{1.5, nil, "x"}})
		codectest.Conformance(t, c, []netip.Addr{netip.IPv6Loopback()})
		codectest.Conformance(t, c, bytes.Repeat([]byte("x"), 1<<16))
		codectest.Conformance(t, c, make([]bool, 1<<16))
	})
}

func TestForms(t *testing.T) {
	item := codectest.Item{Name: "pen", Count: 3}
	for c, want := range map[codec.Codec]string{
		msgpack.Codec: "\x92\xa3pen\x03", msgpack.Map: "\x82\xa4Name\xa3pen\xa5Count\x03",
	} {
		if got, err := c.Append(nil, item); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v, want %q", c.Name(), got, err, want)
		}
		if c.NamesFields() != (c == msgpack.Map) {
			t.Errorf("%s: NamesFields() = %v", c.Name(), c.NamesFields())
		}
	}
	// A field more on one side is what names are for.
	encoded, _ := msgpack.Map.Append(nil, codectest.Order{ID: 7})
	var less struct{ ID int }
	if err := msgpack.Map.Decode(encoded, &less); err != nil || less.ID != 7 {
		t.Errorf("decoded %v, %v", less, err)
	}
}

// Any first byte can occur in a timestamp, that of a map among them.
func TestTimeBesideMap(t *testing.T) {
	type both struct {
		At    time.Time
		Stock map[string]any
		Next  time.Time
	}
	for nanoseconds := range int64(256) {
		at := time.Unix(1_700_000_000, nanoseconds<<22).UTC()
		later := time.Unix(0xde000000, 0)
		codectest.Conformance(t, msgpack.Codec, both{at, map[string]any{"a": "b"}, later})
	}
}

func TestHostileLengths(t *testing.T) {
	var inputs [][]byte
	for _, code := range []string{"\xc6", "\xc9", "\xdb", "\xdd", "\xdf"} {
		for _, count := range []string{"\xff\xff\xff\xff", "\x7f\xff\xff\xff", "\x00\x10\x00\x00", "\x00\x00\x00\x10"} {
			for _, around := range []string{"", "\x91", "\x81\xa1a", "\x92\x01", "\xc7\x06\x05", "\xd7\xff", "\xd6\xff"} {
				inputs = append(inputs, []byte(around+code+count), []byte(around+code+count+"abcdefgh"))
			}
		}
	}
	// What follows an extension that takes the place of a map is read as that map.
	inputs = append(inputs,
		[]byte("\xc7\x05\xff\xdf\xff\xff\xff\xff"),
		[]byte("\xc7\x08\x05\x81\xa1a\xdd\xff\xff\xff\xff"),
		[]byte("\xd7\xff\x81\xa1a\xdd\x7f\xff\xff\xff"),
		[]byte("\xd8\xff\xdf\x7f\xff\xff\xff________________"),
		[]byte("\xc7\x00\xff\xdf\xff\xff\xff\xff"),
	)
	forBoth(t, func(t *testing.T, c codec.Codec) {
		codectest.HostileLengths[any](t, c, inputs...)
		codectest.HostileLengths[[]string](t, c, inputs...)
		codectest.HostileLengths[[]int64](t, c, inputs...)
		codectest.HostileLengths[map[string]any](t, c, inputs...)
		codectest.HostileLengths[map[int]int](t, c, inputs...)
		codectest.HostileLengths[map[string]string](t, c, inputs...)
		codectest.HostileLengths[codectest.Order](t, c, inputs...)
		codectest.HostileLengths[codectest.Tree](t, c, inputs...)
	})
}

func TestDepth(t *testing.T) {
	for levels, accepted := range map[int]bool{9_000: true, 11_000: false, 2_000_000: false} {
		input := append(bytes.Repeat([]byte{0x91}, levels), 0xc0)
		if err := msgpack.Codec.Decode(input, new(any)); (err == nil) != accepted {
			t.Errorf("%d levels: %v", levels, err)
		}
	}
}

func TestTrailingValue(t *testing.T) {
	for _, input := range []string{"\x01\x01", "\x80\x80", "\x92\x01\x02\x03", "\xc0\xc0"} {
		var value any
		if err := msgpack.Codec.Decode([]byte(input), &value); err == nil {
			t.Errorf("decoded %v from %x", value, input)
		}
	}
}

func TestCheck(t *testing.T) {
	type inner struct{ Done chan int }
	type outer struct{ Inner []map[string]*inner }
	type hidden struct {
		call    func()
		Skipped func() `msgpack:"-"`
	}
	_ = hidden{}.call
	for _, value := range []any{codectest.Order{}, codectest.Tree{}, hidden{}, map[float64]any{}, netip.Addr{}} {
		if err := msgpack.Codec.Check(reflect.TypeOf(value)); err != nil {
			t.Errorf("%T: %v", value, err)
		}
	}
	for want, value := range map[string]any{
		"outer.Inner[][].Done is of type chan int": outer{},
		"func()":           func() {},
		"complex128":       []complex128{},
		"uintptr":          uintptr(0),
		"can't be decoded": struct{ Err interface{ Error() string } }{},
	} {
		if err := msgpack.Codec.Check(reflect.TypeOf(value)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%T: %v, want %q", value, err, want)
		}
	}
}

// panicking panics in both directions.
type panicking struct{}

func (panicking) MarshalMsgpack() ([]byte, error) { panic("marshal") }
func (*panicking) UnmarshalMsgpack([]byte) error  { panic("unmarshal") }

func TestErrors(t *testing.T) {
	codectest.AppendError[any](t, msgpack.Codec, []any{1, make(chan int)})
	codectest.AppendError(t, msgpack.Codec, panicking{})
	codectest.Conformance(t, msgpack.Codec, "after an error")
	if err := msgpack.Codec.Decode([]byte{1}, &panicking{}); err == nil {
		t.Error("the panic of UnmarshalMsgpack is no error")
	}
	if err := msgpack.Codec.Decode([]byte{1}, nil); err == nil {
		t.Error("decoded into nil")
	}
}

func FuzzDecode(f *testing.F)    { codectest.Fuzz(f, msgpack.Codec, codectest.Orders()...) }
func FuzzDecodeMap(f *testing.F) { codectest.Fuzz(f, msgpack.Map, codectest.Orders()...) }

func FuzzDecodeAny(f *testing.F) {
	type values struct {
		Any   any
		Named map[string]any
		At    time.Time
	}
	codectest.Fuzz(f, msgpack.Codec, values{
		Any: []any{1.5, "x"}, Named: map[string]any{"a": nil}, At: time.Unix(1, 0x89<<22).UTC(),
	})
}

func BenchmarkItem(b *testing.B) {
	item := codectest.Item{Name: strings.Repeat("x", 128), Count: 7}
	for _, c := range []codec.Codec{msgpack.Codec, msgpack.Map} {
		coder := codec.CoderFor[codectest.Item](c)
		encoded, _ := coder.Append(nil, item)
		b.Run(c.Name()+"/Append", func(b *testing.B) {
			b.ReportAllocs()
			buffer := make([]byte, 0, 256)
			for b.Loop() {
				_, _ = coder.Append(buffer, item)
			}
		})
		b.Run(c.Name()+"/Decode", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = coder.Decode(encoded)
			}
		})
	}
}

package mus_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	musgo "github.com/mus-format/mus-go"
	"github.com/mus-format/mus-go/ord"
	"github.com/mus-format/mus-go/varint"

	"github.com/edict-go/edict/codec"
	"github.com/edict-go/edict/codec/codectest"
	"github.com/edict-go/edict/codec/mus"
	"github.com/edict-go/edict/codec/mus/internal/commands"
)

var _ codec.TypedCodec = commands.MUS

func TestConformance(t *testing.T) {
	t.Run("Order", func(t *testing.T) {
		codectest.Conformance(t, commands.MUS, codectest.Orders()...)
	})
	t.Run("pointer", func(t *testing.T) {
		codectest.Conformance(t, commands.MUS, &codectest.Orders()[1])
	})
	t.Run("nil", func(t *testing.T) { codectest.Conformance[*codectest.Order](t, commands.MUS, nil) })
	t.Run("Echo", func(t *testing.T) { codectest.Conformance(t, commands.MUS, echo) })
	t.Run("Clear", func(t *testing.T) { codectest.Conformance(t, commands.MUS, commands.Clear{}) })
	t.Run("Tree", func(t *testing.T) { codectest.Conformance(t, commands.MUS, commands.Grow{Tree: tree}) })
	t.Run("unnamed result", func(t *testing.T) {
		codectest.Conformance(t, commands.MUS, tree.Children, []codectest.Tree{})
		codectest.Conformance(t, commands.MUS, map[string]codectest.Item{"a": {Name: "b", Count: 1}})
	})
}

func TestBasicTypesNeedNoSerializer(t *testing.T) {
	c := mus.New()
	codectest.Conformance(t, c, true, false)
	codectest.Conformance(t, c, "", "text")
	codectest.Conformance(t, c, []byte{}, []byte("bytes"))
	codectest.Conformance(t, c, 0, -1<<31)
	codectest.Conformance(t, c, int8(-128))
	codectest.Conformance(t, c, int16(-1<<15))
	codectest.Conformance(t, c, int32(1<<30))
	codectest.Conformance(t, c, int64(1<<62))
	codectest.Conformance(t, c, uint(1<<31))
	codectest.Conformance(t, c, uint8(255))
	codectest.Conformance(t, c, uint16(1<<15))
	codectest.Conformance(t, c, uint32(1<<31))
	codectest.Conformance(t, c, uint64(1<<63))
	codectest.Conformance(t, c, float32(0.5))
	codectest.Conformance(t, c, 0.5)
	codectest.Conformance(t, c, time.Time{}, time.Date(2400, 1, 2, 3, 4, 5, 999_999_999, time.UTC))
	codectest.Conformance(t, c, time.Hour)
	codectest.Conformance(t, c, struct{}{})
}

var (
	tree = codectest.Tree{Name: "a", Children: []codectest.Tree{
		{Name: "b", Next: &codectest.Tree{Name: "c"}}, {Name: "d"},
	}}
	echo = commands.Echo{Flag: true, Number: 1 << 50, Text: strings.Repeat("x", 128), Value: 3.5}
)

func TestTypeWithoutSerializer(t *testing.T) {
	type Unknown struct{}
	err := mus.New().Check(reflect.TypeFor[*Unknown]())
	if err == nil || !strings.Contains(err.Error(), "mus_test.Unknown") ||
		!strings.Contains(err.Error(), "run edict-gen in package github.com/edict-go/edict/codec/mus_test") {
		t.Errorf("Check: %v", err)
	}
	codectest.AppendError(t, mus.New(), Unknown{})
	if err := mus.New().Decode(nil, &Unknown{}); err == nil {
		t.Error("Decode of an unknown type succeeded")
	}
	for _, target := range []any{nil, 7, (*int)(nil)} {
		if err := mus.New().Decode([]byte{0}, target); err == nil {
			t.Errorf("Decode into %v succeeded", target)
		}
	}
}

func TestJoin(t *testing.T) {
	other := mus.New(mus.For(ord.NewSliceSer[int](varint.Int)))
	joined := mus.Join(commands.MUS, other, mus.New())
	codectest.Conformance(t, joined, echo)
	codectest.Conformance(t, joined, []int{1, 2})
	codectest.Conformance(t, joined, 7)
}

// hostile builds an input from lengths, which are encoded as MUS does, and bytes.
func hostile(parts ...any) (input []byte) {
	for _, part := range parts {
		switch part := part.(type) {
		case int:
			input = binary.AppendUvarint(input, uint64(part))
		case uint64:
			input = binary.AppendUvarint(input, part)
		case string:
			input = append(input, part...)
		}
	}
	return input
}

const huge = math.MaxInt

func TestHostileLengths(t *testing.T) {
	lengths := [][]byte{}
	for _, n := range []uint64{8, 1 << 10, 1 << 20, 1 << 28, 1 << 40, huge - 8, huge} {
		lengths = append(lengths, hostile(n), hostile(n, "abc"), hostile(1, n, "abc"), hostile(1, 1, "a", n),
			hostile(3, n, n, n), hostile(1, 0, n))
	}
	codectest.HostileLengths[commands.Watch](t, commands.MUS, lengths...)
	codectest.HostileLengths[[]codectest.Tree](t, commands.MUS, lengths...)
	codectest.HostileLengths[map[string]codectest.Item](t, commands.MUS, lengths...)
	codectest.HostileLengths[string](t, commands.MUS, lengths...)
	codectest.HostileLengths[[]byte](t, commands.MUS, lengths...)
	own := mus.New(
		mus.For(ord.NewSliceSer[string](ord.String)), mus.For(ord.NewMapSer[int, bool](varint.Int, ord.Bool)))
	codectest.HostileLengths[[]string](t, own, lengths...)
	codectest.HostileLengths[map[int]bool](t, own, lengths...)
}

// mus-go fills an array from the elements that the input has, and from what lies behind them.
func TestShortArray(t *testing.T) {
	type array = [8]int64
	c := mus.New(mus.Generated(ord.NewArraySer[array, int64](varint.Int64)))
	codectest.Conformance(t, c, array{1, 2, 3})
	for n := range 8 {
		var value array
		if err := c.Decode(append([]byte{byte(n)}, make([]byte, n)...), &value); err == nil {
			t.Errorf("decoded %v from %d elements", value, n)
		}
	}
}

func TestDepth(t *testing.T) {
	nested := func(levels int) []byte {
		// Grow{Tree{Name: "", Children: {}, Next: &Tree{...}}}
		return append([]byte(strings.Repeat("\x00\x00\x00", levels)), "\x00\x00\x01"...)
	}
	var value commands.Grow
	if err := commands.MUS.Decode(nested(9_000), &value); err != nil {
		t.Errorf("9,000 levels: %v", err)
	}
	if err := commands.MUS.Decode(nested(11_000), &value); err == nil {
		t.Error("11,000 levels were decoded")
	}
	if err := commands.MUS.Decode(nested(2_000_000), &value); err == nil {
		t.Error("2,000,000 levels were decoded")
	}
}

// panicking is a serializer that panics in what its name says.
type panicking struct{ where string }

func (p panicking) at(where string) {
	if p.where == where {
		panic("at " + where)
	}
}
func (p panicking) Marshal(_ bool, bs []byte) int { p.at("Marshal"); bs[0] = 0; return 1 }
func (p panicking) Size(bool) int                 { p.at("Size"); return 1 }
func (p panicking) Skip([]byte) (int, error)      { p.at("Skip"); return 1, nil }

func (p panicking) Unmarshal([]byte) (bool, int, error) { p.at("Unmarshal"); return false, 1, nil }

func TestPanicsBecomeErrors(t *testing.T) {
	for _, where := range []string{"Marshal", "Size"} {
		codectest.AppendError(t, mus.New(mus.For(panicking{where})), true)
	}
	var value bool
	err := mus.New(mus.For(panicking{"Unmarshal"})).Decode([]byte{0}, &value)
	if err == nil || !strings.Contains(err.Error(), "at Unmarshal") {
		t.Errorf("Decode: %v", err)
	}
	var values []bool
	err = mus.New(mus.For(ord.NewSliceSer[bool](panicking{"Skip"}))).Decode([]byte{1, 0}, &values)
	if err == nil || !strings.Contains(err.Error(), "at Skip") {
		t.Errorf("Decode: %v", err)
	}
}

// wrongSize announces more bytes than it writes.
type wrongSize struct{ panicking }

func (wrongSize) Size(bool) int { return 2 }

func TestWrongSize(t *testing.T) { codectest.AppendError(t, mus.New(mus.For(wrongSize{})), true) }

type (
	node     struct{ Next *node }
	nothing  struct{ Inner struct{} }
	nothings []nothing
	set      map[nothing]nothing
)

// unused is a serializer for what must be refused before it is asked.
type unused[V any] struct{}

func (unused[V]) Marshal(V, []byte) int                  { panic("used") }
func (unused[V]) Size(V) int                             { panic("used") }
func (unused[V]) Skip([]byte) (int, error)               { panic("used") }
func (unused[V]) Unmarshal([]byte) (v V, n int, e error) { panic("used") }

func TestRefusedTypes(t *testing.T) {
	refuse := func(name string, c *mus.Codec, value any, want string) {
		t.Helper()
		if err := c.Check(reflect.TypeOf(value)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: Check(%T) = %v, want %q", name, value, err, want)
		}
		codectest.AppendError(t, c, value)
		target := reflect.New(reflect.TypeOf(value)).Interface()
		if err := c.Decode([]byte{0}, target); err == nil || strings.Contains(err.Error(), "panic") {
			t.Errorf("%s: Decode(%T) = %v", name, value, err)
		}
	}
	refuse("recursive For", mus.New(mus.For(unused[node]{})), node{}, "recursive")
	refuse("pointer", mus.New(mus.For(unused[node]{})), &node{}, "recursive")
	refuse("empty elements For", mus.New(mus.For(unused[nothings]{})), nothings{}, "no bytes")
	refuse("empty elements", mus.New(mus.Generated(unused[nothings]{})), nothings{}, "no bytes")
	refuse("empty keys", mus.New(mus.Generated(unused[set]{})), set{}, "no bytes")
	refuse("interface", mus.New(mus.Generated(unused[[]any]{})), []any{}, "interface")
}

func TestGeneratedRecursiveTypeIsAccepted(t *testing.T) {
	if err := commands.MUS.Check(reflect.TypeFor[commands.Grow]()); err != nil {
		t.Error(err)
	}
}

func TestTime(t *testing.T) {
	here := time.Date(2025, 6, 1, 12, 0, 0, 5, time.FixedZone("far", 7*3600))
	encoded, err := mus.New().Append(nil, here)
	if err != nil {
		t.Fatal(err)
	}
	var decoded time.Time
	if err := mus.New().Decode(encoded, &decoded); err != nil || !decoded.Equal(here) || decoded.Location() != time.UTC {
		t.Errorf("decoded %v, %v", decoded, err)
	}
	if err := mus.New().Decode(append([]byte{0}, binary.AppendUvarint(nil, 1_000_000_000)...), &decoded); err == nil {
		t.Errorf("a second of nanoseconds became %v", decoded)
	}
	if n, err := mus.Time.Skip(encoded); err != nil || n != len(encoded) {
		t.Errorf("Skip = %d, %v", n, err)
	}
}

func TestAllocations(t *testing.T) {
	coder := codec.CoderFor[commands.Echo](commands.MUS)
	buffer := make([]byte, 0, 256)
	encoded, err := coder.Append(nil, echo)
	if err != nil {
		t.Fatal(err)
	}
	want := func(name string, allocations float64, call func() error) {
		t.Helper()
		var err error
		got := testing.AllocsPerRun(100, func() { err = errors.Join(err, call()) })
		if err != nil {
			t.Fatal(err)
		}
		if got != allocations {
			t.Errorf("%s: %v allocations, want %v", name, got, allocations)
		}
	}
	want("Append", 0, func() error { _, err := coder.Append(buffer, echo); return err })
	want("Decode: the string", 1, func() error { _, err := coder.Decode(encoded); return err })

	order := codectest.Orders()[1]
	orders := codec.CoderFor[codectest.Order](commands.MUS)
	encoded, err = orders.Append(nil, order)
	if err != nil {
		t.Fatal(err)
	}
	want("Append of slices and maps", 0, func() error {
		_, err := orders.Append(buffer[:0:cap(buffer)], order)
		return err
	})
	want("validation", 0, func() error {
		_, err := orders.Decode(encoded[:len(encoded)-1])
		if err == nil {
			return errors.New("truncated, but decoded")
		}
		return nil
	})
}

func FuzzDecodeOrder(f *testing.F) { codectest.Fuzz(f, commands.MUS, codectest.Orders()...) }

func FuzzDecodeTree(f *testing.F) { codectest.Fuzz(f, commands.MUS, commands.Grow{Tree: tree}) }

func FuzzDecodeFor(f *testing.F) {
	var serializer musgo.Serializer[map[string][]float64] = ord.NewMapSer[string, []float64](
		ord.String, ord.NewSliceSer[float64](varint.Float64))
	codectest.Fuzz(f, mus.New(mus.For(serializer)), map[string][]float64{"a": {1, 2.5}, "": nil})
}

func BenchmarkEcho(b *testing.B)  { benchmark(b, echo) }
func BenchmarkOrder(b *testing.B) { benchmark(b, codectest.Orders()[1]) }

func benchmark[V any](b *testing.B, value V) {
	coder := codec.CoderFor[V](commands.MUS)
	encoded, err := coder.Append(nil, value)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("Append", func(b *testing.B) {
		b.ReportAllocs()
		buffer := make([]byte, 0, len(encoded))
		for b.Loop() {
			_, _ = coder.Append(buffer, value)
		}
	})
	b.Run("Decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = coder.Decode(encoded)
		}
	})
}

// String and Bytes write what mus-go's do, and the other way round.
func TestTextIsMUS(t *testing.T) {
	for _, length := range []int{0, 1, 127, 128, 16383, 16384, 1 << 21} {
		text := strings.Repeat("s", length)
		ours, theirs := make([]byte, mus.String.Size(text)), make([]byte, ord.String.Size(text))
		mus.String.Marshal(text, ours)
		ord.String.Marshal(text, theirs)
		if !bytes.Equal(ours, theirs) {
			t.Fatalf("%d bytes: % x and % x", length, ours[:8], theirs[:8])
		}
		if got, n, err := mus.String.Unmarshal(theirs); got != text || n != len(theirs) || err != nil {
			t.Errorf("%d bytes: %d, %v", length, n, err)
		}
		blob := make([]byte, mus.Bytes.Size([]byte(text)))
		mus.Bytes.Marshal([]byte(text), blob)
		if got, n, err := mus.Bytes.Unmarshal(theirs); !bytes.Equal(blob, theirs) || string(got) != text || got == nil || n != len(theirs) || err != nil {
			t.Errorf("%d bytes: %d, %v", length, n, err)
		}
		if n, err := mus.String.Skip(theirs); n != len(theirs) || err != nil {
			t.Errorf("%d bytes: skipped %d, %v", length, n, err)
		}
	}
	for _, bad := range [][]byte{{}, {1}, {0x80}, {0x80, 1}, bytes.Repeat([]byte{0xff}, 9), bytes.Repeat([]byte{0xff}, 20)} {
		if _, _, err := mus.String.Unmarshal(bad); err == nil {
			t.Errorf("% x is decoded", bad)
		}
		if _, _, err := mus.Bytes.Unmarshal(bad); err == nil {
			t.Errorf("% x is decoded", bad)
		}
	}
}

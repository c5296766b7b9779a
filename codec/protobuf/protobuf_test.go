package protobuf_test

import (
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/edict-go/edict/codec"
	"github.com/edict-go/edict/codec/codectest"
	"github.com/edict-go/edict/codec/protobuf"
)

// wait is what a command made of a message looks like.
type wait struct{ *durationpb.Duration }

func TestConformance(t *testing.T) {
	codectest.Conformance(t, protobuf.Codec, durationpb.New(-1500), &durationpb.Duration{})
	codectest.Conformance(t, protobuf.Codec, wait{durationpb.New(1500)})
	codectest.Conformance(t, protobuf.Codec, wrapperspb.Bytes([]byte("bytes")))
	codectest.Conformance(t, protobuf.Codec, wrapperspb.String("text"))
	codectest.Conformance(t, protobuf.Codec, document(t))
}

func document(t testing.TB) *structpb.Struct {
	t.Helper()
	document, err := structpb.NewStruct(map[string]any{
		"a": []any{1.5, nil, "x", true}, "b": map[string]any{"c": "d"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return document
}

func TestNilIsEmpty(t *testing.T) {
	for _, value := range []any{(*durationpb.Duration)(nil), wait{}} {
		encoded, err := protobuf.Codec.Append([]byte("before"), value)
		if err != nil || string(encoded) != "before" {
			t.Errorf("%T: %q, %v", value, encoded, err)
		}
	}
	var decoded wait
	if err := protobuf.Codec.Decode(nil, &decoded); err != nil || decoded.Duration == nil {
		t.Errorf("decoded %v, %v", decoded, err)
	}
}

func TestDecodeResetsPresentMessage(t *testing.T) {
	present := durationpb.New(7)
	target := present
	if err := protobuf.Codec.Decode(nil, &target); err != nil || target != present || target.Nanos != 0 {
		t.Errorf("decoded %v into %p, want %p to be reset; %v", target, target, present, err)
	}
}

func TestCheck(t *testing.T) {
	type more struct {
		*durationpb.Duration
		Extra int
	}
	for _, value := range []any{wait{}, &structpb.Struct{}} {
		if err := protobuf.Codec.Check(reflect.TypeOf(value)); err != nil {
			t.Errorf("%T: %v", value, err)
		}
	}
	refused := []struct {
		value any
		want  string
	}{
		{7, "not a proto.Message"},
		{codectest.Item{}, "not a proto.Message"},
		{durationpb.Duration{}, "use *durationpb.Duration"},
		{&wait{}, "can't fill"},
		{more{}, "can't fill"},
		{struct{ proto.Message }{}, "can't fill"},
	}
	for i := range refused {
		value := refused[i].value
		if err := protobuf.Codec.Check(reflect.TypeOf(value)); err == nil || !strings.Contains(err.Error(), refused[i].want) {
			t.Errorf("%T: %v, want %q", value, err, refused[i].want)
		}
	}
	if err := protobuf.Codec.Check(nil); err == nil {
		t.Error("nil is accepted")
	}
}

func TestErrors(t *testing.T) {
	codectest.AppendError(t, protobuf.Codec, 7)
	codectest.AppendError[any](t, protobuf.Codec, nil)
	codectest.AppendError(t, protobuf.Codec, wrapperspb.String("\xff"))
	codectest.AppendError(t, protobuf.Codec, struct{ proto.Message }{})
	number := 7
	for _, target := range []any{nil, 7, &number, (**durationpb.Duration)(nil), &durationpb.Duration{}} {
		if err := protobuf.Codec.Decode(nil, target); err == nil || strings.Contains(err.Error(), "panic") {
			t.Errorf("Decode into %T: %v", target, err)
		}
	}
}

func TestHostileLengths(t *testing.T) {
	var inputs [][]byte
	for _, length := range []string{"\xff\xff\xff\xff\x0f", "\xff\xff\xff\xff\x07", "\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "\x80\x80\x40"} {
		for _, field := range []string{"\x0a", "\x12", "\x0a\x08\x0a"} {
			inputs = append(inputs, []byte(field+length), []byte(field+length+"abcdef"))
		}
	}
	codectest.HostileLengths[*structpb.Struct](t, protobuf.Codec, inputs...)
	codectest.HostileLengths[*wrapperspb.BytesValue](t, protobuf.Codec, inputs...)
	codectest.HostileLengths[*structpb.ListValue](t, protobuf.Codec, inputs...)
}

func TestAllocations(t *testing.T) {
	coder := codec.CoderFor[*durationpb.Duration](protobuf.Codec)
	value := durationpb.New(1500)
	buffer := make([]byte, 0, 64)
	encoded, err := coder.Append(nil, value)
	if err != nil {
		t.Fatal(err)
	}
	if got := testing.AllocsPerRun(100, func() { _, _ = coder.Append(buffer, value) }); got > 0 {
		t.Errorf("Append: %v allocations", got)
	}
	// The message, and the pointer to it, whose address goes through an interface.
	if got := testing.AllocsPerRun(100, func() { _, _ = coder.Decode(encoded) }); got > 2 {
		t.Errorf("Decode: %v allocations", got)
	}
}

func FuzzDecode(f *testing.F) {
	codectest.Fuzz(f, protobuf.Codec, document(f))
}

func BenchmarkDuration(b *testing.B) {
	value := durationpb.New(1500)
	coder := codec.CoderFor[*durationpb.Duration](protobuf.Codec)
	encoded, _ := coder.Append(nil, value)
	b.Run("Append", func(b *testing.B) {
		b.ReportAllocs()
		buffer := make([]byte, 0, 64)
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
	b.Run("Decode/library alone", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = proto.Unmarshal(encoded, new(durationpb.Duration))
		}
	})
}

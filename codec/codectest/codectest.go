package codectest

import (
	"bytes"
	"math"
	"reflect"
	"runtime"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/edict-go/edict/codec"
)

// The bound on what decoding n bytes may allocate: allowance + perByte*n. A value of one byte that
// becomes a struct of a few hundred is within it, a length that is believed is not.
const (
	allowance = 64 << 10
	perByte   = 1 << 10
)

// Conformance tests c with values of type V, which should differ and leave no field at zero in at
// least one of them. Input is cut short at every byte, or at a thousand where it is longer.
func Conformance[V any](t *testing.T, c codec.Codec, values ...V) {
	t.Helper()
	coders := map[string]codec.Coder[V]{"Codec": boxed[V](c), "Coder": codec.CoderFor[V](c)}
	for name, coder := range coders {
		t.Run(name, func(t *testing.T) {
			t.Run("Check", func(t *testing.T) {
				if err := c.Check(reflect.TypeFor[V]()); err != nil {
					t.Fatal(err)
				}
			})
			for _, value := range values {
				conform(t, coder, value)
			}
		})
	}
}

func conform[V any](t *testing.T, coder codec.Coder[V], value V) {
	t.Helper()
	encoded, err := coder.Append(nil, value)
	if err != nil {
		t.Fatalf("Append(%+v): %v", value, err)
	}

	decoded, err := coder.Decode(encoded)
	if err != nil {
		t.Fatalf("Decode(%q): %v", encoded, err)
	}
	if !Equal(decoded, value) {
		t.Errorf("decoded %+v, want %+v", decoded, value)
	}

	const prefix = "what was there before"
	for _, spare := range []int{0, 1, len(encoded), 10 * len(encoded)} {
		dst := append(make([]byte, 0, len(prefix)+spare), prefix...)
		out, err := coder.Append(dst, value)
		if err != nil {
			t.Fatalf("Append with %d bytes to spare: %v", spare, err)
		}
		rest, kept := bytes.CutPrefix(out, []byte(prefix))
		if !kept || string(dst) != prefix {
			t.Errorf("Append with %d bytes to spare: the prefix became %q", spare, out)
		} else if again, err := coder.Decode(rest); err != nil || !Equal(again, value) {
			t.Errorf("Append with %d bytes to spare: decoded %+v, %v", spare, again, err)
		}
	}

	src := bytes.Clone(encoded)
	decoded, err = coder.Decode(src)
	if err != nil || !bytes.Equal(src, encoded) {
		t.Errorf("Decode changed its input from %q to %q, error %v", encoded, src, err)
	}
	for i := range src {
		src[i] ^= 0xff
	}
	if !Equal(decoded, value) {
		t.Errorf("the decoded value refers to its input: became %+v", decoded)
	}

	for n := 0; n < len(encoded); n += 1 + len(encoded)/1000 {
		// Cut short, it may be another value; what it may not do is panic, nor read beyond the cut.
		decoded, err := coder.Decode(encoded[:n:n])
		if err == nil {
			if _, err := coder.Append(nil, decoded); err != nil {
				t.Errorf("decoded %+v from the first %d bytes, which can't be encoded: %v", decoded, n, err)
			}
		}
	}

	if decoded, err := coder.Decode(append(bytes.Clone(encoded), 0)); err == nil {
		t.Errorf("a byte after the value is no error; decoded %+v", decoded)
	}
}

// AppendError tests that c refuses to encode value, without a panic, and leaves dst as it was.
func AppendError[V any](t *testing.T, c codec.Codec, value V) {
	t.Helper()
	for name, coder := range map[string]codec.Coder[V]{"Codec": boxed[V](c), "Coder": codec.CoderFor[V](c)} {
		out, err := coder.Append([]byte("before"), value)
		if err == nil || string(out) != "before" {
			t.Errorf("%s: Append(%v) = %q, %v; want %q and an error", name, value, out, err, "before")
		}
	}
}

// HostileLengths tests that decoding each input into a V, successfully or not, allocates in
// proportion to the input.
func HostileLengths[V any](t *testing.T, c codec.Codec, inputs ...[]byte) {
	t.Helper()
	coder := codec.CoderFor[V](c)
	_, _ = coder.Decode(nil) // fills caches that are kept per type
	for _, input := range inputs {
		limit := allowance + perByte*uint64(len(input))
		if allocated := allocatedBy(func() { _, _ = coder.Decode(input) }); allocated > limit {
			t.Errorf("%d bytes allocated to decode the %d bytes %.40x", allocated, len(input), input)
		}
	}
}

// Fuzz tests that decoding never panics, allocates in proportion to the input, and that what was
// decoded is the same after encoding and decoding it again. The values are seeds.
func Fuzz[V any](f *testing.F, c codec.Codec, values ...V) {
	f.Helper()
	coder := codec.CoderFor[V](c)
	for _, value := range values {
		encoded, err := coder.Append(nil, value)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(encoded)
		f.Add(encoded[:len(encoded)/2])
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		var decoded V
		var err error
		allocated := allocatedBy(func() { decoded, err = coder.Decode(input) })
		// The fuzzer's own goroutines allocate meanwhile, so a mebibyte is for them.
		if limit := 1<<20 + perByte*uint64(len(input)); allocated > limit {
			t.Errorf("%d bytes allocated to decode %d bytes", allocated, len(input))
		}
		if err != nil {
			return
		}
		encoded, err := coder.Append(nil, decoded)
		if err != nil {
			t.Fatalf("decoded %+v, but can't encode it: %v", decoded, err)
		}
		again, err := coder.Decode(encoded)
		if err != nil {
			t.Fatalf("encoded %+v as %q, but can't decode that: %v", decoded, encoded, err)
		}
		if !Equal(again, decoded) {
			t.Errorf("%+v became %+v", decoded, again)
		}
	})
}

// allocatedBy returns the bytes that the process allocated while call ran.
func allocatedBy(call func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	call()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// boxed is how a codec that is no TypedCodec is used, for all codecs.
func boxed[V any](c codec.Codec) codec.Coder[V] {
	return codec.Coder[V]{
		Append: func(dst []byte, value V) ([]byte, error) { return c.Append(dst, value) },
		Decode: func(src []byte) (value V, err error) {
			err = c.Decode(src, &value)
			return value, err
		},
	}
}

// Equal reports whether two values are the same after a journey over the wire. It is
// reflect.DeepEqual, but NaN equals itself, no elements equal nil, messages are compared by
// proto.Equal, and values with a method Equal, such as time.Time, by that. Integers in interfaces are
// equal if their values are: a codec may write them in their shortest form, and then their type there
// depends on how they were written.
func Equal(a, b any) bool { return equal(reflect.ValueOf(a), reflect.ValueOf(b)) }

func equal(a, b reflect.Value) bool {
	if !a.IsValid() || !b.IsValid() {
		return a.IsValid() == b.IsValid()
	}
	if a.Type() != b.Type() {
		return false
	}
	if a.CanInterface() {
		if message, ok := a.Interface().(proto.Message); ok {
			return proto.Equal(message, b.Interface().(proto.Message))
		}
		if method := a.MethodByName("Equal"); method.IsValid() && !(a.Kind() == reflect.Pointer && a.IsNil()) {
			if t := method.Type(); t.NumIn() == 1 && t.In(0) == a.Type() &&
				t.NumOut() == 1 && t.Out(0).Kind() == reflect.Bool {
				return method.Call([]reflect.Value{b})[0].Bool()
			}
		}
	}
	switch a.Kind() {
	case reflect.Float32, reflect.Float64:
		return a.Float() == b.Float() || math.IsNaN(a.Float()) && math.IsNaN(b.Float())
	case reflect.Pointer, reflect.Interface:
		if a.IsNil() || b.IsNil() {
			return a.IsNil() == b.IsNil()
		}
		a, b := a.Elem(), b.Elem()
		switch {
		case a.CanInt() && b.CanUint():
			return a.Int() >= 0 && uint64(a.Int()) == b.Uint()
		case a.CanUint() && b.CanInt():
			return b.Int() >= 0 && uint64(b.Int()) == a.Uint()
		case a.CanInt() && b.CanInt():
			return a.Int() == b.Int()
		case a.CanUint() && b.CanUint():
			return a.Uint() == b.Uint()
		}
		return equal(a, b)
	case reflect.Slice, reflect.Array:
		if a.Len() != b.Len() {
			return false
		}
		if a.Kind() == reflect.Slice && a.Type().Elem().Kind() == reflect.Uint8 {
			return bytes.Equal(a.Bytes(), b.Bytes())
		}
		for i := range a.Len() {
			if !equal(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	case reflect.Map:
		if a.Len() != b.Len() {
			return false
		}
		for entries := a.MapRange(); entries.Next(); {
			other := b.MapIndex(entries.Key())
			if !other.IsValid() && entries.Key().CanFloat() && math.IsNaN(entries.Key().Float()) {
				continue // can't be looked up
			}
			if !other.IsValid() || !equal(entries.Value(), other) {
				return false
			}
		}
		return true
	case reflect.Struct:
		for i := range a.NumField() {
			if !equal(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	default:
		return a.Equal(b)
	}
}

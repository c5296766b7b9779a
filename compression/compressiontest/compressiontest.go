// Package compressiontest tests implementations of core.Compression: [Run] in a test, [Fuzz] in a fuzz
// target.
package compressiontest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/edict-go/edict/core"
)

// Random returns bytes that can't be compressed, always the same.
func Random(size int) []byte {
	source := rand.NewChaCha8([32]byte{1})
	random := make([]byte, size)
	_, _ = source.Read(random) // it never fails
	return random
}

// Text returns something like the JSON of a list of things, which can be compressed to a fraction.
func Text(size int) []byte {
	random := rand.New(rand.NewPCG(1, 2))
	var text bytes.Buffer
	for text.Len() < size {
		fmt.Fprintf(&text, `{"ID":%d,"Name":"customer %d","City":"%s","Balance":%d.%02d},`, random.IntN(1e6), random.IntN(1e4),
			[]string{"Amsterdam", "Berlin", "Copenhagen", "Dublin"}[random.IntN(4)], random.IntN(1e5), random.IntN(100))
	}
	return text.Bytes()[:size]
}

// samples are messages of all kinds.
func samples() map[string][]byte {
	samples := map[string][]byte{
		"empty": {}, "a byte": {0}, "zeros": make([]byte, 1<<20), "odd zeros": make([]byte, 1<<20+1),
		"a repeated word": []byte(strings.Repeat("word ", 10_000)),
	}
	for _, size := range []int{10, 255, 256, 1000, 4096, 65_535, 65_536, 65_792, 1<<17 + 1, 5 << 20} {
		samples[fmt.Sprintf("random %d", size)] = Random(size)
		samples[fmt.Sprintf("text %d", size)] = Text(size)
	}
	return samples
}

// Run tests what core.Compression asks for.
func Run(t *testing.T, compression core.Compression) {
	t.Run("bubble", func(t *testing.T) { bubble(t, compression) }) // as the first use of all
	t.Run("round trip", func(t *testing.T) { roundTrip(t, compression) })
	t.Run("ratio", func(t *testing.T) { ratio(t, compression) })
	t.Run("wrong bytes", func(t *testing.T) { wrongBytes(t, compression) })
	t.Run("lies", func(t *testing.T) { lies(t, compression) })
	t.Run("concurrent", func(t *testing.T) { concurrent(t, compression) })
}

func roundTrip(t *testing.T, compression core.Compression) {
	for name, sample := range samples() {
		for _, space := range []int{0, len(sample) / 2, len(sample), 2*len(sample) + 100} {
			encoded := compression.Append(append(make([]byte, 0, 6+space), "before"...), sample)
			if string(encoded[:6]) != "before" {
				t.Fatalf("%s: what was there before became %q", name, encoded[:6])
			}
			encoded = encoded[6:]
			size, err := compression.DecodedLen(encoded)
			if err != nil || size != len(sample) {
				t.Fatalf("%s: %d bytes are announced as %d, %v", name, len(sample), size, err)
			}
			decoded := bytes.Repeat([]byte("x"), size+10)
			if err := compression.Decode(decoded[:size], encoded); err != nil || !bytes.Equal(decoded[:size], sample) {
				t.Errorf("%s: %d bytes come back as others, %v", name, size, err)
			}
			if string(decoded[size:]) != "xxxxxxxxxx" {
				t.Errorf("%s: Decode writes behind its space", name)
			}
		}
	}
}

func ratio(t *testing.T, compression core.Compression) {
	if size := len(compression.Append(nil, Text(64<<10))); size > 40<<10 {
		t.Errorf("64 KiB of text become %d bytes", size)
	}
	if size := len(compression.Append(nil, Random(64<<10))); size > 65<<10 {
		t.Errorf("64 KiB of random bytes become %d", size)
	}
}

// wrongBytes decodes what was cut, changed, or never encoded. A wrong result is nothing that can be told
// without a checksum; a panic or a length that is not checked is.
func wrongBytes(t *testing.T, compression core.Compression) {
	random := rand.New(rand.NewPCG(3, 4))
	encoded := compression.Append(nil, Text(2000))
	size, err := compression.DecodedLen(encoded)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range encoded {
		if err := tryDecode(compression, encoded[:cut]); err == nil {
			t.Errorf("%d bytes of %d are decoded", cut, len(encoded))
		}
		if err := compression.Decode(make([]byte, size), encoded[:cut]); err == nil {
			t.Errorf("%d bytes of %d are decoded, if their length is not asked for", cut, len(encoded))
		}
		for range 10 {
			changed := bytes.Clone(encoded)
			changed[cut] = byte(random.Uint32())
			_ = tryDecode(compression, changed)
		}
	}
	for i := range 10_000 {
		garbage := Random(i + 200)[i : i+random.IntN(200)]
		_ = tryDecode(compression, garbage)
		_ = compression.Decode(make([]byte, random.IntN(1000)), garbage)
	}
}

// largest is the largest announced length that tests decode.
const largest = 1 << 20

// tryDecode decodes src as a receiver does.
func tryDecode(compression core.Compression, src []byte) error {
	size, err := compression.DecodedLen(src)
	if err != nil || size < 0 || size > largest {
		return fmt.Errorf("%d bytes, %w", size, err)
	}
	return compression.Decode(make([]byte, size), src)
}

// lies decodes what has another length than dst.
func lies(t *testing.T, compression core.Compression) {
	sample := Text(10_000)
	encoded := compression.Append(nil, sample)
	for _, size := range []int{0, 1, len(sample) - 1, len(sample) + 1, 10 * len(sample)} {
		if err := compression.Decode(make([]byte, size), encoded); err == nil {
			t.Errorf("%d bytes fill %d", len(sample), size)
		}
	}
	bomb := compression.Append(nil, make([]byte, 64<<20))
	if allocated := allocatedBy(func() {
		if err := compression.Decode(make([]byte, 1000), bomb); err == nil {
			t.Error("64 MiB fill 1000 bytes")
		}
	}); allocated > 1<<20 {
		t.Errorf("%d bytes allocated for 1000", allocated)
	}
}

func allocatedBy(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func concurrent(t *testing.T, compression core.Compression) {
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			for j := range 20 {
				sample := Text(1000 * (i*j%17 + 1))
				encoded := compression.Append(nil, sample)
				decoded := make([]byte, len(sample))
				if err := compression.Decode(decoded, encoded); err != nil || !bytes.Equal(decoded, sample) {
					t.Errorf("%d bytes: %v", len(sample), err)
				}
			}
		})
	}
	group.Wait()
}

// bubble uses the compression in several bubbles of synctest and outside: tests of whoever uses it do.
func bubble(t *testing.T, compression core.Compression) {
	for range 2 {
		synctest.Test(t, func(t *testing.T) { concurrent(t, compression) })
	}
	concurrent(t, compression)
}

// Fuzz is the body of a fuzz target. Whatever bytes come: there is no panic, no more is allocated than in
// proportion to the length that was announced and checked, and what was decoded is encoded and decoded
// again.
func Fuzz(f *testing.F, compression core.Compression) {
	for _, sample := range []string{"", "a", "text text text text", strings.Repeat("a", 10_000), string(Random(300)), string(Text(1000))} {
		f.Add(compression.Append(nil, []byte(sample)))
	}
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0xff}, 20))
	f.Fuzz(func(t *testing.T, src []byte) {
		size, err := compression.DecodedLen(src)
		if err != nil {
			return
		}
		if size < 0 {
			t.Fatalf("a length of %d", size)
		}
		if size > largest { // is refused; but if it were not
			size = 1000
		}
		decoded := make([]byte, size)
		var failed error
		if allocated := allocatedBy(func() { failed = compression.Decode(decoded, src) }); allocated > uint64(2*size+1<<20) {
			t.Errorf("%d bytes were allocated to decode %d", allocated, size)
		}
		if failed != nil {
			return
		}
		again := make([]byte, size)
		if err := compression.Decode(again, compression.Append(nil, decoded)); err != nil || !bytes.Equal(decoded, again) {
			t.Errorf("%q became %q, %v", decoded, again, err)
		}
	})
}

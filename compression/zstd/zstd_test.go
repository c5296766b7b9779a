package zstd_test

import (
	"bytes"
	"testing"

	library "github.com/klauspost/compress/zstd"

	"github.com/edict-go/edict/compression/compressiontest"
	"github.com/edict-go/edict/compression/zstd"
)

func TestCompression(t *testing.T) {
	if name := zstd.Compression.Name(); name != "zstd" {
		t.Errorf("it is called %q", name)
	}
	compressiontest.Run(t, zstd.Compression)
}

// What doesn't tell its size is Zstandard, but nothing that a receiver could bound.
func TestFramesWithoutASize(t *testing.T) {
	var stream bytes.Buffer
	writer, err := library.NewWriter(&stream)
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if _, err := writer.Write(compressiontest.Text(100_000)); err != nil {
			t.Fatal(err)
		}
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	skippable := []byte{0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 'x'}
	for _, frame := range [][]byte{stream.Bytes(), skippable} {
		if size, err := zstd.Compression.DecodedLen(frame); err == nil {
			t.Errorf("% x... announces %d bytes", frame[:9], size)
		}
	}
}

// Frames of others, with a checksum, more segments than one and the largest window, are decoded too.
func TestFramesOfOthers(t *testing.T) {
	text := compressiontest.Text(1 << 20)
	for name, options := range map[string][]library.EOption{
		"defaults":     nil,
		"best":         {library.WithEncoderLevel(library.SpeedBestCompression), library.WithWindowSize(library.MaxWindowSize)},
		"small window": {library.WithWindowSize(library.MinWindowSize), library.WithSingleSegment(false)},
	} {
		writer, err := library.NewWriter(nil, options...)
		if err != nil {
			t.Fatal(err)
		}
		frame := writer.EncodeAll(text, nil)
		size, err := zstd.Compression.DecodedLen(frame)
		if err != nil || size != len(text) {
			t.Fatalf("%s: %d, %v", name, size, err)
		}
		decoded := make([]byte, size)
		if err := zstd.Compression.Decode(decoded, frame); err != nil || !bytes.Equal(decoded, text) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDecode(f *testing.F) { compressiontest.Fuzz(f, zstd.Compression) }

// Package zstd is the compression Zstandard (RFC 8878), for edict.WithCompression, at its quickest level. It
// makes messages smaller than package s2 does, and takes two to five times as long.
//
// As many messages are compressed at a time as there are processors, and as many inflated; more of them
// wait. What is kept for that is half a MiB per processor, and 2 MiB more from its first large message on.
//
// # Format
//
// A compressed body is one frame that tells the size of its content, without a dictionary.
//
// # Bad input
//
// The size of the content is looked at before anything is allocated for it. Frames that don't tell it are
// refused, and nothing decodes to more than was told.
package zstd

import (
	"errors"
	"fmt"
	"math"

	"github.com/klauspost/compress/zstd"

	"github.com/edict-go/edict/core"
)

// Compression is Zstandard, under the name "zstd". Safe for concurrent use.
var Compression core.Compression = compression{}

type compression struct{}

// window is how far back a message is searched for what repeats. It is what an encoder keeps in memory,
// twice.
const window = 1 << 20

// Both have channels inside, and so are made when the program starts: a test that uses them first, in a
// bubble of testing/synctest, would make them its own.
var (
	encoder = newEncoder()
	decoder = newDecoder()
)

func newEncoder() *zstd.Encoder {
	// A frame of a single segment tells the size of its content, however small. Connections have checksums
	// of their own.
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(window),
		zstd.WithSingleSegment(true), zstd.WithEncoderCRC(false))
	if err != nil {
		panic(err) // the options are wrong
	}
	e.EncodeAll([]byte{0}, nil) // the first use makes the rest
	return e
}

func newDecoder() *zstd.Decoder {
	// The window of a single segment is its content, for which there is memory: nothing is allocated for it.
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxWindow(math.MaxInt32), zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		panic(err) // the options are wrong
	}
	return d
}

// Name implements core.Compression.
func (compression) Name() string { return "zstd" }

// Append implements core.Compression.
func (compression) Append(dst, src []byte) []byte { return encoder.EncodeAll(src, dst) }

// DecodedLen implements core.Compression.
func (compression) DecodedLen(src []byte) (int, error) {
	var header zstd.Header
	if err := header.Decode(src); err != nil {
		return 0, err
	}
	if header.Skippable || !header.HasFCS {
		return 0, errNoSize
	}
	return int(min(header.FrameContentSize, math.MaxInt)), nil
}

var errNoSize = errors.New("zstd: the frame doesn't tell the size of its content")

// Decode implements core.Compression.
func (compression) Decode(dst, src []byte) error {
	decoded, err := decoder.DecodeAll(src, dst[:0:len(dst)])
	if err == nil && len(decoded) != len(dst) {
		err = fmt.Errorf("zstd: %d bytes where %d are wanted", len(decoded), len(dst))
	}
	if err == nil && len(dst) > 0 && &decoded[0] != &dst[0] { // it does not say that it won't
		copy(dst, decoded)
	}
	return err
}

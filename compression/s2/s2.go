// Package s2 is the compression S2 (an extension of Snappy), for edict.WithCompression. It is the quick one:
// it compresses text at some hundred MB a second and inflates it at a multiple of that.
//
// # Format
//
// A compressed body is one S2 block, which begins with the length of what it decodes to. Blocks of Snappy
// are S2 blocks too.
//
// # Bad input
//
// The length that a block announces is looked at before anything is allocated for it, and no block decodes
// to more than it announces.
package s2

import (
	"fmt"

	"github.com/klauspost/compress/s2"

	"github.com/edict-go/edict/core"
)

// Compression is S2, under the name "s2". Safe for concurrent use.
var Compression core.Compression = compression{}

type compression struct{}

// Name implements core.Compression.
func (compression) Name() string { return "s2" }

// Append implements core.Compression.
func (compression) Append(dst, src []byte) []byte {
	space := dst[len(dst):cap(dst)]
	encoded := s2.Encode(space, src)
	if s2.MaxEncodedLen(len(src)) <= len(space) { // it is there already
		return dst[:len(dst)+len(encoded)]
	}
	return append(dst, encoded...)
}

// DecodedLen implements core.Compression.
func (compression) DecodedLen(src []byte) (int, error) { return s2.DecodedLen(src) }

// Decode implements core.Compression.
func (compression) Decode(dst, src []byte) error {
	size, err := s2.DecodedLen(src)
	if err == nil && size != len(dst) { // s2.Decode would make a slice of its own
		err = fmt.Errorf("s2: %d bytes where %d are wanted", size, len(dst))
	}
	if err == nil {
		_, err = s2.Decode(dst, src)
	}
	return err
}

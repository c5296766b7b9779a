package transport

import (
	"bytes"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/edict-go/edict/core"
)

// splitting gives a text in pieces of random size.
type splitting struct {
	rest   []byte
	random *rand.Rand
}

func (s *splitting) Read(target []byte) (int, error) {
	if len(s.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(target, s.rest[:1+s.random.IntN(min(len(s.rest), 100))])
	s.rest = s.rest[n:]
	return n, nil
}

// FuzzReceive reads arbitrary bytes: whatever they are, the frames don't depend on how the bytes are
// split, what is allocated stays in proportion, and what was read as frames is encoded to the same
// bytes again.
func FuzzReceive(f *testing.F) {
	stream, _ := encoded(samples()[:6])
	f.Add(stream, uint64(1))
	f.Add(header(core.KindCommand, 1<<30), uint64(2))
	f.Add(append(header(core.KindResult, 70_000), make([]byte, 1000)...), uint64(3))
	f.Add(append(header(core.KindResult, 40_000), make([]byte, 40_100)...), uint64(4))
	f.Add(append(part(core.KindInput, core.FlagMore, 3, "a"), part(core.KindInput, 0, 3, "b")...), uint64(5))
	f.Add(append(part(core.KindResult, core.FlagMore, 3, "a"), part(core.KindAbort, 0, 3, "")...), uint64(6))
	for _, frame := range samples()[:6] {
		f.Add(AppendFrame(nil, frame), uint64(frame.Sequence))
	}
	f.Fuzz(func(t *testing.T, stream []byte, seed uint64) {
		config := Config{MaxReceive: 50_000}
		var want []seen
		var wantErr error
		used := allocated(func() { want, wantErr = receiveAll(reading(bytes.NewReader(stream), config)) })
		if bound := uint64(4*readSize + 40*len(stream)); used > bound {
			t.Errorf("%d bytes made it allocate %d", len(stream), used)
		}
		got, err := receiveAll(reading(&splitting{stream, rand.New(rand.NewPCG(seed, seed))}, config))
		if !slices.Equal(got, want) || (err == nil) != (wantErr == nil) || err.Error() != wantErr.Error() {
			t.Errorf("split it gives %d frames and %v, whole %d and %v", len(got), err, len(want), wantErr)
		}
		at := core.Position(0)
		for _, frame := range want {
			size := HeaderSize + payloadSize(&core.Frame{Flags: frame.flags, Metadata: []byte(frame.metadata), Body: []byte(frame.body)})
			if frame.oversize || frame.kind == core.KindPadding || frame.end-at != core.Position(size) {
				at = frame.end // skipped frames have no content to compare
				continue
			}
			again := AppendFrame(nil, core.Frame{
				Kind: frame.kind, Flags: frame.flags, Command: frame.command, Sequence: frame.sequence,
				Timeout: frame.timeout, Metadata: []byte(frame.metadata), Body: []byte(frame.body),
			})
			original := bytes.Clone(stream[at:frame.end])
			if frame.flags&core.FlagTimeout != 0 {
				original[HeaderSize+7] &= 0x7f // the sign bit of a timeout is ignored
			}
			if !bytes.Equal(again, original) {
				t.Errorf("the frame at %d is encoded as % x, was % x", at, again, original)
			}
			at = frame.end
		}
	})
}

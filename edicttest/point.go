package edicttest

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/edict-go/edict/transport"
)

// Point is a place in the bytes of one direction of a connection: between two bytes. Faults happen
// when all bytes before the point have been delivered and none behind it. The zero Point is the
// beginning.
type Point struct {
	framed bool
	frame  int
	offset int64
}

// Bytes is the point after the first n bytes of a direction, whatever they mean.
func Bytes(n int64) Point { return Point{offset: max(0, n)} }

// Frames is the point after n whole frames of Edict's protocol. The handshake does not count: neither
// the preface nor the first frame of a direction, HELLO or WELCOME. All others do, of whatever kind.
// So Frames(0) is where the first command begins, and Frames(1) where it ends. In bytes that are not
// Edict's (TLS, for example) the point is never reached.
func Frames(n int) Point { return InFrame(n, 0) }

// InFrame is the point after the first offset bytes of frame n, counted from 0 as in Frames: a
// frame has 16 bytes of header and then the payload. If the frame is shorter, the point is in what
// follows.
func InFrame(n, offset int) Point {
	return Point{framed: true, frame: max(0, n), offset: max(0, int64(offset))}
}

// String returns the point as it is written.
func (p Point) String() string {
	switch {
	case !p.framed:
		return fmt.Sprintf("Bytes(%d)", p.offset)
	case p.offset == 0:
		return fmt.Sprintf("Frames(%d)", p.frame)
	}
	return fmt.Sprintf("InFrame(%d, %d)", p.frame, p.offset)
}

// frameCounter follows the frames of one direction, as its bytes are delivered. It keeps no more
// than a header.
type frameCounter struct {
	position int64 // bytes so far
	number   int   // of the current frame, plus 2: 0 is the preface, 1 HELLO or WELCOME
	start    int64 // where it begins
	head     [transport.HeaderSize]byte
	have     int   // bytes in head
	payload  int64 // still to come, once head is complete
	foreign  bool  // not Edict's protocol
}

const (
	partPreface = 0 // then comes the handshake's frame
	partFrames  = 2
	magic       = "EDICT\n"
)

// headSize is how many bytes the head of the current frame has.
func (f *frameCounter) headSize() int {
	if f.number == partPreface {
		return transport.PrefaceSize
	}
	return transport.HeaderSize
}

// step returns how many bytes may be added at once: those up to the next place where something is
// learned. It is 1 at least.
func (f *frameCounter) step() int64 {
	switch {
	case f.foreign:
		return math.MaxInt64
	case f.have < f.headSize():
		return int64(f.headSize() - f.have)
	}
	return f.payload
}

// add takes note of data, of step bytes at most.
func (f *frameCounter) add(data []byte) {
	f.position += int64(len(data))
	if f.foreign {
		return
	}
	if f.have < f.headSize() {
		f.have += copy(f.head[f.have:f.headSize()], data)
		if f.have < f.headSize() {
			return
		}
		if f.number == partPreface {
			f.foreign = string(f.head[:len(magic)]) != magic
			f.payload = 0
		} else {
			f.payload = int64(binary.LittleEndian.Uint32(f.head[:4]))
		}
	} else {
		f.payload -= int64(len(data))
	}
	if f.payload == 0 {
		f.number++
		f.start = f.position
		f.have = 0
	}
}

// find returns the offset of point, if it is known by now: that of one in a frame is from the
// frame's beginning on, and -1 when the frame has ended.
func (f *frameCounter) find(point Point) (offset int64, known bool) {
	offset = point.offset
	if point.framed {
		current := f.number - partFrames
		if f.foreign || point.frame > current {
			return 0, false
		}
		if point.frame < current {
			return -1, true
		}
		offset += f.start
	}
	return offset, true
}

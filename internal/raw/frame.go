package raw

import (
	"encoding/binary"
	"errors"
	"net"
)

// operation is the top byte of a frame's sequence.
type operation byte

const (
	operationEcho    operation = 0 // answered at once, from the server's read loop
	operationDelayed operation = 1 // answered by a goroutine of its own that sleeps first
	operationStream  operation = 2 // answered by results and one end; the body is a streamRequest
	operationEnd     operation = 3 // the last frame of a stream, without a body
)

const (
	lengthSize   = 4
	sequenceSize = 8
	headerSize   = lengthSize + sequenceSize

	operationShift = 56
	slotMask       = 1<<operationShift - 1

	// maxBody bounds what a length from the wire can make a reader allocate.
	maxBody = 16 << 20

	smallestReadBuffer = 1 << 10
	largestReadBuffer  = 256 << 10
)

var errFrame = errors.New("raw: malformed frame")

// appendFrame appends one whole frame to buffer.
func appendFrame(buffer []byte, kind operation, slot uint64, body []byte) []byte {
	buffer = binary.LittleEndian.AppendUint32(buffer, uint32(sequenceSize+len(body)))
	buffer = binary.LittleEndian.AppendUint64(buffer, uint64(kind)<<operationShift|slot)
	return append(buffer, body...)
}

// reader cuts frames out of large reads. It starts small, so that an idle connection stays small,
// and grows when a read fills it. Owned by one read loop.
type reader struct {
	buffer []byte
	start  int // of the first byte not yet handed out
	end    int // of the last byte read
}

// next returns the next frame that is complete in the buffer, header included, without reading; nil
// if there is none. The frame is valid until room is called.
func (r *reader) next() ([]byte, error) {
	if r.end-r.start < headerSize {
		return nil, nil
	}
	length := int(binary.LittleEndian.Uint32(r.buffer[r.start:]))
	if length < sequenceSize || length > sequenceSize+maxBody {
		return nil, errFrame
	}
	if r.end-r.start < lengthSize+length {
		return nil, nil
	}
	frame := r.buffer[r.start : r.start+lengthSize+length]
	r.start += lengthSize + length
	return frame, nil
}

// room returns where the next read may put its bytes, after making place for at least the frame that
// has begun. It is called when next has returned nil.
func (r *reader) room() []byte {
	wanted := headerSize
	if r.end-r.start >= headerSize {
		wanted = lengthSize + int(binary.LittleEndian.Uint32(r.buffer[r.start:])) // next has checked it
	}
	switch {
	case r.start == r.end:
		r.start, r.end = 0, 0
	case r.start+wanted > len(r.buffer) || r.end == len(r.buffer):
		target := r.buffer
		if wanted > len(target) {
			target = make([]byte, max(wanted, min(2*len(target), largestReadBuffer)))
		}
		r.end = copy(target, r.buffer[r.start:r.end])
		r.start, r.buffer = 0, target
	}
	return r.buffer[r.end:]
}

// filled takes count bytes that a read has put into room.
func (r *reader) filled(count int) {
	r.end += count
	if r.end < len(r.buffer) {
		return
	}
	if len(r.buffer) < largestReadBuffer {
		larger := make([]byte, 2*len(r.buffer))
		r.end = copy(larger, r.buffer[r.start:r.end])
		r.start, r.buffer = 0, larger
	}
}

// readAll reads from conn until it ends and calls handle after each read, to take what next has. It
// returns the error of handle or of reading.
func readAll(conn net.Conn, handle func(*reader) error) error {
	r := &reader{buffer: make([]byte, smallestReadBuffer)}
	if done, err := readRaw(conn, r, handle); done {
		return err
	}
	for {
		count, err := conn.Read(r.room())
		if count > 0 {
			r.filled(count)
			if err := handle(r); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
	}
}

// splitSequence returns the operation and slot of a whole frame.
func splitSequence(frame []byte) (operation, uint64) {
	sequence := binary.LittleEndian.Uint64(frame[lengthSize:])
	return operation(sequence >> operationShift), sequence & slotMask
}

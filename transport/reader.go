package transport

import (
	"encoding/binary"
	"io"
	"sync/atomic"

	"github.com/edict-go/edict/core"
)

// readSize is how much is read at once: what a socket holds under load, so that one system call
// brings many frames.
const readSize = 64 << 10

// idleSize is how much is read at once of a connection that can't be tried without waiting, until a
// read has filled it: the buffer is held while the connection is idle.
const idleSize = 2 << 10

// growStep is how much memory a large frame gets before its bytes have arrived, half as much again
// if that is all of it; then the buffer doubles as they come.
const growStep = 64 << 10

// headSize is how much is read at once when a large frame has just come, for another one is likely:
// what is read of it here is copied, the rest of it is read to where it stays.
const headSize = 4 << 10

// reader cuts the incoming bytes into frames. Owned by the goroutine that receives.
//
// It is a parser that takes bytes as they come: parse returns the next frame, or false if it needs
// more of them, which then go where target says and are announced with arrived.
type reader struct {
	owner *Conn

	buffer   *core.Buffer // nil while idle
	data     []byte       // received, not yet taken; aliases buffer
	position core.Position

	received atomic.Uint64 // bytes read so far; others may read it, and
	counted  atomic.Uint64 // frames, as of the last read
	frames   uint64        // so far, as far as their headers are known

	frame  core.Frame   // the frame that parse returns, or whose payload is coming
	large  *core.Buffer // if not nil: the payload of frame, in part; with part, perhaps some before it
	part   *partial     // if not nil: frame is a part of this message
	length int          // of that payload
	skip   int64        // what is still to come of a payload that is too long

	acknowledged core.Position // what the peer was told to have come; only if the connection can be resumed

	afterLarge bool // the last frame was large
	busy       bool // the last read brought more than idleSize
	running    bool // in run: the handshake is over
	again      bool // parseNext has taken a part, and there may be more in data

	frameStart core.Position              // of the frame whose payload goes to large or is skipped
	partials   map[core.Sequence]*partial // messages of which a part has come
	slow       *slowness                  // nil until something was incomplete

	// For tryRead, which is made once because a closure per read would be an allocation.
	tryRead    func(fd uintptr) bool
	handle     func(*core.Frame) error // of run; nil in readSome
	readFailed error
	broken     bool // it is the connection underneath that has failed
}

func (r *reader) init(owner *Conn) {
	r.owner = owner
	r.tryRead = r.readWithoutWaiting
}

// next reads until it has a frame, which is valid until the next call.
func (r *reader) next() (*core.Frame, error) {
	for {
		frame, err := r.parse()
		if frame != nil || err != nil {
			return frame, err
		}
		if err := r.readSome(); err != nil {
			return nil, err
		}
	}
}

// run calls handle with each frame until it, or reading, fails.
func (r *reader) run(handle func(*core.Frame) error) error {
	r.running = true
	if r.owner.raw == nil {
		for {
			frame, err := r.next()
			if err == nil {
				err = handle(frame)
			}
			if err != nil {
				return err
			}
		}
	}
	// The loop runs within one read of the socket, which saves the runtime's part of a read per burst.
	if err := r.handleAll(handle); err != nil {
		return err
	}
	r.handle = handle
	defer func() { r.handle = nil }()
	for {
		err := r.owner.raw.Read(r.tryRead)
		if err == nil {
			return r.readFailed
		}
		if !r.isOverdue(err) {
			r.broken = true
			return err
		}
		if err := r.overdue(); err != nil {
			return err
		}
	}
}

// isOverdue reports whether reading has failed because of the deadline that pause has set.
func (r *reader) isOverdue(err error) bool {
	return IsTimeout(err) && r.slow != nil && !r.slow.armed.IsZero()
}

// handleAll passes the frames that have arrived to handle.
func (r *reader) handleAll(handle func(*core.Frame) error) error {
	for {
		frame, err := r.parse()
		if err == nil && frame == nil {
			r.acknowledge()
			return nil
		}
		if err == nil {
			err = handle(frame)
		}
		if err != nil {
			return err
		}
	}
}

// parse returns the next frame, or nil if more bytes are needed for it.
func (r *reader) parse() (*core.Frame, error) {
	for {
		frame, err := r.parseNext()
		if frame != nil || err != nil || !r.again {
			return frame, err
		}
		r.again = false
	}
}

// parseNext is parse, but it also returns nil when it has taken one part of a message.
func (r *reader) parseNext() (*core.Frame, error) {
	if r.large != nil {
		return r.parseLarge()
	}
	if r.skip > 0 {
		return r.parseSkipped()
	}
	if len(r.data) < HeaderSize {
		return nil, nil
	}
	length := parseHeader(r.data, &r.frame)
	r.frame.End = r.position + HeaderSize + core.Position(length)
	switch {
	case r.isPart():
		r.frames++
		r.frameStart = r.position
		r.discard(HeaderSize)
		return r.parsePart(length)
	case int64(length) > int64(r.owner.config.MaxReceive):
		r.frames++
		r.frameStart = r.position
		r.discard(HeaderSize)
		r.frame.Oversize = true
		r.skip = int64(length)
		return r.parseSkipped()
	case length >= core.LargeBody:
		r.frames++
		return r.startLarge(int(length), firstSize(int(length)))
	}
	total := HeaderSize + int(length)
	if len(r.data) < total {
		return nil, nil
	}
	r.afterLarge = false
	r.frames++
	payload := r.data[HeaderSize:total:total]
	r.discard(total)
	if err := parsePayload(&r.frame, payload); err != nil {
		return nil, err
	}
	r.frame.More = r.nextIsWhole()
	return &r.frame, nil
}

// startLarge begins with a payload, whose header is the first in data, that gets a buffer of its own.
func (r *reader) startLarge(length, first int) (*core.Frame, error) {
	r.frameStart = r.position
	r.discard(HeaderSize)
	r.length = length
	r.large = core.GetBuffer(first)
	if !r.charge(r.large, cap(r.large.Bytes), 0) {
		return r.dropLarge()
	}
	return r.parseLarge()
}

// dropLarge gives up the payload that is coming, because there is no room for it. The rest is skipped.
func (r *reader) dropLarge() (*core.Frame, error) {
	r.skip = int64(r.length - len(r.large.Bytes))
	if r.part == nil {
		r.large.Release()
		r.frame.Oversize, r.frame.NoRoom = true, true
	} else {
		r.dropPart()
	}
	r.large = nil
	return r.parseSkipped()
}

// parseSkipped passes over a payload that is too long.
func (r *reader) parseSkipped() (*core.Frame, error) {
	n := min(r.skip, int64(len(r.data)))
	r.discard(int(n))
	if r.skip -= n; r.skip > 0 {
		return nil, nil
	}
	if r.part != nil {
		return r.finishPart(nil)
	}
	return &r.frame, nil
}

// firstSize is the size of the first buffer for a large payload.
func firstSize(length int) int {
	if length <= growStep+growStep/2 {
		return length
	}
	return growStep
}

// nextIsWhole reports whether the next frame is in data, all of it, and will be handled.
func (r *reader) nextIsWhole() bool {
	if len(r.data) < HeaderSize || core.Flags(r.data[5])&core.FlagMore != 0 || len(r.partials) > 0 {
		return false
	}
	switch core.Kind(r.data[4]) {
	case core.KindPadding, core.KindAbort, core.KindAck: // the Conn's own
		return false
	}
	length := int64(binary.LittleEndian.Uint32(r.data))
	return length < core.LargeBody && length <= int64(r.owner.config.MaxReceive) && int64(len(r.data)) >= HeaderSize+length
}

// parseLarge moves what has arrived to the buffer of a large payload.
func (r *reader) parseLarge() (*core.Frame, error) {
	for len(r.large.Bytes) < r.length {
		if len(r.large.Bytes) == cap(r.large.Bytes) && !r.growLarge() {
			return r.dropLarge()
		}
		if len(r.data) == 0 {
			return nil, nil
		}
		n := copy(r.largeSpace(), r.data)
		r.large.Bytes = r.large.Bytes[:len(r.large.Bytes)+n]
		r.discard(n)
	}
	buffer := r.large
	r.large = nil
	r.afterLarge = true
	if r.part != nil {
		return r.finishPart(buffer)
	}
	if err := parsePayload(&r.frame, buffer.Bytes); err != nil {
		buffer.Release()
		return nil, err
	}
	buffer.Bytes = r.frame.Body
	r.frame.Buffer = buffer
	return &r.frame, nil
}

// growLarge makes room for more of a large payload, whose buffer is full, or reports that there is none.
func (r *reader) growLarge() bool {
	grown := core.GetBuffer(min(r.length, 2*len(r.large.Bytes)))
	held, charged := 0, 0
	if r.part != nil {
		held, charged = r.part.held, r.part.charged
	}
	if !r.charge(r.large, held+cap(grown.Bytes), charged) {
		grown.Release()
		return false
	}
	grown.Bytes = append(grown.Bytes, r.large.Bytes...)
	r.large.MoveCharge(grown)
	r.large.Release()
	r.large = grown
	return true
}

// largeSpace returns where more of a large payload goes. The buffer is not full.
func (r *reader) largeSpace() []byte {
	return r.large.Bytes[len(r.large.Bytes):min(r.length, cap(r.large.Bytes))]
}

// target returns where the next bytes of the connection go: straight to the buffer of a large
// payload, if one is coming, else behind data.
func (r *reader) target() []byte {
	r.counted.Store(r.frames)
	if r.large != nil {
		return r.largeSpace()
	}
	if len(r.data) == 0 && r.buffer != nil && cap(r.buffer.Bytes) >= readSize && r.owner.account.Pressed() {
		r.idle()
	}
	if r.buffer == nil {
		r.buffer = core.GetBuffer(r.size())
	}
	// Make room: the rest of a frame must fit behind data, and reading into a small rest of the
	// buffer is not worth a system call.
	switch {
	case len(r.data) == 0:
		r.data = r.buffer.Bytes[:0]
		if r.afterLarge {
			return r.data[:min(headSize, cap(r.data))]
		}
	case r.running && r.owner.raw == nil && cap(r.buffer.Bytes) >= HeaderSize+smallFrame && cap(r.buffer.Bytes) < readSize:
		r.data = append(r.buffer.Bytes[:0], r.data...) // shrink has seen to it that the frame fits
	case cap(r.buffer.Bytes) < readSize: // a part of a frame, which may not fit
		grown := core.GetBuffer(max(r.size(), min(2*cap(r.buffer.Bytes), readSize)))
		r.data = append(grown.Bytes, r.data...)
		r.buffer.Release()
		r.buffer = grown
	case cap(r.data)-len(r.data) < readSize/2:
		r.data = append(r.buffer.Bytes[:0], r.data...)
	}
	return r.data[len(r.data):cap(r.data)]
}

// size returns how large a buffer is to be read to.
func (r *reader) size() int {
	if !r.running || r.owner.raw == nil && !r.busy || r.owner.account.Pressed() {
		return idleSize
	}
	return readSize
}

// arrived takes note of n bytes that were read to target.
func (r *reader) arrived(n int) {
	r.received.Add(uint64(n))
	if r.large != nil {
		r.large.Bytes = r.large.Bytes[:len(r.large.Bytes)+n]
		r.position += core.Position(n)
		return
	}
	r.data = r.data[:len(r.data)+n]
	r.busy = n >= idleSize
}

// discard drops the first size bytes of data.
func (r *reader) discard(size int) {
	r.data = r.data[size:]
	r.position += core.Position(size)
}

// idle gives the buffer back, if nothing is in it, and forgets what the last frame had in it or in one of its own:
// idle connections are cheap.
func (r *reader) idle() {
	if r.buffer != nil && len(r.data) == 0 {
		r.data, r.frame.Body, r.frame.Metadata, r.frame.Buffer = nil, nil, nil, nil
		r.buffer.Release()
		r.buffer = nil
	}
}

// release gives all buffers back, when nobody reads any more.
func (r *reader) release() {
	if r.large != nil && (r.part == nil || r.part.buffer == nil || r.part.buffer.Last() != r.large) {
		r.large.Release()
	}
	for _, message := range r.partials {
		message.buffer.Release()
	}
	r.buffer.Release()
	r.large, r.partials, r.buffer, r.data = nil, nil, nil, nil
}

// end returns the error for the end of the connection: io.EOF between two frames, else
// io.ErrUnexpectedEOF.
func (r *reader) end() error {
	if len(r.data) > 0 || r.large != nil || r.skip > 0 || len(r.partials) > 0 {
		return io.ErrUnexpectedEOF
	}
	return io.EOF
}

// readSome waits for at least one byte.
func (r *reader) readSome() error {
	if r.owner.raw != nil {
		if err := r.owner.raw.Read(r.tryRead); err != nil {
			return err
		}
		return r.readFailed
	}
	r.acknowledge()
	if r.running && r.incomplete() {
		if err := r.pause(); err != nil {
			return err
		}
	}
	if r.running && r.buffer != nil && (r.busy == (cap(r.buffer.Bytes) < readSize) || r.buffer.Charged() > 0) {
		r.idle() // target gets one of the other size, or one that is not charged, as shrink has done for a frame in part
	}
	for {
		n, err := r.owner.conn.Read(r.target())
		switch {
		case n > 0:
			r.arrived(n)
			return nil
		case err == io.EOF:
			r.broken = true
			return r.end()
		case err != nil && r.running && r.isOverdue(err):
			if err := r.overdue(); err != nil {
				return err
			}
		case err != nil:
			r.broken = true
			return err
		}
	}
}

// prefix reads exactly len(target) bytes, before the first frame.
func (r *reader) prefix(target []byte) error {
	for len(r.data) < len(target) {
		if err := r.readSome(); err != nil {
			return err
		}
	}
	copy(target, r.data)
	r.discard(len(target))
	return nil
}

package transport

import (
	"io"

	"github.com/edict-go/edict/core"
)

// readSize is how much is read at once: what a socket holds under load, so that one system call
// brings many frames.
const readSize = 64 << 10

// growStep is how much memory a large frame gets before its bytes have arrived; then the buffer
// doubles as they come.
const growStep = 64 << 10

// reader cuts the incoming bytes into frames. Owned by the goroutine that calls Receive.
type reader struct {
	owner *Conn

	buffer   *core.Buffer // nil while idle
	data     []byte       // received, not yet taken; aliases buffer
	position core.Position

	// For tryRead, which is made once because a closure per read would be an allocation.
	tryRead    func(fd uintptr) bool
	target     []byte // where tryRead reads to; nil: to the end of buffer
	readBytes  int
	readFailed error
}

func (r *reader) init(owner *Conn) {
	r.owner = owner
	r.tryRead = r.readWithoutWaiting
}

// next returns the next frame. Its body aliases the read buffer or is in frame.Buffer.
func (r *reader) next() (core.Frame, error) {
	if err := r.fill(HeaderSize); err != nil {
		return core.Frame{}, err
	}
	frame, length := parseHeader(r.data)
	frame.End = r.position + HeaderSize + core.Position(length)
	switch {
	case int64(length) > int64(r.owner.config.MaxReceive):
		r.discard(HeaderSize)
		frame.Oversize = true
		return frame, r.skip(int64(length))
	case length >= core.LargeBody:
		r.discard(HeaderSize)
		buffer, err := r.large(int(length))
		if err != nil {
			return core.Frame{}, err
		}
		frame.Buffer = buffer
		if err := parsePayload(&frame, buffer.Bytes); err != nil {
			buffer.Release()
			return core.Frame{}, err
		}
		return frame, nil
	}
	total := HeaderSize + int(length)
	if err := r.fill(total); err != nil {
		return core.Frame{}, err
	}
	payload := r.data[HeaderSize:total:total]
	r.discard(total)
	return frame, parsePayload(&frame, payload)
}

// fill reads until at least size bytes, which is less than readSize, are in data. An end of the
// connection between two frames is io.EOF, within one it is io.ErrUnexpectedEOF.
func (r *reader) fill(size int) error {
	for len(r.data) < size {
		// Make room: what is left of the buffer's end must take the rest of the frame. Reading into
		// what little is left is not worth a system call either, hence the quarter.
		if r.buffer != nil && len(r.data) > 0 {
			if room := cap(r.data) - len(r.data); room < size-len(r.data) || room < readSize/4 {
				r.data = append(r.buffer.Bytes[:0], r.data...)
			}
		}
		n, err := r.read(nil)
		if n > 0 {
			r.data = r.data[:len(r.data)+n]
			continue
		}
		if err == io.EOF && len(r.data) > 0 {
			return io.ErrUnexpectedEOF
		}
		return err
	}
	return nil
}

// discard drops the first size bytes of data.
func (r *reader) discard(size int) {
	r.data = r.data[size:]
	r.position += core.Position(size)
}

// take moves bytes from data to target, as many as fit, and returns their number.
func (r *reader) take(target []byte) int {
	n := copy(target, r.data)
	r.discard(n)
	return n
}

// large reads a payload into a buffer of its own, which grows as the bytes arrive.
func (r *reader) large(length int) (*core.Buffer, error) {
	buffer := core.GetBuffer(min(length, growStep))
	for {
		limit := min(length, cap(buffer.Bytes))
		for len(buffer.Bytes) < limit {
			free := buffer.Bytes[len(buffer.Bytes):limit]
			n := r.take(free)
			if n == 0 {
				var err error
				n, err = r.read(free)
				if n == 0 {
					buffer.Release()
					if err == io.EOF {
						err = io.ErrUnexpectedEOF
					}
					return nil, err
				}
				r.position += core.Position(n)
			}
			buffer.Bytes = buffer.Bytes[:len(buffer.Bytes)+n]
		}
		if len(buffer.Bytes) == length {
			return buffer, nil
		}
		grown := core.GetBuffer(min(length, 2*len(buffer.Bytes)))
		grown.Bytes = append(grown.Bytes, buffer.Bytes...)
		buffer.Release()
		buffer = grown
	}
}

// skip drops length bytes of payload, also those that have not arrived yet.
func (r *reader) skip(length int64) error {
	for length > 0 {
		if len(r.data) == 0 {
			if err := r.fill(1); err != nil {
				if err == io.EOF {
					err = io.ErrUnexpectedEOF
				}
				return err
			}
		}
		n := min(length, int64(len(r.data)))
		r.discard(int(n))
		length -= n
	}
	return nil
}

// read reads once, to target or, if that is nil, behind data. It returns at least one byte or an
// error.
func (r *reader) read(target []byte) (int, error) {
	if r.owner.raw == nil {
		if target == nil {
			target = r.space()
		}
		for {
			if n, err := r.owner.conn.Read(target); n > 0 || err != nil {
				return n, err
			}
		}
	}
	r.target = target
	if err := r.owner.raw.Read(r.tryRead); err != nil {
		return 0, err
	}
	return r.readBytes, r.readFailed
}

// space returns the free part of the read buffer, behind data.
func (r *reader) space() []byte {
	if r.buffer == nil {
		r.buffer = core.GetBuffer(readSize)
	}
	if len(r.data) == 0 {
		r.data = r.buffer.Bytes[:0]
	}
	return r.data[len(r.data):cap(r.data)]
}

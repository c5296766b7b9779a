package core

import "fmt"

// Compression is an algorithm that makes the bodies of messages smaller. compression/s2 and
// compression/zstd implement it. Safe for concurrent use.
type Compression interface {
	// Name is what the handshake calls it. What the algorithm writes belongs to the name: another format
	// needs another one.
	Name() string
	// Append appends the compressed form of src to dst. That may be longer than src, and is not sent then.
	Append(dst, src []byte) []byte
	// DecodedLen returns how long src says that it is when it is decoded. It looks at the beginning only
	// and allocates nothing.
	DecodedLen(src []byte) (int, error)
	// Decode decodes src to dst, whose length is what DecodedLen has returned. It must return an error if
	// that is not the length that comes of it, and never write or allocate much more. src comes from the
	// peer and may be anything.
	Decode(dst, src []byte) error
}

// DefaultCompressionThreshold is the size from which a body is compressed if nothing is set, in bytes.
const DefaultCompressionThreshold = 4 << 10

// Compressor compresses the messages that one side of a connection sends and inflates those that it
// receives, each by itself: no message's bytes help to compress another one. Safe for concurrent use.
type Compressor struct {
	// Compression is what the handshake has chosen.
	Compression Compression
	// Threshold is the size from which a body is compressed, in bytes.
	Threshold int
	// MaxReceive and MaxSend are the longest bodies that this side and the peer accept, as they are before
	// they are compressed and after they are inflated.
	MaxReceive, MaxSend int
}

// worthwhile is the part of its size that a body must lose for the receiver to have the work: an eighth.
const worthwhile = 8

// Compress makes the bytes of buffer smaller, if that is worthwhile; buffer.Compressed says whether it was.
// A body that is longer than the peer accepts stays as it is, for the transport to refuse. Algorithms take
// time in proportion to the size: not for read loops, and not under locks.
func (c *Compressor) Compress(buffer *Buffer) {
	buffer.Compressed = false
	size := len(buffer.Bytes)
	if size < c.Threshold || size > c.MaxSend {
		return
	}
	other := GetBuffer(size + slack)
	other.Bytes = c.Compression.Append(other.Bytes, buffer.Bytes)
	if len(other.Bytes) <= size-size/worthwhile {
		if fitting := GetBuffer(len(other.Bytes)); cap(fitting.Bytes) <= cap(other.Bytes)/2 { // it may wait for long
			fitting.Bytes = append(fitting.Bytes, other.Bytes...)
			fitting.Bytes, other.Bytes = other.Bytes, fitting.Bytes
			fitting.Release()
		} else {
			fitting.Release()
		}
		buffer.Bytes, other.Bytes = other.Bytes, buffer.Bytes
		buffer.Compressed = true
		buffer.Trim()
	}
	other.Release()
}

// InflatedLen returns how long what is in buffer will be when Inflate has inflated it. Its errors are those of
// Inflate.
func (c *Compressor) InflatedLen(buffer *Buffer, what string) (int, error) {
	if !buffer.Compressed {
		return buffer.Len(), nil
	}
	size, err := c.Compression.DecodedLen(buffer.Join())
	if err == nil && size > c.MaxReceive {
		return 0, Errorf(ResourceExhausted, "%s has %d bytes when it is inflated; at most %d are accepted (MaxFrame)", what, size, c.MaxReceive)
	}
	if err == nil && size < 0 {
		err = fmt.Errorf("a length of %d", size)
	}
	if err != nil {
		return 0, c.malformed(what, err)
	}
	return size, nil
}

// Inflate makes the bytes of buffer what they were before Compress, if they are compressed. Its errors are
// of type *Error and name what was to be inflated: with ResourceExhausted it would be longer than is accepted
// here, and nothing was allocated for it; with InvalidArgument its bytes are wrong. buffer is of no use then.
// Not for read loops.
func (c *Compressor) Inflate(buffer *Buffer, what string) error {
	if !buffer.Compressed {
		return nil
	}
	size, err := c.InflatedLen(buffer, what)
	if err != nil {
		return err
	}
	other := GetBuffer(size)
	defer other.Release()
	other.Bytes = other.Bytes[:size]
	if err := c.Compression.Decode(other.Bytes, buffer.Bytes); err != nil {
		return c.malformed(what, err)
	}
	buffer.Bytes, other.Bytes = other.Bytes, buffer.Bytes
	buffer.Compressed = false
	return nil
}

func (c *Compressor) malformed(what string, err error) *Error {
	return &Error{Code: InvalidArgument, Message: fmt.Sprintf("can't inflate %s (%s): %v", what, c.Compression.Name(), err), Cause: err}
}

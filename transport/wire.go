package transport

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/edict-go/edict/core"
)

// HeaderSize is the size of a frame's header:
//
//	0  4  length of what follows the header, little endian
//	4  1  kind
//	5  1  flags
//	6  2  command number, little endian
//	8  8  sequence, little endian
const HeaderSize = 16

// PrefaceSize is the size of what each side sends before its first frame.
const PrefaceSize = 8

// ProtocolError is a violation of the protocol by the peer. The connection can't go on after it.
type ProtocolError struct {
	Problem string
	// Code is what a GOAWAY says of it, Internal as a rule.
	Code core.Code
}

// GoAway returns the code for a GOAWAY.
func (e *ProtocolError) GoAway() core.Code { return e.Code }

// Error returns the problem.
func (e *ProtocolError) Error() string { return "protocol error: " + e.Problem }

func protocolErrorf(format string, arguments ...any) error {
	return &ProtocolError{fmt.Sprintf(format, arguments...), core.Internal}
}

// payloadSize returns the length field of frame: everything after the header.
func payloadSize(frame *core.Frame) int {
	size := len(frame.Body)
	if isNumbered(frame) {
		size += 8
	}
	if frame.Flags&core.FlagTimeout != 0 {
		size += 8
	}
	if frame.Flags&core.FlagMetadata != 0 {
		size += 4 + len(frame.Metadata)
	}
	return size
}

// isNumbered reports whether frame has a number. The flag means something else on frames of other kinds.
func isNumbered(frame *core.Frame) bool {
	return frame.Kind == core.KindCommand && frame.Flags&core.FlagNumbered != 0
}

// appendHeader appends everything of frame but its body.
func appendHeader(dst []byte, frame *core.Frame, length int) []byte {
	var header [HeaderSize]byte
	binary.LittleEndian.PutUint32(header[0:], uint32(length))
	header[4] = byte(frame.Kind)
	header[5] = byte(frame.Flags)
	binary.LittleEndian.PutUint16(header[6:], frame.Command)
	binary.LittleEndian.PutUint64(header[8:], uint64(frame.Sequence))
	dst = append(dst, header[:]...)
	if isNumbered(frame) {
		dst = binary.LittleEndian.AppendUint64(dst, frame.Number)
	}
	if frame.Flags&core.FlagTimeout != 0 {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(max(0, frame.Timeout)))
	}
	if frame.Flags&core.FlagMetadata != 0 {
		dst = binary.LittleEndian.AppendUint32(dst, uint32(len(frame.Metadata)))
		dst = append(dst, frame.Metadata...)
	}
	return dst
}

// AppendFrame appends the encoding of frame to dst. The connection's writer does the same, but
// leaves large bodies where they are.
func AppendFrame(dst []byte, frame core.Frame) []byte {
	return append(appendHeader(dst, &frame, payloadSize(&frame)), frame.Body...)
}

// parseHeader decodes a header to frame and returns the length of the payload that follows it.
func parseHeader(header []byte, frame *core.Frame) (length uint32) {
	_ = header[HeaderSize-1]
	*frame = core.Frame{
		Kind: core.Kind(header[4]), Flags: core.Flags(header[5]),
		Command:  binary.LittleEndian.Uint16(header[6:]),
		Sequence: core.Sequence(binary.LittleEndian.Uint64(header[8:])),
	}
	return binary.LittleEndian.Uint32(header[0:])
}

// parsePayload splits payload into the parts that the flags announce and the body.
func parsePayload(frame *core.Frame, payload []byte) error {
	if frame.Kind == core.KindPadding { // it was a COMMAND once, whose number its flags do not announce any more
		frame.Body = payload
		return nil
	}
	if isNumbered(frame) {
		if len(payload) < 8 {
			return protocolErrorf("%v frame too short for its number", frame.Kind)
		}
		frame.Number, payload = binary.LittleEndian.Uint64(payload), payload[8:]
	}
	if frame.Flags&core.FlagTimeout != 0 {
		if len(payload) < 8 {
			return protocolErrorf("%v frame too short for its timeout", frame.Kind)
		}
		frame.Timeout = time.Duration(binary.LittleEndian.Uint64(payload) &^ (1 << 63))
		payload = payload[8:]
	}
	if frame.Flags&core.FlagMetadata != 0 {
		if len(payload) < 4 {
			return protocolErrorf("%v frame too short for its metadata", frame.Kind)
		}
		length := binary.LittleEndian.Uint32(payload)
		if uint64(length) > uint64(len(payload)-4) {
			return protocolErrorf("%v frame too short for its metadata", frame.Kind)
		}
		frame.Metadata, payload = payload[4:4+length], payload[4+length:]
	}
	frame.Body = payload
	return nil
}

package msgpack

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// maxDepth bounds how deep arrays and maps may nest. encoding/json has the same limit.
const maxDepth = 10_000

var (
	errTruncated = errors.New("input ends within a value")
	errTrailing  = errors.New("more bytes after the value")
	errTooDeep   = fmt.Errorf("nested deeper than %d", maxDepth)
	errTooLong   = errors.New("declared length exceeds the input")
)

// walker checks that src is exactly one MessagePack value whose declared lengths all fit in src.
// The library may then believe them.
//
// One habit of the library needs watching. Where it expects a map and finds an extension, it skips
// the extension's header and takes the payload for the map, although nothing has checked the lengths
// in there. So with watchMaps, which is set when the target contains a map, a payload must not start
// like a map. Timestamps may do so by chance; those are reported, to be rewritten in their longest
// form, whose first byte can't be mistaken.
type walker struct {
	src        []byte
	position   int
	watchMaps  bool
	timestamps []int // where extensions start that widenTimestamps must rewrite
}

func (w *walker) walk() error {
	if err := w.value(0); err != nil {
		return err
	}
	if w.position != len(w.src) {
		return errTrailing
	}
	return nil
}

// value walks one value that lies in depth arrays and maps.
func (w *walker) value(depth int) error {
	if w.position >= len(w.src) {
		return errTruncated
	}
	code := w.src[w.position]
	w.position++
	switch {
	case code <= 0x7f, code >= 0xe0: // fixint
		return nil
	case code <= 0x8f: // fixmap
		return w.values(2*uint64(code&0x0f), depth)
	case code <= 0x9f: // fixarray
		return w.values(uint64(code&0x0f), depth)
	case code <= 0xbf: // fixstr
		return w.skip(uint64(code & 0x1f))
	}
	start := w.position - 1
	switch code {
	case 0xc0, 0xc2, 0xc3: // nil, false, true
		return nil
	case 0xcc, 0xd0: // uint8, int8
		return w.skip(1)
	case 0xcd, 0xd1: // uint16, int16
		return w.skip(2)
	case 0xca, 0xce, 0xd2: // float32, uint32, int32
		return w.skip(4)
	case 0xcb, 0xcf, 0xd3: // float64, uint64, int64
		return w.skip(8)
	case 0xd4, 0xd5, 0xd6, 0xd7, 0xd8: // fixext1 to fixext16
		return w.extension(start, 1<<(code-0xd4))
	case 0xc4, 0xc5, 0xc6: // bin8, bin16, bin32
		n, err := w.length(1 << (code - 0xc4))
		if err != nil {
			return err
		}
		return w.skip(n)
	case 0xd9, 0xda, 0xdb: // str8, str16, str32
		n, err := w.length(1 << (code - 0xd9))
		if err != nil {
			return err
		}
		return w.skip(n)
	case 0xc7, 0xc8, 0xc9: // ext8, ext16, ext32
		n, err := w.length(1 << (code - 0xc7))
		if err != nil {
			return err
		}
		return w.extension(start, n)
	case 0xdc, 0xdd: // array16, array32
		n, err := w.length(2 << (code - 0xdc))
		if err != nil {
			return err
		}
		return w.values(n, depth)
	case 0xde, 0xdf: // map16, map32
		n, err := w.length(2 << (code - 0xde))
		if err != nil {
			return err
		}
		return w.values(2*n, depth)
	default:
		return fmt.Errorf("unknown code %#x", code)
	}
}

// length reads a length of width bytes.
func (w *walker) length(width int) (uint64, error) {
	if len(w.src)-w.position < width {
		return 0, errTruncated
	}
	var n uint64
	for _, b := range w.src[w.position : w.position+width] {
		n = n<<8 | uint64(b)
	}
	w.position += width
	return n, nil
}

func (w *walker) skip(n uint64) error {
	if n > uint64(len(w.src)-w.position) {
		return errTooLong
	}
	w.position += int(n)
	return nil
}

func (w *walker) values(n uint64, depth int) error {
	if n > uint64(len(w.src)-w.position) { // each takes one byte at least
		return errTooLong
	}
	if depth >= maxDepth {
		return errTooDeep
	}
	for range n {
		if err := w.value(depth + 1); err != nil {
			return err
		}
	}
	return nil
}

// extension walks the type and the n bytes of payload of the extension that starts at start.
func (w *walker) extension(start int, n uint64) error {
	if err := w.skip(1 + n); err != nil {
		return err
	}
	if !w.watchMaps || n == 0 {
		return nil
	}
	payload := w.src[w.position-int(n) : w.position]
	if first := payload[0]; first&0xf0 != 0x80 && first != 0xde && first != 0xdf {
		return nil
	}
	if code := w.src[start]; code != fixext4 && code != fixext8 || w.src[start+1] != timestampKind {
		return errors.New("an extension in place of a map")
	}
	w.timestamps = append(w.timestamps, start)
	return nil
}

// The forms of a timestamp: MessagePack's extension number -1.
const (
	fixext4       = 0xd6
	fixext8       = 0xd7
	ext8          = 0xc7
	timestampKind = 0xff
)

// widenTimestamps returns src with the timestamps that start at the given places, all of 4 or 8
// bytes, in the form of 12 bytes: nanoseconds, below 0x40 in the first byte, then seconds.
func widenTimestamps(src []byte, starts []int) []byte {
	wide := make([]byte, 0, len(src)+9*len(starts))
	done := 0
	for _, start := range starts {
		wide = append(wide, src[done:start]...)
		payload := src[start+2:]
		var seconds uint64
		var nanoseconds uint32
		if src[start] == fixext4 {
			seconds = uint64(binary.BigEndian.Uint32(payload))
			done = start + 2 + 4
		} else {
			data := binary.BigEndian.Uint64(payload)
			nanoseconds, seconds = uint32(data>>34), data&(1<<34-1)
			done = start + 2 + 8
		}
		wide = append(wide, ext8, 12, timestampKind)
		wide = binary.BigEndian.AppendUint32(wide, nanoseconds)
		wide = binary.BigEndian.AppendUint64(wide, seconds)
	}
	return append(wide, src[done:]...)
}

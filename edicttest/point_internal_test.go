package edicttest

import (
	"encoding/binary"
	"slices"
	"testing"
)

// FuzzFrameCounter: the counter finds the frames that a plain parser finds, however the bytes are cut.
func FuzzFrameCounter(f *testing.F) {
	frame := func(payload int) []byte {
		return append(binary.LittleEndian.AppendUint32(nil, uint32(payload)), make([]byte, 12+payload)...)
	}
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), []byte{1})
	f.Add(slices.Concat([]byte("HTTP/1.1"), frame(0), frame(0)), []byte{0})
	f.Add([]byte("EDICT\n\x01"), []byte{2})
	f.Add(slices.Concat([]byte("EDICT\n\x01\x01"), frame(50), frame(0), frame(1), frame(300)), []byte{200, 1, 3})
	f.Add(append([]byte("EDICT\n\x01\x01"), "\xff\xff\xff\xff0123456789abcdef"...), []byte{9})
	f.Fuzz(func(t *testing.T, data, cuts []byte) {
		var counter frameCounter
		var starts []int64
		number := 0
		for rest, i := data, 0; len(rest) > 0; i++ {
			step := 1
			if len(cuts) > 0 {
				step = 1 + int(cuts[i%len(cuts)])
			}
			for chunk := rest[:min(step, len(rest))]; len(chunk) > 0; {
				most := counter.step()
				if most <= 0 {
					t.Fatalf("at %d: step %d", counter.position, most)
				}
				n := min(int64(len(chunk)), most)
				counter.add(chunk[:n])
				chunk = chunk[n:]
				if counter.number != number {
					starts = append(starts, counter.start)
					if number++; counter.number != number || counter.start != counter.position {
						t.Fatalf("frame %d begins at %d, seen at %d", counter.number, counter.start, counter.position)
					}
				}
			}
			rest = rest[min(step, len(rest)):]
		}
		if want := plainStarts(data); !slices.Equal(starts, want) {
			t.Errorf("frames begin at %v, want %v", starts, want)
		}
		if counter.position != int64(len(data)) {
			t.Errorf("position %d of %d", counter.position, len(data))
		}
		for i, start := range starts[min(1, len(starts)):] { // without the handshake's
			offset, known := counter.find(Frames(i))
			if last := i == len(starts)-2; !known || last && start == counter.position && offset != start || !last && offset != -1 {
				t.Errorf("Frames(%d) = %d, %v", i, offset, known)
			}
		}
		if _, known := counter.find(Frames(len(starts))); known {
			t.Error("a frame that has not begun is known")
		}
	})
}

// plainStarts returns where the frames behind the preface begin, and where the next one would.
func plainStarts(data []byte) (starts []int64) {
	if len(data) < 8 || string(data[:6]) != "EDICT\n" {
		if len(data) >= 8 {
			return []int64{8} // the counter has seen the preface, and then that it is none
		}
		return nil
	}
	at := int64(8)
	starts = append(starts, at)
	for at+16 <= int64(len(data)) {
		at += 16 + int64(binary.LittleEndian.Uint32(data[at:]))
		if at > int64(len(data)) {
			break
		}
		starts = append(starts, at)
	}
	return starts
}

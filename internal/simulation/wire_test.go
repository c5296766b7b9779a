package simulation

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/transport"
)

// wire follows the frames of one direction of a connection, as one end writes or reads them.
type wire struct {
	size   int // bytes so far
	frames []frame
	// next is the frame that is coming: its header once that is there.
	next    frame
	prefix  []byte // of the frame, as far as it is looked at
	missing int    // bytes of it, once its header is there
	// parts has the messages of which some parts have passed, and not the last.
	parts map[core.Sequence]*frame
	// seen is how many frames the model has looked at.
	seen int
	// plain: nothing of a frame matters but its kind and where it ends.
	plain bool
}

// frame is what the model wants to know of one. If it is a part of a message, the last one tells of the whole.
type frame struct {
	first, whole bool // a message begins here, ends here
	kind         core.Kind
	flags        core.Flags
	sequence     core.Sequence
	start, end   int
	body         int           // its size; in the last part, that of the message
	call         int           // of a COMMAND, or of one that was withdrawn: else -1
	fault        fault         // of a COMMAND
	index        int           // of a RESULT or INPUT
	number       uint64        // of a CREDIT: the bytes; of a GOAWAY: the position
	timeout      time.Duration // of a COMMAND, -1 for none
	outcome      core.Outcome  // of an ERROR
	at           time.Time     // when its last byte passed
}

// last reports whether the frame ends its call.
func (f *frame) last() bool {
	return f.whole && (f.kind == core.KindEnd || f.kind == core.KindError || f.kind == core.KindResult && f.flags&core.FlagLast != 0)
}

// compressed reports whether the frame's body is.
func (f *frame) compressed() bool {
	switch f.kind {
	case core.KindCommand, core.KindPadding, core.KindInput, core.KindResult:
		return f.flags&core.FlagCompressed != 0
	}
	return false
}

// quiet reports whether it makes no difference in which order the frame comes with its like.
func (f *frame) quiet() bool { return f.kind == core.KindCancel || f.kind == core.KindPadding }

// prefixSize is how much of a frame is kept until it is complete: header, timeout, metadata of a call's
// number, fields of a letter.
const prefixSize = transport.HeaderSize + 8 + 64 + letterHead

// feed takes bytes as they pass.
func (w *wire) feed(data []byte) {
	for len(data) > 0 {
		var n int
		switch {
		case w.size < transport.PrefaceSize:
			n = min(len(data), transport.PrefaceSize-w.size)
		case w.missing == 0: // within a header
			if len(w.prefix) == 0 {
				w.next = frame{start: w.size, call: -1}
			}
			n = min(len(data), transport.HeaderSize-len(w.prefix))
			w.prefix = append(w.prefix, data[:n]...)
			if len(w.prefix) == transport.HeaderSize {
				length := int(binary.LittleEndian.Uint32(w.prefix))
				w.next.end = w.size + n + length
				if w.missing = length; length == 0 {
					w.size += n
					data = data[n:]
					w.complete()
					continue
				}
			}
		default:
			n = min(len(data), w.missing)
			w.prefix = append(w.prefix, data[:min(n, prefixSize-len(w.prefix))]...)
			if w.missing -= n; w.missing == 0 {
				w.size += n
				data = data[n:]
				w.complete()
				continue
			}
		}
		w.size += n
		data = data[n:]
	}
}

// complete decodes a frame whose bytes have all passed.
func (w *wire) complete() {
	f, p := w.next, w.prefix
	f.kind, f.flags = core.Kind(p[4]), core.Flags(p[5])
	f.sequence = core.Sequence(binary.LittleEndian.Uint64(p[8:]))
	f.body = f.end - f.start - transport.HeaderSize
	f.timeout, f.at = -1, time.Now()
	if w.plain {
		w.frames = append(w.frames, f)
		w.next, w.prefix, w.missing = frame{}, w.prefix[:0], 0
		return
	}
	p = p[transport.HeaderSize:]
	if f.flags&core.FlagTimeout != 0 {
		f.timeout = time.Duration(binary.LittleEndian.Uint64(p))
		p, f.body = p[8:], f.body-8
	}
	if f.flags&core.FlagMetadata != 0 {
		length := int(binary.LittleEndian.Uint32(p))
		if metadata, err := core.DecodeMetadata(p[4 : 4+length]); err == nil && metadata[callKey] != nil {
			f.call, _ = strconv.Atoi(metadata.Get(callKey))
		}
		p, f.body = p[4+length:], f.body-4-length
	}
	if f.compressed() { // what is in it is known by the metadata, or not at all
		p = nil
	}
	switch f.kind {
	case core.KindCommand, core.KindPadding:
		if len(p) >= letterHead {
			f.call = int(binary.LittleEndian.Uint32(p))
			f.fault = faultOf(int(binary.LittleEndian.Uint32(p[12:])))
		}
	case core.KindResult, core.KindInput:
		f.call = -1
		if len(p) >= letterHead {
			f.index = int(binary.LittleEndian.Uint32(p[4:]))
		}
	case core.KindError:
		f.call = -1
		f.outcome = core.Outcome(p[1])
	case core.KindCredit:
		f.number = uint64(binary.LittleEndian.Uint32(p))
	case core.KindGoAway:
		f.number = binary.LittleEndian.Uint64(p)
	case core.KindEnd:
		f.call = -1
	}
	w.join(&f)
	w.frames = append(w.frames, f)
	w.next, w.prefix, w.missing = frame{}, w.prefix[:0], 0
}

// join finds out which part of a message f is.
func (w *wire) join(f *frame) {
	before := w.parts[f.sequence]
	if f.kind == core.KindAbort {
		f.call = before.call
		delete(w.parts, f.sequence)
	}
	f.first, f.whole = before == nil || before.kind != f.kind, true
	if f.kind == core.KindPadding {
		return
	}
	more := f.flags&core.FlagMore != 0
	if !f.first {
		before.body += f.body
		f.call = before.call
		end, at := f.end, f.at
		if more {
			f.whole = false
			return
		}
		*f = *before
		f.first, f.whole, f.end, f.at = false, true, end, at
		f.flags &^= core.FlagMore
		delete(w.parts, f.sequence)
		return
	}
	if more {
		f.whole = false
		if w.parts == nil {
			w.parts = map[core.Sequence]*frame{}
		}
		kept := *f
		w.parts[f.sequence] = &kept
	}
}

// within reports whether a part of a frame, or of a message, has passed, and not the rest.
func (w *wire) within() bool { return len(w.prefix) > 0 || len(w.parts) > 0 }

// fresh returns the frames that have passed since the last time.
func (w *wire) fresh() []frame {
	frames := w.frames[w.seen:]
	w.seen = len(w.frames)
	return frames
}

// tap is one end of a connection, whose bytes are followed. What it knows may be read when nothing moves.
type tap struct {
	net.Conn
	users atomic.Int32 // goroutines in one of its methods

	mu       sync.Mutex
	offered  wire // what was given to Write, whether or not the network had room for it
	read     wire
	writes   int       // calls of Write so far
	writing  bool      // in one
	since    time.Time // the last time that something was written, or began to be
	cutoff   int       // bytes that Write has been offered and has not taken when it failed
	closed   bool
	closedAt time.Time
	kept     *[]byte // all that was offered, if not nil
}

// keep lets the tap keep all that is written, and not look into frames.
func (t *tap) keep() {
	t.kept, t.offered.plain, t.read.plain = new([]byte), true, true
}

// Read implements net.Conn.
func (t *tap) Read(target []byte) (int, error) {
	t.users.Add(1)
	defer t.users.Add(-1)
	n, err := t.Conn.Read(target)
	t.mu.Lock()
	looked.Load()
	defer t.mu.Unlock()
	t.read.feed(target[:n])
	return n, err
}

// Write implements net.Conn.
func (t *tap) Write(source []byte) (int, error) {
	t.users.Add(1)
	defer t.users.Add(-1)
	t.mu.Lock()
	looked.Load()
	// What a write left over, because it took too long, is offered again.
	again := min(t.cutoff, len(source))
	if again == 0 {
		t.since = time.Now()
	}
	t.cutoff -= again
	t.offered.feed(source[again:])
	if t.kept != nil {
		*t.kept = append(*t.kept, source[again:]...)
	}
	t.writing = true
	t.writes++
	t.mu.Unlock()
	n, err := t.Conn.Write(source)
	t.mu.Lock()
	looked.Load()
	defer t.mu.Unlock()
	t.writing = false
	t.cutoff += len(source) - n
	if n > 0 {
		t.since = time.Now()
	}
	return n, err
}

// Close implements net.Conn.
func (t *tap) Close() error {
	t.users.Add(1)
	defer t.users.Add(-1)
	t.mu.Lock()
	looked.Load()
	t.closed, t.closedAt = true, time.Now()
	t.mu.Unlock()
	return t.Conn.Close()
}

// errInUse means that a connection was used after all who use it should have ended.
var errInUse = errors.New("some goroutine still uses the connection")

// unused returns errInUse if a goroutine is in a method of the connection.
func (t *tap) unused() error {
	if t.users.Load() > 0 {
		return errInUse
	}
	return nil
}

// CloseWrite ends the sending direction.
func (t *tap) CloseWrite() error {
	return t.Conn.(interface{ CloseWrite() error }).CloseWrite()
}

// tapListener taps the connections that are accepted and hands them to accepted.
type tapListener struct {
	net.Listener
	accepted chan *tap
	keeps    bool // of connections that can be resumed: all bytes are kept, and frames not looked into
}

// Accept implements net.Listener.
func (l tapListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	t := &tap{Conn: conn}
	if l.keeps {
		t.keep()
	}
	l.accepted <- t
	return t, nil
}

// tapDial returns dial, which also hands the connection to dialed.
func tapDial(dial func(context.Context) (net.Conn, error), dialed func(*tap)) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		conn, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		t := &tap{Conn: conn}
		dialed(t)
		return t, nil
	}
}

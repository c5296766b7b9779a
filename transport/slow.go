package transport

import (
	"encoding/binary"
	"time"

	"github.com/edict-go/edict/core"
)

// What has begun must go on: a frame, and a message in parts, must be complete some time after its first bytes
// were waited for, with more time for what is large. So nobody holds a buffer by a byte now and then. Who sends
// whole frames, however seldom, is not meant.
//
// slowRate is how many bytes give a second more.
const slowRate = 1 << 10

// smallFrame is the payload up to which a frame that is not complete waits in a small buffer of the reader.
// A larger one gets a buffer of its own.
const smallFrame = 4 << 10

// slowness watches how long what is incomplete takes. Owned by the reader.
//
// The connection's deadline for reading is moved as seldom as possible: when it has passed, the reader looks
// whether anything really takes too long.
type slowness struct {
	start core.Position // of the frame that is incomplete
	since time.Time     // when it was first waited for
	armed time.Time     // the connection's deadline; zero if there is none
}

// pause is called, while Run runs, when everything that has come was taken and the reader is about to wait for
// more.
func (r *reader) pause() error {
	if !r.incomplete() {
		r.idle()
		return nil
	}
	if err := r.shrink(); err != nil {
		return err
	}
	if r.slow == nil {
		r.slow = new(slowness)
	}
	due, _ := r.due(time.Now())
	if r.slow.armed.IsZero() || due.Before(r.slow.armed) {
		return r.arm(due)
	}
	return nil
}

func (r *reader) arm(due time.Time) error {
	r.slow.armed = due
	err := r.owner.conn.SetReadDeadline(due)
	r.broken = err != nil
	return err
}

// overdue is called when the connection's deadline for reading has passed. It returns the error of a peer that is
// too slow, or moves the deadline and returns nil.
func (r *reader) overdue() error {
	if !r.incomplete() {
		return r.arm(time.Time{})
	}
	now := time.Now()
	due, what := r.due(now)
	if now.Before(due) {
		return r.arm(due)
	}
	return &ProtocolError{Code: core.DeadlineExceeded, Problem: what + " was begun and is not complete after " + r.owner.config.FrameTimeout.String() + " or more"}
}

// incomplete reports whether something has come in part.
func (r *reader) incomplete() bool {
	return len(r.data) > 0 || r.large != nil || r.skip > 0 || len(r.partials) > 0
}

// due returns when what is incomplete must be complete, and what it is.
func (r *reader) due(now time.Time) (due time.Time, what string) {
	if len(r.data) > 0 || r.large != nil || r.skip > 0 {
		start := r.position // of a header in data
		what = "a frame"
		if r.large != nil || r.skip > 0 {
			start = r.frameStart
		}
		if start != r.position || len(r.data) >= HeaderSize {
			what = "a frame of kind " + r.frame.Kind.String()
		}
		if r.slow.since.IsZero() || r.slow.start != start {
			r.slow.start, r.slow.since = start, now
		}
		came := r.position + core.Position(len(r.data)) - start
		due = r.slow.since.Add(r.patience(int64(came)))
	}
	for _, message := range r.partials {
		if message.since.IsZero() {
			message.since = now
		}
		if d := message.since.Add(r.patience(message.size)); due.IsZero() || d.Before(due) {
			due, what = d, "a "+message.frame.Kind.String()+" in parts"
		}
	}
	return due, what
}

// patience returns how long something may take of which size bytes have come.
func (r *reader) patience(size int64) time.Duration {
	return r.owner.config.FrameTimeout + time.Duration(size)*(time.Second/slowRate)
}

// shrink lets an incomplete frame occupy no more than in proportion to what has come of it.
func (r *reader) shrink() error {
	if len(r.data) == 0 {
		r.idle()
		return nil
	}
	if len(r.data) >= HeaderSize {
		if length := int64(binary.LittleEndian.Uint32(r.data)); length > smallFrame {
			if _, err := r.startLarge(int(length), min(int(length), max(2*len(r.data), minBatch))); err != nil {
				return err
			}
			r.idle()
			return nil
		}
	}
	if r.owner.raw == nil && r.busy && r.buffer.Charge(r.owner.account, cap(r.buffer.Bytes), core.ForWork) {
		return nil // it is about to be read to
	}
	if size := cap(r.buffer.Bytes); size > 2*smallFrame || size < HeaderSize+smallFrame {
		small := core.GetBuffer(HeaderSize + smallFrame)
		small.Bytes = append(small.Bytes, r.data...)
		r.buffer.Release()
		r.buffer, r.data = small, small.Bytes
	}
	return nil
}

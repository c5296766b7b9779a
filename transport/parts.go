package transport

import (
	"time"

	"github.com/edict-go/edict/core"
)

// partial is a message that comes in parts.
type partial struct {
	frame    core.Frame   // of its first part
	buffer   *core.Buffer // the payload so far; nil if nothing of it is kept
	size     int64        // of that
	oversize bool         // it is longer than allowed: nothing of it is kept, nor
	noRoom   bool         // if the budget has no room for it

	// Of the part that is coming, if one is: whether it is the first, its length, and how much was in its buffer before.
	first  bool
	coming int64
	before int

	since         time.Time // when the next part was first waited for
	held, charged int       // the capacity of buffer, all of its parts, and what of it is charged
}

// drop gives back what a message holds.
func (m *partial) drop() {
	m.buffer.Release()
	m.buffer, m.held, m.charged = nil, 0, 0
}

// isPart reports whether frame, whose header has come, is a part of a message.
func (r *reader) isPart() bool {
	switch {
	case r.frame.Kind == core.KindPadding:
		return false
	case r.frame.Kind == core.KindAbort, r.frame.Flags&core.FlagMore != 0:
		return true
	}
	if len(r.partials) == 0 {
		return false
	}
	switch r.frame.Kind { // others may come between the parts
	case core.KindCommand, core.KindInput, core.KindInputEnd, core.KindResult, core.KindEnd, core.KindError:
		return r.partials[r.frame.Sequence] != nil // the last part has no flag to tell it by
	}
	return false
}

// parsePart begins with the payload of a part, whose header is taken.
func (r *reader) parsePart(length uint32) (*core.Frame, error) {
	message := r.partials[r.frame.Sequence]
	switch r.frame.Kind {
	case core.KindCommand, core.KindInput, core.KindResult:
	case core.KindAbort:
		if length > 0 || message == nil {
			return nil, protocolErrorf("ABORT of a message that was not begun")
		}
		message.drop()
		delete(r.partials, r.frame.Sequence)
		r.again = true
		return nil, nil
	default:
		return nil, protocolErrorf("%v frame in parts, or within a message in parts", r.frame.Kind)
	}
	switch {
	case message == nil:
		if len(r.partials) == maxParts {
			return nil, protocolErrorf("more than %d messages in parts at a time", maxParts)
		}
		if r.partials == nil {
			r.partials = map[core.Sequence]*partial{}
		}
		message = &partial{frame: r.frame}
		r.partials[r.frame.Sequence] = message
	case message.frame.Kind != r.frame.Kind || r.frame.Flags&^core.FlagMore != 0:
		return nil, protocolErrorf("%v frame within a %v message in parts", r.frame.Kind, message.frame.Kind)
	}
	message.first = message.size == 0 && message.buffer == nil && !message.oversize && !message.noRoom
	r.part, message.coming, message.before = message, int64(length), 0
	message.size += int64(length)
	if message.size > int64(r.owner.config.MaxReceive) {
		message.oversize = true
	}
	if message.oversize || message.noRoom {
		message.drop()
		r.skip = int64(length)
		return r.parseSkipped()
	}
	r.large, r.length = r.space(message, int(length))
	if r.large == message.last() {
		message.before = len(r.large.Bytes)
	}
	if r.large != message.last() && !r.charge(r.large, message.held+cap(r.large.Bytes), message.charged) {
		return r.dropLarge()
	}
	return r.parseLarge()
}

// last returns the buffer to which the message's last part has gone, nil if there is none.
func (m *partial) last() *core.Buffer {
	if m.buffer == nil {
		return nil
	}
	return m.buffer.Last()
}

// dropPart gives up the message of which a part is coming to large, because there is no room.
func (r *reader) dropPart() {
	message := r.part
	if r.large != message.last() {
		r.large.Release()
	}
	message.drop()
	message.noRoom = true
}

// space returns a buffer for the next length bytes of a message, and how many it will have then. Small parts
// share one, so that what a message occupies is in proportion to its size.
func (r *reader) space(message *partial, length int) (*core.Buffer, int) {
	if message.buffer != nil {
		if last := message.buffer.Last(); cap(last.Bytes)-len(last.Bytes) >= length {
			return last, len(last.Bytes) + length
		}
	}
	return core.GetBuffer(max(firstSize(length), int(min(message.size, growStep)))), length
}

// finishPart takes note of the payload of a part, which has come to buffer, and returns the message if that
// was the last one. buffer is nil if nothing is kept.
func (r *reader) finishPart(buffer *core.Buffer) (*core.Frame, error) {
	message := r.part
	r.part = nil
	switch {
	case buffer == nil:
	case message.last() == buffer:
	default:
		message.held += cap(buffer.Bytes)
		message.charged += buffer.Charged()
		if message.buffer == nil {
			message.buffer = buffer
		} else {
			message.buffer.Extend(buffer)
		}
	}
	if r.frame.Flags&core.FlagMore != 0 {
		r.again = true
		return nil, nil
	}
	delete(r.partials, r.frame.Sequence)
	end := r.frame.End
	r.frame = message.frame
	r.frame.Flags &^= core.FlagMore
	r.frame.End = end
	if message.oversize || message.noRoom {
		r.frame.Oversize, r.frame.NoRoom = true, message.noRoom
		return &r.frame, nil
	}
	if err := parsePayload(&r.frame, message.buffer.Bytes); err != nil {
		message.buffer.Release()
		return nil, err
	}
	message.buffer.Bytes = r.frame.Body
	r.frame.Buffer = message.buffer
	return &r.frame, nil
}

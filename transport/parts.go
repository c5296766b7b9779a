package transport

import "github.com/edict-go/edict/core"

// partial is a message that comes in parts.
type partial struct {
	frame    core.Frame   // of its first part
	buffer   *core.Buffer // the payload so far; nil if nothing of it is kept
	oversize bool         // it is longer than allowed: nothing of it is kept
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
		message.buffer.Release()
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
	r.part = message
	before := 0
	if message.buffer != nil {
		before = len(message.buffer.Bytes)
	}
	if message.oversize || int64(before)+int64(length) > int64(r.owner.config.MaxReceive) {
		message.oversize = true
		message.buffer.Release()
		message.buffer = nil
		r.skip = int64(length)
		return r.parseSkipped()
	}
	r.large, message.buffer = message.buffer, nil
	r.length = before + int(length)
	if r.large == nil {
		r.large = core.GetBuffer(firstSize(r.length))
	}
	return r.parseLarge()
}

// finishPart takes note of the payload of a part, which has come, and returns the message if that was the
// last one. buffer holds what has come of the message; nil if nothing is kept.
func (r *reader) finishPart(buffer *core.Buffer) (*core.Frame, error) {
	message := r.part
	r.part = nil
	if r.frame.Flags&core.FlagMore != 0 {
		message.buffer = buffer
		r.again = true
		return nil, nil
	}
	delete(r.partials, r.frame.Sequence)
	end := r.frame.End
	r.frame = message.frame
	r.frame.Flags &^= core.FlagMore
	r.frame.End = end
	if message.oversize {
		r.frame.Oversize = true
		return &r.frame, nil
	}
	if err := parsePayload(&r.frame, buffer.Bytes); err != nil {
		buffer.Release()
		return nil, err
	}
	r.frame.Buffer = buffer
	return &r.frame, nil
}

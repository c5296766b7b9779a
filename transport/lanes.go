package transport

import "github.com/edict-go/edict/core"

const (
	// maxFragment is the largest part of a message that is written without looking whether something else
	// should go first. A batch has small frames first and then about as much of large ones.
	maxFragment = 128 << 10
	// maxParts is how many messages may be under way in parts at a time, which bounds what the peer keeps
	// of unfinished ones. It is part of the protocol.
	maxParts = 8
)

// lanes hold the frames that give way to others: one lane for each call that has some, in their order,
// and the lanes take turns. Guarded by writer.mu.
type lanes struct {
	bySequence map[core.Sequence]*lane
	turns      []*lane // the next one first
	size       int     // bytes in all of them
	uncharged  int     // of what the frames occupy, that their buffers don't charge for
	parts      int     // messages of which some fragment is queued or written, and not the last
}

// lane has the frames of one call.
type lane struct {
	sequence core.Sequence
	frames   []core.Frame
	sent     int // bytes of frames[0].Body that are written or in a batch
}

// started reports whether a part of the first frame has gone, and the rest has not.
func (l *lane) started() bool { return l.sent > 0 }

// takes reports whether frame belongs in a lane. Frames of a call must not overtake each other, so those
// of one that has a lane follow it there.
func (l *lanes) takes(frame *core.Frame) bool {
	switch frame.Kind {
	case core.KindInput, core.KindInputEnd, core.KindResult, core.KindEnd, core.KindError:
		return frame.Bulk || len(frame.Body) >= core.LargeBody || len(l.turns) > 0 && l.bySequence[frame.Sequence] != nil
	case core.KindCancel, core.KindCredit: // it must not overtake its COMMAND: the peer does not know the call yet
		own := l.bySequence[frame.Sequence]
		return own != nil && own.frames[0].Kind == core.KindCommand
	}
	return false
}

// add puts frame at the end of its lane. sent bytes of its body are in a batch already.
func (l *lanes) add(w *writer, frame core.Frame, sent int) {
	if l.bySequence == nil {
		l.bySequence = map[core.Sequence]*lane{}
	}
	own := l.bySequence[frame.Sequence]
	if own == nil {
		own = &lane{sequence: frame.Sequence, sent: sent}
		l.bySequence[frame.Sequence] = own
		l.turns = append(l.turns, own)
	}
	takeOver(w, &frame)
	own.frames = append(own.frames, frame)
	l.uncharged += uncharged(&frame)
	l.size += HeaderSize + len(frame.Body) - sent
}

// takeOver makes a frame with a borrowed body and metadata one that has its own.
func takeOver(w *writer, frame *core.Frame) {
	if frame.Buffer == nil && len(frame.Body) > 0 {
		frame.Buffer = core.GetBuffer(len(frame.Body))
		frame.Buffer.Bytes = append(frame.Buffer.Bytes, frame.Body...)
		frame.Body = frame.Buffer.Bytes
		w.chargeLocked(frame)
	}
	frame.Metadata = append([]byte(nil), frame.Metadata...)
}

// fill lets the lanes append to the writer's pending batch in turn, until that has about maxFragment of
// theirs.
func (l *lanes) fill(w *writer) {
	filled, passed := 0, 0
	for filled < maxFragment && passed < len(l.turns) {
		own := l.turns[0]
		l.turns = append(l.turns[1:], own)
		frame := &own.frames[0]
		if !own.started() && len(frame.Body) > maxFragment && l.parts == maxParts {
			passed++ // enough messages are under way in parts
			continue
		}
		passed = 0
		filled += l.appendFragment(w, own, frame)
	}
}

// appendFragment appends the next part of frame, the first one of own, and returns its size.
func (l *lanes) appendFragment(w *writer, own *lane, frame *core.Frame) int {
	fragment := *frame
	if own.started() {
		fragment.Flags = 0
		fragment.Metadata = nil
	}
	rest := frame.Body[own.sent:]
	fragment.Body = rest[:min(len(rest), maxFragment)]
	if len(fragment.Body) < len(rest) {
		fragment.Flags |= core.FlagMore
		fragment.Buffer = nil // it goes with the last one
		if !own.started() {
			l.parts++
		}
		own.sent += len(fragment.Body)
		l.size -= len(fragment.Body)
		w.appendLocked(&fragment, payloadSize(&fragment))
		return len(fragment.Body)
	}
	l.uncharged -= uncharged(frame)
	copied := fragment.Buffer
	if own.started() {
		l.parts--
		own.sent = 0
		copied = nil // other parts of it may be in the batch
	} else if len(fragment.Body) < core.LargeBody {
		fragment.Buffer = nil // the writer copies it
	} else {
		copied = nil
	}
	l.size -= HeaderSize + len(fragment.Body)
	w.appendLocked(&fragment, payloadSize(&fragment))
	copied.Release()
	own.frames[0] = core.Frame{}
	if own.frames = own.frames[1:]; len(own.frames) == 0 {
		l.remove(own)
	}
	return HeaderSize + len(fragment.Body)
}

func (l *lanes) remove(own *lane) {
	delete(l.bySequence, own.sequence)
	for i, other := range l.turns {
		if other == own {
			l.turns = append(l.turns[:i], l.turns[i+1:]...)
			break
		}
	}
}

// drop removes the frames of a call but for the one that ends it, and reports whether a COMMAND of which
// the peer has a part only was among them.
func (l *lanes) drop(w *writer, sequence core.Sequence) (unfinishedCommand bool) {
	own := l.bySequence[sequence]
	if own == nil {
		return false
	}
	frames, started := own.frames, own.started()
	for i := range frames {
		l.uncharged -= uncharged(&frames[i])
	}
	if started {
		// The peer is told to forget what it has. A part may be in the batch that is being written, so
		// the buffer goes behind it, into the next one.
		first := &frames[0]
		unfinishedCommand = first.Kind == core.KindCommand
		w.appendLocked(&core.Frame{Kind: core.KindAbort, Sequence: sequence, Buffer: first.Buffer}, 0)
		first.Buffer = nil
		l.parts--
	}
	l.remove(own)
	for i := range frames {
		l.size -= HeaderSize + len(frames[i].Body)
		if i == 0 {
			l.size += own.sent
		}
		switch {
		case frames[i].Kind == core.KindError, frames[i].Kind == core.KindEnd && i == 0:
			l.add(w, frames[i], 0)
			continue
		case frames[i].Kind == core.KindEnd, frames[i].Kind == core.KindResult && frames[i].Flags&core.FlagLast != 0:
			l.add(w, core.Frame{Kind: core.KindError, Sequence: sequence, Body: core.AppendError(nil, &core.Error{
				Code: core.Canceled, Outcome: core.Executed, Message: "the result is not wanted any more",
			})}, 0)
		}
		frames[i].Buffer.Release()
	}
	return unfinishedCommand
}

// clear drops everything, when the connection has failed and nobody writes any more.
func (l *lanes) clear() {
	for _, own := range l.turns {
		for i := range own.frames {
			own.frames[i].Buffer.Release()
		}
	}
	*l = lanes{}
}

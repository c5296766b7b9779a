package simulation

import (
	"fmt"
	"testing/synctest"

	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/edicttest"
)

// deliver lets some of what is under way on a connection arrive.
func (s *simulation) deliver(number int, d edicttest.Direction) action {
	if number >= len(s.links) {
		return action{}
	}
	l := s.links[number]
	if l.connection == nil || l.far == nil || l.gone() || l.connection.Pending(d) == 0 && !l.connection.EndPending(d) {
		return action{}
	}
	if reader := l.reader(d); s.full && reader.closed { // it reads nothing, so there is no order in which it would
		return action{name: fmt.Sprintf("deliver on %d %v what nobody reads", l.number, d), claims: [2]int{l.number, int(d)}, do: func() {
			l.connection.Deliver(d, l.connection.Pending(d))
		}}
	}
	from, to, cut := l.safe(d)
	if s.racing && s.full { // there is no need to be safe
		_, _, end := l.pending(d)
		to, cut = max(to, end), false
	}
	if cut {
		return action{name: fmt.Sprintf("cut %d, which would end", l.number), do: l.sever}
	}
	n := to - from
	switch s.random.IntN(6) {
	case 0:
		n = min(n, 1)
	case 1:
		n = min(n, 1+s.random.IntN(max(1, n)))
	}
	until := l.whole(d, from+n)
	name := fmt.Sprintf("deliver on %d %v, %d", l.number, d, until-from)
	return action{name: name, claims: [2]int{l.number, int(d)}, do: func() { l.move(d, from, until) }}
}

// reader returns the end that reads what goes in direction d.
func (l *link) reader(d edicttest.Direction) *tap {
	if d == edicttest.ToClient {
		return l.near
	}
	return l.far
}

// gone reports whether nothing moves on the connection any more.
func (l *link) gone() bool { return l.cut || l.near.closed && l.far.closed }

// move delivers what is between two offsets, in as many parts as the network's buffer makes of it.
func (l *link) move(d edicttest.Direction, from, until int) {
	if l.s.racing {
		l.connection.Deliver(d, until-from)
		return
	}
	reader := l.reader(d)
	for {
		l.connection.Deliver(d, until-from)
		synctest.Wait()
		if reader.read.size == from || reader.read.size >= until {
			return
		}
		from = reader.read.size
	}
}

// safe returns what may be delivered in direction d in one step: what is behind from, up to to. What the
// frames in it do must not depend on the order of goroutines: only one of them may lead to something
// being written, or if more do, it is the same goroutine that writes. If even one frame is too much,
// because the connection ends right behind it, cut is true.
//
// CANCEL frames side by side, of calls with the same context, are delivered together: see link.whole.
func (l *link) safe(d edicttest.Direction) (from, to int, cut bool) {
	frames, from, end := l.pending(d)
	to = from
	for i := range frames {
		f := &frames[i]
		alone := l.writes(d, f) || l.inTurn(d, f) && l.connection.EndPending(d)
		if i > 0 && (alone || d == edicttest.ToServer && l.room(edicttest.ToClient) < (i+1)*refusalRoom) {
			return from, to, false
		}
		to = f.end
		if alone {
			cut = f.end >= end && l.connection.EndPending(d)
			return from, to, cut
		}
	}
	return from, max(to, end), false
}

// room returns how much the network takes in direction d before it is full. If more frames than it has room
// for are written in one step, it depends on goroutines how many of them the writer has taken already.
func (l *link) room(d edicttest.Direction) int {
	end := l.near
	if d == edicttest.ToClient {
		end = l.far
	}
	if end.writing {
		return 0
	}
	return l.s.config.buffer - l.connection.Pending(d)
}

// What a CANCEL and a refusal need of the room, at most.
const (
	cancelRoom  = 16
	refusalRoom = 250
)

// whole returns until, or more if that would be in a row of CANCEL frames: which of them comes first may
// depend on goroutines.
func (l *link) whole(d edicttest.Direction, until int) int {
	frames, _, _ := l.pending(d)
	for i := range frames {
		f := &frames[i]
		quiet := func(i int) bool {
			return i >= 0 && i < len(frames) && frames[i].quiet() && !l.inTurn(d, &frames[i])
		}
		beside := quiet(i-1) || quiet(i+1)
		if quiet(i) && beside && f.start < until {
			until = max(until, f.end)
		}
	}
	return until
}

// writes reports whether a frame that arrives may lead to something being written by another goroutine
// than the reader.
func (l *link) writes(d edicttest.Direction, f *frame) bool {
	if !f.whole {
		return false // nothing happens before the last part
	}
	if d == edicttest.ToServer {
		switch f.kind {
		case core.KindHello, core.KindCredit:
			return true
		case core.KindCommand:
			return f.fault != sound || f.compressed() && l.s.calls[f.call].fault != sound
		case core.KindCancel:
			return l.inTurn(d, f) // a worker refuses it if it waits
		case core.KindInput:
			c := l.calls[f.sequence]
			return c != nil && l.s.lab.runs[c.id] != nil && l.s.lab.runs[c.id].state == taking
		}
		return false
	}
	switch {
	case f.kind == core.KindGoAway, f.kind == core.KindCredit, l.shutting:
		return true
	case l.starting() && f.last():
		return true
	case f.kind == core.KindResult:
		c := l.calls[f.sequence]
		return c != nil && c.how.stream() && c.inside
	}
	return false
}

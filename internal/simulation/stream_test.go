package simulation

import (
	"bytes"
	"encoding/binary"
	"sort"
	"time"

	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/edicttest"
	"github.com/edict-go/edict/transport"
)

// session is what the model knows of a session: the two streams of frames, by their positions, whichever
// connections they went over; where each side is in them; and whose secret is good.
type session struct {
	id      string
	guest   *guest
	streams [2]stream // by direction
	present *hop      // that it goes over; nil before the first WELCOME
	away    time.Time // since when the server has no connection; zero while it has one
	ended   bool      // the server has given it up
	mayEnd  bool      // and may have: it was away for too long, or the server has ended
	stolen  bool      // a thief has it; nothing is checked any more

	current, offered string // secrets
	heard            bool   // the client has shown that it has the one that was offered
}

// stream is what goes in one direction of a session.
type stream struct {
	bytes    []byte
	acks     []ack // ACK frames in it
	ends     []int // of the whole frames in it
	next     int   // where the frame begins that is not complete
	received int   // how far the reader has come
	acked    int   // what the writer knows of that
	said     int   // the last ACK that is in the other direction
}

type ack struct{ end, position int }

// boundary returns the end of the last whole frame before a position.
func (s *stream) boundary(position int) int {
	i := sort.SearchInts(s.ends, position+1)
	if i == 0 {
		return 0
	}
	return s.ends[i-1]
}

// greeting is what matters here of a HELLO or WELCOME.
type greeting struct {
	id, secret string
	number     int  // the position in a HELLO, the time in a WELCOME
	received   int  // in a WELCOME
	resumed    bool // it has received
	lost       string
	rejected   bool
}

// readGreeting reads preface and first frame of what a side has written; size is 0 if they are not complete.
func readGreeting(written []byte) (g greeting, size int) {
	const head = transport.PrefaceSize + transport.HeaderSize
	if len(written) < head {
		return g, 0
	}
	size = head + int(binary.LittleEndian.Uint32(written[transport.PrefaceSize:]))
	if len(written) < size {
		return g, 0
	}
	g.rejected = core.Kind(written[transport.PrefaceSize+4]) == core.KindReject
	for body := written[head:size]; len(body) > 0; {
		tag, n := binary.Uvarint(body)
		length, m := binary.Uvarint(body[n:])
		value := body[n+m:][:length]
		body = body[n+m+int(length):]
		const idSize, secretSize = 16, 32
		switch {
		case tag == 9 && length > idSize+secretSize:
			g.id, g.secret = string(value[:idSize]), string(value[idSize:idSize+secretSize])
			number, _ := binary.Uvarint(value[idSize+secretSize:])
			g.number = int(number)
		case tag == 10:
			received, _ := binary.Uvarint(value)
			g.received, g.resumed = int(received), true
		case tag == 11:
			g.lost = string(value)
		}
	}
	return g, size
}

// admits reports whether a client that shows secret may have the session.
func (s *session) admits(secret string) bool {
	return secret == s.offered || secret == s.current && !s.heard
}

// empty reports whether the server has got nothing of the session but its HELLO: then it may not have begun.
func (s *session) empty() bool {
	_, size := readGreeting(*s.present.near.kept)
	return s.present.heads[edicttest.ToServer] == 0 && s.streams[edicttest.ToServer].received <= size
}

// observeStreams looks at what was written and read on all connections since the last time.
func (l *lasting) observeStreams() {
	for _, h := range l.hops {
		l.meet(h)
		if h.repeats {
			l.checkRepeated(h)
		}
		if h.session == nil || h.session.stolen {
			continue
		}
		for _, d := range []edicttest.Direction{edicttest.ToServer, edicttest.ToClient} {
			l.follow(h, d)
		}
		for _, d := range []edicttest.Direction{edicttest.ToServer, edicttest.ToClient} {
			l.arrive(h, d)
			writer := h.writer(d)
			resumed := h.heads[edicttest.ToServer] > 0 && h.near.read.size >= h.heads[edicttest.ToClient]
			if resumed && !h.thief && !h.acknowledged[d] && !writer.writing && !writer.closed && !h.cut {
				l.violated("nothing is acknowledged %v on connection %d, which was resumed", d, h.connection.ID())
			}
		}
	}
	for _, s := range l.sessions {
		l.checkSession(s)
	}
}

// meet looks whether the server has answered on a connection.
func (l *lasting) meet(h *hop) {
	if h.welcomed {
		return
	}
	welcome, welcomeSize := readGreeting(*h.far.kept)
	if welcomeSize == 0 {
		return
	}
	h.welcomed = true
	var helloSize int
	h.hello, helloSize = readGreeting(*h.near.kept)
	if welcome.rejected {
		l.note("connection %d is rejected", h.connection.ID())
		return
	}
	before := l.sessions[h.hello.id]
	if h.thief {
		l.counted.thieves++
	}
	if !welcome.resumed {
		l.beginSession(h, before, welcome)
		return
	}
	if before == nil || before.id != welcome.id || before.ended && !before.stolen {
		l.violated("a session was resumed that there is not")
	}
	if !before.stolen && !before.admits(h.hello.secret) {
		l.violated("a secret was good that is not any more")
	}
	l.note("the session of %d is resumed", before.guest.number)
	if h.thief {
		l.counted.stolen++
		l.steals(before)
	} else if got := &before.streams[edicttest.ToClient]; h.hello.number != got.received && !before.stolen {
		l.violated("the client says that it has received %d, and it has %d", h.hello.number, got.received)
	}
	if got := before.streams[edicttest.ToServer].received; welcome.received != got && !before.stolen {
		l.violated("the server says that it has received %d, and it has %d", welcome.received, got)
	}
	if welcome.secret == h.hello.secret {
		l.violated("the secret of a ticket was not changed")
	}
	for d, position := range [2]int{welcome.received, h.hello.number} {
		before.streams[d].acked = max(before.streams[d].acked, position)
	}
	h.session = before
	h.heads = [2]int{helloSize, welcomeSize}
	h.base = [2]int{welcome.received, h.hello.number}
	h.checked = h.heads
	h.since = time.Now()
	if before.present, before.heard = h, false; before.away.IsZero() {
		before.away = time.Now() // until the server has written more than WELCOME
	}
	before.current, before.offered = h.hello.secret, welcome.secret
}

// steals notes that a thief has shown a secret that was good.
func (l *lasting) steals(s *session) {
	s.stolen, s.mayEnd = true, true
	s.guest.stolen, s.guest.mayLose = true, "it was stolen"
}

// beginSession notes a session that is new; before is the one that the client wanted.
func (l *lasting) beginSession(h *hop, before *session, welcome greeting) {
	if before != nil && h.hello.id != "" {
		if h.thief && before.admits(h.hello.secret) {
			l.steals(before)
		}
		legitimate := before.ended || before.mayEnd || before.empty() || !before.admits(h.hello.secret)
		if !legitimate {
			l.violated("a session that is there was not resumed: %s", welcome.lost)
		}
		if !h.thief && h.guest.mayLose == "" && !before.empty() {
			l.violated("the session of %d is lost: %s", h.guest.number, welcome.lost)
		}
		if before.id == welcome.id {
			l.violated("a session has the ID of another one")
		}
		if !h.thief {
			l.counted.losses++
			l.note("the session of %d is lost", h.guest.number)
			before.ended = true
		}
	}
	s := &session{id: welcome.id, guest: h.guest, present: h, offered: welcome.secret}
	s.stolen, s.mayEnd = h.repeats, h.repeats // nothing is checked
	h.session = s
	l.sessions[s.id] = s
	if !h.thief {
		if l.going(h.guest) > 1 {
			l.counted.crowds++
		}
		h.guest.session = s
		h.guest.unsettled, h.guest.generation = h, l.generation
	}
}

// going returns how many calls a guest has that go on.
func (l *lasting) going(g *guest) int {
	n := 0
	for _, c := range l.calls {
		if c.link == g.link && !c.over {
			n++
		}
	}
	return n
}

// follow looks at what was written on a connection.
func (l *lasting) follow(h *hop, d edicttest.Direction) {
	written := *h.writer(d).kept
	s := &h.session.streams[d]
	fresh := written[h.checked[d]:]
	if len(fresh) == 0 {
		return
	}
	if h.writer(d).closed && bytes.HasSuffix(fresh, leaving) { // that is not in the stream
		fresh = fresh[:len(fresh)-len(leaving)]
	}
	at := h.base[d] + h.checked[d] - h.heads[d]
	h.checked[d] = len(written)
	again := min(len(fresh), max(0, len(s.bytes)-at))
	if at > len(s.bytes) {
		l.violated("what is written %v goes on at %d, and only %d were written before", d, at, len(s.bytes))
	}
	if !bytes.Equal(fresh[:again], s.bytes[at:at+again]) {
		l.violated("what is written again %v, from %d on, is not what was written before", d, at)
	}
	l.counted.again += again
	s.bytes = append(s.bytes, fresh[again:]...)
	if s.next == 0 {
		s.next = transport.PrefaceSize
	}
	for len(s.bytes)-s.next >= transport.HeaderSize {
		head := s.bytes[s.next:]
		end := s.next + transport.HeaderSize + int(binary.LittleEndian.Uint32(head))
		if end > len(s.bytes) {
			break
		}
		if core.Kind(head[4]) == core.KindAck {
			l.acknowledged(h, d, ack{end, int(binary.LittleEndian.Uint64(head[transport.HeaderSize:]))})
		}
		s.ends = append(s.ends, end)
		s.next = end
	}
}

// acknowledged checks an ACK that was written in direction d.
func (l *lasting) acknowledged(h *hop, d edicttest.Direction, a ack) {
	other := &h.session.streams[1-d]
	reached := h.base[1-d] + max(0, h.reader(1-d).read.size-h.heads[1-d])
	if a.position < other.said {
		l.violated("an ACK %v of %d after one of %d", d, a.position, other.said)
	}
	if a.position > max(other.received, reached) || a.position != other.boundary(a.position) {
		l.violated("an ACK %v of %d, and %d were read", d, a.position, max(other.received, reached))
	}
	other.said = a.position
	h.acknowledged[d] = true
	h.session.streams[d].acks = append(h.session.streams[d].acks, a)
}

// arrive looks at what was read on a connection.
func (l *lasting) arrive(h *hop, d edicttest.Direction) {
	s := &h.session.streams[d]
	size := h.reader(d).read.size
	if h.session.present != h || size <= h.heads[d] || h.thief && d == edicttest.ToClient {
		return
	}
	s.received = max(s.received, s.boundary(h.base[d]+size-h.heads[d]))
	if _, hello := readGreeting(*h.near.kept); d == edicttest.ToServer && size > hello {
		h.session.heard = true
	}
	for len(s.acks) > 0 && s.acks[0].end <= s.received {
		other := &h.session.streams[1-d]
		other.acked = max(other.acked, s.acks[0].position)
		s.acks = s.acks[1:]
	}
}

// leaving is what a side sends last if it does not want the session to be resumed.
var leaving = []byte{0, 0, 0, 0, byte(core.KindGoAway), byte(core.FlagLast), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

// keptMost is how much may be written and not acknowledged: what is kept, what was queued meanwhile, and a frame.
const keptMost = transport.MinReplay + 512<<10 + 16<<10

// checkSession checks what must hold of a session whenever nothing moves.
func (l *lasting) checkSession(s *session) {
	if s.stolen {
		return
	}
	for d := range s.streams {
		if kept := len(s.streams[d].bytes) - s.streams[d].acked; kept > keptMost+l.config.maxFrame {
			l.violated("%d bytes that go %v are kept", kept, edicttest.Direction(d))
		}
	}
	if s.ended || s.present == nil {
		return
	}
	for _, h := range l.hops {
		if h != s.present && h.session == s && !h.far.closed && !h.cut {
			l.violated("the session of %d goes over two connections, %d and %d", s.guest.number, h.connection.ID(), s.present.connection.ID())
		}
	}
	switch end := s.present.far; {
	case end.closed || s.present.cut:
		attached := len(*end.kept) > s.present.heads[edicttest.ToClient] // for a moment, at least
		if s.away.IsZero() || attached && s.away.Before(s.present.since) {
			s.away = time.Now()
			if end.closed {
				s.away = end.closedAt
			}
		}
	case len(*end.kept) > s.present.heads[edicttest.ToClient]:
		s.away = time.Time{}
	}
	if near := s.present.near; s.guest.session == s && bytes.HasSuffix(*near.kept, leaving) && s.present.far.read.size == len(*near.kept) {
		if !s.present.over { // else the server may have lost the connection before it came to that
			l.checkGivenUp(s, time.Now(), "its client has left")
		}
	}
	s.present.over = s.present.far.closed
	if !s.away.IsZero() && time.Since(s.away) >= l.ttl {
		// It may have been resumed for a moment, although nothing was written.
		if since := s.present.since; time.Since(since) >= l.ttl {
			l.checkGivenUp(s, s.away, "its client was away for too long")
		}
		s.mayEnd = true
		if s.guest.session == s {
			s.guest.mayLose = "it was away for too long"
		}
	}
}

// checkGivenUp checks that no command goes on that began before a time, of a session that is given up.
func (l *lasting) checkGivenUp(s *session, before time.Time, why string) {
	for _, c := range l.calls {
		r := l.lab.runs[c.id]
		if r != nil && r.state != over && r.session == s && !c.inTurn && r.begun.Before(before) && r.ctx.Err() == nil {
			l.violated("the context of %v goes on, and %s", c, why)
		}
	}
}

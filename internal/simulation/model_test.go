package simulation

import (
	"context"
	"errors"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/edicttest"
	"github.com/edict-go/edict/transport"
)

// observe lets the model see what has passed on the wires since the last step, and checks each frame
// against what its sender may send. Then it checks what must hold whenever nothing moves.
func (s *simulation) observe() {
	for _, l := range s.links {
		if l.near == nil || l.far == nil {
			continue
		}
		for _, f := range l.near.read.fresh() {
			s.clientRead(l, &f)
		}
		for _, f := range l.near.offered.fresh() {
			s.clientOffered(l, &f)
		}
		for _, f := range l.far.read.fresh() {
			s.serverRead(l, &f)
		}
		for _, f := range l.far.offered.fresh() {
			s.serverOffered(l, &f)
		}
	}
	for _, c := range s.calls {
		if c.over && !c.judged {
			c.judged = true
			s.judge(c)
			if c.own != nil {
				c.own.release()
			}
		}
	}
	s.checkBudget()
	s.checkCalls()
	s.checkOrder()
	s.checkRuns()
	s.checkLinks()
}

// wrote tells of a frame, unless the connection has been closed by its writer since: then it depends on
// goroutines whether that has come to write it.
func (l *link) wrote(who string, end *tap, f *frame) {
	if !end.closed {
		l.s.note("the %s of %d writes %v, up to %d", who, l.number, f.kind, f.end)
	}
}

// clientOffered checks a frame that a client has given to the network.
func (s *simulation) clientOffered(l *link, f *frame) {
	l.wrote("client", l.near, f)
	s.checkCompressed(l, f)
	switch f.kind {
	case core.KindCommand:
		c := s.calls[f.call]
		if c.withdrawn && f.whole { // an ABORT may follow the first parts
			s.violated("%v was sent, and has said NotSent", c)
		}
		c.whole = c.whole || f.whole
		if !f.first {
			return
		}
		if c.link != l {
			s.violated("%v was sent on connection %d, not %d", c, l.number, c.link.number)
		}
		if c.offered {
			s.violated("%v was sent twice", c)
		}
		if before := l.calls[f.sequence]; before != nil {
			s.violated("%v has the sequence %v that %v had", c, f.sequence, before)
		}
		if holder := l.slots[f.sequence.Slot()]; holder != nil {
			s.violated("%v has the slot %d, which %v has still", c, f.sequence.Slot(), holder)
		}
		if l.goAwayRead && l.goAwayAt.Before(c.born) {
			s.violated("%v was sent after GOAWAY", c)
		}
		s.checkSent(c)
		s.turns.sent++
		c.offered, c.sequence, c.sent = true, f.sequence, s.turns.sent
		c.available, c.room = firstWindow(l.window), firstWindow(s.config.window)
		l.calls[f.sequence] = c
		l.slots[f.sequence.Slot()] = c
		if len(l.slots) > l.maxInFlight {
			s.violated("%d commands of connection %d are in flight, and %d may be", len(l.slots), l.number, l.maxInFlight)
		}
		s.checkTimeout(c, f)
	case core.KindCancel:
		if c := l.calls[f.sequence]; c != nil {
			if !c.canceled && !c.left && c.ctx.Err() == nil && !c.over {
				s.violated("%v was cancelled, and nobody wanted that", c)
			}
			c.canceling = true
		}
	case core.KindCredit:
		c := l.calls[f.sequence]
		if c == nil {
			s.violated("CREDIT for the unknown call %v", f.sequence)
		}
		c.credited += int(f.number)
		count := len(c.results)
		if s.tight && c.inside { // one more may be taken already, and wait for room to be inflated
			count++
		}
		taken := sum(c.bodies, min(count, len(c.bodies)))
		grown := l.window - firstWindow(l.window)
		if r := s.lab.runs[c.id]; c.credited > taken+grown && (r == nil || !r.spoiled) { // one that can't be decoded was taken, too
			s.violated("%v gave %d bytes of credit, and its caller has taken %d", c, c.credited, taken)
		}
		c.grew = c.grew || c.credited > taken
	case core.KindInput, core.KindInputEnd:
		if c := l.calls[f.sequence]; c != nil { // else its COMMAND was withdrawn
			s.inputOffered(c, f)
		}
	case core.KindAbort:
		if c := l.calls[f.sequence]; c != nil && !c.whole { // else it was an input
			c.withdrawn = true
			delete(l.slots, f.sequence.Slot())
		}
	case core.KindPadding:
		c := s.calls[f.call]
		if c.over && c.err != nil && core.OutcomeOf(c.err) != core.NotSent {
			s.violated("%v was withdrawn, and says %v", c, core.OutcomeOf(c.err))
		}
		c.withdrawn, c.padded = true, true
	case core.KindHello, core.KindGoAway, core.KindPong:
	case core.KindPing:
		s.checkPing(&l.nearPing, "client", l, f)
	default:
		s.violated("the client of connection %d sent %v", l.number, f.kind)
	}
}

// sum returns what the first n messages have cost in their window.
func sum(bodies []int, n int) int {
	cost := n * core.ResultOverhead
	for _, body := range bodies[:min(n, len(bodies))] {
		cost += body
	}
	return cost
}

// firstWindow is the window with which a stream begins, if it may grow to limit.
func firstWindow(limit int) int { return min(limit, core.DefaultWindow) }

// checkPing checks that PINGs, which measure the round trip, are rare.
func (s *simulation) checkPing(last *time.Time, who string, l *link, f *frame) {
	if !last.IsZero() && f.at.Sub(*last) < time.Second {
		s.violated("the %s of connection %d sent PING %v after another", who, l.number, f.at.Sub(*last))
	}
	*last = f.at
}

// inputOffered checks an INPUT or INPUT_END that a client has given to the network.
func (s *simulation) inputOffered(c *call, f *frame) {
	switch {
	case c.inputsEnd:
		s.violated("%v sent %v after INPUT_END", c, f.kind)
	case f.kind == core.KindInputEnd:
		c.inputsEnd = true
		return
	case f.first && c.room <= 0:
		s.violated("%v sent an input beyond its window: it had %d", c, c.room)
	case f.first && f.index != c.inputs && !f.compressed():
		s.violated("%v sent input %d where %d should be", c, f.index, c.inputs)
	}
	if f.whole {
		c.inputs++
		c.room -= f.body + core.ResultOverhead
	}
}

// checkTimeout checks that a COMMAND carries the time left until its caller's deadline.
func (s *simulation) checkTimeout(c *call, f *frame) {
	deadline, ok := c.ctx.Deadline()
	if !ok {
		if f.timeout >= 0 {
			s.violated("%v has a timeout of %v and no deadline", c, f.timeout)
		}
		return
	}
	// It was encoded between the start of the call and now.
	if f.timeout < max(0, deadline.Sub(f.at)) || f.timeout > deadline.Sub(c.born) {
		s.violated("%v has a timeout of %v, and its deadline is in %v", c, f.timeout, deadline.Sub(f.at))
	}
}

// serverRead notes what has arrived at the server.
func (s *simulation) serverRead(l *link, f *frame) {
	c := l.calls[f.sequence]
	switch f.kind {
	case core.KindCommand:
		if !f.whole {
			return
		}
		c.arrived, c.body = true, f.body
		s.turns.arrived++
		c.place = s.turns.arrived
		if f.timeout >= 0 {
			c.limited, c.deadline = true, f.at.Add(f.timeout)
		}
	case core.KindCancel:
		switch {
		case c == nil:
		case c.arrived:
			c.told = true
		case !c.withdrawn && !s.racing:
			s.violated("the CANCEL of %v has overtaken its COMMAND, and means nothing to the server", c)
		}
	case core.KindCredit:
		c.available += int(f.number)
	case core.KindInput:
		if c != nil && f.whole {
			c.came++
			c.fedBodies = append(c.fedBodies, f.body)
		}
	case core.KindInputEnd:
		if c != nil {
			c.cameEnd = true
		}
	}
}

// serverOffered checks a frame that the server has given to the network.
func (s *simulation) serverOffered(l *link, f *frame) {
	l.wrote("server", l.far, f)
	s.checkCompressed(l, f)
	if f.kind == core.KindGoAway {
		l.goAwaySent, l.accepted = true, int(f.number)
		if int(f.number) > l.far.read.size {
			s.violated("the server says on connection %d that it has accepted what comes before %d; it has read %d", l.number, f.number, l.far.read.size)
		}
		return
	}
	switch f.kind {
	case core.KindPing:
		s.checkPing(&l.farPing, "server", l, f)
		return
	case core.KindWelcome, core.KindReject, core.KindAbort, core.KindPong:
		return
	}
	c := l.calls[f.sequence]
	if c == nil || !c.arrived {
		s.violated("the server sent %v for the unknown call %v", f.kind, f.sequence)
	}
	if c.lastSent {
		s.violated("the server sent %v for %v, which has ended", f.kind, c)
	}
	if f.kind == core.KindCredit {
		c.given += int(f.number)
		taken := sum(c.fedBodies, len(s.lab.runs[c.id].taken))
		c.grew = c.grew || c.given > taken
		if c.given > taken+s.config.window-firstWindow(s.config.window) {
			s.violated("the server gave %v %d bytes of credit, and its command has taken %d", c, c.given, taken)
		}
		return
	}
	if f.kind == core.KindResult && c.how.stream() {
		if f.first && c.available <= 0 {
			s.violated("%v got a result beyond its window: it had %d", c, c.available)
		}
		if f.first && f.index != c.sentCount && !f.compressed() {
			s.violated("%v got result %d where %d should be", c, f.index, c.sentCount)
		}
		if f.whole {
			c.available -= f.body + core.ResultOverhead
			c.sentCount++
		}
	}
	if !f.last() {
		return
	}
	c.lastSent = true
	r := s.lab.runs[c.id]
	refused := f.kind == core.KindError && f.outcome == core.Refused
	switch {
	case refused && r != nil:
		s.violated("the server refused %v, which was executed", c)
	case !refused && (r == nil || r.state != over):
		s.violated("the server ended %v, whose command has not ended", c)
	case f.kind == core.KindError && f.outcome != core.Refused && f.outcome != core.Executed:
		s.violated("the server ended %v with the outcome %v", c, f.outcome)
	case c.how.stream() && r != nil && c.sentCount != r.sent && !c.told: // then what was queued is dropped
		s.violated("the server ended %v after %d results of %d", c, c.sentCount, r.sent)
	}
}

// clientRead notes what has come back to the client.
func (s *simulation) clientRead(l *link, f *frame) {
	if f.kind == core.KindGoAway {
		l.goAwayRead, l.goAwayAt = true, time.Now()
		return
	}
	c := l.calls[f.sequence]
	if c == nil {
		return // WELCOME
	}
	switch f.kind {
	case core.KindResult:
		if f.whole {
			c.readCount++
			c.bodies = append(c.bodies, f.body)
		}
	case core.KindCredit:
		c.room += int(f.number)
	}
	if f.last() {
		c.lastRead, c.lastStep = true, s.step
		c.verdict = core.Executed
		if f.kind == core.KindError {
			c.verdict = f.outcome
		}
		delete(l.slots, f.sequence.Slot())
	}
}

// checkCalls checks the calls that go on: none of them waits for what is there already.
func (s *simulation) checkCalls() {
	if len(s.lab.twice) > 0 {
		s.violated("the calls %v were executed twice", s.lab.twice)
	}
	for _, c := range s.calls {
		r := s.lab.runs[c.id]
		if r != nil && !c.arrived {
			s.violated("%v was executed, and has not arrived", c)
		}
		s.checkInputs(c, r)
		if c.over {
			s.checkAfter(c, r)
			continue
		}
		if !c.inside {
			continue
		}
		switch {
		case c.ctx.Err() != nil:
			s.violated("%v waits, and its context has ended", c)
		case !c.link.alive():
			s.violated("%v waits, and its client has ended", c)
		case c.started && c.canceled:
			s.violated("%v waits, and was cancelled", c)
		case c.started && c.lastRead && !s.waits(mostWanted, core.ForWork):
			s.violated("%v waits, and its end has come", c)
		case c.started && c.how.stream() && c.readCount > len(c.results) && !s.waits(mostWanted, core.ForWork):
			s.violated("%v waits for a result, and %d have come that it has not taken", c, c.readCount-len(c.results))
		case c.started && c.link.goAwayRead && c.refusedByGoAway():
			s.violated("%v waits, and GOAWAY has refused it", c)
		case !c.started && (c.link.goAwayRead || c.link.shutting) && !c.link.full() && !s.waits(mostWanted, core.ForWork):
			s.violated("%v waits for a place, and there will be none", c)
		case !c.started && c.how.stream() && s.waits(firstWindow(c.link.window), core.ForCalls), !c.started && s.waits(mostWanted, core.ForWork):
		case !c.started && c.link.client.InFlight() < c.link.maxInFlight && !c.link.full():
			s.violated("%v waits for a place, and %d of %d are taken", c, c.link.client.InFlight(), c.link.maxInFlight)
		}
	}
}

// checkInputs checks the inputs of a call on both sides, and that nobody waits for what is there.
func (s *simulation) checkInputs(c *call, r *run) {
	if c.feeding {
		switch {
		case c.ctx.Err() != nil || !c.link.alive() || c.over || c.canceled || c.lastRead:
			s.violated("%v waits to send an input, and it has ended", c)
		case c.offered && c.room > 0 && !c.link.near.writing && !s.waits(mostWanted, core.ForWork):
			s.violated("%v waits to send an input, and it has %d bytes of credit", c, c.room)
		}
	}
	if r == nil {
		return
	}
	for i, input := range r.taken {
		if i >= len(c.fed) || input != c.fed[i] {
			s.violated("the command of %v got %+v as input %d", c, input, i)
		}
	}
	switch {
	case r.sawEnd && (!c.feedEnd || len(r.taken) != len(c.fed)):
		s.violated("the command of %v saw the end of its inputs after %d of %d", c, len(r.taken), len(c.fed))
	case r.state == taking && (r.ctx.Err() != nil || (c.came > len(r.taken) || c.cameEnd) && !s.waits(mostWanted, core.ForWork)):
		s.violated("the command of %v waits for an input, and %d of %d have come, the end %v, %v", c, c.came, len(r.taken), c.cameEnd, r.ctx.Err())
	case r.stopped != nil && r.ctx.Err() == nil && !s.noRoom(r.stopped):
		s.violated("the command of %v was told %v instead of an input", c, r.stopped)
	}
}

// refusedByGoAway reports whether the command begins where the server has accepted no more.
func (c *call) refusedByGoAway() bool {
	for i := range c.link.near.offered.frames {
		if f := &c.link.near.offered.frames[i]; f.kind == core.KindCommand && f.call == c.id {
			return f.start >= c.link.accepted
		}
	}
	return false // it waits to be written
}

// checkAfter checks what must stay true of a call that has ended.
func (s *simulation) checkAfter(c *call, r *run) {
	if c.err != nil && r != nil {
		if e, ok := errors.AsType[*core.Error](c.err); ok && (e.Outcome == core.NotSent || e.Outcome == core.Refused) {
			s.violated("%v had said %v, and is executed now", c, e.Outcome)
		}
	}
	if c.offered && !c.withdrawn && !c.lastRead && !c.canceling && c.link.alive() && !c.link.near.writing && (c.err == nil || core.OutcomeOf(c.err) != core.Refused) {
		s.violated("the caller of %v has given up, and the server is not told", c)
	}
}

// checkRuns checks the commands that run: their contexts, and that none waits in Send for what it has.
func (s *simulation) checkRuns() {
	now := time.Now()
	perLink := map[*link]int{}
	active, ending, waiting := 0, 0, 0
	for _, c := range s.calls {
		r := s.lab.runs[c.id]
		if r == nil || r.state == over {
			if r != nil && !c.lastSent && (c.link.far.writing || s.waits(mostWanted, core.ForWork)) {
				ending++ // its last frame may wait for room in the queue
			}
			switch s.waitsForTurn(c) {
			case yes:
				waiting++
			case maybe:
				ending++
			}
			continue
		}
		active++
		perLink[c.link]++
		passed := c.limited && !now.Before(c.deadline)
		ended := c.told || passed || c.link.far.closed
		err := r.ctx.Err()
		switch {
		case ended && err == nil:
			s.violated("the context of %v goes on: cancelled %v, deadline passed %v, connection closed %v", c, c.told, passed, c.link.far.closed)
		case !ended && err != nil:
			s.violated("the context of %v has ended, and there is no reason", c)
		case errors.Is(err, context.DeadlineExceeded) && !passed, errors.Is(err, context.Canceled) && !c.told && !c.link.far.closed:
			s.violated("the context of %v has ended for another reason than %v", c, err)
		}
		if r.state == sending && (err != nil || c.available > 0 && !c.link.far.writing && !s.waits(mostWanted, core.ForWork)) {
			s.violated("%v waits in Send: its context says %v, and it has %d bytes of credit", c, err, c.available)
		}
		select {
		case <-edict.Draining(r.ctx):
			if !s.draining {
				s.violated("%v sees that the server shuts down, and it does not", c)
			}
		default:
			if s.draining {
				s.violated("%v does not see that the server shuts down", c)
			}
		}
	}
	if n := s.server.InFlight(); n < active+waiting || n > active+waiting+ending {
		s.violated("the server says that %d commands are in flight, and %d are", n, active+waiting)
	}
	if active+waiting > s.config.maxInFlightServer {
		s.violated("%d commands run, and the server takes %d", active, s.config.maxInFlightServer)
	}
	for _, o := range s.jobs {
		if o.ended && errors.Is(o.err, errInUse) {
			s.violated("%s has returned, and %v", o.name, o.err)
		}
		if o.ended && o.err == nil && o.drains && (active+waiting > 0 || s.server.Connections() > 0) {
			s.violated("Shutdown has returned, and %d commands run on %d connections", active, s.server.Connections())
		}
	}
	for _, l := range s.links {
		if perLink[l] > s.config.maxInFlight {
			s.violated("%d commands of connection %d run, and %d may", perLink[l], l.number, s.config.maxInFlight)
		}
	}
}

// checkLinks checks the clients: what they say is in flight, and that they have noticed their end.
func (s *simulation) checkLinks() {
	for _, l := range s.links {
		if l.client == nil {
			continue
		}
		s.checkCompression(l)
		inFlight, unsure := 0, 0
		for _, c := range s.calls {
			switch {
			case c.link != l || c.lastRead || c.withdrawn:
			case c.left && !c.whole && (c.how == byExchange || c.how == byRange):
				unsure++ // it may have been withdrawn, and there is no one who would tell
			case c.started:
				inFlight++
			case !c.over:
				unsure++ // it waits for a place, or has one and waits for room to write
			}
		}
		n := l.client.InFlight()
		switch {
		case !l.alive() && n != 0:
			s.violated("client %d has ended, and %d calls are in flight", l.number, n)
		case l.alive() && (n < inFlight || n > inFlight+unsure):
			s.violated("client %d says that %d calls are in flight, and %d are", l.number, n, inFlight)
		case l.alive() && l.cut:
			s.violated("client %d has not noticed that its connection was cut", l.number)
		case l.alive() && l.goAwayRead && n == 0:
			s.violated("client %d has no calls, and has not left the server that goes away", l.number)
		}
		if (l.near.closed || l.far.closed) && !l.cut && !l.closing && !l.starved && !s.draining {
			s.violated("connection %d has ended, and nobody wanted that: %v", l.number, l.client.Err())
		}
		if l.far.closed && !l.near.closed && !l.cut && !l.starved && !s.hasty {
			s.checkDrained(l)
		}
		for _, end := range []*tap{l.near, l.far} {
			if stuck := time.Since(end.since); end.writing && !end.closed && stuck > 2*writeTimeout {
				s.violated("nothing could be written on connection %d for %v, and it goes on", l.number, stuck)
			}
		}
		if l.cut && !l.far.closed {
			s.violated("the server has not noticed that connection %d was cut", l.number)
		}
	}
}

// checkDrained checks a connection that the server has closed although nothing was the matter with it: it
// shuts down, so the ends of all calls must have been written before.
func (s *simulation) checkDrained(l *link) {
	for _, c := range s.calls {
		if c.link == l && s.lab.runs[c.id] != nil && !c.lastSent {
			s.violated("the server has shut connection %d down before the end of %v was written", l.number, c)
		}
	}
}

// alive reports whether the link's client has not ended.
func (l *link) alive() bool {
	if l.client == nil {
		return false
	}
	select {
	case <-l.client.Done():
		return false
	default:
		return true
	}
}

// full reports whether so much waits to be written that a Start may wait for room. The model is not
// exact here: it does not see what is queued.
func (l *link) full() bool {
	queued, vast := 0, 0
	for _, c := range l.s.calls {
		if c.link == l && c.started && !c.whole && !c.padded {
			queued += c.size
			vast += c.size / (128 << 10)
		}
	}
	return l.near.writing && (queued > 256<<10 || vast >= 6)
}

// pending returns the frames that direction d has still to deliver, the first of them perhaps in part,
// and the offset up to which the reader has the bytes.
func (l *link) pending(d edicttest.Direction) (frames []frame, from, to int) {
	source, target := l.near, l.far
	if d == edicttest.ToClient {
		source, target = l.far, l.near
	}
	from, to = target.read.size, source.offered.size
	all := source.offered.frames
	for len(all) > 0 && all[0].end <= from {
		all = all[1:]
	}
	if from < transport.PrefaceSize {
		frames = append(frames, frame{start: 0, end: min(to, transport.PrefaceSize)})
	}
	return append(frames, all...), from, to
}

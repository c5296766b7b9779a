package simulation

import (
	"context"
	"iter"
	"strconv"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/edicttest"
)

// The commands that wait for their turn: those with the same key execute one after another.
type (
	askInTurn  letter
	listInTurn letter
	talkInTurn letter
)

// Exec implements edict.Command.
func (c askInTurn) Exec(ctx context.Context, l *lab) (letter, error) {
	return l.beginInTurn(ctx, letter(c)).serve(ctx, nil, nil)
}

// Exec implements edict.StreamCommand.
func (c listInTurn) Exec(ctx context.Context, l *lab, results edict.Sink[letter]) error {
	_, err := l.beginInTurn(ctx, letter(c)).serve(ctx, nil, results)
	return err
}

// Exec implements edict.DuplexCommand.
func (c talkInTurn) Exec(ctx context.Context, l *lab, inputs edict.Source[letter], results edict.Sink[letter]) error {
	_, err := l.beginInTurn(ctx, letter(c)).serve(ctx, inputs, results)
	return err
}

// OrderingKey implements edict.Ordered.
func (c askInTurn) OrderingKey() string { return orderingKey(c.Key) }

// OrderingKey implements edict.Ordered.
func (c listInTurn) OrderingKey() string { return orderingKey(c.Key) }

// OrderingKey implements edict.Ordered.
func (c talkInTurn) OrderingKey() string { return orderingKey(c.Key) }

func orderingKey(key int) string {
	if key == 0 {
		return ""
	}
	return strconv.Itoa(key)
}

func newLab() *lab { return &lab{runs: map[int]*run{}, holders: map[int]int{}} }

// beginInTurn notes that the command of a letter runs, which has the turn of its key until it is over.
func (l *lab) beginInTurn(ctx context.Context, command letter) *run {
	r := l.begin(ctx, command.Call)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.begun = append(l.begun, command.Call)
	if command.Key == 0 {
		return r
	}
	if holder, ok := l.holders[command.Key]; ok {
		l.together = append(l.together, [2]int{holder, command.Call})
	}
	l.holders[command.Key] = command.Call
	r.ended = func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.holders[command.Key] == command.Call {
			delete(l.holders, command.Key)
		}
	}
	return r
}

// startAsk is edict.Start with the command that the call has.
func (c *call) startAsk(command letter, options []edict.CallOption) (*edict.Invocation[letter], error) {
	if c.inTurn {
		return edict.Start(c.ctx, sender{c}, askInTurn(command), options...)
	}
	return edict.Start(c.ctx, sender{c}, ask(command), options...)
}

// startList is edict.StartStream with the command that the call has.
func (c *call) startList(command letter, options []edict.CallOption) (*edict.Invocation[letter], error) {
	if c.inTurn {
		return edict.StartStream(c.ctx, sender{c}, listInTurn(command), options...)
	}
	return edict.StartStream(c.ctx, sender{c}, list(command), options...)
}

// startTalk is edict.StartDuplex with the command that the call has.
func (c *call) startTalk(command letter, options []edict.CallOption) (*edict.DuplexInvocation[letter, letter], error) {
	if c.inTurn {
		return edict.StartDuplex(c.ctx, sender{c}, talkInTurn(command), options...)
	}
	return edict.StartDuplex(c.ctx, sender{c}, talk(command), options...)
}

// stream is edict.Stream with the command that the call has.
func (c *call) stream(command letter, options []edict.CallOption) iter.Seq2[letter, error] {
	if c.inTurn {
		return edict.Stream(c.ctx, sender{c}, listInTurn(command), options...)
	}
	return edict.Stream(c.ctx, sender{c}, list(command), options...)
}

// ordering is what the model knows of the commands in turn.
type ordering struct {
	sent    int // commands that clients have given to the network, of all connections
	arrived int // that have arrived at the server
	seen    int // of those that have begun
	// last is the place of the last one that has begun, by its key; and by its connection, too.
	last     map[int]*call
	lastHere map[laneOfLink]*call
}

type laneOfLink struct {
	key  int
	link *link
}

// certainty is what the model knows of something.
type certainty int

const (
	no certainty = iota
	maybe
	yes
)

// waitsForTurn reports whether a command has arrived and waits for its turn. If the server can't write, the
// model does not see whether it was refused.
func (s *simulation) waitsForTurn(c *call) certainty {
	switch {
	case !c.inTurn || !c.arrived || s.lab.runs[c.id] != nil || c.lastSent || c.link.far.closed:
		return no
	case c.link.goAwaySent && c.refusedByGoAway(): // which the server need not say once more
		return no
	case c.link.far.writing && (s.mayRefuse(c) || s.contextEnded(c)):
		return maybe
	}
	return yes
}

// mayRefuse reports whether there may be a reason for the server to refuse a command that has come.
func (s *simulation) mayRefuse(c *call) bool {
	return s.tight || s.draining || s.config.maxInFlightServer < 100 || c.fault != sound
}

// contextEnded reports whether there is a reason for the context of a command to have ended on the server.
func (s *simulation) contextEnded(c *call) bool {
	return c.told || c.limited && !time.Now().Before(c.deadline) || c.link.far.closed
}

// inTurn reports whether a frame belongs to a call whose command has its turn.
func (l *link) inTurn(d edicttest.Direction, f *frame) bool {
	if d != edicttest.ToServer || !l.s.full {
		return false
	}
	if f.kind == core.KindCommand || f.kind == core.KindPadding {
		return f.call >= 0 && l.s.calls[f.call].inTurn
	}
	c := l.calls[f.sequence]
	return c != nil && c.inTurn
}

// checkSent checks that a command in turn is sent behind those of its client that were started before.
func (s *simulation) checkSent(c *call) {
	for _, other := range s.calls {
		if c.inTurn && other.inTurn && other.link == c.link && other.offered && c.startStep > 0 && c.startStep < other.bornStep {
			s.violated("%v was sent before %v, and started after it", other, c)
		}
	}
}

// checkOrder checks that commands with a key have begun in their order, one after the other, and that those which
// wait for their turn have a reason.
func (s *simulation) checkOrder() {
	if !s.full {
		return
	}
	for _, both := range s.lab.together {
		s.violated("the calls %v have the same key, and their commands ran at the same time", both)
	}
	if s.turns.last == nil {
		s.turns.last, s.turns.lastHere = map[int]*call{}, map[laneOfLink]*call{}
	}
	for _, id := range s.lab.begun[s.turns.seen:] {
		c := s.calls[id]
		if c.doomed {
			s.violated("the command of %v has begun, and its context had ended before", c)
		}
		if c.key == 0 {
			continue
		}
		if before := s.turns.lastHere[laneOfLink{c.key, c.link}]; before != nil && before.sent > c.sent {
			s.violated("the command of %v has begun after that of %v, which was sent later", c, before)
		}
		// Which of two connections is read first is known if they are not read in the same step.
		if before := s.turns.last[c.key]; before != nil && before.place > c.place && !s.racing {
			s.violated("the command of %v has begun after that of %v, which came later", c, before)
		}
		s.turns.last[c.key], s.turns.lastHere[laneOfLink{c.key, c.link}] = c, c
	}
	s.turns.seen = len(s.lab.begun)
	running := map[int]bool{}
	for _, c := range s.calls {
		if r := s.lab.runs[c.id]; c.inTurn && r != nil && (r.state != over || !c.lastSent && s.short(mostWanted, core.ForWork)) { // its result may wait
			running[c.key] = true
		}
		if c.started && c.startStep == 0 {
			c.startStep = s.step
		}
	}
	for _, c := range s.calls {
		waits := s.waitsForTurn(c)
		ended := s.contextEnded(c)
		c.waited = c.waited || waits == yes
		c.doomed = c.doomed || ended && c.inTurn && c.arrived && s.lab.runs[c.id] == nil
		switch {
		case waits != yes:
		case ended:
			s.violated("the command of %v waits for its turn, and its context has ended", c)
		case c.key == 0 || !running[c.key]:
			s.violated("the command of %v waits for its turn, and none with its key runs", c)
		}
	}
}

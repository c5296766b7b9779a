package simulation

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/handler"
)

// mortal is a journal of a server that is killed: what the server does after that does not come to the file.
type mortal struct {
	edict.Journal
	dead  atomic.Bool
	ended *sync.Map // the commands of whose end the file knows
}

var errKilled = errors.New("killed")

// Begin implements core.Journal.
func (m *mortal) Begin(id edict.CommandID) (*core.Record, error) {
	if m.dead.Load() {
		return nil, errKilled
	}
	return m.Journal.Begin(id)
}

// End implements core.Journal.
func (m *mortal) End(id edict.CommandID, record *core.Record) error {
	if m.dead.Load() {
		return errKilled
	}
	err := m.Journal.End(id, record)
	if err == nil {
		m.ended.Store(id, true)
	}
	return err
}

// Forget implements core.Journal.
func (m *mortal) Forget(client core.ClientID, numbers []uint64) {
	if !m.dead.Load() {
		m.Journal.Forget(client, numbers)
	}
}

// observe checks what must hold whenever nothing moves.
func (l *lasting) observe() {
	for _, c := range l.calls {
		if r := l.lab.runs[c.id]; r != nil && r.session == nil {
			r.session = l.guests[c.link.number].session
		}
	}
	l.observeStreams()
	for _, g := range l.guests {
		l.settleGuest(g)
	}
	if len(l.lab.twice) > 0 {
		l.violated("the calls %v were executed twice", l.lab.twice)
	}
	for _, c := range l.calls {
		if c.over && !c.judged {
			c.judged = true
			l.judgeLasting(c)
			if c.own != nil {
				c.own.release()
			}
		}
		l.checkCall(c)
		l.checkRun(c)
	}
	for _, o := range l.jobs {
		if o.ended && errors.Is(o.err, errInUse) {
			l.violated("%s has returned, and %v", o.name, o.err)
		}
	}
	if used, kept := l.budget.Used(), l.kept(); used < kept || used > l.budget.Limit() {
		l.violated("%d bytes of the budget are in use, and %d are kept at least", used, kept)
	}
}

// keptFree is how much is kept on each side of a connection, and queued, that doesn't count for the budget: some of it
// never does, and what was copied out of a lane not before something else is queued.
const keptFree = 16<<10 + 2*core.LargeBody

// kept returns how many bytes both sides keep at least that count for the budget.
func (l *lasting) kept() (size int64) {
	for _, g := range l.guests {
		s := g.session
		if s == nil || g.closed || g.mayLose != "" || s.ended || s.mayEnd {
			continue
		}
		for d := range s.streams {
			size += int64(max(0, len(s.streams[d].bytes)-s.streams[d].acked-keptFree))
		}
	}
	return size
}

// settleGuest notes whether the client's calls may just have lost their session.
func (l *lasting) settleGuest(g *guest) {
	if g.mayLose != "" {
		g.lossStep = l.step
	}
	h := g.unsettled
	if h == nil {
		return
	}
	g.lossStep = l.step
	if _, size := readGreeting(*h.far.kept); h.near.read.size >= size {
		g.unsettled = nil
		if l.up && g.generation == l.generation {
			g.mayLose = ""
		}
	} else if h.near.closed {
		g.unsettled = nil
	}
}

// checkCall checks a call, whether it is over or not.
func (l *lasting) checkCall(c *call) {
	r := l.lab.runs[c.id]
	switch {
	case c.inside && c.ctx.Err() != nil:
		l.violated("%v waits, and its context has ended", c)
	case c.feeding && (c.ctx.Err() != nil || c.over):
		l.violated("%v waits to send an input, and it has ended", c)
	case c.inside && c.started && c.canceled:
		l.violated("%v waits, and was cancelled", c)
	case c.inside && !c.link.alive():
		l.violated("%v waits, and its client has ended", c)
	}
	if c.over && c.err != nil && r != nil {
		if outcome := edict.OutcomeOf(c.err); outcome == edict.NotSent || outcome == edict.Refused {
			l.violated("%v has said %v, and is executed: %v", c, outcome, c.err)
		}
	}
}

// checkRun checks a command that runs: what it gets, and that it goes on while its client is away.
func (l *lasting) checkRun(c *call) {
	r := l.lab.runs[c.id]
	if r == nil {
		return
	}
	for i, input := range r.taken {
		if i >= len(c.fed) && !(i == len(c.fed) && c.feeding) || i < len(c.fed) && input != c.fed[i] {
			l.violated("the command of %v got %+v as input %d", c, input, i)
		}
	}
	if r.sawEnd && (!c.feedEnd && !c.feeding && !c.feedOver || len(r.taken) != len(c.fed)) {
		l.violated("the command of %v saw the end of its inputs after %d of %d", c, len(r.taken), len(c.fed))
	}
	if r.state == over {
		if l.journals && !r.killed && r.id.Number != 0 && !l.isRecorded(r) {
			l.violated("%v was executed, and its end is not in the journal", c)
		}
		return
	}
	g := l.guests[c.link.number]
	err := r.ctx.Err()
	passed := c.limited && !time.Now().Before(c.deadline)
	wanted := c.canceled || c.left || c.over || passed || g.closed || g.lossStep >= c.bornStep
	switch {
	case err == nil && l.serverGone(r):
		l.violated("the context of %v goes on, and its server has ended", c)
	case err != nil && !wanted:
		l.violated("the context of %v has ended, and there is no reason", c)
	case errors.Is(err, context.DeadlineExceeded) && !passed:
		l.violated("the context of %v has ended before its deadline", c)
	}
}

// serverGone reports whether the server of a run was killed.
func (l *lasting) serverGone(r *run) bool { return r.killed }

// ended reports whether the end of a run is in the journal.
func (l *lasting) isRecorded(r *run) bool {
	_, recorded := l.ended.Load(r.id)
	return recorded
}

// judgeLasting checks what a call that has ended says of itself.
func (l *lasting) judgeLasting(c *call) {
	r := l.lab.runs[c.id]
	if c.left {
		return
	}
	l.judgeResults(c, r)
	switch {
	case c.err != nil:
		l.judgeLastingError(c, r)
	case r.killed && !l.isRecorded(r):
		l.violated("%v ended well, and it was cut while it was executed", c)
	case r.id.Number != 0 && r.session != l.guests[c.link.number].session:
		l.counted.recorded++
	}
}

// judgeLastingError checks an error: its outcome, and that it tells a reason that there was.
func (l *lasting) judgeLastingError(c *call, r *run) {
	e, ok := errors.AsType[*edict.Error](c.err)
	switch {
	case !ok:
		l.violated("%v ended with %v, which has no *edict.Error", c, c.err)
	case errors.Is(c.err, errMixedUp) || strings.Contains(c.err.Error(), errMixedUp.Error()):
		l.violated("%v got somebody else's bytes: %v", c, c.err)
	case c.again != nil && !errors.Is(c.again, c.err):
		l.violated("%v ended with %v, and then with %v", c, c.err, c.again)
	case e.Outcome == edict.Executed && r == nil:
		l.violated("%v says Executed, and it was not: %v", c, c.err)
	case e.Outcome == edict.OutcomeUnknown && !c.started:
		l.violated("%v was not started, and does not know what became of it: %v", c, c.err)
	}
	g := l.guests[c.link.number]
	lost := g.lossStep >= c.bornStep
	c.told = c.canceled || c.ctx.Err() != nil || lost
	tooLarge := c.size+letterHead+timeoutSize+numberSize > l.config.maxFrame
	// One that was sent again, and refused, may have run before.
	refused := e.Remote && (e.Outcome == edict.Refused || e.Outcome == edict.OutcomeUnknown && lost && l.journals)
	var reasons []string
	for _, reason := range []struct {
		was, told bool
		name      string
	}{
		{c.ctx.Err() != nil, c.ctx.Err() != nil && e.Code == edict.CodeOf(c.ctx.Err()) && errors.Is(c.err, c.ctx.Err()) && errors.Is(c.err, context.Cause(c.ctx)), "its context has ended"},
		{c.invoked, errors.Is(c.err, context.Canceled), "it was cancelled"},
		{g.closed, e.Code == edict.Unavailable && errors.Is(c.err, edict.ErrClosed), "its client ends"},
		{g.shutting, e.Code == edict.Unavailable && e.Outcome == edict.OutcomeUnknown, "its connection was lost while its client shut down"},
		{lost, e.Code == edict.Unavailable && l.mayBeUnavailable(c, e), "its session was lost"},
		{lost && l.journals && r != nil && (!l.wasAnswered(r) || g.stolen), e.Reason == handler.ReasonCut && e.Outcome == edict.OutcomeUnknown, "it was cut while it was executed"},
		{r != nil, e.Outcome == edict.Executed && l.toldByRun(c, r, e) && (!r.killed || l.isRecorded(r)), "its command has ended"},
		{lost && l.journals && r != nil && c.how.stream(), e.Outcome == edict.Executed && e.Code == edict.Canceled, "it was cancelled by the end of its session, and some results may be missing"},
		{true, refused && e.Code == edict.ResourceExhausted, "the server was full"},
		{c.limited, refused && e.Code == edict.DeadlineExceeded, "it was late"},
		{c.told, refused && e.Code == edict.Canceled, "it was cancelled before its turn"},
		{c.fault == undecodable, refused && e.Code == edict.InvalidArgument, "it can't be decoded"},
		{c.fault == unencodable, e.Code == edict.InvalidArgument && e.Outcome == edict.NotSent, "it can't be encoded"},
		{tooLarge, e.Code == edict.ResourceExhausted && e.Outcome == edict.NotSent, "it is too large"},
		{r != nil && r.spoiled, e.Code == edict.Internal && e.Outcome == edict.Executed, "its result can't be decoded"},
	} {
		if reason.told && reason.was {
			if e.Reason == handler.ReasonCut {
				l.counted.cutWhileExecuting++
			}
			return
		}
		if reason.was {
			reasons = append(reasons, reason.name)
		}
	}
	l.violated("%v: %q, and its error is %v, %v", c, reasons, c.err, e.Outcome)
}

// numberSize is what the number of a command takes.
const numberSize = 8

// wasAnswered reports whether the server has written down how a command ended, so that it must tell; unless that came after it
// was asked, which may be if a thief has the session, in which the command goes on.
func (l *lasting) wasAnswered(r *run) bool { return l.isRecorded(r) }

// mayBeUnavailable reports whether a call may end because its session is lost. If there is a journal, calls that
// can be sent again are.
func (l *lasting) mayBeUnavailable(c *call, e *edict.Error) bool {
	if l.journals && c.how != byDuplex {
		return false
	}
	return e.Outcome == edict.OutcomeUnknown || c.how == byDuplex
}

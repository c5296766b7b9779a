package simulation

import (
	"github.com/edict-go/edict"
	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/edicttest"
)

// In the lives of TestSimulationOfSmallBudgets the budget, which the server and all clients share, is so small that a
// few large messages use it up: calls are refused and wait for it, and one that gives back lets several go on. So
// goroutines decide who is first, and what a buffer counts for depends on which the pool had: a seed of theirs tells
// nearly the same story each time, but not quite, as little as one of TestSimulationOfRaces does.

// drawBudget draws the size of the budget.
func (s *simulation) drawBudget() int64 {
	if !s.tight {
		return 1 << 30
	}
	return pick[int64](s, 300<<10, 500<<10, 1<<20)
}

// mostWanted is the most that anyone asks for at once: a buffer for a message of MaxFrame, and what that is inflated
// from.
const mostWanted = 256 << 10

// short reports whether the budget is so small, and so much of it is in use, that somebody who wants size bytes may
// wait for them.
func (s *simulation) short(size int, purpose core.Purpose) bool {
	limit := s.budget.Limit()
	if purpose == core.ForCalls {
		limit -= limit / 4
	}
	return s.tight && s.budget.Used()+int64(size) > limit
}

// waits is short, for those who do.
func (s *simulation) waits(size int, purpose core.Purpose) bool {
	if !s.short(size, purpose) {
		return false
	}
	s.counted.short++
	return true
}

// noRoom reports whether an error says that there was no room in a budget, with a hint when to try again.
func (s *simulation) noRoom(err error) bool {
	e, ok := err.(*edict.Error)
	return s.tight && ok && e.Code == edict.ResourceExhausted && e.RetryAfter == core.BusyRetry
}

const (
	// commandCost is what a command on the server counts for beside its body, commandsFree what those of a
	// connection may count for without being taken from the budget.
	commandCost  = 4 << 10
	commandsFree = 16 << 10
)

// held returns what the budget must count at least: connections, commands that are not over, the windows of
// streams and of inputs.
func (s *simulation) held() int64 {
	held := 0
	for _, l := range s.links {
		if l.client != nil && !l.far.closed { // the server has not rejected it
			held += core.ConnectionCost
		}
	}
	commands := map[*link]int{}
	for _, c := range s.calls {
		r := s.lab.runs[c.id]
		running := r != nil && r.state != over && !c.link.far.closed
		if running || s.waitsForTurn(c) == yes {
			commands[c.link] += commandCost + c.body
		}
		if (running || s.waitsForTurn(c) == yes) && c.how == byDuplex && !c.cameEnd {
			held += firstWindow(s.config.window)
		}
		if c.started && c.how.stream() && !c.over && !c.canceled && !c.left && !c.lastRead && c.ctx.Err() == nil && c.link.alive() {
			held += firstWindow(c.link.window)
		}
	}
	for _, cost := range commands {
		held += max(0, cost-commandsFree)
	}
	return int64(held)
}

// checkBudget checks that nothing is counted as held when nothing is.
func (s *simulation) checkBudget() {
	used, limit := s.budget.Used()-s.calmShare, s.budget.Limit()-s.calmShare
	if used < 0 || used > limit {
		s.violated("%d bytes of the budget are in use, of %d", used, limit)
	}
	if held := s.held(); used < held {
		s.violated("%d bytes of the budget are in use, and %d are held at least", used, held)
	}
	used -= int64(s.server.Connections()) * core.ConnectionCost
	if used == 0 || s.server.InFlight() > 0 || s.tight && used < 0 { // those that are being rejected count for nothing
		return
	}
	for _, c := range s.calls {
		if !c.over {
			return
		}
	}
	for _, l := range s.links {
		if l.client == nil {
			continue
		}
		near, _, _ := l.pending(edicttest.ToServer)
		far, _, _ := l.pending(edicttest.ToClient)
		if l.client.InFlight() > 0 || l.near.writing || l.far.writing || len(near)+len(far) > 0 || l.far.read.within() || l.near.read.within() {
			return
		}
	}

	s.violated("%d bytes of the budget are in use, and nothing is held", used)
}

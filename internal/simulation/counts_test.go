package simulation

import (
	"reflect"

	"github.com/edict-go/edict"
)

// counts are what has happened in the life of a seed, for the tests that want to know that enough has.
type counts struct {
	seeds, steps, cuts, drains                                         int
	calls, streams, executed, succeeded, failed, refused, lost, unsent int
	withdrawn, padded, cancelled, results, inputs, parts, grown        int
	// Of commands in turn: those that ran, that waited for their turn, and whose context ended meanwhile.
	inTurn, waited, doomed int
	compressed, attacks    int // frames; hostile clients
	// Calls that found no room in the budget, and steps after which somebody waited for some.
	noRoom, short int
	// Of lasting lives: bytes that were written again; connections that were resumed, and those of whose session nothing was known; calls that were sent again; servers
	// that were killed; thieves that were answered, those who had a session by that, and those who repeated all that a client had said.
	again, resumed, losses, resent, kills, thieves, stolen, repeats int
	// Sessions that began when several calls waited for one.
	crowds                      int
	cutWhileExecuting, recorded int // calls that ended so; that were answered by a server after the one that executed them
}

// count adds up what has happened.
func (s *simulation) count() {
	n := &s.counted
	n.seeds, n.steps, n.calls, n.executed = 1, s.step, len(s.calls), len(s.lab.runs)
	for _, c := range s.calls {
		n.results += len(c.results)
		n.inputs += c.came
		for _, holds := range []struct {
			met   bool
			count *int
		}{
			{c.how.stream(), &n.streams},
			{c.padded, &n.padded},
			{c.told, &n.cancelled},
			{c.whole && c.size > fragment, &n.parts},
			{c.grew, &n.grown},
			{c.inTurn && s.lab.runs[c.id] != nil, &n.inTurn},
			{c.waited, &n.waited},
			{c.waited && c.doomed, &n.doomed},
		} {
			if holds.met {
				*holds.count++
			}
		}
		switch outcome := edict.OutcomeOf(c.err); {
		case c.left:
		case c.err == nil:
			n.succeeded++
		case outcome == edict.NotSent && c.started:
			n.withdrawn++
		case outcome == edict.NotSent:
			n.unsent++
		case outcome == edict.Refused:
			n.refused++
		case outcome == edict.Executed:
			n.failed++
		default:
			n.lost++
		}
	}
}

// add adds up two counts.
func (n *counts) add(other counts) {
	sum, more := reflect.ValueOf(n).Elem(), reflect.ValueOf(other)
	for i := range sum.NumField() {
		field := (*int)(sum.Field(i).Addr().UnsafePointer())
		*field += int(more.Field(i).Int())
	}
}

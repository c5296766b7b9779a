package handler

import (
	"context"
	"sync"

	"github.com/edict-go/edict/core"
)

// lanes has the order of commands with ordering keys, of all connections of an Invoker.
//
// Such a command has a turn, which goes through two lists. The read loop puts it at the end of its
// connection's arrivals. Workers decode commands in parallel, and so learn their keys in any order; but
// turns leave the arrivals from the front, once their key is known, for the end of their key's lane. The
// first turn in a lane is due: its command is queued for a worker, or runs. When it has ended it leaves
// the lane, and the next one is due.
//
// So a command that waits is an entry in a list, without a goroutine, and it can be taken out from
// anywhere when its context ends. All of that is done by whoever changes something, under mu: there is no
// goroutine of the lanes' own.
type lanes struct {
	mu    sync.Mutex // guards byKey, all lists, and what turns say; held briefly
	byKey map[string]*turns
}

// turn is the place of one command in the order.
type turn struct {
	task     *task
	executor core.OrderedExecutor
	execute  func(context.Context) error // the decoded command; belongs to the task's owner

	// Guarded by lanes.mu.
	state          turnState
	interrupted    bool // the context ended before the command was decoded
	key            string
	in             *turns // arrivals or a lane; nil if the command needs no turn any more
	previous, next *turn  // there
}

// turnState says who has a turn's task.
type turnState uint8

const (
	turnArrived turnState = iota // the read loop, the connection's queue, or the worker that decodes it
	turnWaiting                  // the lanes: it is decoded, and others are before it
	turnDue                      // whoever made it due, the queue, or the worker that executes or ends it
)

// arrive puts a turn at the end of its connection's arrivals.
func (l *lanes) arrive(arrivals *turns, t *turn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	arrivals.add(t)
}

// enter is called when a command has been decoded. It returns the turns that are due now; if t is not
// among them, its task belongs to the lanes from now on.
func (l *lanes) enter(t *turn, key string) (due []*turn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	arrivals := t.in
	t.key, t.state = key, turnWaiting
	if key == "" || t.interrupted {
		arrivals.remove(t)
		t.state = turnDue
		due = append(due, t)
	}
	return l.advanceLocked(arrivals, due)
}

// advanceLocked moves the turns at the front whose keys are known from the arrivals to their lanes. It
// appends those that are due.
func (l *lanes) advanceLocked(arrivals *turns, due []*turn) []*turn {
	for t := arrivals.first; t != nil && t.state == turnWaiting; t = arrivals.first {
		arrivals.remove(t)
		lane := l.byKey[t.key]
		if lane == nil {
			lane = new(turns)
			l.byKey[t.key] = lane
		}
		lane.add(t)
		if lane.first == t {
			t.state = turnDue
			due = append(due, t)
		}
	}
	return due
}

// leave is called by the owner of t's task when the command has ended, at whatever stage. It returns
// the turns that are due now.
func (l *lanes) leave(t *turn) (due []*turn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := t.in
	if list == nil {
		return nil
	}
	list.remove(t)
	if t.state == turnArrived { // it could not be decoded
		return l.advanceLocked(list, nil)
	}
	if list.first == nil {
		delete(l.byKey, t.key)
		return nil
	}
	list.first.state = turnDue
	return []*turn{list.first}
}

// interrupt is called when the context of t's command has ended. If it reports true the command waited;
// now it is due, to be ended by a worker, and its task is the caller's.
func (l *lanes) interrupt(t *turn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.state != turnWaiting {
		t.interrupted = true
		return false
	}
	// It is not the first: the first of a lane is due, and the first of the arrivals is not decoded. So
	// nobody else is due because it goes.
	t.in.remove(t)
	t.state = turnDue
	return true
}

// turns is a list of turns.
type turns struct{ first, last *turn }

func (l *turns) add(t *turn) {
	t.in, t.previous, t.next = l, l.last, nil
	if l.last == nil {
		l.first = t
	} else {
		l.last.next = t
	}
	l.last = t
}

func (l *turns) remove(t *turn) {
	if t.previous == nil {
		l.first = t.next
	} else {
		t.previous.next = t.next
	}
	if t.next == nil {
		l.last = t.previous
	} else {
		t.next.previous = t.previous
	}
	t.in, t.previous, t.next = nil, nil, nil
}

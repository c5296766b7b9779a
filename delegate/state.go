package delegate

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/edict-go/edict/core"
)

// State says what a client's connection does. docs/connections.md has a drawing of how one follows another,
// and what each means for calls.
type State int

const (
	// Disconnected: there is no connection, and none was tried yet.
	Disconnected State = iota
	// Connecting: the server's address is dialled.
	Connecting
	// Handshaking: the network's connection is there, and both sides find out what they have in common.
	Handshaking
	// Ready: calls go out.
	Ready
	// Draining: the connection takes no more calls, because the server goes away or the client is shut
	// down. Those on it go on to their end.
	Draining
	// Reconnecting: the connection is lost, or could not be made; after a pause it is tried again.
	Reconnecting
	// Closed: there is no connection, and there will be none. This state is the last.
	Closed
)

var stateNames = [...]string{"disconnected", "connecting", "handshaking", "ready", "draining", "reconnecting", "closed"}

// String returns the state's name in lower case, as in "ready".
func (s State) String() string {
	if s >= 0 && int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("state(%d)", int(s))
}

// StateChange is a step from one state to the next.
type StateChange struct {
	From, To State
	// Attempt is the number of the attempt to connect that this belongs to, counted from 1 since the last
	// connection; 0 if it belongs to none.
	Attempt int
	// Cause is why: the error of the attempt that failed or of the connection that was lost, the server's
	// reason to go away. It is nil where nothing has gone wrong.
	Cause error
	At    time.Time
}

// String returns the change in a line, for logs.
func (c StateChange) String() string {
	text := c.From.String() + " -> " + c.To.String()
	if c.Attempt > 0 {
		text += fmt.Sprintf(", attempt %d", c.Attempt)
	}
	if c.Cause != nil {
		text += ": " + c.Cause.Error()
	}
	return text
}

// States has the state of a connection, for those who ask, wait, or watch. The zero States is Disconnected.
// Safe for concurrent use; nobody who watches can hold up Set.
type States struct {
	mu      sync.Mutex // guards the following; held briefly
	count   int        // changes so far
	recent  []StateChange
	changed signal // raised by each change
}

// maxRecent is how many changes are kept for those who watch, and have not seen them yet.
const maxRecent = 32

// Set changes the state. Nothing follows Closed.
func (s *States) Set(to State, attempt int, cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from := s.presentLocked().To
	if from == Closed {
		return
	}
	if s.recent == nil {
		s.recent = make([]StateChange, 0, 3) // connecting, handshaking, ready: most clients have no more
	}
	if len(s.recent) == maxRecent {
		copy(s.recent, s.recent[1:])
		s.recent = s.recent[:maxRecent-1]
	}
	s.recent = append(s.recent, StateChange{From: from, To: to, Attempt: attempt, Cause: cause, At: time.Now()})
	s.count++
	s.changed.raise()
}

func (s *States) presentLocked() StateChange {
	if len(s.recent) == 0 {
		return StateChange{At: time.Now()}
	}
	return s.recent[len(s.recent)-1]
}

// Present returns the last change; its To is the present state.
func (s *States) Present() StateChange {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.presentLocked()
}

// Changes returns the present state, as the change that has led to it, and then each change as it comes, until
// ctx ends or Closed was returned. Of those that come faster than they are taken the oldest may be missing,
// never the last.
func (s *States) Changes(ctx context.Context) iter.Seq[StateChange] {
	return func(yield func(StateChange) bool) {
		s.mu.Lock()
		change, next := s.presentLocked(), s.count
		s.mu.Unlock()
		for yield(change) && change.To != Closed {
			var ok bool
			if change, next, ok = s.wait(ctx, next); !ok {
				return
			}
		}
	}
}

// Observe calls observer with each change, from the first one on: in this goroutine, one after the other. It
// returns after that to Closed. If observer is slow, it may miss old changes, never the last.
func (s *States) Observe(observer func(StateChange)) {
	for next, last := 0, Disconnected; last != Closed; {
		var change StateChange
		change, next, _ = s.wait(context.Background(), next)
		observer(change)
		last = change.To
	}
}

// wait waits for the change with a number, and returns it, or the oldest that is kept, with the number of the
// next.
func (s *States) wait(ctx context.Context, number int) (change StateChange, next int, ok bool) {
	s.mu.Lock()
	for s.count <= number {
		changed := s.changed.wait()
		s.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return StateChange{}, 0, false
		}
		s.mu.Lock()
	}
	defer s.mu.Unlock()
	oldest := s.count - len(s.recent)
	number = max(number, oldest)
	return s.recent[number-oldest], number + 1, true
}

// WaitReady waits until the state is Ready. If it becomes Closed first, it returns the cause of that; if ctx
// ends first, an *Error that says so, and what was wrong last.
func (s *States) WaitReady(ctx context.Context) error {
	for {
		s.mu.Lock()
		present, changed := s.presentLocked(), s.changed.wait()
		s.mu.Unlock()
		switch {
		case present.To == Ready:
			return nil
		case present.To == Closed && present.Cause == nil:
			return closed()
		case present.To == Closed:
			return present.Cause
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return noConnection(ctx, present.Cause)
		}
	}
}

// noConnection describes the end of a context, or of the patience of a caller, while there was no connection.
func noConnection(ctx context.Context, last error) *core.Error {
	e := &core.Error{Code: core.Unavailable, Outcome: core.NotSent, Message: "there is no connection", Cause: last}
	if ctx.Err() != nil {
		e.Code, e.Cause = core.CodeOf(ctx.Err()), context.Cause(ctx)
		e.Message = e.Cause.Error() + ", while there was no connection"
	}
	if last != nil {
		e.Message += " (" + last.Error() + ")"
	}
	return e
}

func closed() *core.Error {
	return &core.Error{Code: core.Unavailable, Outcome: core.NotSent, Message: "the client was closed", Cause: core.ErrClosed}
}

// signal wakes all who wait for a change of something that a mutex guards, which also guards the signal:
// who waits takes the channel with the mutex held, waits without it, and looks again.
type signal struct{ changed chan struct{} }

func (s *signal) wait() <-chan struct{} {
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.changed
}

func (s *signal) raise() {
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

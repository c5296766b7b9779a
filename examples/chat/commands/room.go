package commands

import (
	"context"
	"strings"
	"sync"
	"unicode"

	"github.com/edict-go/edict"
)

const (
	// QueueSize is how many events wait for a member that is slow to take them. What happens while
	// they are that many the member misses; it is told how much that was.
	QueueSize = 64
	// MaxLine is how many bytes of a line are passed on, MaxName how many a name may have.
	MaxLine, MaxName = 1000, 20
)

// The errors of Join. errors.Is finds them on the client too, by code and reason.
var (
	ErrNameTaken = &edict.Error{Code: edict.AlreadyExists, Reason: "name-taken"}
	ErrBadName   = &edict.Error{Code: edict.InvalidArgument, Reason: "bad-name"}
)

// Room is the receiver: what the commands of all members work on.
type Room struct {
	mu      sync.Mutex // guards members and what they have queued; nothing is sent while it is held
	members map[string]*member
}

// member is somebody in the room.
type member struct {
	name string
	wake chan struct{} // capacity 1: there is something to take

	// Guarded by the room's mu.
	queue  []Event // at most QueueSize
	missed int     // what happened since the queue is full
	left   bool    // nothing will be queued any more
}

// NewRoom returns an empty room.
func NewRoom() *Room { return &Room{members: map[string]*member{}} }

// join adds a member, and announces it to all, itself included.
func (r *Room) join(name string) (*member, error) {
	if !validName(name) {
		return nil, ErrBadName.With("a name has 1 to %d letters, digits, - and _: %q has not", MaxName, name)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.members[name] != nil {
		return nil, ErrNameTaken.With("somebody called %s is in the room already", name)
	}
	m := &member{name: name, wake: make(chan struct{}, 1)}
	r.members[name] = m
	r.announceLocked(Event{Kind: Joined, Name: name, Count: len(r.members)})
	return m, nil
}

// say passes a line on to all, the one who said it included.
func (r *Room) say(m *member, line string) {
	if len(line) > MaxLine {
		line = line[:MaxLine] + "..."
	}
	line = strings.Map(func(c rune) rune { // nobody writes escape sequences to another's terminal
		if unicode.IsControl(c) {
			return -1
		}
		return c
	}, strings.ToValidUTF8(line, ""))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.announceLocked(Event{Kind: Said, Name: m.name, Text: line})
}

// leave removes a member, and announces it to those who stay.
func (r *Room) leave(m *member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.members, m.name)
	m.left = true
	m.wakeUp()
	r.announceLocked(Event{Kind: Left, Name: m.name, Count: len(r.members)})
}

// announceLocked queues an event for every member. It never waits for one.
func (r *Room) announceLocked(event Event) {
	for _, m := range r.members {
		if len(m.queue) == QueueSize {
			m.missed++
			continue
		}
		m.queue = append(m.queue, event)
		m.wakeUp()
	}
}

func (m *member) wakeUp() {
	select {
	case m.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// take empties a member's queue. Between the events in it and those of the next take lies the gap, if
// there is one. left is true when there will be no next one.
func (r *Room) take(m *member) (events []Event, left bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	events, m.queue = m.queue, nil
	if m.missed > 0 {
		events = append(events, Event{Kind: Missed, Count: m.missed})
		m.missed = 0
	}
	return events, m.left
}

// tell sends a member what happens, until it has left or ctx ends. Here, and nowhere else, is waited
// for a member that does not read: Send waits, then the queue fills, then events are missed.
func (r *Room) tell(ctx context.Context, m *member, out edict.Sink[Event]) {
	draining := edict.Draining(ctx)
	for {
		events, left := r.take(m)
		for _, event := range events {
			if err := out.Send(event); err != nil {
				return // ctx has ended
			}
		}
		if left {
			return
		}
		select {
		case <-m.wake:
		case <-draining: // Shutdown has been called; it waits for the members to leave
			draining = nil
			if err := out.Send(Event{Kind: Closing}); err != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

func validName(name string) bool {
	for _, c := range name {
		if !unicode.IsLetter(c) && !unicode.IsDigit(c) && c != '-' && c != '_' {
			return false
		}
	}
	return name != "" && len(name) <= MaxName
}

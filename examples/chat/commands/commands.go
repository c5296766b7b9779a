// Package commands has the chat's room and its one command, Join. A client and a server both import
// it. For the codec MUS, edict-gen writes serializers, and the variable MUS, to edict_mus.gen.go.
package commands

import (
	"context"
	"fmt"
	"sync"

	"github.com/edict-go/edict"
)

//go:generate go tool edict-gen

// All is what a client and a server of the chat agree on.
var All = edict.Commands(edict.Duplex[Join]())

// Join makes the caller a member of the room. Its inputs are the lines that the member says, its
// results are what happens in the room. The member leaves by sending no more (CloseSend) or by
// cancelling.
type Join struct{ Name string }

// Exec runs on the server for as long as the member stays.
func (c Join) Exec(ctx context.Context, room *Room, lines edict.Source[string], events edict.Sink[Event]) error {
	m, err := room.join(c.Name)
	if err != nil {
		return err
	}
	// Both directions can wait, one for a line to come, the other for a slow reader to make room. So
	// the results have a goroutine of their own. It ends when the member has left or ctx has ended.
	var telling sync.WaitGroup
	telling.Go(func() { room.tell(ctx, m, events) })
	defer telling.Wait() // results can be sent until Exec returns
	defer room.leave(m)
	for line, err := range lines.All() {
		if err != nil {
			return err // the caller has cancelled or is gone
		}
		room.say(m, line)
	}
	return nil
}

// Kind is what an Event is about.
type Kind uint8

// The kinds of events.
const (
	Joined  Kind = iota + 1 // Name is a member now; Count are in the room
	Said                    // Name said Text
	Left                    // Name is no member any more; Count are in the room
	Missed                  // the member read too slowly: Count events are lost for it
	Closing                 // the server is shutting down: leave
)

// Event is something that happened in the room.
type Event struct {
	Kind  Kind
	Name  string
	Text  string
	Count int
}

// String returns the event as one line for people.
func (e Event) String() string {
	switch e.Kind {
	case Joined:
		return fmt.Sprintf("* %s has joined (in the room: %d)", e.Name, e.Count)
	case Said:
		return e.Name + ": " + e.Text
	case Left:
		return fmt.Sprintf("* %s has left (in the room: %d)", e.Name, e.Count)
	case Missed:
		return fmt.Sprintf("* you missed %d lines", e.Count)
	case Closing:
		return "* the room closes"
	}
	return fmt.Sprintf("* unknown event %d", e.Kind)
}

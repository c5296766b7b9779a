package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/examples/chat/commands"
)

// manyLines is more than there is room for on the way to a member that does not read.
const manyLines = 500

// tour lets three members talk and prints what they see. At its end it shuts the server down.
//
// It is one goroutine that looks after all members in turn, which works because sending doesn't wait
// for anybody to read. A member that is a program of its own is in member.go.
func tour(ctx context.Context, s *settings, shutdown func() error, out io.Writer) error {
	fmt.Fprintf(out, "The room is at %s, with the codec %s. Who sees what:\n\n", s.connect, s.codecName)
	ada, err := join(ctx, s, "ada")
	if err != nil {
		return err
	}
	defer ada.client.Close()
	if err := hear(out, ada); err != nil { // that she has joined
		return err
	}
	bob, err := join(ctx, s, "bob")
	if err != nil {
		return err
	}
	defer bob.client.Close()
	if err := hear(out, ada, bob); err != nil {
		return err
	}
	// Cleo does not read for now. Her window is small, so that not much is under way to her.
	cleo, err := join(ctx, s, "cleo", edict.ClientConfig{Window: 4 << 10})
	if err != nil {
		return err
	}
	defer cleo.client.Close()
	if err := hear(out, ada, bob); err != nil {
		return err
	}
	if err := ada.say("Hello! Who is there?"); err != nil {
		return err
	}
	if err := hear(out, ada, bob); err != nil {
		return err
	}
	if err := bob.say("Me. Cleo is busy."); err != nil {
		return err
	}
	if err := hear(out, ada, bob); err != nil {
		return err
	}

	// A command that can't be executed ends with an error that both sides know.
	other, err := join(ctx, s, "bob")
	if err != nil {
		return err
	}
	defer other.client.Close()
	_, err = other.room.Receive()
	if !errors.Is(err, commands.ErrNameTaken) {
		return fmt.Errorf("a second bob: ErrNameTaken is wanted, not %w", err)
	}
	fmt.Fprintf(out, "\nA second bob can't join: %v\n", err)

	// Bob talks a lot. Ada reads each line, Cleo none.
	begin := time.Now()
	for n := range manyLines {
		if err := bob.say(fmt.Sprintf("I have counted to %d.", n)); err != nil {
			return err
		}
		for _, m := range []*member{ada, bob} {
			if _, err := m.room.Receive(); err != nil {
				return err
			}
		}
	}
	fmt.Fprintf(out, "\nBob has said %d lines, and Ada has read each, in %v. Cleo has read nothing.\n",
		manyLines, time.Since(begin).Round(time.Millisecond))

	// Now Cleo reads: what was queued for her, and then how much she has missed.
	var event commands.Event
	queued := -1
	for event.Kind != commands.Missed {
		if event, err = cleo.room.Receive(); err != nil {
			return err
		}
		queued++
	}
	fmt.Fprintf(out, "Cleo reads %d lines, and then:\n\n", queued)
	show(out, cleo, event)
	if err := cleo.say("Sorry, I was away."); err != nil {
		return err
	}
	if err := hear(out, ada, bob, cleo); err != nil {
		return err
	}

	// Bob leaves: he sends no more. The room tells the others, and ends his command.
	if err := bob.leave(); err != nil {
		return err
	}
	if err := hear(out, ada, cleo); err != nil {
		return err
	}

	// The server shuts down. That takes until the members, whom it tells, have left.
	stopped := make(chan error, 1)
	go func() { stopped <- shutdown() }()
	if err := hear(out, ada, cleo); err != nil {
		return errors.Join(err, <-stopped)
	}
	fmt.Fprintln(out)
	return errors.Join(ada.leave(), cleo.leave(), <-stopped)
}

// hear waits for the next event at each member and prints it.
func hear(out io.Writer, members ...*member) error {
	for _, m := range members {
		event, err := m.room.Receive()
		if err != nil {
			return err
		}
		show(out, m, event)
	}
	return nil
}

func show(out io.Writer, m *member, event commands.Event) {
	fmt.Fprintf(out, "  %-4s | %v\n", m.name, event)
}

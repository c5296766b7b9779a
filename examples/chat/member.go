package main

import (
	"bufio"
	"context"
	"fmt"
	"io"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/examples/chat/commands"
)

// member is a member's side of the room: a connection with one duplex command on it.
type member struct {
	name   string
	client *edict.Client[*commands.Room]
	room   *edict.DuplexInvocation[string, commands.Event]
}

// join connects to the room and becomes a member. If the room does not want it, say or hear tell.
func join(ctx context.Context, s *settings, name string, options ...edict.DialOption) (*member, error) {
	options = append(options, edict.WithCodecs(s.codec))
	client, err := edict.Dial(ctx, s.connect, commands.All, options...)
	if err != nil {
		return nil, err
	}
	room, err := edict.StartDuplex(ctx, client, commands.Join{Name: name})
	if err != nil {
		_ = client.Close()
		return nil, err
	}
	return &member{name: name, client: client, room: room}, nil
}

// say sends a line to the room.
func (m *member) say(line string) error {
	if err := m.room.Send(line); err != io.EOF {
		return err
	}
	return nil // the command has ended: Receive tells why
}

// leave sends no more, and waits for the end of the command. What still happens is not looked at.
func (m *member) leave() error {
	if err := m.room.CloseSend(); err != nil && err != io.EOF {
		return err
	}
	for _, err := range m.room.Results() {
		if err != nil {
			return err
		}
	}
	return nil
}

// talk is a member whose lines come from in. It returns when they end, the room closes or ctx ends.
func talk(ctx context.Context, s *settings, in io.Reader, out io.Writer) error {
	talking, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	m, err := join(talking, s, s.name)
	if err != nil {
		return err
	}
	defer m.client.Close()

	// Lines go out in a goroutine of their own: it waits for the keyboard. It ends with in, and a line
	// after the room has closed. Nobody waits for it, because a read of a terminal can't be stopped.
	go func() {
		if err := m.sayAll(in); err != nil {
			cancel(fmt.Errorf("lines from standard input: %w", err))
		}
	}()
	for event, err := range m.room.Results() {
		switch {
		case err != nil && ctx.Err() != nil:
			return nil // Ctrl-C
		case err != nil:
			return err
		case event.Kind == commands.Closing:
			fmt.Fprintln(out, event)
			return nil // leaving the loop leaves the room
		case event.Kind == commands.Said && event.Name == m.name:
			// It is on the screen already.
		default:
			fmt.Fprintln(out, event)
		}
	}
	return nil
}

// sayAll sends each line of in, and then leaves the room.
func (m *member) sayAll(in io.Reader) error {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		if err := m.room.Send(lines.Text()); err == io.EOF {
			return nil // the command has ended: Results tell why
		} else if err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	if err := m.room.CloseSend(); err != io.EOF {
		return err
	}
	return nil
}

package edict_test

import (
	"context"
	"fmt"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/transport"
)

// Mailbox hands a letter over when there is one.
type Mailbox struct{ letters chan string }

// Take waits for a letter.
type Take struct{}

func (Take) Exec(ctx context.Context, mailbox *Mailbox) (string, error) {
	select {
	case letter := <-mailbox.letters:
		return letter, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// Put gives a letter to one who waits.
type Put struct{ Letter string }

func (p Put) Exec(ctx context.Context, mailbox *Mailbox) (bool, error) {
	select {
	case mailbox.letters <- p.Letter:
		return true, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

var MailboxCommands = edict.Commands(edict.Unary[Take](), edict.Unary[Put]())

// Start sends a command and does not wait for its result.
func ExampleStart() {
	ctx := context.Background()
	listener := transport.NewMemory()
	server := edict.NewServer(&Mailbox{letters: make(chan string)}, MailboxCommands)
	go server.Serve(listener)
	defer server.Close()
	client, err := edict.Dial(ctx, "memory", MailboxCommands, edict.WithDialer(listener.Dial))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	taking, err := edict.Start(ctx, client, Take{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(edict.Call(ctx, client, Put{Letter: "for you"}))
	fmt.Println(taking.Receive())

	// One that is not wanted any more is cancelled, on the server too.
	taking, err = edict.Start(ctx, client, Take{})
	if err != nil {
		fmt.Println(err)
		return
	}
	taking.Cancel()
	_, err = taking.Receive()
	fmt.Println(edict.CodeOf(err))
	// Output:
	// true <nil>
	// for you <nil>
	// canceled
}

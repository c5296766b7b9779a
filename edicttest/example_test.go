package edicttest_test

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/edicttest"
)

// A connection is cut in the middle of a result; after that the client dials again.
func Example() {
	ctx := context.Background()
	network := edicttest.New(edicttest.Config{})
	listener, err := network.Listen("server")
	if err != nil {
		fmt.Println(err)
		return
	}
	server := edict.NewServer(&Account{}, AccountCommands)
	served := make(chan error)
	go func() { served <- server.Serve(listener) }()

	network.OnConnect(func(connection *edicttest.Connection) {
		if connection.ID() == 0 {
			connection.CutAfter(edicttest.ToClient, edicttest.InFrame(0, 10))
		}
	})
	for range 2 {
		client, err := edict.Dial(ctx, "server", AccountCommands, edict.WithDialer(network.Dialer("server")))
		if err != nil {
			fmt.Println(err)
			return
		}
		balance, err := edict.Call(ctx, client, Deposit{Amount: 10})
		fmt.Println(balance, errors.Is(err, syscall.ECONNRESET), edict.OutcomeOf(err))
		if err := client.Close(); err != nil {
			fmt.Println(err)
		}
	}
	fmt.Println(len(network.Fired(edicttest.FaultCut)), "cut")

	if err := server.Shutdown(ctx); err != nil {
		fmt.Println(err)
	}
	if err := <-served; !errors.Is(err, edict.ErrClosed) {
		fmt.Println(err)
	}
	// Output:
	// 0 true unknown
	// 20 false executed
	// 1 cut
}

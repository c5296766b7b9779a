package edict_test

import (
	"context"
	"fmt"

	"github.com/edict-go/edict"
)

// Balance reads and changes nothing, so it may be sent again if nobody knows whether it ran.
type Balance struct{ Account string }

func (Balance) Idempotent() bool { return true }

func (b Balance) Exec(_ context.Context, balances map[string]int) (int, error) {
	return balances[b.Account], nil
}

// A client that goes on when its server is replaced by another one.
func ExampleWithReconnect() {
	ctx := context.Background()
	server := edict.NewServer(&Calc{}, Commands)
	listener, err := server.Listen("tcp://127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	go server.Serve(listener)

	address := "tcp://" + listener.Addr().String()
	client, err := edict.Dial(ctx, address, Commands, edict.WithReconnect(edict.Reconnect{}))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	fmt.Println(edict.Call(ctx, client, Add{2, 3}))

	// The server shuts down. Calls that are made now wait for the next one.
	if err := server.Shutdown(ctx); err != nil {
		fmt.Println(err)
	}
	invocation := make(chan string)
	go func() {
		sum, err := edict.Call(ctx, client, Add{4, 5})
		invocation <- fmt.Sprint(sum, " ", err)
	}()
	next := edict.NewServer(&Calc{}, Commands)
	go next.ListenAndServe(address)
	defer next.Close()
	fmt.Println(<-invocation)
	fmt.Println("connections:", client.Stats().Connections)
	// Output:
	// 5 <nil>
	// 9 <nil>
	// connections: 2
}

// What happens to a client's connection.
func ExampleClient_Changes() {
	ctx := context.Background()
	server := edict.NewServer(&Calc{}, Commands)
	listener, err := server.Listen("tcp://127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	go server.Serve(listener)
	defer server.Close()

	client, err := edict.Dial(ctx, "tcp://"+listener.Addr().String(), Commands)
	if err != nil {
		fmt.Println(err)
		return
	}
	for change := range client.Changes(ctx) {
		fmt.Println(change.To)
		if change.To == edict.StateReady {
			_ = client.Close()
		}
	}
	// Output:
	// ready
	// closed
}

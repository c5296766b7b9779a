package edict_test

import (
	"context"
	"fmt"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/transport"
)

type Calc struct{} // the receiver: what commands work on

type Add struct{ A, B int } // a command

func (c Add) Exec(ctx context.Context, calc *Calc) (int, error) { return c.A + c.B, nil }

type Count struct{ To int } // a command with many results

func (c Count) Exec(ctx context.Context, calc *Calc, out edict.Sink[int]) error {
	for n := range c.To {
		if err := out.Send(n); err != nil {
			return err
		}
	}
	return nil
}

var Commands = edict.Commands(edict.Unary[Add](), edict.ServerStream[Count]())

// A server and a client in one process, over a listener that needs no network.
func Example() {
	ctx := context.Background()
	listener := transport.NewMemory()
	server := edict.NewServer(&Calc{}, Commands)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()

	client, err := edict.Dial(ctx, "memory", Commands, edict.WithDialer(listener.Dial))
	if err != nil {
		fmt.Println(err)
		return
	}
	sum, err := edict.Call(ctx, client, Add{2, 3})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("sum:", sum)
	for n, err := range edict.Stream(ctx, client, Count{To: 3}) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println("count:", n)
	}

	// The client first, or the server would wait for it to leave. Both wait for running commands.
	fmt.Println("client:", client.Shutdown(ctx))
	fmt.Println("server:", server.Shutdown(ctx))
	fmt.Println("serve:", <-served)
	// Output:
	// sum: 5
	// count: 0
	// count: 1
	// count: 2
	// client: <nil>
	// server: <nil>
	// serve: closed
}

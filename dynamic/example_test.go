package dynamic_test

import (
	"context"
	"fmt"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/dynamic"
	"github.com/edict-go/edict/transport"
)

// A program that has none of the command's types.
func ExampleDial() {
	listener := transport.NewMemory() // in a program: the server is another process
	server := edict.NewServer(&shop{}, commands, edict.WithReflection())
	go server.Serve(listener)
	defer server.Close()

	ctx := context.Background()
	client, err := dynamic.Dial(ctx, "tcp://127.0.0.1:9000", edict.WithDialer(listener.Dial))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	for _, command := range client.Commands()[1:] {
		fmt.Println(command.Signature())
	}
	bought, err := client.Call(ctx, "Buy", `{"Lines":[{"item":"tea"},{"item":"jam"}]}`)
	fmt.Println(string(bought), err)
	for n, err := range client.Stream(ctx, "Count", `{"To":2}`) {
		fmt.Println(string(n), err)
	}
	// Output:
	// Count {To int} → int…
	// Crash {} → int
	// Deaf {} ← string… → string…
	// Shout {} ← string… → string…
	// 2 <nil>
	// 0 <nil>
	// 1 <nil>
}

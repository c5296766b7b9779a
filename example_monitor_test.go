package edict_test

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/transport"
)

// counter counts the calls of one command. For a system of metrics it would be a histogram of CallEnd.Took.
type counter struct {
	name          string
	ended, failed atomic.Int64
}

// Begin and End implement edict.CommandMonitor.
func (c *counter) Begin(context.Context, edict.CallBegin) (intercept context.Context, metadata []byte) {
	return nil, nil
}

func (c *counter) End(call edict.CallEnd) {
	if call.Err != nil {
		c.failed.Add(1)
	}
	c.ended.Add(1)
}

func Example_monitor() {
	ctx := context.Background()
	listener := transport.NewMemory()
	add := &counter{name: "Add"}
	server := edict.NewServer(&Calc{}, Commands, edict.WithServerMonitor(edict.ServerMonitor{
		Command: func(name string) edict.CommandMonitor {
			if name == add.name {
				return add
			}
			return new(counter) // of which nobody knows
		},
	}))
	go server.Serve(listener)
	defer server.Close()

	client, err := edict.Dial(ctx, "memory", Commands, edict.WithDialer(listener.Dial))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	for range 3 {
		if _, err := edict.Call(ctx, client, Add{2, 3}); err != nil {
			fmt.Println(err)
		}
	}
	fmt.Printf("%s: %d calls, %d of them failed\n", add.name, add.ended.Load(), add.failed.Load())
	// Output: Add: 3 calls, 0 of them failed
}

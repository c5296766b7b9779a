package edict_test

import (
	"context"
	"fmt"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/transport"
)

type Desk struct{}

type Greet struct{ Name string }

func (g Greet) Exec(ctx context.Context, desk *Desk) (string, error) {
	edict.SetMetadata(ctx, "served-by", "desk-7")
	if edict.MetadataOf(ctx).Get("language") == "de" {
		return "Guten Tag, " + g.Name, nil
	}
	return "Hello, " + g.Name, nil
}

var DeskCommands = edict.Commands(edict.Unary[Greet]())

func ExampleMetadata() {
	ctx := context.Background()
	listener := transport.NewMemory()
	server := edict.NewServer(&Desk{}, DeskCommands)
	go server.Serve(listener)
	defer server.Close()
	client, err := edict.Dial(ctx, "memory", DeskCommands, edict.WithDialer(listener.Dial))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	var back edict.Metadata
	greeting, err := edict.Call(ctx, client, Greet{Name: "Ada"},
		edict.WithMetadata(edict.Metadata{"language": {"de"}}),
		edict.WithResponseMetadata(&back))
	fmt.Println(greeting, err)
	fmt.Println(back.Get("served-by"))
	// Output:
	// Guten Tag, Ada <nil>
	// desk-7
}

package edict_test

import (
	"context"
	"fmt"
	"strings"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/compression/s2"
	"github.com/edict-go/edict/compression/zstd"
)

type Library struct{}

// Read returns a text, which compresses well.
type Read struct{ Title string }

func (r Read) Exec(context.Context, *Library) (string, error) {
	return strings.Repeat("All work and no play makes Jack a dull boy.\n", 1000), nil
}

var LibraryCommands = edict.Commands(edict.Unary[Read]())

// The server takes the first compression that the client offers and it has too. It is used for what is
// large enough and gets smaller by it.
func ExampleWithCompression() {
	ctx := context.Background()
	server := edict.NewServer(&Library{}, LibraryCommands, edict.WithCompression(s2.Compression, zstd.Compression))
	listener, err := server.Listen("tcp://127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	go server.Serve(listener)
	defer server.Close()

	address := "tcp://" + listener.Addr().String()
	client, err := edict.Dial(ctx, address, LibraryCommands, edict.WithCompression(zstd.Compression))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	text, err := edict.Call(ctx, client, Read{Title: "The Shining"})
	fmt.Println(client.Peer().Compression, len(text), err)
	// Output: zstd 44000 <nil>
}

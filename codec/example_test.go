package codec_test

import (
	"context"
	"fmt"

	"github.com/edict-go/edict/codec"
)

type account struct{}

// Debit is a command of a server; the client below still has an older form of it.
type Debit struct {
	Amount   int64
	Currency string
}

func (Debit) Exec(context.Context, *account) (int64, error) { return 0, nil }

// What differs between two forms of a command is found by their shapes, when the sides connect.
func ExampleShape_Difference() {
	server := codec.Unary[Debit]().Shape()
	client := codec.Shape{"unary", ". struct", "Amount int64", "> int64"}
	fmt.Println(client.Fingerprint() == server.Fingerprint())
	fmt.Println(client.Difference(server, "server"))
	// Output:
	// false
	// field Currency (string) of the server is unknown here
}

func ExampleCommands() {
	registry := codec.Commands(codec.Unary[Debit]().Named("account/debit"))
	index, ok := registry.Index(Debit{Amount: 5})
	fmt.Println(registry.At(index).Name(), ok)
	fmt.Println(registry.At(index).Shape())
	// Output:
	// account/debit true
	// unary
	// . struct
	// Amount int64
	// Currency string
	// > int64
}

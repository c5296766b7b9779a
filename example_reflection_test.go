package edict_test

import (
	"fmt"

	"github.com/edict-go/edict"
)

// A server that tells who may connect what it can do, and how it is. Package dynamic is the other side of this.
func ExampleWithReflection() {
	server := edict.NewServer(&Calc{}, Commands, edict.WithReflection(), edict.WithRemoteStats())
	defer server.Close()

	for i := range Commands.Len() { // what it tells
		fmt.Println(Commands.At(i).Describe().Signature())
	}
	// Output:
	// Add {A int, B int} → int
	// Count {To int} → int…
}

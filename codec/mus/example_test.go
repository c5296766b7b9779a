package mus_test

import (
	"fmt"
	"reflect"

	"github.com/mus-format/mus-go/ord"
	"github.com/mus-format/mus-go/varint"

	"github.com/edict-go/edict/codec"
	"github.com/edict-go/edict/codec/mus"
	"github.com/edict-go/edict/codec/mus/internal/commands"
)

// The package commands has the line //go:generate go tool edict-gen, which declares commands.MUS.
func Example() {
	if err := commands.MUS.Check(reflect.TypeFor[commands.Watch]()); err != nil {
		fmt.Println(err)
		return
	}
	coder := codec.CoderFor[commands.Watch](commands.MUS)
	encoded, err := coder.Append(nil, commands.Watch{Names: []string{"pen", "ink"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	decoded, err := coder.Decode(encoded)
	fmt.Printf("%q %v %v\n", encoded, decoded, err)
	// Output: "\x02\x03pen\x03ink" {[pen ink]} <nil>
}

// A serializer that was written by hand, or made of those of mus-go.
func ExampleFor() {
	c := mus.New(mus.For(ord.NewMapSer[string, int](ord.String, varint.Int)))
	encoded, err := c.Append(nil, map[string]int{"pen": 7})
	if err != nil {
		fmt.Println(err)
		return
	}
	var decoded map[string]int
	err = c.Decode(encoded, &decoded)
	fmt.Println(len(encoded), decoded, err)
	// Output: 6 map[pen:7] <nil>
}

package msgpack_test

import (
	"fmt"

	"github.com/edict-go/edict/codec"
	"github.com/edict-go/edict/codec/msgpack"
)

func Example() {
	type Add struct{ A, B int }
	for _, c := range []codec.Codec{msgpack.Codec, msgpack.Map} {
		encoded, err := c.Append(nil, Add{2, 3})
		if err != nil {
			fmt.Println(err)
			return
		}
		var decoded Add
		err = c.Decode(encoded, &decoded)
		fmt.Printf("%s: %q %v %v\n", c.Name(), encoded, decoded, err)
	}
	// Output:
	// msgpack: "\x92\x02\x03" {2 3} <nil>
	// msgpack-map: "\x82\xa1A\x02\xa1B\x03" {2 3} <nil>
}

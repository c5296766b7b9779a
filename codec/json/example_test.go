package json_test

import (
	"fmt"

	"github.com/edict-go/edict/codec/json"
)

func Example() {
	type Add struct{ A, B int }
	encoded, err := json.Codec.Append(nil, Add{2, 3})
	if err != nil {
		fmt.Println(err)
		return
	}
	var decoded Add
	err = json.Codec.Decode(encoded, &decoded)
	fmt.Printf("%s %v %v\n", encoded, decoded, err)
	// Output: {"A":2,"B":3} {2 3} <nil>
}

package protobuf_test

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/edict-go/edict/codec/protobuf"
)

// Wait embeds a generated message, so that it can have a method Exec.
type Wait struct{ *durationpb.Duration }

func Example() {
	encoded, err := protobuf.Codec.Append(nil, Wait{durationpb.New(time.Minute)})
	if err != nil {
		fmt.Println(err)
		return
	}
	var decoded Wait
	err = protobuf.Codec.Decode(encoded, &decoded)
	fmt.Println(decoded.AsDuration(), err)
	// Output: 1m0s <nil>
}

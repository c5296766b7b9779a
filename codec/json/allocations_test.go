//go:build !race

// Under the race detector sync.Pool drops values at random.

package json_test

import (
	"testing"

	"github.com/edict-go/edict/codec/codectest"
	"github.com/edict-go/edict/codec/json"
)

func TestAppendAllocations(t *testing.T) {
	var value any = codectest.Item{Name: "pen", Count: 3}
	buffer := make([]byte, 0, 256)
	if got := testing.AllocsPerRun(100, func() { _, _ = json.Codec.Append(buffer, value) }); got > 0 {
		t.Errorf("%v allocations", got)
	}
}

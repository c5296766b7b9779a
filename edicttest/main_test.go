package edicttest_test

import (
	"os"
	"testing"

	"github.com/edict-go/edict/internal/leak"
)

func TestMain(m *testing.M) {
	if os.Getenv(childMode) != "" {
		os.Exit(m.Run()) // it may be told to leave a goroutine behind
	}
	leak.Main(m)
}

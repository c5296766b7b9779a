package handler

import (
	"context"
	"fmt"
	"testing"

	"github.com/edict-go/edict/core"
)

// A client can't make the server keep anything for names that it invents.
func TestNoHistogramsForUnknownNames(t *testing.T) {
	invoker := newInvoker(t, Config{Latencies: true})
	known := function(func(context.Context, core.Execution) error { return nil })
	for n := range 100 {
		connection := invoker.NewConnection(newWire(), ConnectionConfig{
			Executors: []core.Executor{known, nil}, Names: []string{"known", fmt.Sprint("invented", n)},
		})
		if len(connection.latencies) != 2 || connection.latencies[0] == nil || connection.latencies[1] != nil {
			t.Fatalf("%v", connection.latencies)
		}
	}
	kept := 0
	invoker.latencies.Range(func(any, any) bool { kept++; return true })
	if kept != 1 {
		t.Errorf("%d histograms are kept", kept)
	}
}

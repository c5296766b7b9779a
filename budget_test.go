//go:build !race

package edict_test

import (
	"runtime"
	"testing"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/internal/echo"
)

// The budget of DESIGN.md section 5 for a unary call with MUS and a payload of 128 bytes, client and
// server together: 6 allocations and 600 bytes. (Not with the race detector, which allocates itself.)
func TestUnaryBudget(t *testing.T) {
	allocations, size := spent(t, serveEcho(t, []edict.Option{edict.WithCodecs(echo.MUS)}))
	if allocations > 6 {
		t.Errorf("%v allocations per call, at most 6 are in the budget", allocations)
	}
	if size > 600 {
		t.Errorf("%d bytes per call, at most 600 are in the budget", size)
	}
}

// A call of a client that reconnects has one allocation more, in which it is kept to be sent again.
func TestUnaryBudgetWithReconnect(t *testing.T) {
	allocations, size := spent(t, serveEcho(t, []edict.Option{edict.WithCodecs(echo.MUS)}, edict.WithReconnect(edict.Reconnect{})))
	if allocations > 7 {
		t.Errorf("%v allocations per call, at most 7 are in the budget", allocations)
	}
	if size > 600+256 {
		t.Errorf("%d bytes per call, at most 856 are in the budget", size)
	}
}

// spent returns the allocations and bytes of a call.
func spent(t *testing.T, client *edict.Client[*echo.Receiver]) (allocations float64, size uint64) {
	t.Helper()
	call := func() {
		if reply, err := edict.Call(t.Context(), client, payload); err != nil || reply != echo.Message(payload) {
			t.Fatal(reply, err)
		}
	}
	for range 100 {
		call() // fills the pools
	}
	allocations = testing.AllocsPerRun(5000, call)
	const runs = 5000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		call()
	}
	runtime.ReadMemStats(&after)
	size = (after.TotalAlloc - before.TotalAlloc) / runs
	t.Logf("%v allocations, %d bytes", allocations, size)
	return allocations, size
}

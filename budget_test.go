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
	client := serveEcho(t, edict.WithCodecs(echo.MUS))
	call := func() {
		if reply, err := edict.Call(t.Context(), client, payload); err != nil || reply != echo.Message(payload) {
			t.Fatal(reply, err)
		}
	}
	for range 100 {
		call() // fills the pools
	}
	if allocations := testing.AllocsPerRun(5000, call); allocations > 6 {
		t.Errorf("%v allocations per call, at most 6 are in the budget", allocations)
	}
	const runs = 5000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		call()
	}
	runtime.ReadMemStats(&after)
	if size := (after.TotalAlloc - before.TotalAlloc) / runs; size > 600 {
		t.Errorf("%d bytes per call, at most 600 are in the budget", size)
	}
}

//go:build !race

package edict_test

import (
	"context"
	"runtime"
	"sync"
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

// A connection on which one call was made and nothing happens occupies about 8 KiB at most on each side: objects on the heap
// and the stack of its goroutine. When all have had large results at once, nothing of these is left. (The limit is
// twice as high then, for there are the server's idle workers too.)
func TestIdleConnectionBudget(t *testing.T) {
	const (
		connections = 500
		budget      = 8<<10 + 512 // 8 KiB are wanted; what is measured varies
	)
	address := "tcp://" + startBesieged(t, besiegedBudget+"=0")
	var clients []*edict.Client[*besieged]
	defer func() { // t.Cleanup would count too
		for _, client := range clients {
			_ = client.Close()
		}
	}()
	call := func(client *edict.Client[*besieged], size int) {
		if text, err := edict.Call(t.Context(), client, fill{size}); len(text) != size || err != nil {
			t.Error(len(text), err)
		}
	}
	connect := func() {
		client, err := edict.Dial(t.Context(), address, siege)
		if err != nil {
			t.Fatal(err)
		}
		clients = append(clients, client)
		call(client, 10)
	}
	measure := func() (client, server int64) {
		now, err := edict.Call(t.Context(), clients[0], usage{})
		if err != nil {
			t.Fatal(err)
		}
		for range 3 { // what is pooled goes with the second collection
			runtime.GC()
		}
		var memory runtime.MemStats
		runtime.ReadMemStats(&memory)
		return int64(memory.HeapAlloc + memory.StackInuse), now.Live
	}
	connect()
	clientBefore, serverBefore := measure()
	within := func(limit int64, when string) {
		t.Helper()
		client, server := measure()
		client, server = (client-clientBefore)/connections, (server-serverBefore)/connections
		t.Logf("%s: %d bytes (client), %d bytes (server)", when, client, server)
		if client > limit || server > limit {
			t.Errorf("an idle connection occupies more than %d bytes", limit)
		}
	}
	for range connections {
		connect()
	}
	within(budget, "after a call")
	var calls sync.WaitGroup
	for _, client := range clients {
		calls.Go(func() { call(client, 40<<10) })
	}
	calls.Wait()
	within(2*budget, "after large results")
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

// quiet is a monitor that does nothing.
type quiet struct{}

func (quiet) Begin(context.Context, edict.CallBegin) (intercept context.Context, metadata []byte) {
	return nil, nil
}
func (quiet) End(edict.CallEnd) {}

// A monitor costs no allocation.
func TestMonitorsBudget(t *testing.T) {
	of := func(string) edict.CommandMonitor { return quiet{} }
	server := edict.NewServer(&echo.Receiver{}, echo.Commands, edict.WithCodecs(echo.MUS), edict.WithServerMonitor(edict.ServerMonitor{Command: of}))
	bare := dialTo(t, edict.NewServer(&echo.Receiver{}, echo.Commands, edict.WithCodecs(echo.MUS)), echo.Commands, edict.WithCodecs(echo.MUS))
	client := dialTo(t, server, echo.Commands, edict.WithCodecs(echo.MUS), edict.WithClientMonitor(edict.ClientMonitor{Command: of}))
	allocations := func(client *edict.Client[*echo.Receiver]) float64 {
		return testing.AllocsPerRun(2000, func() {
			if _, err := edict.Call(t.Context(), client, payload); err != nil {
				t.Error(err)
			}
		})
	}
	if without, with := allocations(bare), allocations(client); with > without+0.5 {
		t.Errorf("%v allocations without, %v with a monitor", without, with)
	}
}

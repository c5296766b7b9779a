//go:build !race

package group_test

import (
	"context"
	"fmt"
	"net"
	"testing"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/group"
	"github.com/edict-go/edict/internal/echo"
	"github.com/edict-go/edict/transport"
)

// serveEcho starts some servers in memory and returns a client of the first and a group of all.
func serveEcho(t testing.TB, servers int) (single *edict.Client[*echo.Receiver], all *group.Group[*echo.Receiver]) {
	var addresses []string
	dial := map[string]func(context.Context) (net.Conn, error){}
	for n := range servers {
		listener := transport.NewMemory()
		server := edict.NewServer(&echo.Receiver{}, echo.Commands, edict.WithCodecs(echo.MUS))
		served := make(chan error, 1)
		go func() { served <- server.Serve(listener) }()
		t.Cleanup(func() { _ = server.Close(); <-served; _ = server.Shutdown(context.Background()) })
		address := fmt.Sprint("memory ", n)
		addresses = append(addresses, address)
		dial[address] = listener.Dial
	}
	single, err := edict.Dial(t.Context(), addresses[0], echo.Commands, edict.WithCodecs(echo.MUS), edict.WithDialer(dial[addresses[0]]))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = single.Close() })
	connect := func(address string) (group.Member[*echo.Receiver], error) {
		return group.Clients(echo.Commands, edict.WithCodecs(echo.MUS), edict.WithDialer(dial[address]))(address)
	}
	all, err = group.New(connect, group.Config{Endpoints: group.Static(addresses...)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = all.Close() })
	if err := all.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	return single, all
}

var message = echo.Echo{Flag: true, Number: 1 << 40, Text: "a hundred and twenty eight bytes", Ratio: 0.5}

func echoed(t testing.TB, sender edict.Sender[*echo.Receiver]) {
	if reply, err := edict.Call(t.Context(), sender, message); err != nil || reply != echo.Message(message) {
		t.Fatal(reply, err)
	}
}

// A group costs two allocations per call more than a client that ends with its connection: one is for
// reconnecting, one for the breaker. (Not with the race detector, which allocates itself.)
func TestAllocations(t *testing.T) {
	single, all := serveEcho(t, 3)
	for range 1000 {
		echoed(t, single)
		echoed(t, all)
	}
	alone := testing.AllocsPerRun(5000, func() { echoed(t, single) })
	together := testing.AllocsPerRun(5000, func() { echoed(t, all) })
	if together > alone+2 {
		t.Errorf("%v allocations per call, and %v without the group", together, alone)
	}
}

func BenchmarkCall(b *testing.B) {
	single, all := serveEcho(b, 3)
	for name, sender := range map[string]edict.Sender[*echo.Receiver]{"client": single, "group": all} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				echoed(b, sender)
			}
		})
	}
}

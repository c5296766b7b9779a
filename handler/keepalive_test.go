package handler

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict/core"
)

// A client that answers is not held to account for its PONGs, and the way there and back is measured; one that
// is silent is given up, and its commands end.
func TestKeepalive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		invoker := newInvoker(t, Config{})
		ended := make(chan error, 1)
		w := newWire()
		connection := invoker.NewConnection(w, ConnectionConfig{
			Executors: []core.Executor{function(func(ctx context.Context, _ core.Execution) error {
				<-ctx.Done()
				return ctx.Err()
			})},
			Names: []string{"wait"}, KeepaliveInterval: 8 * time.Second, KeepaliveTimeout: 5 * time.Second,
		})
		go func() { ended <- connection.Serve() }()
		w.command(0, false)
		<-time.After(8 * time.Second)
		ping := <-w.out
		<-time.After(time.Second)
		w.in <- core.Frame{Kind: core.KindPong, Body: ping.Body}
		synctest.Wait()
		if connection.RoundTripTime() != time.Second || connection.Stats().Ignored != 0 {
			t.Errorf("a round trip of %v, %d frames ignored", connection.RoundTripTime(), connection.Stats().Ignored)
		}
		w.in <- core.Frame{Kind: core.KindPong, Body: ping.Body}
		start := time.Now()
		if err := <-ended; !errors.Is(err, core.ErrSilent) { // this transport counts no bytes
			t.Errorf("the connection ended with %v", err)
		}
		if after := time.Since(start); after != 4*time.Second || connection.Stats().Ignored != 1 {
			t.Errorf("after %v, with %d frames ignored", after, connection.Stats().Ignored)
		}
	})
}

// PINGs as often as a server grants them are never too many, even if the client has no allowance left.
func TestPingsThatWereAgreedOn(t *testing.T) {
	const granted = 10 * time.Millisecond // the least; see minKeepalive of package delegate
	synctest.Test(t, func(t *testing.T) {
		var a allowance
		for a.spend() {
		}
		for range 100_000 {
			<-time.After(granted)
			if !a.spend() {
				t.Fatal("a PING is one too many")
			}
		}
	})
}

// A command that comes when the server has just begun to shut down is refused, and the client knows by then
// that the server goes away: else it could not tell that another connection is the remedy.
func TestGoAwayComesBeforeRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, connection, _ := serving(t, Config{}, func(context.Context, core.Execution) error { return nil })
		connection.whenIdle() // as Drain begins
		w.command(0, false)
		if first, second := <-w.out, <-w.out; first.Kind != core.KindGoAway || second.Kind != core.KindError {
			t.Errorf("%v, then %v", first.Kind, second.Kind)
		}
		connection.Drain(t.Context())
		synctest.Wait()
		select {
		case frame := <-w.out:
			t.Errorf("%v, once more", frame.Kind)
		default:
		}
	})
}

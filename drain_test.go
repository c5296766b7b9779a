package edict_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/edict-go/edict"
)

// A server that shuts down under load executes what it has accepted and refuses the rest, and its clients get to
// know that of each call: none of them can't tell what became of it. Refusals that come when the server has ended
// its sending must not break the connection, because that would destroy what is on its way to the client.
func TestShutdownUnderLoadLeavesNoCallUnknown(t *testing.T) {
	for range 20 {
		b := serveAt(t, "tcp://127.0.0.1:0", nil, nil)
		client := b.client()
		var calls, begun sync.WaitGroup
		for range 16 {
			begun.Add(1)
			calls.Go(func() {
				for n := 0; ; n++ {
					_, err := edict.Call(t.Context(), client, add{2, 3})
					if n == 0 {
						begun.Done()
					}
					<-time.After(10 * time.Microsecond)
					if err != nil {
						if edict.OutcomeOf(err).Ran() {
							t.Errorf("%v (%v)", err, edict.OutcomeOf(err))
						}
						return
					}
				}
			})
		}
		begun.Wait()
		if err := b.server.Shutdown(context.Background()); err != nil {
			t.Fatal(err)
		}
		calls.Wait()
	}
}

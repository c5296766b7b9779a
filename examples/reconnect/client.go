package main

import (
	"context"
	"log"
	"sync"
	"sync/atomic"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/examples/reconnect/commands"
)

// tally is what became of the calls.
type tally struct {
	reads, increases atomic.Int64 // that succeeded
	unknown          atomic.Int64 // increases of which nobody knows whether they ran
	failed           atomic.Int64 // anything else, which should not be
}

// connect returns a client that makes another connection when it loses the one it has, and prints what
// happens to it. The pauses are short: this is a tour.
func connect(address string, out *log.Logger) (*edict.Client[*commands.Counter], error) {
	began := time.Now()
	return edict.NewClient(address, commands.All,
		edict.WithReconnect(edict.Reconnect{Initial: 20 * time.Millisecond, Max: time.Second}),
		edict.WithStateObserver(func(change edict.StateChange) {
			out.Printf("%7.3fs  %v", time.Since(began).Seconds(), change)
		}))
}

// call lets callers read and increase the counter, one after the other, until stop is closed or ctx ends. None of
// them knows anything of connections.
func call(ctx context.Context, stop <-chan struct{}, client *edict.Client[*commands.Counter], callers int) *tally {
	var t tally
	var group sync.WaitGroup
	for range callers {
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-ctx.Done():
					return
				default:
				}
				_, err := edict.Call(ctx, client, commands.Read{})
				t.count(ctx, &t.reads, err)
				_, err = edict.Call(ctx, client, commands.Increase{})
				t.count(ctx, &t.increases, err)
			}
		})
	}
	group.Wait()
	return &t
}

// count notes how a call has ended.
func (t *tally) count(ctx context.Context, succeeded *atomic.Int64, err error) {
	switch {
	case err == nil:
		succeeded.Add(1)
	case edict.OutcomeOf(err) == edict.OutcomeUnknown && succeeded == &t.increases:
		t.unknown.Add(1)
	case ctx.Err() == nil: // else Ctrl-C has ended it
		t.failed.Add(1)
	}
}

// runClient calls a server that is another process, until Ctrl-C.
func runClient(ctx context.Context, s *settings, out *log.Logger) error {
	client, err := connect(s.connect, out)
	if err != nil {
		return err
	}
	defer client.Close()
	t := call(ctx, nil, client, s.callers)
	_ = client.Close() // so that its last state is printed first
	report(t, client, out)
	return nil
}

// report prints what became of the calls.
func report(t *tally, client *edict.Client[*commands.Counter], out *log.Logger) {
	stats := client.Stats()
	out.Printf("\n%d connections, in %d attempts.", stats.Connections, stats.Attempts)
	out.Printf("%d reads and %d increases have succeeded; %d calls were sent again for that.", t.reads.Load(), t.increases.Load(), stats.Resent)
	out.Printf("%d increases may have run or not, %d calls have failed in another way.", t.unknown.Load(), t.failed.Load())
}

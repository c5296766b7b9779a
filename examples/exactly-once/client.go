package main

import (
	"context"
	"errors"
	"log"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/examples/exactly-once/commands"
)

// knowledge is what clients know of their transfers.
type knowledge struct {
	resumed, resent uint64 // of all clients together, at their end

	mu           sync.Mutex        // guards the following; held briefly
	acknowledged []edict.CommandID // the server has said so
	settled      []edict.CommandID // were cut off, and had been done
	void         []edict.CommandID // were cut off, and will never be done
	change       map[int]int64     // by account, of those that were done
	failed       []error           // anything else, which should not be
}

// connect returns a client whose calls survive connections and servers. The pauses are short: this is a tour.
func connect(address string) (*edict.Client[*commands.Bank], error) {
	return edict.NewClient(address, commands.All,
		edict.WithResume(edict.Resume{}),
		edict.WithReconnect(edict.Reconnect{Initial: 10 * time.Millisecond, Max: 100 * time.Millisecond}))
}

// transfer sees to it that a transfer is made, once, and notes what became of it.
func (k *knowledge) transfer(ctx context.Context, client *edict.Client[*commands.Bank], t commands.Transfer) {
	for {
		id, err := edict.Call(ctx, client, t)
		if err == nil {
			k.done(&k.acknowledged, id, t)
			return
		}
		failure, ok := errors.AsType[*edict.Error](err)
		if !ok || failure.Outcome != edict.OutcomeUnknown {
			k.fail(err)
			return
		}
		// It was cut off. The bank knows what became of it, and the error has the name to ask by.
		done, err := edict.Call(ctx, client, commands.Settle{ID: failure.CommandID})
		switch {
		case err != nil:
			k.fail(err)
			return
		case done:
			k.done(&k.settled, failure.CommandID, t)
			return
		}
		// That one will never be done. So there can be another one.
		k.mu.Lock()
		k.void = append(k.void, failure.CommandID)
		k.mu.Unlock()
	}
}

func (k *knowledge) done(list *[]edict.CommandID, id edict.CommandID, t commands.Transfer) {
	k.mu.Lock()
	defer k.mu.Unlock()
	*list = append(*list, id)
	k.change[t.From] -= t.Amount
	k.change[t.To] += t.Amount
}

func (k *knowledge) fail(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.failed = append(k.failed, err)
}

// call lets the callers of some clients transfer money, each one transfer after the other, until stop is closed. Each ends
// what it has begun.
func call(stop <-chan struct{}, address string, s *settings) (*knowledge, error) {
	k := &knowledge{change: map[int]int64{}}
	var callers sync.WaitGroup
	var clients []*edict.Client[*commands.Bank]
	for range s.clients {
		client, err := connect(address)
		if err != nil {
			return nil, err
		}
		defer client.Close()
		clients = append(clients, client)
		for range s.callers {
			callers.Go(func() {
				for !isClosed(stop) {
					k.transfer(context.Background(), client, commands.Transfer{
						From: rand.IntN(s.accounts), To: rand.IntN(s.accounts), Amount: 1 + rand.Int64N(100),
					})
				}
			})
		}
	}
	callers.Wait()
	for _, client := range clients {
		stats := client.Stats()
		k.resumed += stats.Resumed
		k.resent += stats.Resent
	}
	return k, nil
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// report prints what the clients know.
func (k *knowledge) report(out *log.Logger) {
	out.Printf("Transfers: %d acknowledged, %d cut off. Of these %d had been done; %d had not, and were made anew.",
		len(k.acknowledged), len(k.settled)+len(k.void), len(k.settled), len(k.void))
	out.Printf("Connections were resumed %d times; %d calls were sent again to another server.", k.resumed, k.resent)
	for _, err := range k.failed {
		out.Printf("A call has failed, which should not be: %v", err)
	}
}

// runClients calls a server that is another process, until Ctrl-C.
func runClients(ctx context.Context, s *settings, out *log.Logger) error {
	out.Printf("%d callers of %d clients transfer money until Ctrl-C.", s.clients*s.callers, s.clients)
	k, err := call(ctx.Done(), s.connect, s)
	if err != nil {
		return err
	}
	k.report(out)
	return nil
}

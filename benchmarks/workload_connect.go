package main

import (
	"context"
	"sync"
	"time"

	"github.com/edict-go/edict/benchmarks/peer"
	"github.com/edict-go/edict/benchmarks/report"
)

// connect opens a connection, makes one call so that no lazy client gets away with less than a
// handshake, and closes it.
var connect = workload{
	name:  "connect",
	about: "open a connection, make one call, close it; in flight is how many do so at a time",
	needs: []peer.Feature{peer.Calls},
	cells: func(s settings) []report.Cell {
		return each(s.payloads, func(payload int) []report.Cell {
			return each(s.dialers, func(dialers int) []report.Cell {
				return []report.Cell{{InFlight: dialers, Payload: payload, Primary: report.OpsPerSecond}}
			})
		})
	},
	run: func(ctx context.Context, t *trial) (map[report.Figure]float64, error) {
		seen, err := t.observe(ctx, func(w *window) {
			var dialers sync.WaitGroup
			for number := range t.cell.InFlight {
				dialers.Go(func() {
					messages := newCaller(number, t.cell.Payload)
					for !w.stopping.Load() {
						started := time.Now()
						if err := connectOnce(ctx, t, messages.next()); err != nil {
							w.fail(err)
							return
						}
						w.record(time.Since(started))
						w.operations.add(number, 1)
					}
				})
			}
			dialers.Wait()
		})
		if err != nil {
			return nil, err
		}
		return seen.figures(), nil
	},
}

func connectOnce(ctx context.Context, t *trial, request peer.Message) error {
	client, err := t.dialUnowned(ctx)
	if err != nil {
		return err
	}
	defer client.Close() //nolint:errcheck // the call has said whether the connection works
	return check(ctx, client.Echo, request)
}

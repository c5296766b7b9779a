package main

import (
	"context"
	"sync"
	"time"

	"github.com/edict-go/edict/benchmarks/peer"
	"github.com/edict-go/edict/benchmarks/report"
)

// delayed starts a goroutine per request, as long as there is room in flight, and the server sleeps
// before it answers.
var delayed = workload{
	name:  "delayed",
	about: "every request in a goroutine of its own, started as soon as there is room; the server sleeps 30 ms",
	needs: []peer.Feature{peer.Calls, peer.Concurrency},
	cells: func(s settings) []report.Cell {
		return each(s.payloads, func(payload int) []report.Cell {
			return each(s.conns, func(conns int) []report.Cell {
				return each(s.outstanding, func(outstanding int) []report.Cell {
					return []report.Cell{{InFlight: outstanding, Conns: conns, Payload: payload, Primary: report.OpsPerSecond}}
				})
			})
		})
	},
	run: func(ctx context.Context, t *trial) (map[report.Figure]float64, error) {
		if err := t.dialAll(ctx); err != nil {
			return nil, err
		}
		seen, err := t.observe(ctx, func(w *window) {
			room := make(chan struct{}, t.cell.InFlight)
			messages := newCaller(0, t.cell.Payload)
			var requests sync.WaitGroup
			defer requests.Wait()
			for number := 0; ; number++ {
				select {
				case room <- struct{}{}:
				case <-w.stopped:
					return
				case <-w.failed:
					return
				}
				client, request := t.clients[number%len(t.clients)], messages.next()
				requests.Go(func() {
					started := time.Now()
					if err := check(ctx, client.Delayed, request); err != nil {
						w.fail(err)
					} else {
						w.record(time.Since(started))
						w.operations.add(number, 1)
					}
					<-room
				})
			}
		})
		if err != nil {
			return nil, err
		}
		return seen.figures(), nil
	},
}

package main

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/edict-go/edict/benchmarks/peer"
	"github.com/edict-go/edict/benchmarks/report"
)

// open makes calls at a constant rate, whatever happens to those before, and measures each from when
// it should have started: a stall counts for every call that it held up.
var open = workload{
	name:  "open",
	about: "calls arrive at a constant rate; latency counts from the intended start, so a stall counts for every call it held up",
	needs: []peer.Feature{peer.Calls, peer.Concurrency},
	cells: func(s settings) []report.Cell {
		return each(s.payloads, func(payload int) []report.Cell {
			return each(s.conns, func(conns int) []report.Cell {
				return each(s.rates, func(rate int) []report.Cell {
					return []report.Cell{{Rate: rate, Conns: conns, Payload: payload, Primary: report.P99}}
				})
			})
		})
	},
	run: func(ctx context.Context, t *trial) (map[report.Figure]float64, error) {
		if err := t.dialAll(ctx); err != nil {
			return nil, err
		}
		seen, err := t.observe(ctx, func(w *window) { arrive(ctx, t, w) })
		if err != nil {
			return nil, err
		}
		figures := seen.figures()
		figures[report.MissedPerSecond] = float64(seen.window.missed.Load()) / seen.elapsed.Seconds()
		return figures, nil
	},
}

// openLimit is how many calls may be on their way at once. Arrivals beyond are counted as missed: a
// server that can't keep up would fill the memory otherwise.
const openLimit = 1 << 16

func arrive(ctx context.Context, t *trial, w *window) {
	var calls sync.WaitGroup
	defer calls.Wait()
	var onTheirWay atomic.Int64
	messages := newCaller(0, t.cell.Payload)
	interval := time.Second / time.Duration(t.cell.Rate)
	timer := time.NewTimer(0)
	defer timer.Stop()
	intended := time.Now()
	for number := 0; ; number++ {
		if early := time.Until(intended); early > 0 {
			timer.Reset(early)
			select {
			case <-timer.C:
			case <-w.stopped:
				return
			case <-w.failed:
				return
			}
		} else if w.stopping.Load() {
			return
		}
		start, client, request := intended, t.clients[number%len(t.clients)], messages.next()
		intended = intended.Add(interval)
		if onTheirWay.Add(1) > openLimit {
			onTheirWay.Add(-1)
			if w.open.Load() {
				w.missed.Add(1)
			}
			continue
		}
		calls.Go(func() {
			defer onTheirWay.Add(-1)
			if err := check(ctx, client.Echo, request); err != nil {
				w.fail(err)
				return
			}
			w.record(time.Since(start))
			w.operations.add(number, 1)
		})
	}
}

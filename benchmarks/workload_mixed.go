package main

import (
	"context"
	"sync"
	"time"

	"github.com/edict-go/edict/benchmarks/peer"
	"github.com/edict-go/edict/benchmarks/report"
)

// mixedStream is the bulk that runs beside the calls.
var mixedStream = shape{count: 1024, size: 64 << 10}

// mixed makes small calls on a connection that carries a bulk stream as well.
var mixed = workload{
	name:  "mixed",
	about: "small calls on a connection that carries a stream of 64 KiB results as well; MB/s is the stream's, all else the calls'",
	needs: []peer.Feature{peer.Calls, peer.Concurrency, peer.Streams},
	cells: func(s settings) []report.Cell {
		return each(s.payloads, func(payload int) []report.Cell {
			return each(s.mixedInFlight, func(inFlight int) []report.Cell {
				return []report.Cell{{InFlight: inFlight, Conns: 1, Payload: payload, Primary: report.P99}}
			})
		})
	},
	run: func(ctx context.Context, t *trial) (map[report.Figure]float64, error) {
		client, err := t.dial(ctx)
		if err != nil {
			return nil, err
		}
		streamer, err := asStreamer(client)
		if err != nil {
			return nil, err
		}
		seen, err := t.observe(ctx, func(w *window) {
			var running sync.WaitGroup
			running.Go(func() {
				streamInLoop(ctx, w, streamer, mixedStream, 0, &w.other, func(time.Duration) {})
			})
			for number := range t.cell.InFlight {
				running.Go(func() { callInLoop(ctx, w, client.Echo, newCaller(number, t.cell.Payload)) })
			}
			running.Wait()
		})
		if err != nil {
			return nil, err
		}
		figures := seen.figures()
		figures[report.MegabytesPerSecond] = float64(seen.other) * float64(mixedStream.size) / 1e6 / seen.elapsed.Seconds()
		// Most of these are the stream's, so they say nothing about a call.
		delete(figures, report.CPUSecondsPerMillion)
		delete(figures, report.BytesPerOp)
		delete(figures, report.AllocsPerOp)
		return figures, nil
	},
}

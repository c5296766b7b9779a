package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/edict-go/edict/benchmarks/peer"
	"github.com/edict-go/edict/benchmarks/report"
)

// stream asks for many results with one command, again and again, on each connection.
var stream = workload{
	name:  "stream",
	about: "one command after the other on each connection, each with many results; an operation is a result, a latency that of a whole command",
	needs: []peer.Feature{peer.Streams},
	cells: func(s settings) []report.Cell {
		var cells []report.Cell
		for _, shape := range s.streams {
			for _, conns := range s.conns {
				cells = append(cells, report.Cell{
					Conns: conns, Results: shape.count, Payload: shape.size, Primary: report.OpsPerSecond,
				})
			}
		}
		return cells
	},
	run: func(ctx context.Context, t *trial) (map[report.Figure]float64, error) {
		if err := t.dialAll(ctx); err != nil {
			return nil, err
		}
		streamers := make([]peer.Streamer, len(t.clients))
		for i, client := range t.clients {
			var err error
			if streamers[i], err = asStreamer(client); err != nil {
				return nil, err
			}
		}
		seen, err := t.observe(ctx, func(w *window) {
			var receivers sync.WaitGroup
			for number, streamer := range streamers {
				receivers.Go(func() {
					streamInLoop(ctx, w, streamer, shape{t.cell.Results, t.cell.Payload}, number, &w.operations, w.record)
				})
			}
			receivers.Wait()
		})
		if err != nil {
			return nil, err
		}
		figures := seen.figures()
		figures[report.MegabytesPerSecond] = figures[report.OpsPerSecond] * float64(t.cell.Payload) / 1e6
		return figures, nil
	},
}

// shape is a stream's number of results and their size in bytes.
type shape struct{ count, size int }

func asStreamer(client peer.Client) (peer.Streamer, error) {
	streamer, ok := client.(peer.Streamer)
	if !ok {
		return nil, errors.New("the peer has streams, but its client doesn't")
	}
	return streamer, nil
}

var errStopped = errors.New("stopped")

// streamInLoop receives streams until the window stops, counts their results and records how long
// each whole stream took.
func streamInLoop(
	ctx context.Context, w *window, streamer peer.Streamer, s shape,
	number int, results *counters, record func(time.Duration),
) {
	for !w.stopping.Load() {
		started := time.Now()
		received := 0
		err := streamer.Stream(ctx, s.count, s.size, func(body []byte) error {
			received++
			results.add(number, 1)
			if w.stopping.Load() {
				return errStopped
			}
			return peer.CheckResult(body, s.size)
		})
		switch {
		case err != nil:
			w.fail(err) // which doesn't count when the window has stopped
			return
		case received != s.count:
			w.fail(fmt.Errorf("%w: %d results instead of %d", peer.ErrWrongReply, received, s.count))
			return
		}
		record(time.Since(started))
	}
}

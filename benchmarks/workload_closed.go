package main

import (
	"context"
	"sync"

	"github.com/edict-go/edict/benchmarks/peer"
	"github.com/edict-go/edict/benchmarks/report"
)

// closed is N callers, each of which makes its next call when it has the reply to the last.
var closed = workload{
	name:  "closed",
	about: "as many callers as are in flight, each calling again as soon as it has its reply",
	needs: []peer.Feature{peer.Calls},
	cells: func(s settings) []report.Cell {
		return each(s.payloads, func(payload int) []report.Cell {
			return each(s.conns, func(conns int) []report.Cell {
				return each(s.inFlight, func(inFlight int) []report.Cell {
					if conns > inFlight {
						return nil // connections without a caller
					}
					return []report.Cell{{InFlight: inFlight, Conns: conns, Payload: payload, Primary: report.OpsPerSecond}}
				})
			})
		})
	},
	run: func(ctx context.Context, t *trial) (map[report.Figure]float64, error) {
		if err := t.dialAll(ctx); err != nil {
			return nil, err
		}
		seen, err := t.observe(ctx, func(w *window) {
			var callers sync.WaitGroup
			for number := range t.cell.InFlight {
				client := t.clients[number%len(t.clients)]
				callers.Go(func() { callInLoop(ctx, w, client.Echo, newCaller(number, t.cell.Payload)) })
			}
			callers.Wait()
		})
		if err != nil {
			return nil, err
		}
		return seen.figures(), nil
	},
}

// each joins what cells returns for every value.
func each(values []int, cells func(int) []report.Cell) []report.Cell {
	var all []report.Cell
	for _, value := range values {
		all = append(all, cells(value)...)
	}
	return all
}

package main

import (
	"context"

	"github.com/edict-go/edict/benchmarks/peer"
	"github.com/edict-go/edict/benchmarks/report"
)

// idle opens connections, makes one call on each, and looks at what they occupy when nothing is
// happening. The server is always in a process of its own, to tell the sides apart.
var idle = workload{
	name:           "idle",
	about:          "connections on which one call was made and nothing happens: live bytes of heap and stacks, and resident bytes, per connection on each side",
	needs:          []peer.Feature{peer.Calls},
	alwaysSeparate: true,
	cells: func(s settings) []report.Cell {
		return each(s.idleConns, func(conns int) []report.Cell {
			return []report.Cell{{Conns: conns, Primary: report.ServerBytesPerConn}}
		})
	},
	run: func(ctx context.Context, t *trial) (map[report.Figure]float64, error) {
		messages := newCaller(0, 0)
		// What a library sets up once isn't a connection's.
		if err := dialAndCall(ctx, t, messages); err != nil {
			return nil, err
		}
		clientBefore, serverBefore, err := settledUsage(t)
		if err != nil {
			return nil, err
		}
		for range t.cell.Conns {
			if err := dialAndCall(ctx, t, messages); err != nil {
				return nil, err
			}
		}
		client, server, err := settledUsage(t)
		if err != nil {
			return nil, err
		}
		perConn := func(after, before uint64) float64 {
			return (float64(after) - float64(before)) / float64(t.cell.Conns)
		}
		return map[report.Figure]float64{
			report.ClientBytesPerConn:    perConn(client.Live, clientBefore.Live),
			report.ServerBytesPerConn:    perConn(server.Live, serverBefore.Live),
			report.ClientRSSBytesPerConn: perConn(client.Resident, clientBefore.Resident),
			report.ServerRSSBytesPerConn: perConn(server.Resident, serverBefore.Resident),
		}, nil
	},
}

func dialAndCall(ctx context.Context, t *trial, messages *caller) error {
	client, err := t.dial(ctx)
	if err != nil {
		return err
	}
	return check(ctx, client.Echo, messages.next())
}

// settledUsage collects garbage on both sides and returns what is left.
func settledUsage(t *trial) (client, server usage, err error) {
	collect()
	if err := t.target.settle(); err != nil {
		return usage{}, usage{}, err
	}
	if client, err = readUsage(); err != nil {
		return usage{}, usage{}, err
	}
	server, err = t.target.usage()
	return client, server, err
}

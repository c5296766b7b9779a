package main

import (
	"context"
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/edict-go/edict/examples/grpc/stockpb"
)

// warehouse is the service. It knows nothing of what it is called over.
type warehouse struct {
	stockpb.UnimplementedStockServer

	mu     sync.Mutex
	levels map[string]int64
}

func newWarehouse() *warehouse {
	return &warehouse{levels: map[string]int64{"nails": 1_000_000_000, "needles": 500, "hammers": 0}}
}

// Take implements stockpb.StockServer.
func (w *warehouse) Take(_ context.Context, item *stockpb.Item) (*stockpb.Level, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	left, ok := w.levels[item.GetName()]
	switch {
	case !ok:
		return nil, status.Errorf(codes.NotFound, "no item is called %q", item.GetName())
	case left < item.GetCount():
		return nil, status.Errorf(codes.FailedPrecondition, "there are %d %s left", left, item.GetName())
	}
	w.levels[item.GetName()] = left - item.GetCount()
	return &stockpb.Level{Name: item.GetName(), Left: left - item.GetCount()}, nil
}

// List implements stockpb.StockServer.
func (w *warehouse) List(query *stockpb.Query, stream grpc.ServerStreamingServer[stockpb.Level]) error {
	w.mu.Lock()
	var levels []*stockpb.Level
	for name, left := range w.levels {
		if strings.HasPrefix(name, query.GetPrefix()) {
			levels = append(levels, &stockpb.Level{Name: name, Left: left})
		}
	}
	w.mu.Unlock()
	for _, level := range levels {
		if err := stream.Send(level); err != nil {
			return err
		}
	}
	return nil
}

package main

import (
	"context"
	"errors"
	"net"

	"google.golang.org/grpc"

	grpcbridge "github.com/edict-go/edict/bridge/grpc"
	"github.com/edict-go/edict/examples/grpc/stockpb"
)

// server serves one service over gRPC and over Edict, at one address.
type server struct {
	classic *grpc.Server       // as it was before the migration
	bridge  *grpcbridge.Server // new
	served  chan error         // has a value for each of them when it has ended
}

// serve starts the server. The listener is the server's from now on.
func serve(listener net.Listener, stock stockpb.StockServer) *server {
	s := &server{classic: grpc.NewServer(), bridge: grpcbridge.NewServer(), served: make(chan error, 2)}
	stockpb.RegisterStockServer(s.classic, stock)
	stockpb.RegisterStockServer(s.bridge, stock)

	forEdict, forGRPC := grpcbridge.Split(listener, grpcbridge.SplitConfig{})
	go func() { s.served <- s.classic.Serve(forGRPC) }()
	go func() { s.served <- s.bridge.Serve(forEdict) }()
	return s
}

// stopGRPC ends the gRPC half; calls that run may finish.
func (s *server) stopGRPC() { s.classic.GracefulStop() }

// stop ends what is left, and waits for it.
func (s *server) stop(ctx context.Context) error {
	s.classic.GracefulStop()
	return errors.Join(s.bridge.Shutdown(ctx), <-s.served, <-s.served)
}

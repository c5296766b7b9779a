package main

import (
	"context"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/examples/otel/commands"
)

// server is a shop that is open.
type server struct {
	*edict.Server
	address string
	served  chan error
}

// open starts a server, whose spans, metrics and logs go to t. While closed returns true it refuses all commands.
func open(name string, t *telemetry, closed func() bool) (*server, error) {
	logger := t.logger(name)
	shop := &commands.Shop{Name: name, Stock: map[string]int{"apples": 12, "pears": 7}, Logger: logger}
	refuse := func(ctx context.Context, call *edict.ServerCall, next func(context.Context) error) error {
		if closed() {
			return edict.Errorf(edict.ResourceExhausted, "the shop is full")
		}
		return next(ctx)
	}
	s := &server{
		Server: edict.NewServer(shop, commands.All,
			t.edict.ServerOption(), edict.WithServerInterceptors(refuse), edict.WithLogger(logger)),
		served: make(chan error, 1),
	}
	listener, err := s.Listen("tcp://127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.address = "tcp://" + listener.Addr().String()
	go func() { s.served <- s.Serve(listener) }()
	t.edict.ObserveServer(name, s)
	return s, nil
}

// close ends the server when all that runs has ended.
func (s *server) close() error {
	if err := s.Shutdown(context.Background()); err != nil {
		return err
	}
	<-s.served
	return nil
}

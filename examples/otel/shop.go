package main

import (
	"context"
	"log/slog"

	"github.com/edict-go/edict"
)

// Shop is the receiver of the commands.
type Shop struct {
	name   string
	stock  map[string]int
	logger *slog.Logger
}

// Stock asks how much there is of something.
type Stock struct{ Item string }

// Exec implements edict.Command.
func (s Stock) Exec(ctx context.Context, shop *Shop) (int, error) {
	n, ok := shop.stock[s.Item]
	if !ok {
		shop.logger.InfoContext(ctx, "somebody asks for what we don't have", "shop", shop.name)
		return 0, edict.Errorf(edict.NotFound, "we don't have that")
	}
	return n, nil
}

// Idempotent implements edict.Idempotent.
func (Stock) Idempotent() bool { return true }

// List names everything there is.
type List struct{}

// Exec implements edict.StreamCommand.
func (List) Exec(_ context.Context, shop *Shop, out edict.Sink[string]) error {
	for item := range shop.stock {
		if err := out.Send(item); err != nil {
			return err
		}
	}
	return nil
}

var shopCommands = edict.Commands(edict.Unary[Stock](), edict.ServerStream[List]())

// server is a shop that is open.
type server struct {
	*edict.Server
	address string
	served  chan error
}

// open starts a server, whose spans, metrics and logs go to t. While closed returns true it refuses all commands.
func open(name string, t *telemetry, closed func() bool) (*server, error) {
	logger := t.logger(name)
	shop := &Shop{name: name, stock: map[string]int{"apples": 12, "pears": 7}, logger: logger}
	refuse := func(ctx context.Context, call *edict.ServerCall, next func(context.Context) error) error {
		if closed() {
			return edict.Errorf(edict.ResourceExhausted, "the shop is full")
		}
		return next(ctx)
	}
	s := &server{
		Server: edict.NewServer(shop, shopCommands,
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

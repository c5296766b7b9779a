package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/edictdebug"
	"github.com/edict-go/edict/examples/shop/commands"
	"github.com/edict-go/edict/group"
	edictotel "github.com/edict-go/edict/otel"
)

// How long a server may take to end orderly, and to end at all.
const (
	drainLimit = 3 * time.Second
	endLimit   = 6 * time.Second
)

// runChild is one of the servers, until standard input ends (which it does when the launcher does, however that ends) or
// it is told to (SIGTERM).
func runChild(s *settings, out io.Writer) error {
	signal.Ignore(os.Interrupt) // a Ctrl-C is for the launcher, which ends the servers one after the other
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go func() { // ends with the process
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	context.AfterFunc(ctx, func() {
		time.Sleep(endLimit)
		os.Exit(2) // whatever it is that holds it up
	})
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})).With("process", s.child))
	t, err := setUp(ctx, s.child, s.collector)
	if err != nil {
		return err
	}
	switch s.child {
	case "front":
		err = runFront(ctx, s, t, out)
	default:
		err = runWarehouse(ctx, s, t, out)
	}
	return errors.Join(err, t.close())
}

// runWarehouse serves the commands of a warehouse.
func runWarehouse(ctx context.Context, s *settings, t *telemetry, out io.Writer) error {
	audit := commands.NewAudit(s.audit, s.fixed)
	if s.fixed {
		go audit.Run(ctx) // ends with the process
	}
	warehouse := commands.NewWarehouse(s.child, audit, func() { os.Exit(3) })
	// What is turned away here was refused, so it is tried again elsewhere.
	refuse := func(ctx context.Context, call *edict.ServerCall, next func(context.Context) error) error {
		if (call.Name == "Reserve" || call.Name == "Held") && warehouse.Failing() {
			return edict.Errorf(edict.Unavailable, "the database does not answer")
		}
		return next(ctx)
	}
	server := edict.NewServer(warehouse, commands.WarehouseCommands, append(options(s, t), edict.WithServerInterceptors(refuse))...)
	return serve(ctx, s, t, server, out)
}

// breaker opens sooner than usual, and closes sooner, so that one need not wait to see it.
var breaker = group.Breaker{Interval: 2 * time.Second, OpenFor: 2 * time.Second}

// runFront serves the commands of the front, which calls the warehouses.
func runFront(ctx context.Context, s *settings, t *telemetry, out io.Writer) error {
	groups := map[string]*group.Group[*commands.Warehouse]{}
	dial := func(name string, hedge group.Hedge) (edict.Sender[*commands.Warehouse], error) {
		g, err := group.Dial(ctx, commands.WarehouseCommands,
			group.Config{Endpoints: group.Static(s.warehouses...), Breaker: breaker, Hedge: hedge},
			edict.ClientConfig{Name: "front: " + name}, t.edict.ClientOption(),
			edict.WithReconnect(edict.Reconnect{Initial: 50 * time.Millisecond, Max: 500 * time.Millisecond}))
		if err != nil {
			return nil, err
		}
		groups[name] = g
		t.edict.ObserveGroup(name, g)
		return edictotel.Sender(t.edict, commands.WarehouseCommands, g), nil
	}
	defer func() {
		for _, g := range groups {
			_ = g.Close()
		}
	}()
	holds, err := dial("holds", group.Hedge{})
	if err != nil {
		return err
	}
	reads, err := dial("reads", group.Hedge{Quantile: 0.95, MinDelay: 5 * time.Millisecond})
	if err != nil {
		return err
	}
	look := func() []commands.Replica {
		return append(replicas("holds", groups["holds"].Stats()), replicas("reads", groups["reads"].Stats())...)
	}
	shop := &commands.Shop{Holds: holds, Reads: reads, Look: look}
	return serve(ctx, s, t, edict.NewServer(shop, commands.ShopCommands, options(s, t)...), out)
}

// replicas returns what a group knows of its endpoints.
func replicas(name string, stats group.Stats) []commands.Replica {
	var list []commands.Replica
	for _, e := range stats.Endpoints {
		replica := commands.Replica{
			Group: name, Address: e.Address, Breaker: e.Breaker, InFlight: e.InFlight, Connection: "none",
			Latency: e.Latency.Round(10 * time.Microsecond).String(),
		}
		if len(e.Connections) > 0 {
			replica.Connection = e.Connections[0].State.String()
		}
		list = append(list, replica)
	}
	return list
}

// options are what all servers have to be looked at.
func options(s *settings, t *telemetry) []edict.ServerOption {
	return []edict.ServerOption{
		edict.ServerConfig{Name: s.child, AllowText: true},
		t.edict.ServerOption(),
		edict.WithReflection(), edict.WithRemoteStats(), edict.WithLatencies(),
	}
}

// ready is what a server prints first, followed by its addresses.
const ready = "ready"

// serve serves until ctx ends.
func serve(ctx context.Context, s *settings, t *telemetry, server *edict.Server, out io.Writer) error {
	listener, err := server.Listen("tcp://" + s.listen)
	if err != nil {
		return err
	}
	defer t.edict.ObserveServer(s.child, server)()
	t.mux.Handle("/debug/edict/", edictdebug.Handler(server))
	web, err := t.serve(s.web)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	if _, err := fmt.Fprintln(out, ready, listener.Addr(), web); err != nil {
		return err
	}
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	within, cancel := context.WithTimeout(context.Background(), drainLimit)
	defer cancel()
	err = server.Shutdown(within)
	<-served
	return err
}

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "grpc:", err)
		os.Exit(1)
	}
}

// settings are the flags.
type settings struct {
	serve, connect string // addresses
	over           string
	clients        int
	stage          time.Duration
}

// run is the program.
func run(ctx context.Context, arguments []string, out io.Writer) error {
	var s settings
	flags := flag.NewFlagSet("grpc", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.StringVar(&s.serve, "serve", "", "be the server only, at this `address`, host:port, until interrupted")
	flags.StringVar(&s.connect, "connect", "", "be the clients only, of the server at this `address`, until interrupted")
	flags.StringVar(&s.over, "over", "edict", "with -connect: what the clients call over, grpc or edict")
	flags.IntVar(&s.clients, "clients", 4, "how many clients there are")
	flags.DurationVar(&s.stage, "stage", 200*time.Millisecond, "how long each stage of the migration takes")
	switch err := flags.Parse(arguments); {
	case errors.Is(err, flag.ErrHelp):
		return nil
	case err != nil:
		return err
	case flags.NArg() > 0:
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case s.over != "grpc" && s.over != "edict":
		return fmt.Errorf("-over %q: choose grpc or edict", s.over)
	case s.serve != "" && s.connect != "":
		return errors.New("choose one of -serve and -connect, or none of them for all in one process")
	case s.clients < 1:
		return errors.New("at least one client is needed")
	case s.connect != "":
		return runClients(ctx, s, out)
	}
	address := s.serve
	if address == "" {
		address = "127.0.0.1:0"
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	running := serve(listener, newWarehouse())
	fmt.Fprintf(out, "Serving gRPC and Edict at %v.\n", listener.Addr())
	if s.serve != "" {
		<-ctx.Done()
	} else {
		err = migrate(ctx, s, listener.Addr().String(), running, out)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return errors.Join(err, running.stop(ctx))
}

// migrate replaces the clients of a running service, one by one.
func migrate(ctx context.Context, s settings, address string, running *server, out io.Writer) (err error) {
	var overGRPC, overEdict tally
	clients := make([]*client, s.clients)
	defer func() { // if it has ended early
		for _, c := range clients {
			if c != nil {
				err = errors.Join(err, c.stop())
			}
		}
	}()
	for i := range clients {
		if clients[i], err = startClient(ctx, "grpc", address, &overGRPC); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "%d clients call over gRPC.\n", s.clients)
	if err := wait(ctx, s.stage); err != nil {
		return err
	}
	for i := range clients {
		old := clients[i]
		if clients[i], err = startClient(ctx, "edict", address, &overEdict); err != nil {
			clients[i] = old
			return err
		}
		if err := old.stop(); err != nil {
			return err
		}
		if err := wait(ctx, s.stage); err != nil {
			return err
		}
		fmt.Fprintf(out, "Client %d calls over Edict now. %s\n", i+1, counts(&overGRPC, &overEdict))
	}
	running.stopGRPC()
	fmt.Fprintln(out, "Nobody calls over gRPC any more: that half has stopped.")
	if err := wait(ctx, s.stage); err != nil {
		return err
	}
	for i, c := range clients {
		clients[i] = nil
		if err := c.stop(); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "Done. %s\n", counts(&overGRPC, &overEdict))
	if failed := overGRPC.failed.Load() + overEdict.failed.Load(); failed > 0 {
		return fmt.Errorf("%d calls failed; the first: %w", failed, errors.Join(overGRPC.failure, overEdict.failure))
	}
	return nil
}

// counts describes how many rounds of calls there have been so far.
func counts(overGRPC, overEdict *tally) string {
	return fmt.Sprintf("Rounds of calls: %d over gRPC, %d over Edict, %d failed.",
		overGRPC.calls.Load(), overEdict.calls.Load(), overGRPC.failed.Load()+overEdict.failed.Load())
}

// runClients runs clients until it is interrupted.
func runClients(ctx context.Context, s settings, out io.Writer) error {
	var counted tally
	dialing, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	connection, err := dial(dialing, s.over, s.connect) // fails at once if nobody is there
	if err != nil {
		return err
	}
	if err := connection.Close(); err != nil {
		return err
	}
	clients := make([]*client, s.clients)
	for i := range clients {
		if clients[i], err = startClient(context.WithoutCancel(ctx), s.over, s.connect, &counted); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "%d clients call over %s. Ctrl-C stops them.\n", s.clients, s.over)
	<-ctx.Done()
	for _, c := range clients {
		err = errors.Join(err, c.stop())
	}
	fmt.Fprintf(out, "Rounds of calls: %d, failed: %d.\n", counted.calls.Load(), counted.failed.Load())
	return errors.Join(err, counted.failure)
}

// wait waits for a time, or until ctx ends.
func wait(ctx context.Context, pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

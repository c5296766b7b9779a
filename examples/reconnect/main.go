package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/examples/reconnect/commands"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "reconnect:", err)
		os.Exit(1)
	}
}

// run is the program.
func run(ctx context.Context, arguments []string, output io.Writer) error {
	s, err := parse(arguments, output)
	if err != nil || s == nil {
		return err
	}
	out := log.New(output, "", 0) // which the observer and the rest can use at once
	switch {
	case s.connect != "":
		return runClient(ctx, s, out)
	case s.serveOnly:
		return runServer(ctx, s, out)
	}
	return tour(ctx, s, out)
}

// tour restarts a server that is called all the time.
func tour(ctx context.Context, s *settings, out *log.Logger) error {
	counter := &commands.Counter{Work: s.work}
	server, address, err := serve(counter, s.serve)
	if err != nil {
		return err
	}
	client, err := connect(address, out)
	if err != nil {
		return errors.Join(err, server.Close())
	}
	defer client.Close()

	stop, called := make(chan struct{}), make(chan *tally, 1)
	go func() { called <- call(ctx, stop, client, s.callers) }()
	for restart := range 4 {
		wait(ctx, s.pause)
		if graceful := restart%2 == 0; graceful {
			out.Print("         The server shuts down, another one starts.")
			if err := server.Shutdown(ctx); err != nil {
				return err
			}
		} else {
			out.Print("         The server crashes, another one starts.")
			if err := errors.Join(server.Close(), server.Shutdown(ctx)); err != nil {
				return err
			}
		}
		if server, _, err = serve(counter, address); err != nil {
			return err
		}
	}
	wait(ctx, s.pause)
	close(stop)
	t := <-called
	if err := client.Shutdown(ctx); err != nil {
		return err
	}
	report(t, client, out)
	out.Printf("The counter is at %d, and was read %d times.", counter.Value(), counter.Reads())
	return server.Shutdown(ctx)
}

// serve starts a server.
func serve(counter *commands.Counter, address string) (*edict.Server, string, error) {
	server := edict.NewServer(counter, commands.All, edict.WithLogger(slog.New(slog.DiscardHandler)))
	var listener net.Listener
	listener, err := server.Listen(address)
	if err != nil {
		return nil, "", err
	}
	go server.Serve(listener)
	return server, listener.Addr().Network() + "://" + listener.Addr().String(), nil
}

// runServer serves until Ctrl-C.
func runServer(ctx context.Context, s *settings, out *log.Logger) error {
	counter := &commands.Counter{Work: s.work}
	server, address, err := serve(counter, s.serve)
	if err != nil {
		return err
	}
	out.Printf("Serving at %s. Ctrl-C stops it. In another terminal:\n\n  go run ./examples/reconnect -connect %s\n", address, address)
	<-ctx.Done()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		return err
	}
	out.Printf("The server has stopped. The counter is at %d.", counter.Value())
	return nil
}

// wait waits for a while, less if ctx ends.
func wait(ctx context.Context, pause time.Duration) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/examples/ticker/commands"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "ticker:", err)
		os.Exit(1)
	}
}

// run is the program.
func run(ctx context.Context, arguments []string, output io.Writer) error {
	s, err := parse(arguments, output)
	if err != nil || s == nil {
		return err
	}
	out := log.New(output, "", 0) // which the server's commands and the client can use at once
	if s.connect != "" {
		return runClient(ctx, s, out, nil)
	}

	// The market runs until the server has stopped.
	market := commands.NewMarket(out)
	trading, closeMarket := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { market.Run(trading, s.every) })
	defer running.Wait()
	defer closeMarket()

	server := edict.NewServer(market, commands.All, edict.WithCodecs(s.codec))
	listener, err := server.Listen(s.serve)
	if err != nil {
		return err
	}
	s.connect = listener.Addr().Network() + "://" + listener.Addr().String() // port 0 is another one by now
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()

	// Shutdown tells the streams to end (edict.Draining), and waits until they have.
	shutdown := func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		return server.Shutdown(ctx)
	}
	if s.serveOnly {
		out.Printf("Serving at %s, a price every %v. Ctrl-C stops it. In another terminal:\n\n  %s\n\n", s.connect, s.every, s.connectCommand())
		select {
		case <-ctx.Done():
		case err := <-served:
			return err
		}
		if err := shutdown(); err != nil {
			return err
		}
	} else if err := runClient(ctx, s, out, shutdown); err != nil {
		return errors.Join(err, server.Close())
	}
	out.Print("The server has stopped.")
	return nil
}

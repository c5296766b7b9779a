package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/examples/chat/commands"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	if err := run(ctx, os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "chat:", err)
		os.Exit(1)
	}
}

// run is the program.
func run(ctx context.Context, arguments []string, in io.Reader, out io.Writer) error {
	s, err := parse(arguments, out)
	if err != nil || s == nil {
		return err
	}
	if s.connect != "" {
		return talk(ctx, s, in, out)
	}

	server := edict.NewServer(commands.NewRoom(), commands.All, edict.WithCodecs(s.codec))
	listener, err := server.Listen(s.serve)
	if err != nil {
		return err
	}
	s.connect = listener.Addr().Network() + "://" + listener.Addr().String() // port 0 is another one by now
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()

	// Shutdown tells the members that the room closes (edict.Draining), and waits for them to leave.
	shutdown := func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		return server.Shutdown(ctx)
	}
	if !s.serveOnly {
		if err := tour(ctx, s, shutdown, out); err != nil {
			return errors.Join(err, server.Close())
		}
		fmt.Fprintln(out, "The server has stopped.")
		return nil
	}
	fmt.Fprintf(out, "Serving at %s. Ctrl-C stops it. In other terminals:\n\n  %s\n\n", s.connect, s.connectCommand())
	select {
	case <-ctx.Done():
	case err := <-served:
		return err
	}
	if err := shutdown(); err != nil {
		return err
	}
	fmt.Fprintln(out, "The server has stopped.")
	return nil
}

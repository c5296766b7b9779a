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
	"github.com/edict-go/edict/examples/upload/commands"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "upload:", err)
		os.Exit(1)
	}
}

// run is the program.
func run(ctx context.Context, arguments []string, out io.Writer) (err error) {
	s, err := parse(arguments, out)
	if err != nil || s == nil {
		return err
	}
	if s.connect != "" {
		return runClient(ctx, s, out)
	}

	folder := s.folder
	if folder == "" {
		if folder, err = os.MkdirTemp("", "edict-upload-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	}
	store, err := commands.NewStore(folder, s.quota)
	if err != nil {
		return err
	}
	defer store.Close()
	server := edict.NewServer(store, commands.All, edict.WithCodecs(s.codec))
	listener, err := server.Listen(s.serve)
	if err != nil {
		return err
	}
	s.connect = listener.Addr().Network() + "://" + listener.Addr().String() // port 0 is another one by now
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	fmt.Fprintf(out, "Serving at %s, to the folder %s, files of up to %s.\n", s.connect, folder, size(s.quota))

	if s.serveOnly {
		fmt.Fprintf(out, "Ctrl-C stops it. In another terminal:\n\n  %s\n\n", s.connectCommand())
		select {
		case <-ctx.Done():
			fmt.Fprintln(out, "Stopping: uploads that have begun may finish.")
		case err := <-served:
			return err
		}
	} else {
		err = runClient(ctx, s, out)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := errors.Join(err, server.Shutdown(ctx)); err != nil { // in any case: the folder goes next
		return err
	}
	fmt.Fprintln(out, "The server has stopped.")
	return nil
}

package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "exactly-once:", err)
		os.Exit(1)
	}
}

// run is the program.
func run(ctx context.Context, arguments []string, output io.Writer) error {
	s, err := parse(arguments, output)
	if err != nil || s == nil {
		return err
	}
	out := log.New(output, "", 0) // which several goroutines can use at once
	switch {
	case s.connect != "":
		return runClients(ctx, s, out)
	case s.child:
		ctx, cancel := untilEOF(ctx)
		defer cancel()
		return runServer(ctx, s, out)
	case s.serve != "":
		return runServer(ctx, s, out)
	}
	return runTour(ctx, s, out)
}

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
		fmt.Fprintln(os.Stderr, "shop:", err)
		os.Exit(1)
	}
}

// run is the program.
func run(ctx context.Context, arguments []string, output io.Writer) error {
	if len(arguments) > 0 && arguments[0] == "traces" {
		return showTraces(ctx, arguments[1:], output)
	}
	s, err := parse(arguments, output)
	if err != nil || s == nil {
		return err
	}
	if s.child != "" {
		return runChild(s, output)
	}
	return runLauncher(ctx, s, log.New(output, "", 0)) // which several goroutines can use at once
}

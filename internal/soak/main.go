package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() { os.Exit(run(os.Args[1:])) }

// run is main with its arguments. It returns the exit code: 1 if something is that must not be, 2 if
// the soak could not run.
func run(arguments []string) int {
	flags := flag.NewFlagSet("soak", flag.ContinueOnError)
	var o options
	flags.DurationVar(&o.length, "for", time.Minute, "how long faults happen")
	flags.StringVar(&o.only, "faults", "", "the `kinds` of faults that happen, with commas between; all without it")
	flags.Uint64Var(&o.seed, "seed", 0, "what the faults are drawn from; 0 is a new one")
	flags.IntVar(&o.clients, "clients", 2, "client processes that are killed and drained")
	flags.IntVar(&o.callers, "callers", 22, "callers of each client process")
	flags.DurationVar(&o.pause, "pause", 20*time.Millisecond, "pause of a caller between calls, on average")
	flags.StringVar(&o.folder, "logs", "", "folder for logs, which are kept then")
	flags.BoolVar(&o.local, "local", false, "without namespaces and the wire between them")
	role := flags.String("role", "", "for the processes that this program starts: server or client")
	config := flags.String("config", "", "for the processes that this program starts")
	if flags.Parse(arguments) != nil || flags.NArg() > 0 {
		return 2
	}
	if *role != "" {
		return runChild(*role, *config)
	}
	if o.seed == 0 {
		o.seed = 1 + rand.Uint64N(1<<32)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	passed, err := soak(ctx, o, os.Stdout)
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "soak:", err)
		return 2
	case !passed:
		return 1
	}
	return 0
}

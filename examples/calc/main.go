package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/examples/calc/commands"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "calc:", err)
		os.Exit(1)
	}
}

// run is the program.
func run(ctx context.Context, arguments []string, out io.Writer) error {
	s, err := parse(arguments, out)
	if err != nil || s == nil {
		return err
	}
	if s.connect {
		return runClient(ctx, s, out)
	}

	// A server has a receiver, which all commands work on, and the commands that it executes.
	server := edict.NewServer(&commands.Calc{}, s.registry, edict.WithCodecs(s.codec), edict.WithTLS(s.serverTLS))
	listener, err := server.Listen(s.address)
	if err != nil {
		return err
	}
	s.address = s.scheme + "://" + listener.Addr().String() // for port 0, the one that was chosen
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()

	if s.serve {
		fmt.Fprintf(out, "Serving at %s. Ctrl-C stops it. In another terminal:\n\n  %s\n\n", s.address, s.connectCommand())
		select {
		case <-ctx.Done():
			fmt.Fprintln(out, "Stopping: no new commands are taken, those that run may finish.")
		case err := <-served:
			return err
		}
	} else if err := runClient(ctx, s, out); err != nil {
		return errors.Join(err, server.Close())
	}

	// Shutdown lets running commands finish, for as long as its context allows.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		return err
	}
	fmt.Fprintln(out, "The server has stopped.")
	return nil
}

// runClient connects to a server and shows what a client can do.
func runClient(ctx context.Context, s *settings, out io.Writer) error {
	client, err := edict.Dial(ctx, s.address, s.registry, edict.WithCodecs(s.codec), edict.WithTLS(s.clientTLS))
	if err != nil {
		return fmt.Errorf("%w\n%s", err, s.advice())
	}
	defer client.Close()
	fmt.Fprintf(out, "Connected to %s with the codec %s.\n\n", s.address, client.Peer().Codec)
	if s.protobuf {
		return tourProtobuf(ctx, client, out)
	}
	return tour(ctx, client, out)
}

// tour sends commands and prints what comes back.
func tour(ctx context.Context, client *edict.Client[*commands.Calc], out io.Writer) error {
	// A command with one result. The type of sum follows from Add's method Exec.
	begin := time.Now()
	sum, err := edict.Call(ctx, client, commands.Add{A: 2, B: 3})
	if err != nil {
		return err
	}
	report(out, "Add{2, 3}", begin, "%d", sum)

	// A command with many results, which come while it runs. Leaving the loop would cancel it.
	begin = time.Now()
	var primes []int
	for prime, err := range edict.Stream(ctx, client, commands.Primes{UpTo: 30}) {
		if err != nil {
			return err
		}
		primes = append(primes, prime)
	}
	report(out, "Primes{30}", begin, "%d", primes)

	// Start does not wait: many commands can be under way before the first result is looked at.
	begin = time.Now()
	first, err := edict.Start(ctx, client, commands.Wait{For: 20 * time.Millisecond})
	if err != nil {
		return err
	}
	second, err := edict.Start(ctx, client, commands.Add{A: 20, B: 30})
	if err != nil {
		return err
	}
	waited, err := first.Receive()
	if err != nil {
		return err
	}
	sum, err = second.Receive()
	if err != nil {
		return err
	}
	report(out, "Wait{20ms}, Add{20, 30}", begin, "%v and %d, both in flight at once", waited, sum)

	// A command that fails. The error has a code, and says whether the command ran.
	begin = time.Now()
	_, err = edict.Call(ctx, client, commands.Divide{A: 7, B: 0})
	if !errors.Is(err, commands.ErrDivisionByZero) {
		return fmt.Errorf("Divide{7, 0}: ErrDivisionByZero is wanted, not %w", err)
	}
	reportError(out, "Divide{7, 0}", begin, err)

	// A deadline travels with the command. When it passes, the caller hears of it at once, and on
	// the server the command's context ends.
	begin = time.Now()
	soon, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	_, err = edict.Call(soon, client, commands.Wait{For: time.Minute})
	if !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("Wait{1m}: a deadline of 50ms should have passed, not %w", err)
	}
	reportError(out, "Wait{1m}, deadline 50ms", begin, err)

	// Any number of goroutines share a client, and with it one connection.
	begin = time.Now()
	var callers sync.WaitGroup
	failures := make(chan error, burstCallers)
	for range burstCallers {
		callers.Go(func() {
			for i := range burstCalls / burstCallers {
				if sum, err := edict.Call(ctx, client, commands.Add{A: i, B: i}); err != nil || sum != 2*i {
					failures <- fmt.Errorf("the sum of %d and %d: %d, error %v", i, i, sum, err)
					return
				}
			}
		})
	}
	callers.Wait()
	reportBurst(out, "Add", begin)
	close(failures)
	return <-failures // nil if there is none
}

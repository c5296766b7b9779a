// Benchmarks compares Edict with other RPC systems, and all of them with a physical limit, on this
// machine. See README.md for the methods and their traps.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/pprof"

	"github.com/edict-go/edict/benchmarks/peer"
	_ "github.com/edict-go/edict/benchmarks/peers" // registers them
	"github.com/edict-go/edict/benchmarks/report"
)

func main() {
	if os.Getenv(serveVariable) != "" {
		// Ctrl-C reaches this process too; it ends when its parent has stopped asking.
		signal.Ignore(os.Interrupt)
		if err := serveOrders(os.Stdin, os.NewFile(answersDescriptor, "answers")); err != nil {
			fmt.Fprintln(os.Stderr, "server process:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "benchmarks:", err)
		os.Exit(1)
	}
}

// run is the program without its process.
func run(ctx context.Context, arguments []string, out, messages io.Writer) error {
	s, err := parse(arguments, messages)
	if err != nil {
		return err
	}
	if s.list {
		return list(out)
	}
	plan, leftOut, err := s.plan()
	if err != nil {
		return err
	}
	stopProfile, err := startProfile(s.profile)
	if err != nil {
		return err
	}
	result, err := execute(ctx, s, plan, newProgress(messages, s.estimate(plan)))
	err = errors.Join(err, stopProfile())
	if err != nil && len(result.Samples) == 0 {
		return err
	}
	result.LeftOut = append(leftOut, result.LeftOut...)
	for _, left := range result.LeftOut {
		fmt.Fprintf(messages, "left out: %s in %s: %s\n", left.Peer, left.Where, left.Reason)
	}
	if s.reportTo != "" {
		if err := report.WriteDirectory(s.reportTo, result); err != nil {
			return err
		}
		fmt.Fprintln(messages, "report written to", s.reportTo)
	}
	return errors.Join(s.format.Write(out, result), err)
}

// startProfile starts a CPU profile into a file, if there is a name, and returns how to stop it.
func startProfile(name string) (stop func() error, err error) {
	if name == "" {
		return func() error { return nil }, nil
	}
	file, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return file.Close()
	}, nil
}

func list(out io.Writer) error {
	_, err := fmt.Fprintln(out, "Workloads:")
	for _, load := range workloads {
		_, failed := fmt.Fprintf(out, "  %-13s %s\n", load.name, load.about)
		err = errors.Join(err, failed)
	}
	_, failed := fmt.Fprintln(out, "Peers:")
	err = errors.Join(err, failed)
	for _, p := range peer.All() {
		_, failed := fmt.Fprintf(out, "  %-13s %-9s %s\n", p.Name, p.Version(), p.About)
		err = errors.Join(err, failed)
		for feature, reason := range p.Lacks {
			_, failed := fmt.Fprintf(out, "  %-13s %-9s without %s: %s\n", "", "", feature, reason)
			err = errors.Join(err, failed)
		}
	}
	return err
}

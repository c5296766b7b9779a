package main

import (
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/edict-go/edict/benchmarks/peer"
	"github.com/edict-go/edict/benchmarks/report"
)

// settings are the command line.
type settings struct {
	arguments []string

	workloads []workload
	peers     []peer.Peer

	inFlight, conns, payloads, rates, outstanding, dialers, mixedInFlight, idleConns []int
	streams                                                                          []shape

	duration, warmup time.Duration
	count            int
	tls              []bool
	separate         bool
	deadlines        bool

	format   report.Format
	reportTo string
	profile  string
	list     bool
}

func parse(arguments []string, messages io.Writer) (settings, error) {
	s := settings{arguments: arguments}
	flags := flag.NewFlagSet("benchmarks", flag.ContinueOnError)
	flags.SetOutput(messages)
	workloadNames := flags.String("workload", "closed", "workloads to run, separated by commas, or all")
	peerNames := flags.String("peers", "all", "peers to compare, separated by commas, or all")
	positive := func(name, value, usage string, target *[]int) {
		*target, _ = parseInts(value)
		flags.Func(name, fmt.Sprintf("%s (default %s)", usage, value), func(text string) (err error) {
			*target, err = parseInts(text)
			return err
		})
	}
	positive("inflight", "1,16,256,4096", "closed: callers", &s.inFlight)
	positive("conns", "1", "connections; a client per connection, callers spread over them", &s.conns)
	positive("payload", "128", "bytes of the message's text", &s.payloads)
	positive("rate", "5000,20000", "open: arrivals per second", &s.rates)
	positive("outstanding", "16384", "delayed: requests in flight at most", &s.outstanding)
	positive("dialers", "4", "connect: how many connect at a time", &s.dialers)
	positive("mixed-inflight", "16", "mixed: callers beside the stream", &s.mixedInFlight)
	positive("idle-conns", "1000", "idle: connections", &s.idleConns)
	s.streams = []shape{{100_000, 128}, {16_384, 64 << 10}}
	flags.Func("streams", "stream: results and their bytes (default 100000x128,16384x65536)", func(text string) (err error) {
		s.streams, err = parseShapes(text)
		return err
	})
	flags.DurationVar(&s.duration, "duration", 2*time.Second, "how long each measurement watches")
	flags.DurationVar(&s.warmup, "warmup", 500*time.Millisecond, "how long each load runs before it is watched")
	flags.IntVar(&s.count, "count", 3, "rounds; every round measures every peer in turn")
	s.tls = []bool{false}
	flags.Var((*switches)(&s.tls), "tls", "encrypted connections: off, on, or both (default off)")
	flags.BoolVar(&s.separate, "separate", false, "client and server in two processes")
	flags.BoolVar(&s.deadlines, "deadlines", false, "calls carry a deadline, far away; without, a context that can be cancelled")
	flags.TextVar(&s.format, "format", report.Table, "output: table, json, csv, markdown or benchstat")
	flags.StringVar(&s.reportTo, "report", "", "directory for a page with charts, its pictures and the data")
	flags.StringVar(&s.profile, "cpuprofile", "", "file for a CPU profile of this process over the whole run; best with one peer and one cell")
	flags.BoolVar(&s.list, "list", false, "list workloads and peers, and measure nothing")
	if err := flags.Parse(arguments); err != nil {
		return s, err
	}
	if flags.NArg() > 0 {
		return s, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if s.count < 1 || s.duration <= 0 || s.warmup < 0 {
		return s, fmt.Errorf("-count and -duration must be positive, -warmup not negative")
	}
	var err error
	s.workloads, err = choose(*workloadNames, workloads, func(load workload) string { return load.name })
	if err != nil {
		return s, fmt.Errorf("-workload: %w", err)
	}
	s.peers, err = choose(*peerNames, peer.All(), func(p peer.Peer) string { return p.Name })
	if err != nil {
		return s, fmt.Errorf("-peers: %w", err)
	}
	return s, nil
}

// choose returns the elements with the given names, in the order of the names.
func choose[T any](names string, all []T, name func(T) string) ([]T, error) {
	if names == "all" {
		return all, nil
	}
	var chosen []T
	var seen []string
	for wanted := range strings.SplitSeq(names, ",") {
		at := slices.IndexFunc(all, func(candidate T) bool { return name(candidate) == wanted })
		if at < 0 {
			var known []string
			for _, candidate := range all {
				known = append(known, name(candidate))
			}
			return nil, fmt.Errorf("%q is none of %s", wanted, strings.Join(known, ", "))
		}
		if slices.Contains(seen, wanted) {
			continue
		}
		seen = append(seen, wanted)
		chosen = append(chosen, all[at])
	}
	return chosen, nil
}

func parseInts(text string) ([]int, error) {
	var values []int
	for part := range strings.SplitSeq(text, ",") {
		value, err := strconv.Atoi(part)
		if err != nil || value < 1 {
			return nil, fmt.Errorf("%q is not a positive number", part)
		}
		values = append(values, value)
	}
	return values, nil
}

func parseShapes(text string) ([]shape, error) {
	var shapes []shape
	for part := range strings.SplitSeq(text, ",") {
		count, size, found := strings.Cut(part, "x")
		values, err := parseInts(count + "," + size)
		if !found || err != nil {
			return nil, fmt.Errorf("%q is not of the form 1000x64", part)
		}
		shapes = append(shapes, shape{values[0], values[1]})
	}
	return shapes, nil
}

// switches is a flag that is off, on, or both.
type switches []bool

// String is the flag's text.
func (s *switches) String() string { return fmt.Sprint([]bool(*s)) }

// Set parses the flag.
func (s *switches) Set(text string) error {
	switch text {
	case "on":
		*s = []bool{true}
	case "off":
		*s = []bool{false}
	case "both":
		*s = []bool{false, true}
	default:
		return fmt.Errorf("%q is none of off, on, both", text)
	}
	return nil
}

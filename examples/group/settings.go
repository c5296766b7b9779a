package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/edict-go/edict/group"
)

// strategies are those that -strategy can name.
var strategies = map[string]func() group.Strategy{
	"round-robin": group.RoundRobin,
	"in-flight":   group.LeastInFlight,
	"latency":     group.LowestLatency,
	"key":         func() group.Strategy { return group.ByKey{} },
}

// settings are the flags and what follows from them.
type settings struct {
	serve    string
	name     string
	connect  []string // addresses
	strategy group.Strategy
	every    time.Duration
}

// parse reads the flags. It returns nil settings if there is nothing to do, after -help.
func parse(arguments []string, out io.Writer) (*settings, error) {
	s := &settings{}
	var connect, strategy string
	flags := flag.NewFlagSet("group", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.StringVar(&s.serve, "serve", "", "be a server only, at this `address`, until interrupted: tcp://host:port (port 0 is\none that the system chooses) or unix:///path")
	flags.StringVar(&s.name, "name", "east", "the server's `name`, with -serve")
	flags.StringVar(&connect, "connect", "", "be a client only, of the servers at these `addresses`, with commas between them")
	flags.StringVar(&strategy, "strategy", "round-robin", "how the client chooses a server: round-robin, in-flight, latency or key")
	flags.DurationVar(&s.every, "every", time.Second, "how often the client prints who has served, with -connect")
	if err := flags.Parse(arguments); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil, nil
		}
		return nil, err
	}
	if connect != "" {
		s.connect = strings.Split(connect, ",")
	}
	choose := strategies[strategy]
	switch {
	case flags.NArg() > 0:
		return nil, fmt.Errorf("unexpected argument %q: all settings are flags, see -help", flags.Arg(0))
	case choose == nil:
		return nil, fmt.Errorf("unknown strategy %q: choose round-robin, in-flight, latency or key", strategy)
	case s.every <= 0:
		return nil, fmt.Errorf("-every %v: it takes more than no time", s.every)
	case s.serve != "" && s.connect != nil:
		return nil, errors.New("choose one of -serve and -connect, or none of them for all in one process")
	case slices.ContainsFunc(s.connect, func(address string) bool { return strings.HasSuffix(address, ":0") }):
		return nil, fmt.Errorf("%s has an address with port 0: give those that the servers printed", connect)
	}
	s.strategy = choose()
	return s, nil
}

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"
)

// settings are the flags and what follows from them.
type settings struct {
	serve, connect string // addresses
	serveOnly      bool
	callers        int
	work, pause    time.Duration
}

// parse reads the flags. It returns nil settings if there is nothing to do, after -help.
func parse(arguments []string, out io.Writer) (*settings, error) {
	s := &settings{}
	flags := flag.NewFlagSet("reconnect", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.StringVar(&s.serve, "serve", "", "be the server only, at this `address`, until interrupted: tcp://host:port (port 0 is\none that the system chooses) or unix:///path")
	flags.StringVar(&s.connect, "connect", "", "be the client only, of the server at this `address`, until interrupted")
	flags.IntVar(&s.callers, "callers", 8, "how many callers there are at once")
	flags.DurationVar(&s.work, "work", 2*time.Millisecond, "how long a command takes")
	flags.DurationVar(&s.pause, "pause", 500*time.Millisecond, "how long a server lives on the tour")
	if err := flags.Parse(arguments); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil, nil
		}
		return nil, err
	}
	s.serveOnly = s.serve != ""
	switch {
	case flags.NArg() > 0:
		return nil, fmt.Errorf("unexpected argument %q: all settings are flags, see -help", flags.Arg(0))
	case s.callers <= 0:
		return nil, fmt.Errorf("-callers %d: there must be one at least", s.callers)
	case s.serveOnly && s.connect != "":
		return nil, errors.New("choose one of -serve and -connect, or none of them for both in one process")
	case strings.HasSuffix(s.connect, ":0"):
		return nil, fmt.Errorf("%s is no address to connect to: give the one that the server printed", s.connect)
	}
	if s.serve == "" {
		s.serve = "tcp://127.0.0.1:0"
	}
	return s, nil
}

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"
)

// settings are the flags.
type settings struct {
	serve, connect             string // addresses
	folder                     string
	child                      bool
	clients, callers, accounts int
	length, kill, cut, work    time.Duration
}

// parse reads the flags. It returns nil settings if there is nothing to do, after -help.
func parse(arguments []string, out io.Writer) (*settings, error) {
	s := &settings{}
	flags := flag.NewFlagSet("exactly-once", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.StringVar(&s.serve, "serve", "", "be the server only, at this `address`, until interrupted: tcp://host:port or unix:///path")
	flags.StringVar(&s.connect, "connect", "", "be the clients only, of the server at this `address`, until interrupted")
	flags.StringVar(&s.folder, "folder", "", "where bank and journal are kept; the tour has one of its own without it")
	flags.BoolVar(&s.child, "child", false, "with -serve: shut down when standard input ends")
	flags.IntVar(&s.clients, "clients", 3, "how many clients there are, with a connection each")
	flags.IntVar(&s.callers, "callers", 5, "how many callers each client has")
	flags.IntVar(&s.accounts, "accounts", 20, "how many accounts a new bank has")
	flags.DurationVar(&s.length, "for", 6*time.Second, "how long the tour disturbs the calls")
	flags.DurationVar(&s.kill, "kill", 400*time.Millisecond, "how long a server lives on the tour, on average")
	flags.DurationVar(&s.cut, "cut", 100*time.Millisecond, "how long it is on the tour from one cut of a connection to the next, on average")
	flags.DurationVar(&s.work, "work", 2*time.Millisecond, "how long a transfer takes, beside what it waits for the disk")
	if err := flags.Parse(arguments); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil, nil
		}
		return nil, err
	}
	switch {
	case flags.NArg() > 0:
		return nil, fmt.Errorf("unexpected argument %q: all settings are flags, see -help", flags.Arg(0))
	case s.clients <= 0, s.callers <= 0, s.accounts <= 0:
		return nil, errors.New("there must be one client, one caller and one account at least")
	case s.length <= 0, s.kill <= 0, s.cut <= 0, s.work < 0:
		return nil, errors.New("times must be positive")
	case s.serve != "" && s.connect != "":
		return nil, errors.New("choose one of -serve and -connect, or none of them for the tour")
	case s.serve != "" && s.folder == "":
		return nil, errors.New("-serve needs a -folder, in which the next server finds what this one has left")
	case strings.HasSuffix(s.connect, ":0"):
		return nil, fmt.Errorf("%s is no address to connect to: give the one that the server printed", s.connect)
	}
	return s, nil
}

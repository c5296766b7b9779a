package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// defaultPort is that of the page with the traces. The servers have those that follow.
const defaultPort = 7400

// settings are the flags.
type settings struct {
	port   int // of the traces; 0: the system chooses all ports
	fixed  bool
	length time.Duration // 0: until Ctrl-C

	// Of a child, which the launcher starts.
	child       string // front, stock-a or stock-b
	listen, web string
	warehouses  []string // the addresses of a front's
	audit       time.Duration
	collector   string
}

// parse reads the flags. It returns nil settings if there is nothing to do, after -help.
func parse(arguments []string, out io.Writer) (*settings, error) {
	s := &settings{}
	var warehouses string
	flags := flag.NewFlagSet("shop", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.IntVar(&s.port, "port", defaultPort, "the `port` of the page with the traces; the servers have the 3 that follow, their debug\npages the 3 after port + 10. 0: the system chooses all of them")
	flags.BoolVar(&s.fixed, "fixed", false, "with what is slow repaired")
	flags.DurationVar(&s.length, "for", 0, "end after this time, with an error if an order has failed; 0 is at Ctrl-C")
	flags.StringVar(&s.child, "child", "", "be one of the servers, `name`, until standard input ends: front, stock-a or stock-b")
	flags.StringVar(&s.listen, "listen", "", "with -child: the server's `address`")
	flags.StringVar(&s.web, "web", "", "with -child: the `address` of the debug page and the metrics")
	flags.StringVar(&warehouses, "warehouses", "", "with -child front: the `addresses` of the warehouses, with commas between them")
	flags.DurationVar(&s.audit, "audit", 0, "with -child stock-a or stock-b: how long the disk with the audit takes for a record")
	flags.StringVar(&s.collector, "collector", "", "with -child: where spans go")
	if err := flags.Parse(arguments); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil, nil
		}
		return nil, err
	}
	if warehouses != "" {
		s.warehouses = strings.Split(warehouses, ",")
	}
	switch {
	case flags.NArg() > 0:
		return nil, fmt.Errorf("unexpected argument %q: there is only traces, all else are flags, see -help", flags.Arg(0))
	case s.port < 0 || s.port > 65535-13:
		return nil, fmt.Errorf("-port %d: between 0 and %d is possible", s.port, 65535-13)
	case s.length < 0, s.audit < 0:
		return nil, errors.New("times must be positive")
	case s.child != "" && s.child != "front" && s.child != "stock-a" && s.child != "stock-b":
		return nil, fmt.Errorf("-child %s: front, stock-a or stock-b", s.child)
	case s.child != "" && (s.listen == "" || s.web == "" || s.collector == ""):
		return nil, errors.New("-child needs -listen, -web and -collector")
	case s.child == "front" && len(s.warehouses) == 0:
		return nil, errors.New("-child front needs -warehouses")
	}
	return s, nil
}

// address returns a loopback address with the port that is so far from the first one.
func (s *settings) address(offset int) string {
	port := 0
	if s.port != 0 {
		port = s.port + offset
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

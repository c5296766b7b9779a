package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/edict-go/edict/codec"
	"github.com/edict-go/edict/codec/json"
	"github.com/edict-go/edict/examples/chat/commands"
)

// codecs are those that -codec can name.
var codecs = map[string]codec.Codec{"json": json.Codec, "mus": commands.MUS}

// settings are the flags and what follows from them.
type settings struct {
	serve, connect string // addresses
	serveOnly      bool
	name           string
	codecName      string
	codec          codec.Codec
}

// parse reads the flags. It returns nil settings if there is nothing to do, after -help.
func parse(arguments []string, out io.Writer) (*settings, error) {
	s := &settings{}
	flags := flag.NewFlagSet("chat", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.StringVar(&s.serve, "serve", "", "be the server only, at this `address`, until interrupted: tcp://host:port (port 0 is\none that the system chooses) or unix:///path")
	flags.StringVar(&s.connect, "connect", "", "be a member only, of the room at this `address`, with lines from standard input")
	flags.StringVar(&s.name, "name", "guest", "with -connect, what the member is called")
	flags.StringVar(&s.codecName, "codec", "json", "how everything is encoded: json or mus, the same on both sides")
	if err := flags.Parse(arguments); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil, nil
		}
		return nil, err
	}
	s.codec = codecs[s.codecName]
	s.serveOnly = s.serve != ""
	switch {
	case flags.NArg() > 0:
		return nil, fmt.Errorf("unexpected argument %q: all settings are flags, see -help", flags.Arg(0))
	case s.codec == nil:
		return nil, fmt.Errorf("unknown codec %q: choose json or mus", s.codecName)
	case s.serveOnly && s.connect != "":
		return nil, errors.New("choose one of -serve and -connect, or none of them for all in one process")
	case strings.HasSuffix(s.connect, ":0"):
		return nil, fmt.Errorf("%s is no address to connect to: give the one that the server printed", s.connect)
	}
	if s.serve == "" {
		s.serve = "tcp://127.0.0.1:0"
	}
	return s, nil
}

// connectCommand is what connects a member to the server that these settings are of.
func (s *settings) connectCommand() string {
	command := "go run ./examples/chat -connect " + s.connect
	if s.codecName != "json" {
		command += " -codec " + s.codecName
	}
	return command + " -name ada"
}

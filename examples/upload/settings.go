package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/edict-go/edict/codec"
	"github.com/edict-go/edict/codec/json"
	"github.com/edict-go/edict/examples/upload/commands"
)

// codecs are those that -codec can name.
var codecs = map[string]codec.Codec{"json": json.Codec, "mus": commands.MUS}

// settings are the flags and what follows from them.
type settings struct {
	serve, connect string // addresses
	serveOnly      bool
	folder         string // "" is a temporary one
	quota          int64
	file, name     string // "" is generated data
	codecName      string
	codec          codec.Codec
}

// parse reads the flags. It returns nil settings if there is nothing to do, after -help.
func parse(arguments []string, out io.Writer) (*settings, error) {
	s := &settings{}
	flags := flag.NewFlagSet("upload", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.Usage = func() {
		fmt.Fprintln(out, "Usage: upload [flags] [file]")
		flags.PrintDefaults()
	}
	flags.StringVar(&s.serve, "serve", "", "be the server only, at this `address`, until interrupted: tcp://host:port (port 0 is\none that the system chooses) or unix:///path")
	flags.StringVar(&s.connect, "connect", "", "be the client only, of the server at this `address`")
	flags.StringVar(&s.folder, "folder", "", "the `folder` that the server writes to (default a temporary one, removed at the end)")
	flags.Int64Var(&s.quota, "quota", 8<<20, "how many `bytes` the server lets a file have")
	flags.StringVar(&s.name, "name", "", "what the server calls the file (default as the client does)")
	flags.StringVar(&s.codecName, "codec", "mus", "how everything is encoded: json or mus, the same on both sides")
	if err := flags.Parse(arguments); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil, nil
		}
		return nil, err
	}
	s.file = flags.Arg(0)
	if s.name == "" && s.file != "" {
		s.name = filepath.Base(s.file)
	}
	s.codec = codecs[s.codecName]
	s.serveOnly = s.serve != ""
	switch {
	case flags.NArg() > 1:
		return nil, fmt.Errorf("unexpected argument %q: one file at a time, after the flags", flags.Arg(1))
	case s.codec == nil:
		return nil, fmt.Errorf("unknown codec %q: choose json or mus", s.codecName)
	case s.serveOnly && s.connect != "":
		return nil, errors.New("choose one of -serve and -connect, or none of them for both in one process")
	case s.serveOnly && s.file != "":
		return nil, fmt.Errorf("a server has no use for the file %q: give it to the client", s.file)
	case strings.HasSuffix(s.connect, ":0"):
		return nil, fmt.Errorf("%s is no address to connect to: give the one that the server printed", s.connect)
	}
	if s.serve == "" {
		s.serve = "tcp://127.0.0.1:0"
	}
	return s, nil
}

// connectCommand is what connects a client to the server that these settings are of.
func (s *settings) connectCommand() string {
	command := "go run ./examples/upload -connect " + s.connect
	if s.codecName != "mus" {
		command += " -codec " + s.codecName
	}
	return command + " FILE"
}

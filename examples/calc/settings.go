package main

import (
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/codec"
	"github.com/edict-go/edict/codec/json"
	"github.com/edict-go/edict/codec/msgpack"
	"github.com/edict-go/edict/codec/protobuf"
	"github.com/edict-go/edict/examples/calc/calcpb"
	"github.com/edict-go/edict/examples/calc/commands"
)

// codecs are those that -codec can name.
var codecs = map[string]codec.Codec{
	"json":        json.Codec,
	"msgpack":     msgpack.Codec,
	"msgpack-map": msgpack.Map,
	"mus":         commands.MUS, // written by edict-gen
	"protobuf":    protobuf.Codec,
}

// settings are the flags and what follows from them.
type settings struct {
	serve, connect bool
	address        string
	scheme         string // of address: tcp, tls or unix
	codecName      string
	codec          codec.Codec
	certificate    string // files in PEM, for tls://
	key            string
	authority      string

	// With protocol buffers the commands are other types: those of calcpb.
	protobuf bool
	registry *edict.Registry[*commands.Calc]

	serverTLS, clientTLS *tls.Config // nil but for tls://
}

// parse reads the flags. It returns nil settings if there is nothing to do, after -help.
func parse(arguments []string, out io.Writer) (*settings, error) {
	s := &settings{}
	flags := flag.NewFlagSet("calc", flag.ContinueOnError)
	flags.SetOutput(out)
	names := strings.Join(slices.Sorted(maps.Keys(codecs)), ", ")
	flags.BoolVar(&s.serve, "serve", false, "be the server only, until interrupted")
	flags.BoolVar(&s.connect, "connect", false, "be the client only")
	flags.StringVar(&s.address, "addr", "tcp://127.0.0.1:0", "the server's `address`: tcp://host:port, tls://host:port or unix:///path;\nfor a server port 0 is one that the system chooses")
	flags.StringVar(&s.codecName, "codec", "json", "how commands and results are encoded: "+names)
	flags.StringVar(&s.certificate, "cert", "", "the server's certificate for tls://, a `file` in PEM")
	flags.StringVar(&s.key, "key", "", "the key of -cert, a `file` in PEM")
	flags.StringVar(&s.authority, "ca", "", "for -connect with tls://, a `file` in PEM with what signed the server's certificate")
	if err := flags.Parse(arguments); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil, nil
		}
		return nil, err
	}
	s.scheme, _, _ = strings.Cut(s.address, "://")
	s.codec = codecs[s.codecName]
	s.registry = commands.All
	if s.codecName == "protobuf" {
		s.protobuf, s.registry = true, calcpb.All
	}
	switch {
	case flags.NArg() > 0:
		return nil, fmt.Errorf("unexpected argument %q: all settings are flags, see -help", flags.Arg(0))
	case s.codec == nil:
		return nil, fmt.Errorf("unknown codec %q: choose one of %s", s.codecName, names)
	case s.serve && s.connect:
		return nil, errors.New("choose one of -serve and -connect, or none of them for both in one process")
	case s.connect && strings.HasSuffix(s.address, ":0"):
		return nil, fmt.Errorf("%s is no address to connect to: give -addr as the server printed it", s.address)
	}
	if s.scheme == "tls" {
		return s, s.prepareTLS()
	}
	return s, nil
}

// connectCommand is what connects a client to the server that these settings are of.
func (s *settings) connectCommand() string {
	command := "go run ./examples/calc -connect -addr " + s.address
	if s.codecName != "json" {
		command += " -codec " + s.codecName
	}
	if s.scheme == "tls" {
		command += " -ca " + s.certificate
	}
	return command
}

// advice is what to do when a client can't connect.
func (s *settings) advice() string {
	serve := strings.Replace(s.connectCommand(), "-connect", "-serve", 1)
	if s.scheme == "tls" {
		serve = strings.Replace(serve, "-ca "+s.certificate, "-cert FILE -key FILE", 1)
	}
	return "Does the server run, with the same -addr and -codec? This starts it:\n\n  " + serve
}

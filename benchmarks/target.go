package main

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/edict-go/edict/benchmarks/peer"
)

// target is a running server, here or in a process of its own.
type target interface {
	address() string

	// usage is what the server's process has used; zero if that is this process.
	usage() (usage, error)
	// settle collects garbage and resets the peak, in the server's process.
	settle() error
	close() error
}

// startTarget starts p's server. certificate is nil for plain connections.
func startTarget(p peer.Peer, certificate *peer.Certificate, separate bool) (target, error) {
	if separate {
		return startProcess(p, certificate)
	}
	server, err := serve(p, certificate)
	if err != nil {
		return nil, err
	}
	return localTarget{server}, nil
}

func serve(p peer.Peer, certificate *peer.Certificate) (peer.Server, error) {
	var config *tls.Config
	if certificate != nil {
		var err error
		if config, err = certificate.ServerConfig(); err != nil {
			return nil, err
		}
	}
	return p.Serve(peer.ServeOptions{TLS: config})
}

// localTarget is a server in this process, whose usage is counted as the client's.
type localTarget struct{ server peer.Server }

func (t localTarget) address() string       { return t.server.Address() }
func (t localTarget) usage() (usage, error) { return usage{}, nil }
func (t localTarget) settle() error         { return nil }
func (t localTarget) close() error          { return t.server.Close() }

// A server in a process of its own is this program again, with serveVariable in its environment. It
// reads orders from its standard input and writes answers to its file descriptor 3, both as JSON, so
// that whatever a library prints gets into nobody's way. It ends with its standard input.
const serveVariable = "EDICT_BENCHMARKS_SERVE"

const answersDescriptor = 3

type order struct {
	// Serve is in the first order only.
	Serve  *serveOrder `json:",omitempty"`
	Settle bool        `json:",omitempty"`
}

type serveOrder struct {
	Peer        string
	Certificate *peer.Certificate
}

type answer struct {
	Address string
	Usage   usage
	Error   string
}

// serveOrders is the program in the server's process.
func serveOrders(orders io.Reader, answers io.Writer) error {
	decoder, encoder := json.NewDecoder(orders), json.NewEncoder(answers)
	var server peer.Server
	for {
		var next order
		if err := decoder.Decode(&next); err != nil {
			if server != nil {
				err = errors.Join(err, server.Close())
			}
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		var reply answer
		err := func() (err error) {
			if next.Serve != nil {
				p, err := peer.Find(next.Serve.Peer)
				if err != nil {
					return err
				}
				if server, err = serve(p, next.Serve.Certificate); err != nil {
					return err
				}
				reply.Address = server.Address()
			}
			if next.Settle {
				collect()
				resetPeak()
			}
			reply.Usage, err = readUsage()
			return err
		}()
		if err != nil {
			reply.Error = err.Error()
		}
		if err := encoder.Encode(reply); err != nil {
			return err
		}
	}
}

// process is a server in a process of its own.
type process struct {
	command *exec.Cmd
	orders  io.WriteCloser
	answers *os.File
	encoder *json.Encoder
	decoder *json.Decoder
	at      string
}

// patience is how long a process may take to end.
const patience = 10 * time.Second

func startProcess(p peer.Peer, certificate *peer.Certificate) (*process, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	answers, theirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer theirs.Close() //nolint:errcheck // the child has its own
	command := exec.Command(program)
	command.Env = append(os.Environ(), serveVariable+"=1")
	command.Stdout, command.Stderr = os.Stderr, os.Stderr
	command.ExtraFiles = []*os.File{theirs} // becomes answersDescriptor
	orders, err := command.StdinPipe()
	if err != nil {
		return nil, errors.Join(err, answers.Close())
	}
	if err := command.Start(); err != nil {
		return nil, errors.Join(err, answers.Close(), orders.Close())
	}
	t := &process{
		command: command, orders: orders, answers: answers,
		encoder: json.NewEncoder(orders), decoder: json.NewDecoder(answers),
	}
	reply, err := t.ask(order{Serve: &serveOrder{p.Name, certificate}})
	if err != nil {
		return nil, errors.Join(err, t.close())
	}
	t.at = reply.Address
	return t, nil
}

func (t *process) ask(next order) (answer, error) {
	if err := t.encoder.Encode(next); err != nil {
		return answer{}, fmt.Errorf("server process: %w", err)
	}
	var reply answer
	if err := t.decoder.Decode(&reply); err != nil {
		return answer{}, fmt.Errorf("server process: %w", err)
	}
	if reply.Error != "" {
		return answer{}, fmt.Errorf("server process: %s", reply.Error)
	}
	return reply, nil
}

func (t *process) address() string { return t.at }

func (t *process) usage() (usage, error) {
	reply, err := t.ask(order{})
	return reply.Usage, err
}

func (t *process) settle() error {
	_, err := t.ask(order{Settle: true})
	return err
}

// close tells the process to end and waits for it; one that doesn't end is killed.
func (t *process) close() error {
	err := t.orders.Close()
	killer := time.AfterFunc(patience, func() {
		t.command.Process.Kill() //nolint:errcheck // Wait tells how it ended
	})
	defer killer.Stop()
	return errors.Join(err, t.command.Wait(), t.answers.Close())
}

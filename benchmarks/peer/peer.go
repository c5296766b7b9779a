// Package peer says what a system under comparison must be able to do, and keeps the list of those
// that are there.
//
// A peer is one file in package peers with an init function that calls [Register]. Its Serve starts
// a server on a loopback port of the system's choice; its Dial opens exactly one connection. The
// harness decides how many clients it dials, what they are asked and what is measured.
package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"
)

// Delay is how long a server sleeps in a delayed call.
const Delay = 30 * time.Millisecond

// Message is what a call carries both ways. Its parts exist so that a codec has a bool, an integer,
// a float and a text of the payload's length to deal with. A reply must equal its request; the
// harness compares them.
type Message struct {
	Flag   bool
	Number int64
	Text   string
	Ratio  float64
}

// Peer is one system under comparison, set up the way its own documentation would for speed.
type Peer struct {
	// Name is what -peers selects and what reports show. Short, lower case.
	Name string

	// About describes the set-up in one line: codec, framing, what was tuned.
	About string

	// Module is the path whose version reports show; empty for code of this repository.
	Module string

	// Limit marks a physical limit, which isn't a candidate for the best peer of a run.
	Limit bool

	// Lacks names what the peer can't do, each with the reason. Reports leave the peer out of the
	// workloads that need it, by name.
	Lacks map[Feature]string

	// Serve starts a server and returns once it accepts connections.
	Serve func(ServeOptions) (Server, error)

	// Dial opens one connection and returns when it is ready for calls, its handshake done.
	Dial func(context.Context, DialOptions) (Client, error)
}

// Feature is an ability that a workload needs and not every peer has.
type Feature string

const (
	// Calls is Client.Echo, without which only streams can be compared.
	Calls Feature = "calls"
	// Concurrency is more than one call in flight on a connection.
	Concurrency Feature = "concurrent calls"
	// Streams is Streamer on the client.
	Streams Feature = "server streams"
	// Encryption is TLS on the connection.
	Encryption Feature = "TLS"
)

// ServeOptions are what the harness decides about a server.
type ServeOptions struct {
	// TLS is nil for a plain connection.
	TLS *tls.Config
}

// DialOptions are what the harness decides about a connection.
type DialOptions struct {
	// Address is what Server.Address returned, perhaps in another process.
	Address string

	// TLS is nil for a plain connection.
	TLS *tls.Config
}

// Server is a running server.
type Server interface {
	// Address is where a client in any process of this machine reaches it.
	Address() string

	// Close ends it and its connections. Clients are closed before.
	Close() error
}

// Client is one connection. Its methods are called from many goroutines at once, except on a peer
// that lacks Concurrency, where the harness's callers wait for each other inside the peer's own
// library.
type Client interface {
	// Echo sends request and returns what came back.
	Echo(ctx context.Context, request Message) (Message, error)

	// Delayed is Echo with a handler that sleeps for Delay, blocking like a handler that waits for
	// a database.
	Delayed(ctx context.Context, request Message) (Message, error)

	Close() error
}

// Streamer is the part of a Client that not every peer has.
type Streamer interface {
	// Stream asks for count results of size bytes, each filled by FillResult, and passes their
	// bodies to each, in order. A body is valid during the call only. It returns when the stream has
	// ended, with the first error of either side or of each.
	Stream(ctx context.Context, count, size int, each func(body []byte) error) error
}

// FillResult gives a result's body the content that CheckResult expects. Every result is alike, so a
// server fills one body and sends it count times.
func FillResult(body []byte) {
	for i := range body {
		body[i] = byte(i)
	}
}

// NewResult returns a body of size bytes as FillResult fills it.
func NewResult(size int) []byte {
	body := make([]byte, size)
	FillResult(body)
	return body
}

// ErrWrongReply is in the error of a call whose reply wasn't its request.
var ErrWrongReply = errors.New("reply differs from request")

// CheckResult checks a result's length and, cheaply, its content.
func CheckResult(body []byte, size int) error {
	if len(body) != size {
		return fmt.Errorf("%w: result of %d bytes, not %d", ErrWrongReply, len(body), size)
	}
	if size > 0 && (body[0] != 0 || body[size/2] != byte(size/2) || body[size-1] != byte(size-1)) {
		return fmt.Errorf("%w: result has other content", ErrWrongReply)
	}
	return nil
}

var registry struct {
	mu    sync.Mutex // guards peers
	peers map[string]Peer
}

// Register adds a peer. It panics if the peer is incomplete or the name is taken: both are mistakes
// of the program.
func Register(p Peer) {
	if p.Name == "" || p.About == "" || p.Serve == nil || p.Dial == nil {
		panic(fmt.Sprintf("peer: %q is incomplete", p.Name))
	}
	registry.mu.Lock()
	defer registry.mu.Unlock()
	if registry.peers == nil {
		registry.peers = make(map[string]Peer)
	}
	if _, taken := registry.peers[p.Name]; taken {
		panic(fmt.Sprintf("peer: %q is registered twice", p.Name))
	}
	registry.peers[p.Name] = p
}

// All returns every registered peer by name.
func All() []Peer {
	registry.mu.Lock()
	defer registry.mu.Unlock()
	all := make([]Peer, 0, len(registry.peers))
	for _, p := range registry.peers {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b Peer) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Find returns the peer with that name.
func Find(name string) (Peer, error) {
	registry.mu.Lock()
	defer registry.mu.Unlock()
	p, found := registry.peers[name]
	if !found {
		return Peer{}, fmt.Errorf("unknown peer %q", name)
	}
	return p, nil
}

// Missing returns the first of features that p lacks, and why; empty if it has all.
func (p Peer) Missing(features []Feature) (Feature, string) {
	for _, feature := range features {
		if reason, lacks := p.Lacks[feature]; lacks {
			return feature, reason
		}
	}
	return "", ""
}

// Version is the version of the peer's module in this build; empty without a module.
func (p Peer) Version() string {
	if p.Module == "" {
		return ""
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, dependency := range info.Deps {
		if dependency.Path == p.Module {
			if dependency.Replace != nil {
				dependency = dependency.Replace
			}
			return dependency.Version
		}
	}
	return "unknown"
}

package edict

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"time"

	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/delegate"
	"github.com/edict-go/edict/handler"
	"github.com/edict-go/edict/transport"
)

// Failure is something that went wrong, with a code that stays the same. See [core.Failure] and [core.FailureCode].
type Failure = core.Failure

// CallSnapshot is a snapshot of a call in flight. See [core.CallSnapshot].
type CallSnapshot = core.CallSnapshot

// Latency says how long the calls of a command have taken. See [core.HistogramSnapshot].
type Latency = core.HistogramSnapshot

// WithLatencies lets a server count how long commands take, in a histogram for each: from the arrival of the command
// until its result, or the end of its results, is there to be sent. [ServerDetails.Latencies] has them. It costs a call
// two looks at the clock.
func WithLatencies() ServerOption {
	return serverOption(func(s *serverSettings) { s.latencies = true })
}

// ConnectionDetails is what both sides know of a connection.
type ConnectionDetails struct {
	// Address is the peer's, Name what it calls itself, which nobody has verified.
	Address string `json:"address"`
	Name    string `json:"name"`
	// Scheme and Principal say who a client is; empty without an authenticator, and on clients.
	Scheme    string `json:"scheme,omitempty"`
	Principal string `json:"principal,omitempty"`
	// TLS is the version of TLS, empty without it.
	TLS string `json:"tls,omitempty"`
	// Version, Codec and Compression are what the handshake has agreed on, and so are the next ones.
	Version     int    `json:"version"`
	Codec       string `json:"codec"`
	Compression string `json:"compression,omitempty"`
	// MaxInFlight is how many commands the client may have in flight; MaxReceive and MaxSend are the largest messages
	// that this side and the peer take, in bytes; Window and InputWindow is what streams and inputs begin with.
	MaxInFlight int `json:"max_in_flight"`
	MaxReceive  int `json:"max_receive"`
	MaxSend     int `json:"max_send"`
	Window      int `json:"window"`
	InputWindow int `json:"input_window"`
	// Keepalive is after how long a silence this side sends a PING; 0 is never.
	Keepalive time.Duration `json:"keepalive_ns"`
	// RoundTrip is the last one that was measured; 0 if none was.
	RoundTrip time.Duration `json:"round_trip_ns"`
	// Age is for how long the connection is there, or its session, if it was resumed.
	Age time.Duration `json:"age_ns"`
	// WriteQueue is how many bytes wait to be written, beside those that are being written now.
	WriteQueue int `json:"write_queue"`
	// Resumable connections survive the loss of the network (WithResume); Detached is true of one that has lost it and
	// waits for it to come back.
	Resumable bool `json:"resumable"`
	Detached  bool `json:"detached"`
	// State is "ready"; "detached"; on a client "draining" if the server goes away.
	State string `json:"state"`
	// LastFailure is the last failure on this connection, nil if there was none. Servers only.
	LastFailure *Failure `json:"last_failure,omitempty"`
}

// ServerConnectionDetails is what a server knows of a connection beyond ConnectionStats' counters.
type ServerConnectionDetails struct {
	ConnectionDetails
	// Queued is how many commands wait for a goroutine, of those in flight.
	Queued int `json:"queued"`
	// Resumed is how many times the client has come back.
	Resumed int `json:"resumed"`
}

// ServerDetails is what a server knows beyond ServerStats' counters.
type ServerDetails struct {
	// Name is what the server calls itself.
	Name string `json:"name"`
	// Now is when the snapshot was made, Uptime for how long the server was there then.
	Now    time.Time     `json:"now"`
	Uptime time.Duration `json:"uptime_ns"`
	// Draining is true when the server has begun to shut down.
	Draining bool `json:"draining"`
	// Failures has some of each code, the last one first, and FailureCounts how many there were.
	Failures      []Failure                   `json:"failures"`
	FailureCounts map[core.FailureCode]uint64 `json:"failure_counts"`
	// Latencies has how long commands have taken, by their names; nil unless WithLatencies is set.
	Latencies map[string]Latency `json:"latencies,omitempty"`
}

// Calls returns the calls in flight, the oldest first, but no more than limit of them, and how many there are besides.
// It takes time in proportion to the number of calls in flight, and no memory beyond a few times limit.
func (s *Server) Calls(limit int) (calls []CallSnapshot, more int) {
	var oldest oldestCalls
	for _, open := range s.connections() {
		open.connection.Calls(func(call CallSnapshot) { oldest.add(call, limit) })
	}
	return oldest.take(limit)
}

// Calls returns the calls in flight, the oldest first, but no more than limit of them, and how many there are besides.
func (c *Client[T]) Calls(limit int) (calls []CallSnapshot, more int) {
	var oldest oldestCalls
	for _, connection := range c.life.connections() {
		if connection == nil {
			continue
		}
		peer := addressText(connection.peer.Address)
		connection.engine.Calls(func(call CallSnapshot) {
			call.Peer = peer
			oldest.add(call, limit)
		})
	}
	return oldest.take(limit)
}

// What a Snapshot has at most.
const (
	SnapshotConnections = 100 // the busiest ones
	SnapshotCalls       = 100 // the oldest ones
	SnapshotFailures    = 50  // the last ones
)

// Observable is what Look looks at: a *Server, or a fake in a test.
type Observable interface {
	Stats() ServerStats
	Calls(limit int) (calls []CallSnapshot, more int)
}

// Snapshot is what can be seen of a server, in lists that are not too long: what a page or a terminal shows.
type Snapshot struct {
	ServerStats
	Calls []CallSnapshot `json:"calls"`
	// MoreConnections, MoreCalls and MoreFailures say how many there are besides those in the lists.
	MoreConnections int `json:"more_connections"`
	MoreCalls       int `json:"more_calls"`
	MoreFailures    int `json:"more_failures"`
}

// Look returns a snapshot of server.
func Look(server Observable) Snapshot {
	s := Snapshot{ServerStats: server.Stats()}
	s.Calls, s.MoreCalls = server.Calls(SnapshotCalls)
	if s.Calls == nil { // so that JSON has a list
		s.Calls = []CallSnapshot{}
	}
	slices.SortStableFunc(s.Connections, func(a, b ConnectionStats) int { return b.InFlight - a.InFlight })
	s.Connections, s.MoreConnections = atMost(s.Connections, SnapshotConnections)
	s.Failures, s.MoreFailures = atMost(s.Failures, SnapshotFailures)
	return s
}

func atMost[E any](list []E, limit int) ([]E, int) {
	if len(list) <= limit {
		return list, 0
	}
	return list[:limit], len(list) - limit
}

// oldestCalls keeps the oldest calls of many.
type oldestCalls struct {
	calls []CallSnapshot
	total int
}

func (o *oldestCalls) add(call CallSnapshot, limit int) {
	o.total++
	o.calls = append(o.calls, call)
	if len(o.calls) > 2*max(limit, 0)+1000 {
		o.trim(limit)
	}
}

func (o *oldestCalls) trim(limit int) {
	slices.SortStableFunc(o.calls, func(a, b CallSnapshot) int { return cmp.Compare(b.Age, a.Age) })
	o.calls = o.calls[:min(len(o.calls), max(limit, 0))]
}

func (o *oldestCalls) take(limit int) ([]CallSnapshot, int) {
	o.trim(limit)
	return o.calls, o.total - len(o.calls)
}

// agreed is what can be seen of an agreement. Idle connections are to be small, so it is not the whole of it.
type agreed struct {
	version, maxInFlight, maxReceive, maxSend, window, inputWindow int32
	keepalive                                                      time.Duration
}

func agreedOf(a *delegate.Agreement) agreed {
	return agreed{
		int32(a.Version), int32(a.MaxInFlight), int32(a.MaxReceive), int32(a.MaxSend), int32(a.Window), int32(a.InputWindow), a.KeepaliveInterval,
	}
}

// openConnection is a connection of a server with what was agreed on.
type openConnection struct {
	connection *handler.Connection
	carrier    *transport.Conn
	agreed     agreed
	session    *delegate.Session // nil if the connection can't be resumed
	since      time.Time
}

func (s *Server) opened(connection *handler.Connection, carrier *transport.Conn, agreement delegate.Agreement) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = map[*handler.Connection]*openConnection{}
	}
	s.open[connection] = &openConnection{connection, carrier, agreedOf(&agreement), agreement.Session, time.Now()}
}

func (s *Server) connections() []*openConnection {
	s.mu.Lock()
	defer s.mu.Unlock()
	connections := make([]*openConnection, 0, len(s.open))
	for _, open := range s.open {
		connections = append(connections, open)
	}
	return connections
}

// details returns a snapshot of the server but for its connections and counters.
func (s *Server) details() ServerDetails {
	now := time.Now()
	details := ServerDetails{
		Name: s.settings.config.Name, Now: now, Uptime: now.Sub(s.began), Draining: s.invoker.Draining(),
		Failures: s.failures.Recent(), FailureCounts: s.failures.Counts(), Latencies: s.invoker.Latencies(),
	}
	if details.Failures == nil { // so that JSON has a list
		details.Failures = []Failure{}
	}
	return details
}

func (o *openConnection) details() ServerConnectionDetails {
	d := ServerConnectionDetails{
		ConnectionDetails: detailsOf(o.connection.Peer(), o.carrier, &o.agreed, o.since),
		Queued:            o.connection.Queued(),
	}
	d.RoundTrip, d.LastFailure = o.connection.RoundTripTime(), o.connection.LastFailure()
	if o.session != nil {
		d.Resumable, d.Resumed = true, o.session.Resumed()
	}
	return d
}

// detailsOf returns what both sides know of a connection.
func detailsOf(peer Peer, carrier *transport.Conn, agreed *agreed, since time.Time) ConnectionDetails {
	d := ConnectionDetails{
		Address: addressText(peer.Address), Name: peer.Name, Codec: peer.Codec, Compression: peer.Compression,
		Version: int(agreed.version), MaxInFlight: int(agreed.maxInFlight), MaxReceive: int(agreed.maxReceive), MaxSend: int(agreed.maxSend),
		Window: int(agreed.window), InputWindow: int(agreed.inputWindow), Keepalive: agreed.keepalive,
		Age: time.Since(since), WriteQueue: carrier.Queued(), State: delegate.Ready.String(),
	}
	if peer.Principal != nil {
		d.Scheme, d.Principal = peer.Principal.Scheme, peer.Principal.Name
	}
	if peer.TLS != nil {
		d.TLS = tls.VersionName(peer.TLS.Version)
	}
	if !carrier.Attached() {
		d.Detached, d.State = true, "detached"
	}
	return d
}

func addressText(address net.Addr) string {
	if address == nil {
		return ""
	}
	return address.String()
}

// noteHandshake remembers a handshake that has failed.
func (s *Server) noteHandshake(carrier *transport.Conn, err error) {
	s.failures.Note(Failure{Code: delegate.FailureOf(err), Text: err.Error(), Peer: addressText(carrier.NetConn().RemoteAddr())})
}

// noteEnd remembers that a connection has ended, because of err, which was not orderly.
func (s *Server) noteEnd(connection *handler.Connection, err error) {
	s.failures.Note(Failure{Code: endCode(err), Text: err.Error(), Peer: addressText(connection.Peer().Address)})
}

// endCode returns the code of the end of a connection.
func endCode(err error) core.FailureCode {
	if errors.Is(err, core.ErrSilent) {
		return core.FailureKeepalive
	}
	if _, ok := errors.AsType[interface {
		error
		GoAway() core.Code
	}](err); ok {
		return core.FailureConnectionBroken
	}
	return core.FailureConnectionLost
}

// ClientDetails is what a client knows beyond ClientStats' counters.
type ClientDetails struct {
	// State is the client's state, as State's String tells it.
	State string `json:"state"`
	// InFlight is how many calls the server has not ended yet, Waiting how many wait for a place, because as many are
	// in flight as may be.
	InFlight int `json:"in_flight"`
	Waiting  int `json:"waiting"`
	// BudgetUsed and BudgetLimit are those of the client's Budget, in bytes, which others may share.
	BudgetUsed  int64 `json:"budget_used"`
	BudgetLimit int64 `json:"budget_limit"`
	// Links has the present connection and those whose calls come to their end.
	Links []ClientConnectionStats `json:"links"`
	// Failures has some of each code, the last one first, and FailureCounts how many there were.
	Failures      []Failure                   `json:"failures"`
	FailureCounts map[core.FailureCode]uint64 `json:"failure_counts"`
}

// ClientConnectionStats is a snapshot of one connection of a client.
type ClientConnectionStats struct {
	ConnectionDetails
	InFlight   int   `json:"in_flight"`
	Waiting    int   `json:"waiting"`
	BudgetUsed int64 `json:"budget_used"`
}

// details returns a snapshot of the client but for its counters.
func (l *life) details() ClientDetails {
	d := ClientDetails{
		State: l.states.Present().To.String(), Links: []ClientConnectionStats{},
		Failures: l.failures.Recent(), FailureCounts: l.failures.Counts(),
	}
	if d.Failures == nil {
		d.Failures = []Failure{}
	}
	for _, connection := range l.connections() {
		if connection == nil || connection.engine.Err() != nil {
			continue
		}
		c := ClientConnectionStats{
			ConnectionDetails: detailsOf(connection.peer, connection.carrier, &connection.agreed, connection.since),
			InFlight:          connection.engine.InFlight(), Waiting: connection.engine.Waiting(), BudgetUsed: connection.engine.Used(),
		}
		c.RoundTrip, c.Resumable = connection.engine.RoundTripTime(), connection.resumable
		if connection.engine.AwayError() != nil {
			c.State = delegate.Draining.String()
		}
		d.InFlight += c.InFlight
		d.Waiting += c.Waiting
		d.Links = append(d.Links, c)
	}
	budget := l.settings.theBudget()
	d.BudgetUsed, d.BudgetLimit = budget.Used(), budget.Limit()
	return d
}

// noted remembers the failure of an attempt to connect, and returns it. That this side has given up is none.
func (l *life) noted(ctx context.Context, code core.FailureCode, err error) error {
	if ctx.Err() == nil || !errors.Is(ctx.Err(), context.Canceled) {
		l.failures.Note(Failure{Code: code, Text: err.Error(), Peer: l.address})
	}
	return err
}

// noteLoss remembers that lost has lost its network, when another one is tried, once.
func (l *life) noteLoss(lost *connection) {
	if lost == nil {
		return
	}
	if cause := lost.carrier.LossCause(); cause != nil && !lost.lossNoted {
		lost.lossNoted = true
		l.failures.Note(Failure{Code: endCode(cause), Text: cause.Error(), Peer: addressText(lost.peer.Address)})
	}
}

// noteEnds returns what is to be called when a connection goes away or ends: it remembers that, and calls next,
// if there is one.
func (l *life) noteEnds(c *connection, next func(error, bool)) func(error, bool) {
	return func(cause error, ended bool) {
		if ended && !errors.Is(cause, ErrClosed) {
			code := endCode(cause)
			if e, ok := errors.AsType[*Error](cause); ok && code == core.FailureConnectionLost {
				if _, away := errors.AsType[*Error](e.Cause); away { // the server's GOAWAY
					code = core.FailureConnectionAway
				}
			}
			l.failures.Note(Failure{Code: code, Text: cause.Error(), Peer: addressText(c.peer.Address)})
		}
		if next != nil {
			next(cause, ended)
		}
	}
}

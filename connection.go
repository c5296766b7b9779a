package edict

import (
	"context"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/delegate"
	"github.com/edict-go/edict/transport"
)

// life is a client's connection, and what comes after it: all of a Client that does not depend on T.
type life struct {
	// Static after makeClient.
	address  string
	settings dialSettings
	commands catalogue

	present atomic.Pointer[connection] // the last one made; nil before the first
	states  delegate.States
	// supervisor makes connections; nil if there is to be one only. Set before the client is used.
	supervisor                           *delegate.Supervisor[*connection]
	observing                            sync.WaitGroup // the observer's goroutine
	attempts, connected, resumed, resent atomic.Uint64
	forgetter                            forgetter
	failures                             core.Failures

	mu    sync.Mutex    // guards the following; held briefly
	known []*connection // those that have not ended, and maybe some that have
	ended carried       // what the others have counted
}

// connection is one connection with the commands bound to what its handshake has agreed on. It is a
// delegate.Link.
type connection struct {
	engine   *core.Client
	carrier  *transport.Conn
	commands []core.Bound        // by the registry's index, which is also the number on the wire; shared
	unusable map[int]*core.Error // of those, why some can't be used on this connection
	peer     Peer

	ticket    *delegate.Ticket // to resume it with; nil if it can't be; owned by whoever calls life.connect
	resumable bool             // it can be
	journal   JournalID        // of the server, which wants numbers; zero if it has none

	agreed    agreed
	since     time.Time
	lossNoted bool // owned by whoever calls life.connect
}

// request is a Request without its type parameter.
type request struct {
	index          int
	command        any
	stream, inputs bool
	options        *core.RequestOptions // not nil
	number         uint64               // for servers with a journal; 0 is none
	encoded        []byte               // more metadata
	monitor        CommandMonitor       // is told of the end, unless start fails; nil: nobody
	began          time.Duration        // as core.Now tells it; with monitor
}

// begin connects: once, or as long as ctx and the settings allow.
func (l *life) begin(ctx context.Context) error {
	if l.settings.reconnect != nil {
		l.beginInBackground()
		return l.states.WaitReady(ctx)
	}
	l.observe()
	l.states.Set(StateConnecting, 1, nil)
	connection, err := l.connect(ctx, nil, func() { l.states.Set(StateHandshaking, 1, nil) })
	if err != nil {
		l.states.Set(StateClosed, 1, err)
		return err
	}
	l.present.Store(connection)
	return nil
}

// beginInBackground lets a supervisor connect.
func (l *life) beginInBackground() {
	l.observe()
	l.supervisor = delegate.NewSupervisor(delegate.SupervisorConfig[*connection]{
		Connect: l.connect, States: &l.states, Reconnect: *l.settings.reconnect, Ready: l.present.Store,
	})
}

// observe starts the goroutine that calls the observer, if there is one. It ends when the state is Closed and
// the observer has been told; close waits for it.
func (l *life) observe() {
	observer := l.settings.observer
	if observer == nil {
		return
	}
	l.observing.Go(func() { l.states.Observe(observer) })
}

// connect makes one connection. All that may be another one at the next attempt is asked for here. If lost is not
// nil it resumes that, or lets it end.
func (l *life) connect(ctx context.Context, lost *connection, handshaking func()) (*connection, error) {
	l.attempts.Add(1)
	l.noteLoss(lost)
	token, err := l.settings.askForToken(ctx)
	if err != nil {
		return nil, l.noted(ctx, core.FailureToken, err)
	}
	conn, err := l.dial(ctx)
	if err != nil {
		code := Unavailable
		if ctx.Err() != nil {
			code = CodeOf(ctx.Err())
		}
		return nil, l.noted(ctx, core.FailureDial, &Error{Code: code, Outcome: NotSent, Message: err.Error(), Cause: err})
	}
	handshaking()
	carrier := transport.NewConn(conn, transport.Config{
		WriteTimeout: l.settings.config.WriteTimeout, FrameTimeout: l.settings.config.FrameTimeout,
	})
	handshake := l.settings.handshake(definitions(l.commands), token)
	handshake.Resumes = l.settings.resume != nil
	if lost != nil {
		if received, err := lost.carrier.Suspend(ctx); err == nil { // else it has ended
			handshake.Resume, handshake.Received = lost.ticket, received
		}
	}
	agreement, err := delegate.Connect(ctx, carrier, handshake)
	if err == nil && agreement.Resumed {
		err = lost.resume(ctx, carrier, agreement)
	}
	if err != nil {
		endHandshake(ctx, carrier, err)
		return nil, l.noted(ctx, delegate.FailureOf(err), err)
	}
	l.connected.Add(1)
	if agreement.Resumed {
		l.resumed.Add(1)
		lost.lossNoted = false
		return lost, nil
	}
	if lost != nil {
		reason := agreement.Lost
		if agreement.Ticket == nil {
			reason = "the server does not resume any"
		}
		l.failures.Note(Failure{Code: core.FailureSessionLost, Text: reason, Peer: l.address})
		lost.Forgo(&Error{Code: Unavailable, Message: "the session is lost: " + reason})
	}
	return l.newConnection(carrier, agreement), nil
}

// resume lets the connection go on with the one that carrier has.
func (c *connection) resume(ctx context.Context, carrier *transport.Conn, agreement delegate.Agreement) error {
	c.ticket = agreement.Ticket
	err := c.carrier.Attach(ctx, carrier, agreement.PeerReceived)
	if err != nil {
		err = &Error{Code: Unavailable, Message: "the session can't be resumed: " + err.Error(), Cause: err}
		c.Forgo(err)
	}
	return err
}

func (l *life) dial(ctx context.Context) (net.Conn, error) {
	if l.settings.dial != nil {
		return l.settings.dial(ctx)
	}
	return transport.Dial(ctx, l.address, l.settings.tls)
}

// endHandshake closes a connection whose handshake failed, after what is queued for the server.
func endHandshake(ctx context.Context, carrier *transport.Conn, err error) {
	_ = carrier.Flush(ctx) // for the server's log, as far as it goes
	carrier.Close(err)
	carrier.Wait()
}

// newConnection puts an agreement into force.
func (l *life) newConnection(carrier *transport.Conn, agreement delegate.Agreement) *connection {
	chosen, _ := codecNamed(l.settings.codecs, agreement.Codec) // Connect has seen that it was offered
	c := &connection{
		carrier: carrier, commands: l.commands.Bind(chosen), unusable: agreement.Unusable,
		peer: peerOf(carrier.NetConn(), agreement), ticket: agreement.Ticket, resumable: agreement.Ticket != nil, journal: agreement.Challenge.Journal,
		agreed: agreedOf(&agreement), since: time.Now(),
	}
	if c.resumable {
		carrier.Resumable(l.settings.resume.Bytes, func(error) {}) // the supervisor waits for Lost
	}
	for i, command := range c.commands {
		if reason := c.unusable[i]; reason != nil {
			l.settings.log().Warn("edict: command can't be used on this connection", "command", command.Name, "reason", reason.Message)
		}
	}
	_, most := window(l.settings.config.Window)
	account := l.settings.newAccount()
	settleAccount(account, l.settings.config.ConnectionBytes, agreement)
	config := core.ClientConfig{
		MaxInFlight: agreement.MaxInFlight, Window: agreement.Window, MaxWindow: most, InputWindow: agreement.InputWindow,
		Account:           account,
		Compressor:        l.settings.compressor(agreement, l.settings.config.CompressionThreshold),
		KeepaliveInterval: agreement.KeepaliveInterval, KeepaliveTimeout: agreement.KeepaliveTimeout,
		RoundTripTime: agreement.RoundTripTime,
	}
	if l.settings.reconnect == nil { // else the supervisor watches
		l.states.Set(StateReady, 1, nil)
		config.Changed = func(cause error, ended bool) {
			if ended {
				l.states.Set(StateClosed, 0, cause)
			} else {
				l.states.Set(StateDraining, 0, cause)
			}
		}
	}
	config.Changed = l.noteEnds(c, config.Changed)
	if c.journal != (JournalID{}) { // before any command, and whether or not there will be one: it costs little
		// An error means that the connection has ended.
		_ = carrier.Post(core.Frame{Kind: core.KindIdentity, Body: agreement.Challenge.Prove(l.settings.identity.key().private)})
		l.forgetter.moveTo(c)
	}
	c.engine = core.NewClient(carrier, config)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forgetEndedLocked()
	l.known = append(l.known, c)
	return c
}

// stats returns the counters of all connections so far.
func (l *life) stats() ClientStats {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forgetEndedLocked()
	sum := l.ended
	for _, c := range l.known {
		sum.count(c)
	}
	return ClientStats{SlotWaits: sum.slotWaits, CreditWaits: sum.creditWaits, Traffic: sum.traffic}
}

// forgetEndedLocked keeps of the connections that have ended what they have counted.
func (l *life) forgetEndedLocked() {
	l.known = slices.DeleteFunc(l.known, func(c *connection) bool {
		select {
		case <-c.engine.Done():
			l.ended.count(c)
			return true
		default:
			return false
		}
	})
}

// nameOf returns the name of a call's command.
func (l *life) nameOf(call *request) string {
	name, _ := l.commands.Describe(call.index)
	return name
}

// start starts a call.
func (l *life) start(ctx context.Context, call *request) (Exchange, error) {
	if l.supervisor != nil {
		return l.startSteady(ctx, call)
	}
	return l.present.Load().start(ctx, ctx, call)
}

// start starts a call on this connection. It waits for that until waiting ends, or ctx.
func (c *connection) start(ctx, waiting context.Context, call *request) (Exchange, error) {
	command := &c.commands[call.index]
	if reason := c.unusable[call.index]; reason != nil {
		err := *reason
		err.Command = command.Name
		return nil, &err
	}
	if command.Stream != call.stream || (command.Inputs != nil) != call.inputs {
		return nil, &Error{
			Code: Internal, Outcome: NotSent, Command: command.Name,
			Message: "the command is registered with another kind of Exec than it was started with",
		}
	}
	return c.engine.Start(ctx, &core.Outgoing{
		Bound: command, Command: call.command, Options: call.options, Encoded: call.encoded, ID: c.number(call), Waiting: waiting,
		Monitor: call.monitor, Began: call.began,
	})
}

// number returns the call's number if the server wants one, else 0.
func (c *connection) number(call *request) uint64 {
	if c.journal == (JournalID{}) {
		return 0
	}
	return call.number
}

// Done implements delegate.Link.
func (c *connection) Done() <-chan struct{} { return c.engine.Done() }

// GoingAway implements delegate.Link.
func (c *connection) GoingAway() <-chan struct{} { return c.engine.GoingAway() }

// Err implements delegate.Link.
func (c *connection) Err() error {
	if away := c.engine.AwayError(); away != nil { // whether or not the last call has ended meanwhile
		return away
	}
	if err := c.engine.Err(); err != nil {
		return err
	}
	if cause := c.carrier.LossCause(); cause != nil {
		return &Error{Code: Unavailable, Message: "connection lost: " + cause.Error(), Cause: cause}
	}
	return nil
}

// Lost implements delegate.Link.
func (c *connection) Lost() <-chan struct{} { return c.carrier.Lost() }

// Forgo implements delegate.Link.
func (c *connection) Forgo(cause error) { c.carrier.Forgo(cause) }

// Shutdown implements delegate.Link.
func (c *connection) Shutdown(ctx context.Context) error { return c.engine.Shutdown(ctx) }

// Close implements delegate.Link.
func (c *connection) Close() error { return c.engine.Close() }

// lost reports whether no call can begin on the connection any more. It knows that before Done and GoingAway
// are closed, and before any call has failed for that.
func (c *connection) lost() bool {
	select {
	case <-c.carrier.Done():
		return true
	default:
		return c.engine.AwayError() != nil || c.engine.Err() != nil
	}
}

// connections returns those that have not ended, and maybe the last that has.
func (l *life) connections() []*connection {
	if l.supervisor != nil {
		return l.supervisor.Links()
	}
	return []*connection{l.present.Load()}
}

func (l *life) done() <-chan struct{} {
	if l.supervisor != nil {
		return l.supervisor.Done()
	}
	return l.present.Load().Done()
}

func (l *life) err() error {
	if l.supervisor != nil {
		return l.supervisor.Err()
	}
	return l.present.Load().engine.Err()
}

func (l *life) shutdown(ctx context.Context) error {
	defer l.observing.Wait()
	if l.supervisor != nil {
		return l.supervisor.Shutdown(ctx)
	}
	l.states.Set(StateDraining, 0, ErrClosed)
	return l.present.Load().Shutdown(ctx)
}

func (l *life) close() error {
	defer l.observing.Wait()
	if l.supervisor != nil {
		return l.supervisor.Close()
	}
	if connection := l.present.Load(); connection != nil {
		return connection.Close()
	}
	return nil // Dial has failed
}

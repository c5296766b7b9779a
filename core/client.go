package core

import (
	"container/list"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// ClientConfig has the limits of a Client, as the handshake has settled them.
type ClientConfig struct {
	// MaxInFlight is how many calls may be in flight; Start waits for a place beyond. 0 is 16,384.
	MaxInFlight int
	// Window is how many bytes of results a stream may have under way at first, before the caller takes some
	// (each result costs ResultOverhead on top). It must be what the server was told. 0 is 16 KiB.
	Window int
	// MaxWindow is how far the window of a stream may grow; 0 is not at all.
	MaxWindow int
	// InputWindow is Window for inputs: what the server has told. 0 is 16 KiB.
	InputWindow int
	// Account is what the client takes of a Budget, which it closes at its end; nil is one of DefaultBudget.
	Account *Account
	// Compressor compresses commands and inputs and inflates results; nil if no compression was agreed on.
	Compressor *Compressor
	// KeepaliveInterval is how long nothing may be received before the client sends a PING, and
	// KeepaliveTimeout how long nothing may come after that before it gives the connection up. An interval
	// of 0 is never. See Keepalive.
	KeepaliveInterval, KeepaliveTimeout time.Duration
	// RoundTripTime is what is known of it when the client begins; 0 is nothing.
	RoundTripTime time.Duration
	// Changed, if not nil, is called when the server has said that it goes away, and when the client has
	// ended, with the reason. It runs on the reader, so it must not wait.
	Changed func(cause error, ended bool)
}

const (
	// DefaultMaxInFlight is how many commands a connection may have in flight if nothing is set.
	DefaultMaxInFlight = 16_384
)

// Client is the client's side of one connection: it keeps track of the calls in flight. It ends
// with its transport; it never reconnects. Safe for concurrent use.
type Client struct {
	transport Transport
	config    ClientConfig
	account   *Account
	flow      Flow
	calls     sync.Pool // of *call, none of them in a slot; not shared, for their channels may be of a synctest bubble
	arrived   []Frame   // not yet passed to their calls; owned by the reader
	keepalive Keepalive
	pings     pinger

	creditWaits atomic.Uint64

	// goAway is set when the server has said that it takes no more commands.
	goAway atomic.Pointer[goAway]
	// watching is the context that the client watches for its calls, nil if it watches none.
	watching atomic.Pointer[watch]

	mu        sync.Mutex // guards the following; held briefly
	slots     []slot
	free      []uint32        // slots without a call, the most recently freed last
	waits     uint64          // Starts that had to wait for a slot
	waiting   *list.List      // of chan uint32: the Starts that wait for a slot, in order; nil if none ever has
	active    int             // slots that have a call
	lastDone  <-chan struct{} // of the context of the last call; see watch
	repeated  int             // how many calls before that had the same
	draining  bool
	done      signal // the client has ended; err has the cause
	idle      signal // draining, and active is 0
	goingAway signal // goAway is set
	refusing  signal // no more calls are taken, but for those that have a slot
	err       *Error // why the client has ended
}

// slot is a place for one call in flight.
type slot struct {
	call       *call // nil: free
	generation uint64
}

// goAway is the server's announcement that it accepts no commands from a position on.
type goAway struct {
	position Position
	cause    *Error
}

// CommandEncoder appends the encoding of a command, or an input, of the type that it was made for.
type CommandEncoder interface {
	AppendCommand(dst []byte, command any) ([]byte, error)
}

// Bound is what all commands of a kind have in common on a connection. It is not to be changed.
type Bound struct {
	Name    string // for errors
	Number  uint16 // the number that the handshake gave to the name
	Stream  bool
	Ordered bool // no other command may overtake one
	Encoder CommandEncoder
	Inputs  CommandEncoder // of inputs; nil if the command takes none
	Result  any            // given back in each Message: what decodes it, a *ResultDecoder
}

// Outgoing is a command as a Client sends it.
type Outgoing struct {
	*Bound
	Command any
	Options *RequestOptions // nil: none
	ID      uint64          // the command's number for the server's journal; 0 is none
	Encoded []byte          // more metadata, as SetEncodedMetadata makes it
	// Monitor, if not nil, is told how the call has ended, unless Start fails. It has begun at Began, as Now tells it.
	Monitor CommandMonitor
	Began   time.Duration
	// Waiting, if not nil, bounds how long Start waits, and nothing else; else Start's context does. It ends when that
	// does, at the latest.
	Waiting context.Context
}

// NewClient returns a client over transport, which it owns from now on. It starts one goroutine,
// the reader, which ends when the transport fails or is closed; Close waits for it.
func NewClient(transport Transport, config ClientConfig) *Client {
	if config.MaxInFlight <= 0 {
		config.MaxInFlight = DefaultMaxInFlight
	}
	config.MaxInFlight = min(config.MaxInFlight, MaxSlots)
	if config.Window <= 0 {
		config.Window = DefaultWindow
	}
	if config.InputWindow <= 0 {
		config.InputWindow = DefaultWindow
	}
	config.MaxWindow = min(max(config.MaxWindow, config.Window), maxCredit)
	if config.Account == nil {
		config.Account = DefaultBudget().NewAccount(0)
	}
	c := &Client{
		transport: transport, config: config, account: config.Account,
	}
	if budgeted, ok := transport.(Budgeted); ok {
		budgeted.SetBudget(c.account, c.reservedFor)
	}
	c.flow.Undisturbed(config.RoundTripTime)
	c.keepalive.Start(transport, config.KeepaliveInterval, config.KeepaliveTimeout, config.RoundTripTime)
	go c.read()
	return c
}

// Start sends a command. See Sender. It completes out, and does not keep it.
func (c *Client) Start(ctx context.Context, out *Outgoing) (Exchange, error) {
	if ctx.Err() != nil {
		return nil, named(contextError(ctx, NotSent), out.Name)
	}
	if out.Waiting == nil {
		out.Waiting = ctx
	}
	if out.Options == nil {
		out.Options = &NoOptions
	}
	call := c.newCall(ctx, out)
	if err := call.encode(out); err != nil {
		c.recycle(call)
		return nil, named(err, out.Name)
	}
	if out.Stream {
		if err := c.openWindow(out.Waiting, call, out.Options.Window); err != nil {
			c.recycle(call)
			return nil, named(err, out.Name)
		}
	}
	if err := c.reserve(out, call); err != nil {
		c.recycle(call)
		return nil, named(err, out.Name)
	}
	if err := call.send(out); err != nil {
		if c.vacate(call) {
			c.recycle(call)
		} // else the reader, which is ending the client, knows of it
		return nil, named(err, out.Name)
	}
	return call, nil
}

// named completes an error with the command's name.
func named(err *Error, name string) *Error {
	err.Command = name
	return err
}

// reserve gives call a slot, waiting for one if need be.
func (c *Client) reserve(out *Outgoing, call *call) *Error {
	c.mu.Lock()
	if err := c.refusalLocked(); err != nil {
		c.mu.Unlock()
		return err
	}
	if n := len(c.free); n > 0 || len(c.slots) < c.config.MaxInFlight {
		if n == 0 {
			c.slots = append(c.slots, slot{})
			c.occupyLocked(uint32(len(c.slots)-1), call)
		} else {
			index := c.free[n-1]
			c.free = c.free[:n-1]
			c.occupyLocked(index, call)
		}
		watch := c.countLocked(call.done)
		c.mu.Unlock()
		if watch {
			c.beginWatch(call.ctx)
		}
		return nil
	}
	c.waits++
	granted := make(chan uint32, 1)
	if c.waiting == nil {
		c.waiting = list.New()
	}
	place := c.waiting.PushBack(granted)
	c.mu.Unlock()

	select {
	case index, ok := <-granted:
		c.mu.Lock()
		defer c.mu.Unlock()
		if err := c.refusalLocked(); err != nil {
			if ok {
				c.releaseLocked(index)
			}
			return err
		}
		c.occupyLocked(index, call)
		return nil
	case <-out.Waiting.Done():
		c.mu.Lock()
		defer c.mu.Unlock()
		select {
		case index, ok := <-granted: // granted meanwhile: pass it on
			if ok {
				c.releaseLocked(index)
			}
		default:
			c.waiting.Remove(place)
		}
		return contextError(out.Waiting, NotSent)
	}
}

// refusalLocked returns the error of a Start that can't be taken any more, or nil.
func (c *Client) refusalLocked() *Error {
	if c.err != nil {
		return c.endedLocked(NotSent)
	}
	if away := c.goAway.Load(); away != nil {
		return &Error{
			Code: Unavailable, Outcome: NotSent, RetryAfter: away.cause.RetryAfter,
			Message: "the server accepts no more commands: " + away.cause.Message, Cause: away.cause,
		}
	}
	if c.draining {
		return &Error{Code: Unavailable, Outcome: NotSent, Message: "the client is shutting down", Cause: ErrClosed}
	}
	return nil
}

func (c *Client) occupyLocked(index uint32, call *call) {
	s := &c.slots[index]
	s.generation++
	s.call = call
	call.sequence = MakeSequence(index, s.generation)
	c.active++
}

// releaseLocked makes a slot available to the Start that has waited longest, or to later ones.
func (c *Client) releaseLocked(index uint32) {
	if first := c.firstWaitingLocked(); first != nil {
		c.waiting.Remove(first).(chan uint32) <- index
		return
	}
	c.free = append(c.free, index)
}

func (c *Client) firstWaitingLocked() *list.Element {
	if c.waiting == nil {
		return nil
	}
	return c.waiting.Front()
}

// refuseWaitingLocked ends the Starts that wait for a slot: refusalLocked has the reason.
func (c *Client) refuseWaitingLocked() {
	c.refusing.raise()
	for first := c.firstWaitingLocked(); first != nil; first = c.firstWaitingLocked() {
		close(c.waiting.Remove(first).(chan uint32))
	}
}

// vacate takes call out of its slot and reports whether it was there still.
func (c *Client) vacate(call *call) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || c.slots[call.sequence.Slot()].call != call {
		return false
	}
	c.vacateLocked(call.sequence.Slot())
	return true
}

func (c *Client) vacateLocked(index uint32) {
	c.slots[index].call = nil
	c.active--
	c.releaseLocked(index)
	if c.active == 0 && c.draining {
		c.idle.raise()
	}
}

// findLocked returns the call that a frame belongs to, or nil if that has ended. If the frame is the
// call's last one, the slot is free afterwards.
func (c *Client) findLocked(frame *Frame) *call {
	found := c.callLocked(frame.Sequence)
	if found != nil && isLast(frame) {
		c.vacateLocked(frame.Sequence.Slot())
	}
	return found
}

func (c *Client) callLocked(sequence Sequence) *call {
	index := sequence.Slot()
	if uint64(index) >= uint64(len(c.slots)) {
		return nil
	}
	found := c.slots[index].call
	if found == nil || found.sequence != sequence {
		return nil
	}
	return found
}

// isLast reports whether frame ends its call.
func isLast(frame *Frame) bool {
	switch frame.Kind {
	case KindEnd, KindError:
		return true
	}
	return frame.Kind == KindResult && frame.Flags&FlagLast != 0
}

// read hands incoming frames to their calls; no user code runs on it.
//
// Started by NewClient; ends when the transport fails or is closed; Close waits for it.
func (c *Client) read() {
	err := c.transport.Run(c.handle)
	if problem := c.deliverArrived(); problem != nil {
		err = problem
	}
	c.fail(err)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done.raise()
}

// handle deals with one frame. An error ends the connection.
func (c *Client) handle(frame *Frame) error {
	switch frame.Kind {
	case KindResult, KindEnd, KindError:
		c.arrived = append(c.arrived, *frame)
		if frame.More && len(c.arrived) < maxArrived {
			return nil
		}
		return c.deliverArrived()
	}
	if err := c.deliverArrived(); err != nil {
		return err
	}
	defer frame.Buffer.Release()
	switch frame.Kind {
	case KindPing:
		if len(frame.Body) > MaxPingBody {
			return errors.New("protocol error: PING frame too long")
		}
		return c.transport.Post(Frame{Kind: KindPong, Body: frame.Body})
	case KindPong:
		if !c.flow.Pong(frame.Body) && !c.pings.pong(frame.Body) && c.keepalive.Pong(frame.Body) { // else it is one that nobody asked for
			c.flow.Undisturbed(c.keepalive.RoundTripTime())
		}
		return nil
	case KindGoAway:
		return c.handleGoAway(frame.Body)
	case KindCredit:
		return c.handleCredit(frame)
	}
	return fmt.Errorf("protocol error: unexpected %v frame from the server", frame.Kind)
}

// maxArrived is how many frames the reader passes on with one look at the slots.
const maxArrived = 8

// deliverArrived passes the frames that have come to their calls.
func (c *Client) deliverArrived() error {
	if len(c.arrived) == 0 {
		return nil
	}
	var calls [maxArrived]*call
	last := false
	c.mu.Lock()
	for i := range c.arrived {
		calls[i] = c.findLocked(&c.arrived[i])
		last = last || isLast(&c.arrived[i])
	}
	c.mu.Unlock()
	var problem error
	for i := range c.arrived {
		frame := &c.arrived[i]
		if calls[i] == nil {
			frame.Buffer.Release() // late, for a call that has ended
			continue
		}
		if err := calls[i].deliver(frame); err != nil && problem == nil {
			problem = err
		}
	}
	clear(c.arrived)
	c.arrived = c.arrived[:0]
	if problem == nil && last && c.goAway.Load() != nil {
		return c.leaveIfIdle()
	}
	return problem
}

// handleCredit gives a call room for more inputs.
func (c *Client) handleCredit(frame *Frame) error {
	c.mu.Lock()
	found := c.findLocked(frame)
	c.mu.Unlock()
	if found == nil {
		return nil // the call has ended meanwhile
	}
	if found.sending == nil || !found.sending.credit.Add(frame.Body) {
		return fmt.Errorf("protocol error: CREDIT out of range for call %v", frame.Sequence)
	}
	return nil
}

// handleGoAway notes that commands from a position on are refused and wakes their calls.
func (c *Client) handleGoAway(body []byte) error {
	if len(body) < 8 {
		return errors.New("protocol error: GOAWAY frame too short")
	}
	away := &goAway{Position(binary.LittleEndian.Uint64(body)), DecodeError(body[8:])}
	away.cause.Outcome = OutcomeUnknown
	if c.goAway.Swap(away) == nil {
		c.mu.Lock()
		c.goingAway.raise()
		c.mu.Unlock()
		c.changed(away.cause, false)
	}
	c.mu.Lock()
	c.refuseWaitingLocked()
	for i := range c.slots {
		if call := c.slots[i].call; call != nil {
			call.wake() // it looks at goAway itself: only its own goroutine knows its position
		}
	}
	c.mu.Unlock()
	return c.leaveIfIdle()
}

// errLeft ends the connection to a server that has gone away, after the last call has ended.
var errLeft = errors.New("the server went away")

func (c *Client) leaveIfIdle() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.active > 0 {
		return nil
	}
	return errLeft
}

// fail ends the client: no call is taken any more, and those in flight learn of it.
func (c *Client) fail(cause error) {
	c.keepalive.Stop()
	c.transport.Close(cause)
	c.mu.Lock()
	c.err = connectionError(cause, c.goAway.Load())
	slots := c.slots
	c.slots, c.free, c.active = nil, nil, 0
	c.refuseWaitingLocked()
	c.idle.raise()
	c.mu.Unlock()
	c.account.Close()
	for _, s := range slots {
		if s.call != nil {
			s.call.wake() // it finds the client ended
		}
	}
	c.endWatch(c.watching.Load())
	c.changed(c.err, true)
}

func (c *Client) changed(cause *Error, ended bool) {
	if c.config.Changed != nil {
		c.config.Changed(cause, ended)
	}
}

// connectionError describes the end of a connection. Its Outcome is for each call to fill in.
func connectionError(cause error, away *goAway) *Error {
	switch {
	case errors.Is(cause, ErrClosed):
		return &Error{Code: Unavailable, Message: "the connection was closed", Cause: ErrClosed}
	case away != nil:
		return &Error{
			Code: Unavailable, RetryAfter: away.cause.RetryAfter, Cause: away.cause,
			Message: "the server went away: " + away.cause.Message,
		}
	case cause == io.EOF:
		return &Error{Code: Unavailable, Message: "connection lost: the server closed it", Cause: io.ErrUnexpectedEOF}
	}
	return &Error{Code: Unavailable, Message: "connection lost: " + cause.Error(), Cause: cause}
}

// ended returns a copy of the error with which the client has ended.
func (c *Client) ended(outcome Outcome) *Error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.endedLocked(outcome)
}

func (c *Client) endedLocked(outcome Outcome) *Error {
	copied := *c.err
	copied.Outcome = outcome
	return &copied
}

// openWindow takes the window with which a stream begins from the budget, waiting for room if need be.
func (c *Client) openWindow(ctx context.Context, call *call, wanted int) *Error {
	size := min(max(wanted, c.config.Window), maxCredit)
	claim := c.account.Claim(size, ForCalls)
	var err error
	select {
	case <-claim.Decided():
		err = claim.Err()
	default:
		c.mu.Lock()
		refusing := c.refusing.wait()
		c.mu.Unlock()
		select {
		case <-claim.Decided():
			err = claim.Err()
		case <-refusing:
			claim.Withdraw()
			err = ErrClosed
		case <-ctx.Done():
			claim.Withdraw()
			return contextError(ctx, NotSent)
		}
	}
	if err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		if refusal := c.refusalLocked(); refusal != nil {
			return refusal
		}
		e := AsError(err)
		e.Outcome = NotSent
		return e
	}
	if more := min(c.flow.Learned(), c.config.MaxWindow) - size; wanted == 0 && more > 0 && c.account.Take(more, ForGrowth) {
		size += more
	}
	call.window = Window{Flow: &c.flow, Account: c.account, Size: size, Max: max(size, c.config.MaxWindow)}
	call.room, call.reserved = size, size
	return nil
}

// reservedFor is asked by the transport about a frame that is coming. Called by the reader.
func (c *Client) reservedFor(frame *Frame) int {
	if frame.Kind != KindResult {
		return 0
	}
	c.mu.Lock()
	found := c.callLocked(frame.Sequence)
	c.mu.Unlock()
	if found == nil || !found.Stream {
		return 0
	}
	found.mu.Lock()
	defer found.mu.Unlock()
	return max(0, min(found.room, found.reserved))
}

// ClientStats counts what the calls of a Client had to wait for.
type ClientStats struct {
	// SlotWaits is how many calls could not begin at once, because as many were in flight as the server takes.
	// CreditWaits is how often an input could not be sent at once, because the command had not taken those before.
	SlotWaits, CreditWaits uint64
}

// Stats returns the client's counters.
func (c *Client) Stats() ClientStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return ClientStats{SlotWaits: c.waits, CreditWaits: c.creditWaits.Load()}
}

// Used returns how many bytes of its Budget the client has taken.
func (c *Client) Used() int64 { return c.account.Used() }

// Done is closed when the client has ended: closed, shut down, or its connection lost.
func (c *Client) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.done.wait()
}

// Err returns why the client has ended, or nil while it has not.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		return nil
	}
	return c.err
}

// GoingAway is closed when the server has said that it takes no more commands. Calls that it has accepted go
// on, and after the last of them the client ends.
func (c *Client) GoingAway() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.goingAway.wait()
}

// AwayError returns the server's reason to go away, nil if it has not said that it does.
func (c *Client) AwayError() *Error {
	if away := c.goAway.Load(); away != nil {
		return away.cause
	}
	return nil
}

// RoundTripTime returns how long a PING and its PONG were under way, the last time that there was a reason
// to send one, or what ClientConfig says as long as there was none.
func (c *Client) RoundTripTime() time.Duration { return c.keepalive.RoundTripTime() }

// InFlight returns the number of calls that the server has not ended yet, including those whose
// caller has given up.
func (c *Client) InFlight() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.active
}

// Close ends the client at once: calls in flight return with the outcome that is known of them. It
// waits for the client's goroutines, which is brief, and may be called again.
func (c *Client) Close() error {
	c.transport.Close(ErrClosed)
	<-c.Done()
	c.transport.Wait()
	return nil
}

// Shutdown takes no more calls, waits until those in flight have ended, then closes the client. If
// ctx ends first, it closes at once and returns ctx's error.
func (c *Client) Shutdown(ctx context.Context) error {
	c.mu.Lock()
	c.draining = true
	c.refuseWaitingLocked()
	if c.active == 0 {
		c.idle.raise()
	}
	idle := c.idle.wait()
	c.mu.Unlock()
	var err error
	select {
	case <-idle:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	return errors.Join(err, c.Close())
}

// remaining returns the time left until ctx's deadline.
func remaining(ctx context.Context) (time.Duration, bool) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return 0, false
	}
	return max(0, time.Until(deadline)), true
}

package core

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// call is one command in flight on a Client; it is the Exchange that Start returns.
//
// It is in a slot of the client from Start until the server ends it, and with its caller from Start
// until Close. Whoever is last leaves it to the garbage collector, except that a caller who has seen
// the server's end gives it back to the client's pool: no one else knows of it then.
type call struct {
	*Bound // set by Start
	client *Client
	ready  chan struct{} // capacity 1: something has changed

	// Set by Start, constant until the call is recycled.
	ctx      context.Context
	done     <-chan struct{} // ctx.Done()
	sending  *sending        // nil if the command takes no inputs
	sequence Sequence
	started  time.Duration  // as Now tells it
	position Position       // of the COMMAND frame; the reader must not look at it
	monitor  CommandMonitor // nil: nobody is to be told of the end

	// Owned by the caller's goroutine.
	scratch *Buffer   // to encode the command in
	header  []byte    // to encode its metadata in
	sent    int       // bytes of the encoded command
	got     int       // bytes of the results taken
	current delivered // the last message
	window  Window    // of the results of a stream
	failed  error     // what has ended the call, for later Receives
	sawEnd  bool      // the server has ended the call and nothing is left in the queue

	// answered is the sequence of the call when reply has its one result and that is all there is to know of it: most
	// calls, which so need no lock. It is never cleared, for no two calls have the same sequence.
	answered atomic.Uint64
	reply    []byte // the body of the first result lies here, if it is small; written before answered is, or under mu

	mu        sync.Mutex // guards the following
	queue     []delivered
	head      int    // queue[:head] has been taken
	replyUsed bool   // reply is in the queue or with the caller
	room      int    // bytes that the server may still send
	reserved  int    // bytes that the call has taken from the client's account for that
	ended     bool   // the server has ended the call
	failure   *Error // with what; nil is well
	metadata  []byte // encoded
	abandoned bool   // the caller takes no more
	canceled  error  // the cause given to Cancel
}

// delivered is a result on its way to the caller.
type delivered struct {
	body   []byte  // in reply, or
	buffer *Buffer // here
}

// maxKeptBuffer bounds what a recycled call keeps for its next use.
const maxKeptBuffer = 8 << 10

// newCall returns a call that is in no slot yet.
func (c *Client) newCall(ctx context.Context, out *Outgoing) *call {
	pooled, ok := c.calls.Get().(*call)
	if !ok {
		pooled = &call{client: c, ready: make(chan struct{}, 1)}
	}
	pooled.ctx, pooled.done = ctx, ctx.Done()
	if pooled.monitor, pooled.started = out.Monitor, out.Began; out.Monitor == nil {
		pooled.started = Now()
	}
	pooled.Bound = out.Bound
	if out.Inputs != nil {
		pooled.sending = newSending(ctx, out.Inputs, c.config.InputWindow, out.Options.Bulk)
	}
	return pooled
}

// recycle gives back a call that is in no slot and that no one else knows of.
func (c *Client) recycle(done *call) {
	if done.Stream {
		done.giveBack()
	}
	if done.sending != nil {
		done.sending.stop()
		return // another goroutine of the caller may be in Send
	}
	select {
	case <-done.ready:
	default:
	}
	if cap(done.reply) > maxKeptBuffer {
		done.reply = nil
	}
	if done.scratch != nil && cap(done.scratch.Bytes) > maxKeptBuffer {
		done.scratch.Release()
		done.scratch = nil
	}
	// Field by field: clearing the whole of it costs more than it should on this path.
	done.Bound, done.ctx, done.done = nil, nil, nil
	done.current, done.failed, done.sawEnd, done.got = delivered{}, nil, false, 0
	done.queue, done.head, done.replyUsed = done.queue[:0], 0, false
	done.ended, done.failure, done.metadata, done.abandoned, done.canceled = false, nil, nil, false, nil
	c.calls.Put(done)
}

// encode encodes the command, and compresses it, outside of every lock and without a slot: it is user code
// that may be slow or panic.
func (c *call) encode(out *Outgoing) *Error {
	if c.scratch == nil {
		c.scratch = GetBuffer(0)
	}
	encoded, err := out.Encoder.AppendCommand(c.scratch.Bytes[:0], out.Command)
	c.scratch.Bytes, c.sent = encoded, len(encoded)
	if err != nil {
		return &Error{Code: InvalidArgument, Outcome: NotSent, Message: "can't encode the command: " + err.Error(), Cause: err}
	}
	if compressor := c.client.config.Compressor; compressor != nil {
		compressor.Compress(c.scratch)
	}
	return nil
}

// send queues the COMMAND frame.
func (c *call) send(out *Outgoing) *Error {
	frame := Frame{Kind: KindCommand, Command: out.Number, Sequence: c.sequence, Body: c.scratch.Bytes, Whole: out.Ordered}
	if out.Stream {
		frame.Flags |= FlagStream
	}
	if out.Inputs != nil {
		frame.Flags |= FlagInputs
	}
	if out.Options.Bulk {
		frame.Flags |= FlagBulk
	}
	if out.ID != 0 {
		frame.Flags |= FlagNumbered
		frame.Number = out.ID
	}
	if c.scratch.Compressed {
		frame.Flags |= FlagCompressed
	}
	if left, ok := remaining(c.ctx); ok {
		frame.Flags |= FlagTimeout
		frame.Timeout = left
	}
	if len(out.Options.Metadata) > 0 || len(out.Encoded) > 0 {
		encoded, err := c.encodeMetadata(out)
		if err != nil {
			e := AsError(err)
			e.Outcome = NotSent
			return e
		}
		frame.Flags |= FlagMetadata
		frame.Metadata = encoded
	}
	if len(frame.Body) >= LargeBody {
		frame.Buffer, c.scratch = c.scratch, nil
	}
	position, err := c.client.transport.Send(out.Waiting, frame)
	if err != nil {
		frame.Buffer.Release()
		return c.sendError(out.Waiting, err)
	}
	c.position = position
	if c.Stream && c.window.Size > c.client.config.Window {
		// An error means that the connection has ended, which Receive reports.
		_ = c.client.transport.Post(Frame{Kind: KindCredit, Sequence: c.sequence, Body: CreditBody(c.window.Size - c.client.config.Window)})
	}
	return nil
}

// encodeMetadata returns the encoding of all metadata of the command. It is valid until the call is recycled.
func (c *call) encodeMetadata(out *Outgoing) ([]byte, error) {
	if len(out.Options.Metadata) == 0 {
		return out.Encoded, CheckMetadata(out.Encoded)
	}
	encoded, err := AppendMetadata(append(c.header[:0], out.Encoded...), out.Options.Metadata)
	if err == nil && len(out.Encoded) > 0 {
		err = CheckMetadata(encoded)
	}
	if cap(encoded) <= maxKeptBuffer {
		c.header = encoded[:0]
	}
	return encoded, err
}

// CallStats implements Measured.
func (c *call) CallStats() CallStats {
	stats := CallStats{RequestBytes: int64(c.sent), ResponseBytes: int64(c.got)}
	if c.sending != nil {
		stats.RequestBytes += c.sending.sent.Load()
	}
	return stats
}

// sendError describes why nothing was sent.
func (c *call) sendError(waiting context.Context, err error) *Error {
	if waiting.Err() != nil && errors.Is(err, context.Cause(waiting)) {
		return contextError(waiting, NotSent)
	}
	if e, ok := errors.AsType[*Error](err); ok { // a limit of the transport
		copied := *e
		copied.Outcome = NotSent
		return &copied
	}
	e := connectionError(err, c.client.goAway.Load())
	e.Outcome = NotSent
	return e
}

// deliver takes a frame from the reader. An error is a violation of the protocol.
func (c *call) deliver(frame *Frame) error {
	if frame.Kind == KindResult && frame.Flags == FlagLast && frame.Buffer == nil && !c.Stream && !frame.Oversize && frame.Size() <= maxKeptBuffer {
		c.reply = append(c.reply[:0], frame.Body...) // nobody else looks there before
		c.answered.Store(uint64(frame.Sequence))
		c.signal() // which may be late, for another use of the call: that looks, and waits on
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.abandoned {
		frame.Buffer.Release()
		return nil
	}
	if frame.Kind == KindResult && c.failure == nil { // after a failure there must be no gap
		if err := c.enqueueLocked(frame); err != nil {
			if isLast(frame) { // the call's slot is free, so who ends the client won't find it
				c.ended, c.failure = true, connectionError(err, nil)
				c.stopSending()
				c.shrinkLocked()
				c.wake()
			}
			return err
		}
	}
	if frame.Kind == KindError && c.failure == nil {
		c.failure = DecodeError(frame.Body)
	}
	if frame.Kind != KindResult || frame.Flags&FlagLast != 0 {
		c.ended = true
		c.stopSending()
		c.shrinkLocked()
		if len(frame.Metadata) > 0 {
			c.metadata = append([]byte(nil), frame.Metadata...)
		}
	}
	frame.Buffer.Release() // unless it is in the queue
	c.wake()
	return nil
}

// enqueueLocked keeps a result until the caller takes it.
func (c *call) enqueueLocked(frame *Frame) error {
	if frame.NoRoom {
		c.failure = noRoom()
		return nil
	}
	if frame.Oversize { // later results are dropped: there must be no gap
		c.failure = &Error{Code: ResourceExhausted, Outcome: Executed, Message: "the result is larger than this client accepts (MaxFrame)"}
		return nil
	}
	if frame.Flags&FlagCompressed != 0 && c.client.config.Compressor == nil {
		frame.Buffer.Release()
		return fmt.Errorf("protocol error: call %v got a compressed result, which was not agreed on", c.sequence)
	}
	if !c.Stream && frame.Flags&FlagLast == 0 {
		frame.Buffer.Release()
		return fmt.Errorf("protocol error: call %v has one result and got another", c.sequence)
	}
	beyond := 0 // bytes that nothing was reserved for
	if c.Stream {
		// The server may overdraw its credit with one result, as large as a frame may be.
		if c.room <= 0 {
			frame.Buffer.Release()
			return fmt.Errorf("protocol error: call %v got results beyond its window", c.sequence)
		}
		c.room -= frame.Size() + ResultOverhead
		beyond = -c.room
	} else if size := frame.Size(); size > maxKeptBuffer {
		beyond = size
	}
	if c.canceled != nil {
		c.client.account.Give(frame.Buffer.Uncharge()) // see Cancel
	} else if beyond > 0 {
		buffer := frame.TakeBody()
		if !buffer.Charge(c.client.account, beyond, ForWork) {
			buffer.Release()
			c.failure = noRoom()
			return nil
		}
		c.queue = append(c.queue, delivered{nil, buffer})
		return nil
	}
	switch {
	case frame.Buffer != nil, frame.Flags&FlagCompressed != 0:
		c.queue = append(c.queue, delivered{nil, frame.TakeBody()})
	case !c.replyUsed:
		c.reply = append(c.reply[:0], frame.Body...)
		c.replyUsed = true
		c.queue = append(c.queue, delivered{c.reply, nil})
	default:
		c.queue = append(c.queue, delivered{nil, frame.TakeBody()})
	}
	return nil
}

// noRoom is the error of a result that was dropped.
func noRoom() *Error {
	return &Error{
		Code: ResourceExhausted, Outcome: Executed, RetryAfter: BusyRetry,
		Message: "there is no room for the result in this client's budget",
	}
}

// BusyRetry is the retry hint of a side that has no room.
const BusyRetry = 100 * time.Millisecond

// shrinkLocked gives back what was reserved for results that will not come.
func (c *call) shrinkLocked() {
	if back := min(c.room, c.reserved); back > 0 {
		c.reserved -= back
		c.client.account.Give(back)
	}
}

// giveBack gives back what was reserved, when nobody takes results any more.
func (c *call) giveBack() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.giveBackLocked()
}

func (c *call) giveBackLocked() {
	c.client.account.Give(c.reserved)
	c.reserved = 0
}

// wake makes a waiting Receive look again. Any goroutine may call it.
func (c *call) wake() {
	c.signal()
	if c.sending != nil {
		c.sending.wake()
	}
}

func (c *call) signal() {
	select {
	case c.ready <- struct{}{}:
	default:
	}
}

// isAnswered reports whether the call's one result is in reply.
func (c *call) isAnswered() bool { return c.answered.Load() == uint64(c.sequence) }

// Receive implements Exchange.
func (c *call) Receive() (Message, error) {
	c.releaseCurrent()
	if c.failed != nil {
		return Message{}, c.failed
	}
	if c.Stream && c.ctx.Err() != nil {
		return Message{}, c.abandon(contextError(c.ctx, OutcomeUnknown))
	}
	if c.Stream || c.sawEnd { // a unary call has nothing before it is woken
		if state := c.poll(); state != waiting {
			return c.received(state)
		}
	}
	for {
		if watched := c.client.watching.Load(); c.done == nil || watched != nil && watched.done == c.done {
			<-c.ready // much quicker than a select; see watch
		} else {
			select {
			case <-c.ready:
			case <-c.done:
			}
		}
		if state := c.poll(); state != waiting {
			return c.received(state)
		}
		// Another reason than a frame: whoever has one sets it before it wakes the call.
		if err := c.interrupted(); err != nil {
			if c.client.Err() != nil { // no frame comes any more, but one may have come since poll looked
				if state := c.poll(); state != waiting {
					return c.received(state)
				}
			}
			return Message{}, c.abandon(err)
		}
	}
}

// received returns what poll has found. The message is put together here, and not handed on from one to the next:
// it is too large for that to cost nothing.
func (c *call) received(state callState) (Message, error) {
	if state == over {
		return Message{}, c.finish()
	}
	body, buffer := c.current.body, c.current.buffer
	if buffer != nil {
		body = buffer.Join()
	}
	if c.Stream {
		c.credit(len(body)) // what it was on the wire
	}
	if buffer != nil {
		if buffer.Compressed {
			if err := c.inflate(buffer); err != nil {
				return Message{}, c.abandon(err)
			}
			body = buffer.Bytes
		}
		c.client.account.Give(buffer.Uncharge()) // what was taken is the caller's
	}
	c.got += len(body)
	return Message{Body: body, Coder: c.Result}, nil
}

// inflate inflates a result. It waits for room for that.
func (c *call) inflate(buffer *Buffer) *Error {
	compressor := c.client.config.Compressor
	size, err := compressor.InflatedLen(buffer, "the result")
	if err == nil && size > maxKeptBuffer {
		switch err := buffer.ChargeWaiting(c.ctx, c.client.account, size, ForWork); {
		case err == nil, errors.Is(err, ErrClosed): // what has come is the caller's, also if the client has ended
		case c.ctx.Err() != nil:
			return contextError(c.ctx, Executed)
		default:
			return uninflatable(err)
		}
	}
	if err == nil {
		err = compressor.Inflate(buffer, "the result")
	}
	if err != nil {
		return uninflatable(err)
	}
	return nil
}

// uninflatable describes a result that is not what the server should have sent.
func uninflatable(err error) *Error {
	e := AsError(err)
	e.Outcome = Executed
	if e.Code == InvalidArgument { // of the server, not of the caller
		e.Code = Internal
	}
	return e
}

// callState is what poll finds.
type callState int

const (
	waiting callState = iota // nothing yet
	taken                    // a result
	over                     // no more results, or a failure
)

// poll takes the next result, if there is one, and makes it the current one.
func (c *call) poll() callState {
	switch {
	case c.sawEnd:
		return over
	case c.isAnswered():
		c.current, c.sawEnd = delivered{c.reply, nil}, true
		return taken
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.head < len(c.queue) {
		c.current = c.queue[c.head]
		c.queue[c.head] = delivered{}
		if c.head++; c.head == len(c.queue) {
			c.queue, c.head = c.queue[:0], 0
			c.sawEnd = c.ended
		}
		return taken
	}
	if c.ended {
		c.sawEnd = true
		return over
	}
	if c.failure != nil { // a result was dropped; the server goes on until it is told
		return over
	}
	return waiting
}

// finish returns what a Receive after the last result returns.
func (c *call) finish() error {
	if c.Stream {
		c.giveBack()
	}
	if c.failure == nil {
		c.failed = io.EOF
		return io.EOF
	}
	c.failed = named(c.failure, c.Name)
	return c.failed
}

// interrupted looks for reasons to end the call from this side: its context, Cancel, GOAWAY, the connection's
// end. It returns nil if there is none.
func (c *call) interrupted() *Error {
	if c.ctx.Err() != nil {
		return contextError(c.ctx, OutcomeUnknown)
	}
	c.mu.Lock()
	cause := c.canceled
	c.mu.Unlock()
	if cause != nil {
		return &Error{Code: CodeOf(cause), Message: cause.Error(), Cause: cause}
	}
	client := c.client
	away := client.goAway.Load()
	if away != nil && c.position >= away.position {
		refused := *away.cause
		refused.Outcome, refused.Remote = Refused, true
		return &refused
	}
	client.mu.Lock()
	ended := client.err != nil
	client.mu.Unlock()
	if !ended {
		return nil
	}
	if c.position >= client.transport.Attempted() {
		return client.ended(NotSent)
	}
	return client.ended(OutcomeUnknown)
}

// abandon ends the call from this side: the command is withdrawn or cancelled, and later Receives
// return the same error.
func (c *call) abandon(err *Error) error {
	c.mu.Lock()
	ended := c.ended || c.isAnswered()
	c.abandoned = true
	c.dropLocked()
	c.giveBackLocked()
	if ended { // then it is known what became of the command
		err.Outcome = Executed
		if c.failure != nil {
			err.Outcome = c.failure.Outcome
		}
	}
	c.mu.Unlock()
	c.failed = named(err, c.Name)
	c.stopSending()
	if ended || err.Outcome == NotSent {
		return err
	}
	if c.client.transport.Withdraw(c.sequence, c.position) {
		err.Outcome = NotSent
		c.client.vacate(c)
		return err
	}
	if err.Outcome == Refused { // the server says so to the slot as well
		return err
	}
	// An error means that the connection has ended, and the command's context with it.
	_ = c.client.transport.Post(Frame{Kind: KindCancel, Sequence: c.sequence})
	return err
}

// dropLocked releases the results that no one will take.
func (c *call) dropLocked() {
	for _, r := range c.queue[c.head:] {
		r.buffer.Release()
	}
	c.queue, c.head = c.queue[:0], 0
}

// credit tells the server that there is room again, in steps of half a window.
func (c *call) credit(size int) {
	credit, growth := c.window.Take(size + ResultOverhead)
	if credit == 0 {
		return
	}
	c.mu.Lock()
	over := c.ended || c.canceled != nil
	if over {
		c.client.account.Give(growth)
	} else {
		c.room += credit
		c.reserved += growth
	}
	c.mu.Unlock()
	if over {
		return
	}
	// An error means that the connection has ended, which the next Receive reports.
	_ = c.client.transport.Post(Frame{Kind: KindCredit, Sequence: c.sequence, Body: CreditBody(credit)})
	if ping := c.window.Ping(); ping != nil {
		_ = c.client.transport.Post(Frame{Kind: KindPing, Body: ping})
	}
}

// releaseCurrent gives back what the last message lies in.
func (c *call) releaseCurrent() {
	switch {
	case c.current.buffer != nil:
		c.current.buffer.Release()
	case c.current.body != nil:
		c.mu.Lock()
		c.replyUsed = false
		c.mu.Unlock()
	}
	c.current = delivered{}
}

// Cancel implements Exchange.
func (c *call) Cancel(cause error) {
	if cause == nil {
		cause = context.Canceled
	}
	c.mu.Lock()
	if c.canceled == nil {
		c.canceled = cause
	}
	tell := !c.ended && !c.isAnswered() && !c.abandoned
	// Who cancels may never look at the call again, so what it holds is not counted from now on.
	c.giveBackLocked()
	for _, r := range c.queue[c.head:] {
		c.client.account.Give(r.buffer.Uncharge())
	}
	c.mu.Unlock()
	c.stopSending()
	if tell {
		// Withdrawing is for the caller's own goroutine, which Receive or Close bring here.
		_ = c.client.transport.Post(Frame{Kind: KindCancel, Sequence: c.sequence})
	}
	c.wake()
}

// Metadata implements Exchange.
func (c *call) Metadata() Metadata {
	c.mu.Lock()
	defer c.mu.Unlock()
	metadata, err := DecodeMetadata(c.metadata)
	if err != nil {
		return nil
	}
	return metadata
}

// Close implements Exchange.
func (c *call) Close() {
	if c.current.buffer != nil {
		c.current.buffer.Release()
	}
	if c.monitor != nil {
		c.tellEnd()
	}
	if c.sawEnd { // most calls; the reader knows nothing of them any more
		c.client.recycle(c)
		return
	}
	c.mu.Lock()
	abandoned := c.abandoned
	c.dropLocked()
	c.mu.Unlock()
	if !abandoned {
		_ = c.abandon(&Error{Code: Canceled, Message: "the caller takes no more results"})
	}
}

package text

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/edict-go/edict/core"
)

const (
	// Linger is how long calls may go on when the client has sent all that it wants.
	Linger = time.Minute
	// Window is how much of a stream may be under way to the network, in bytes.
	Window = 64 << 10
	// queueBytes is how much may wait to be written before Send waits, postLimit how much more Post may queue.
	queueBytes = 256 << 10
	postLimit  = 1 << 20
	// queueFree is how much may wait without asking the budget; lineOverhead what a line has beside its body, about.
	queueFree    = 16 << 10
	lineOverhead = 128
	// writeStep is how much is written at once, so that a client that is slow but alive is not given up.
	writeStep = 64 << 10
	// maxMalformed is how many lines may be none before the connection ends.
	maxMalformed = 100
)

// Command says how a command is called.
type Command struct {
	Number         uint16
	Stream, Inputs bool
}

// Config has the settings of a Conn.
type Config struct {
	// Commands are those that can be called, by their names.
	Commands map[string]Command
	// MaxLine bounds a line, in bytes, MaxInFlight the calls at once.
	MaxLine, MaxInFlight int
	// WriteTimeout is how long the client may take nothing of what is written, LineTimeout how long a line may take that
	// it has begun, beside one second for each KiB.
	WriteTimeout, LineTimeout time.Duration
	// Account is what long lines, and what waits to be written, are taken from; nil is anything.
	Account *core.Account
	// Close closes the connection underneath, because of cause. It must not wait.
	Close func(cause error)
	// Malformed, if not nil, is told of lines that are none. It must not wait.
	Malformed func(*core.Error)
}

// call is one call in flight.
type call struct {
	id       json.RawMessage // nil: none
	sequence core.Sequence
	used     bool
	stream   bool
	inputs   bool
	credit   int  // for inputs
	ended    bool // no more inputs come
}

// Conn is the server's side of a connection in text mode. It implements core.Transport.
type Conn struct {
	conn   net.Conn
	config Config
	reader reader

	received atomic.Uint64
	position core.Position // of what Run has taken; owned by Run

	lines   chan line     // from read to Run
	resume  chan struct{} // Run is done with the line
	changed chan struct{} // has an element when Run is to look again
	done    chan struct{} // closed with err
	running sync.WaitGroup

	mu        sync.Mutex // guards the following; not held during I/O
	err       error
	calls     []call // by slot
	free      []uint32
	byID      map[string]uint32
	inFlight  int
	out       []byte                // to be written
	reserved  int                   // of the account, for that
	outCost   map[core.Sequence]int // what of it is results of streams
	written   map[core.Sequence]int // which is written by now, and not yet given as credit
	writing   bool                  // flush runs
	room      chan struct{}         // if not nil: closed when out was taken, or the connection has ended
	drained   chan struct{}         // if not nil: closed when nothing is to be written
	finishing bool                  // Flush was called: what comes later is dropped
	malformed int
}

// line is what has come from the client.
type line struct {
	text    []byte
	problem *core.Error
	err     error
}

// NewConn returns a Conn over conn, of which first was read already.
func NewConn(conn net.Conn, first []byte, config Config) *Conn {
	c := &Conn{
		conn: conn, config: config, byID: map[string]uint32{}, outCost: map[core.Sequence]int{}, written: map[core.Sequence]int{},
		lines: make(chan line), resume: make(chan struct{}), changed: make(chan struct{}, 1), done: make(chan struct{}),
	}
	c.reader = reader{
		conn: conn, account: config.Account, maxLine: config.MaxLine, data: append([]byte(nil), first...),
		received: func(n int) { c.received.Add(uint64(n)) },
	}
	c.received.Add(uint64(len(first)))
	return c
}

// Greeting is what the first line says of who is there.
type Greeting struct{ Token, Name string }

// First reads the first line, within the deadline of the connection, and returns what it says of who is there. Its
// command, if it has one, is executed by Run.
func (c *Conn) First() (Greeting, *core.Error) {
	text, problem, err := c.reader.next()
	if err != nil {
		return Greeting{}, core.Errorf(core.Unavailable, "no line came: %w", err)
	}
	if problem != nil {
		return Greeting{}, problem
	}
	r, problem := parse(text)
	if problem != nil {
		return Greeting{}, problem
	}
	// next has left it in place.
	c.reader.data = append(append(append([]byte(nil), text...), '\n'), c.reader.data...)
	return Greeting{Token: r.Token, Name: r.Name}, nil
}

// Refuse tells the client why it is not let in. It waits a second at most.
func (c *Conn) Refuse(e *core.Error) {
	e.Outcome = core.Refused
	if c.conn.SetDeadline(time.Now().Add(time.Second)) != nil {
		return
	}
	if _, err := c.conn.Write(appendError(nil, nil, e, nil)); err != nil {
		return
	}
	if half, ok := c.conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(c.conn, 64<<10)) // closing with bytes unread would destroy the answer
	}
}

// Run implements core.Transport.
func (c *Conn) Run(handle func(*core.Frame) error) error {
	c.reader.lineTimeout = c.config.LineTimeout
	c.running.Go(c.read)
	err := c.run(handle)
	if errors.Is(err, net.ErrClosed) {
		return core.ErrClosed
	}
	if err == io.EOF { // what there is for the client is still written
		ctx, cancel := context.WithTimeout(context.Background(), max(c.config.WriteTimeout, time.Second))
		defer cancel()
		_ = c.Flush(ctx) // as far as it goes
	}
	return err
}

// read passes lines to Run, one at a time. Started by Run; ends when reading fails or the connection is closed; Wait waits
// for it.
func (c *Conn) read() {
	defer c.reader.release()
	for {
		text, problem, err := c.reader.next()
		select {
		case c.lines <- line{text, problem, err}:
		case <-c.done:
			return
		}
		if err != nil {
			return
		}
		select {
		case <-c.resume:
		case <-c.done:
			return
		}
	}
}

// run is the loop of Run.
func (c *Conn) run(handle func(*core.Frame) error) error {
	lines := c.lines
	var waiting func() (done bool, err error) // takes an input that there is no room for yet
	var linger <-chan time.Time
	var ended error // no more lines come
	resume := func() {
		select {
		case c.resume <- struct{}{}:
		case <-c.done:
		}
	}
	for {
		if ended != nil && (!errors.Is(ended, io.EOF) || waiting == nil && c.isIdle()) {
			return ended
		}
		var l line
		select {
		case l = <-lines:
		case <-c.changed:
			if err := c.giveCredit(handle); err != nil {
				return err
			}
			if waiting != nil {
				done, err := waiting()
				if err != nil {
					return err
				}
				if done {
					waiting, lines = nil, c.lines
					resume()
				}
			}
			continue
		case <-linger:
			return ended
		case <-c.done:
			return c.failure()
		}
		if l.err != nil {
			ended, lines = l.err, nil
			if err := c.endInputs(handle); err != nil {
				return err
			}
			timer := time.NewTimer(Linger)
			defer timer.Stop()
			linger = timer.C
			continue
		}
		wait, err := c.take(l, handle)
		if err != nil {
			return err
		}
		if waiting = wait; waiting != nil {
			lines = nil // what is behind it waits too
			c.signal()  // there may be room by now
		} else {
			resume()
		}
	}
}

func (c *Conn) isIdle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.inFlight == 0
}

func (c *Conn) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// signal lets Run look again.
func (c *Conn) signal() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// giveCredit tells the handler what was written of streams.
func (c *Conn) giveCredit(handle func(*core.Frame) error) error {
	c.mu.Lock()
	written := c.written
	c.written = map[core.Sequence]int{}
	for sequence := range written {
		if c.findLocked(sequence) == nil {
			delete(written, sequence)
		}
	}
	c.mu.Unlock()
	for sequence, size := range written {
		if err := handle(&core.Frame{Kind: core.KindCredit, Sequence: sequence, Body: core.CreditBody(size)}); err != nil {
			return err
		}
	}
	return nil
}

// take deals with a line. If it is an input that the command has no room for, wait takes it when there is.
func (c *Conn) take(l line, handle func(*core.Frame) error) (wait func() (bool, error), err error) {
	problem := l.problem
	var r request
	if problem == nil {
		r, problem = parse(l.text)
	}
	if problem != nil {
		return nil, c.reject(r.ID, problem)
	}
	switch {
	case r.Command != nil:
		return nil, c.start(&r, len(l.text), handle)
	case r.Token != "" && r.Input == nil && !r.End && !r.Cancel:
		return nil, nil
	}
	sequence, inputs, ok := c.lookUp(r.ID, r.End)
	switch {
	case !ok:
		return nil, nil // the call has ended meanwhile, or there was none
	case r.Cancel:
		return nil, handle(&core.Frame{Kind: core.KindCancel, Sequence: sequence})
	case !inputs:
		return nil, c.reject(nil, core.Errorf(core.InvalidArgument, "the call %s takes no inputs, or no more", r.ID))
	case r.End:
		return nil, handle(&core.Frame{Kind: core.KindInputEnd, Sequence: sequence})
	}
	deliver := func() (bool, error) {
		if !c.takeInputCredit(sequence, len(r.Input)+core.ResultOverhead) {
			return false, nil
		}
		return true, handle(&core.Frame{Kind: core.KindInput, Sequence: sequence, Body: r.Input})
	}
	if done, err := deliver(); done {
		return nil, err
	}
	return deliver, nil
}

// reject answers a line that can't be understood.
func (c *Conn) reject(id json.RawMessage, problem *core.Error) error {
	problem.Outcome = core.Refused
	if c.config.Malformed != nil {
		c.config.Malformed(problem)
	}
	c.mu.Lock()
	c.malformed++
	tooMany := c.malformed > maxMalformed
	c.mu.Unlock()
	if tooMany {
		return &violation{fmt.Sprintf("more than %d lines that are no requests", maxMalformed)}
	}
	return c.post(appendError(nil, id, problem, nil))
}

// violation is a breach of the rules by the client, which ends the connection and of which the client is told.
type violation struct{ problem string }

func (v *violation) Error() string     { return "protocol error: " + v.problem }
func (v *violation) GoAway() core.Code { return core.ResourceExhausted }

// start makes a COMMAND of a request.
func (c *Conn) start(r *request, size int, handle func(*core.Frame) error) error {
	command, known := c.config.Commands[*r.Command]
	if !known {
		return c.refuse(r.ID, core.Errorf(core.Unimplemented, "the server has no command %q", *r.Command))
	}
	frame := core.Frame{Kind: core.KindCommand, Command: command.Number, Body: r.Body}
	if len(frame.Body) == 0 {
		frame.Body = []byte("{}")
	}
	if command.Stream {
		frame.Flags |= core.FlagStream
	}
	if command.Inputs {
		frame.Flags |= core.FlagInputs
	}
	if r.Timeout != nil {
		frame.Flags |= core.FlagTimeout
		frame.Timeout = r.timeout()
	}
	if len(r.Metadata) > 0 {
		encoded, problem := r.encodeMetadata()
		if problem != nil {
			return c.refuse(r.ID, problem)
		}
		frame.Flags |= core.FlagMetadata
		frame.Metadata = encoded
	}
	sequence, problem := c.occupy(r.ID, command)
	if problem != nil {
		return c.refuse(r.ID, problem)
	}
	c.position += core.Position(size)
	frame.Sequence, frame.End = sequence, c.position
	return handle(&frame)
}

// refuse answers a command that is not executed.
func (c *Conn) refuse(id json.RawMessage, problem *core.Error) error {
	problem.Outcome = core.Refused
	return c.post(appendError(nil, id, problem, nil))
}

// occupy gives a call a slot.
func (c *Conn) occupy(id json.RawMessage, command Command) (core.Sequence, *core.Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if id != nil {
		if _, taken := c.byID[string(id)]; taken {
			return 0, core.Errorf(core.InvalidArgument, "a call with the id %s is in flight", id)
		}
	}
	if c.inFlight >= c.config.MaxInFlight {
		return 0, core.Errorf(core.ResourceExhausted, "more than %d commands in flight on this connection", c.config.MaxInFlight)
	}
	var slot uint32
	if n := len(c.free); n > 0 {
		slot, c.free = c.free[n-1], c.free[:n-1]
	} else {
		slot = uint32(len(c.calls))
		c.calls = append(c.calls, call{sequence: core.MakeSequence(slot, 0)})
	}
	sequence := core.MakeSequence(slot, c.calls[slot].sequence.Generation()+1)
	c.calls[slot] = call{id: append(json.RawMessage(nil), id...), sequence: sequence, used: true, stream: command.Stream, inputs: command.Inputs, credit: core.DefaultWindow}
	if id == nil {
		c.calls[slot].id = nil
	} else {
		c.byID[string(id)] = slot
	}
	c.inFlight++
	return sequence, nil
}

func (c *Conn) findLocked(sequence core.Sequence) *call {
	slot := sequence.Slot()
	if uint64(slot) >= uint64(len(c.calls)) || !c.calls[slot].used || c.calls[slot].sequence != sequence {
		return nil
	}
	return &c.calls[slot]
}

// vacateLocked ends a call.
func (c *Conn) vacateLocked(of *call) {
	if of.id != nil {
		delete(c.byID, string(of.id))
	}
	of.used, of.id = false, nil
	c.free = append(c.free, of.sequence.Slot())
	c.inFlight--
	c.signal()
}

// lookUp returns the call with an id, and whether it takes inputs, of which there are no more if end is true.
func (c *Conn) lookUp(id json.RawMessage, end bool) (sequence core.Sequence, inputs, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	slot, ok := c.byID[string(id)]
	if !ok {
		return 0, false, false
	}
	of := &c.calls[slot]
	inputs = of.inputs && !of.ended
	of.ended = of.ended || end
	return of.sequence, inputs, true
}

// endInputs ends the inputs of all calls, when the client sends no more.
func (c *Conn) endInputs(handle func(*core.Frame) error) error {
	c.mu.Lock()
	var open []core.Sequence
	for i := range c.calls {
		if of := &c.calls[i]; of.used && of.inputs && !of.ended {
			of.ended = true
			open = append(open, of.sequence)
		}
	}
	c.mu.Unlock()
	for _, sequence := range open {
		if err := handle(&core.Frame{Kind: core.KindInputEnd, Sequence: sequence}); err != nil {
			return err
		}
	}
	return nil
}

// takeInputCredit reports whether the command has room for an input, or has ended.
func (c *Conn) takeInputCredit(sequence core.Sequence, size int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	of := c.findLocked(sequence)
	if of == nil {
		return true
	}
	if of.credit <= 0 {
		return false
	}
	of.credit -= size
	return true
}

// encodeLocked appends what a frame is in text mode, and counts its call out if that is over. A frame of a call that is not
// there any more is nothing.
func (c *Conn) encodeLocked(frame *core.Frame) {
	switch frame.Kind {
	case core.KindGoAway:
		if len(frame.Body) >= 8 {
			c.out = appendClosing(c.out, core.DecodeError(frame.Body[8:]))
		}
		return
	case core.KindResult, core.KindEnd, core.KindError, core.KindCredit:
	default: // PING and such, which text mode has none of
		return
	}
	of := c.findLocked(frame.Sequence)
	if of == nil {
		return
	}
	switch frame.Kind {
	case core.KindCredit:
		if len(frame.Body) == 4 {
			of.credit += int(binary.LittleEndian.Uint32(frame.Body))
			c.signal()
		}
		return
	case core.KindResult:
		body := frame.Body
		if frame.Buffer != nil {
			body = frame.Buffer.Join()
		}
		last := frame.Flags&core.FlagLast != 0
		c.out = appendResult(c.out, of.id, body, last, frame.Metadata)
		if !last {
			c.outCost[frame.Sequence] += len(body) + core.ResultOverhead
			return
		}
	case core.KindEnd:
		c.out = appendEnd(c.out, of.id, frame.Metadata)
	case core.KindError:
		c.out = appendError(c.out, of.id, core.DecodeError(frame.Body), frame.Metadata)
	}
	delete(c.outCost, frame.Sequence)
	c.vacateLocked(of)
}

// Send implements core.Transport.
func (c *Conn) Send(ctx context.Context, frame core.Frame) (core.Position, error) {
	size := frame.Size() + len(frame.Metadata) + lineOverhead
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.err == nil && (len(c.out) >= queueBytes || !c.reserveLocked(size)) {
		if err := c.waitForRoom(ctx, size); err != nil {
			return 0, err
		}
	}
	if c.err != nil {
		return 0, c.err
	}
	c.queueLocked(&frame)
	frame.Buffer.Release()
	return 0, nil
}

// shortLocked returns what must be taken from the account before so many bytes may be queued.
func (c *Conn) shortLocked(size int) int { return max(0, len(c.out)+size-queueFree-c.reserved) }

// reserveLocked takes that, or reports that there is no room for it.
func (c *Conn) reserveLocked(size int) bool {
	short := c.shortLocked(size)
	if short > 0 && c.config.Account != nil {
		if !c.config.Account.Take(short, core.ForWork) {
			return false
		}
		c.reserved += short
	}
	return true
}

// waitForRoom waits, with mu released meanwhile, until the queue was taken, the account has what is missing, the connection
// has ended (then it returns nil: the caller looks at err), or ctx ends.
func (c *Conn) waitForRoom(ctx context.Context, size int) error {
	if c.room == nil {
		c.room = make(chan struct{})
	}
	room, short := c.room, c.shortLocked(size)
	var claim *core.Claim
	var decided <-chan struct{}
	if len(c.out) < queueBytes {
		claim = c.config.Account.Claim(short, core.ForWork)
		decided = claim.Decided()
	}
	c.mu.Unlock()
	defer c.mu.Lock()
	select {
	case <-decided:
		if err := claim.Err(); err != nil {
			return err
		}
		c.mu.Lock()
		c.reserved += short
		c.mu.Unlock()
		return nil
	case <-room:
	case <-ctx.Done():
		if claim != nil {
			claim.Withdraw()
		}
		return context.Cause(ctx)
	}
	if claim != nil {
		claim.Withdraw()
	}
	return nil
}

// errNotReading ends a connection whose client sends but reads nothing.
var errNotReading = errors.New("the client does not read: too much is queued for it")

// Post implements core.Transport.
func (c *Conn) Post(frame core.Frame) error {
	c.mu.Lock()
	err := c.err
	if err == nil {
		if size := frame.Size() + lineOverhead; len(c.out) > queueBytes+postLimit || !c.reserveLocked(size) && len(c.out) > 2*queueFree {
			err = errNotReading
		} else {
			c.queueLocked(&frame)
		}
	}
	c.mu.Unlock()
	frame.Buffer.Release()
	if err != nil {
		c.Close(err)
	}
	return err
}

func (c *Conn) queueLocked(frame *core.Frame) {
	if c.finishing {
		return
	}
	c.encodeLocked(frame)
	c.startLocked()
}

// post queues a line that belongs to no frame.
func (c *Conn) post(text []byte) error {
	c.mu.Lock()
	err := c.err
	if err == nil && !c.finishing {
		if len(c.out) > queueBytes+postLimit || !c.reserveLocked(len(text)) && len(c.out) > 2*queueFree {
			err = errNotReading
		} else {
			c.out = append(c.out, text...)
			c.startLocked()
		}
	}
	c.mu.Unlock()
	return err
}

// startLocked lets what is queued be written.
func (c *Conn) startLocked() {
	if len(c.out) > 0 && !c.writing && c.err == nil {
		c.writing = true
		c.running.Go(c.flush)
	}
}

// flush writes until nothing is queued. Started by startLocked; ends then, or when writing fails; Wait waits for it.
func (c *Conn) flush() {
	for {
		c.mu.Lock()
		if len(c.out) == 0 || c.err != nil {
			c.writing = false
			if c.drained != nil {
				close(c.drained)
				c.drained = nil
			}
			c.mu.Unlock()
			return
		}
		out, cost, reserved := c.out, c.outCost, c.reserved
		c.out, c.outCost, c.reserved = nil, map[core.Sequence]int{}, 0
		if c.room != nil {
			close(c.room)
			c.room = nil
		}
		c.mu.Unlock()
		for len(out) > 0 {
			n, err := c.write(out)
			if err != nil {
				c.Close(err)
				break
			}
			out = out[n:]
		}
		if c.config.Account != nil {
			c.config.Account.Give(reserved)
		}
		if len(cost) == 0 {
			continue
		}
		c.mu.Lock()
		for sequence, size := range cost {
			c.written[sequence] += size
		}
		c.mu.Unlock()
		c.signal()
	}
}

// write writes some of what is to be written.
func (c *Conn) write(out []byte) (int, error) {
	if c.config.WriteTimeout > 0 {
		if err := c.conn.SetWriteDeadline(time.Now().Add(c.config.WriteTimeout)); err != nil {
			return 0, err
		}
	}
	n, err := c.conn.Write(out[:min(len(out), writeStep)])
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		if n > 0 {
			return n, nil // slow, but alive
		}
		return 0, fmt.Errorf("the client took nothing for %v: %w", c.config.WriteTimeout, err)
	}
	return n, err
}

// Withdraw implements core.Transport: a server sends no commands.
func (c *Conn) Withdraw(core.Sequence, core.Position) bool { return false }

// Drop implements core.Transport. What is queued is lines already, so it goes.
func (c *Conn) Drop(core.Sequence) {}

// Attempted implements core.Transport.
func (c *Conn) Attempted() core.Position { return 0 }

// Received implements core.Transport.
func (c *Conn) Received() core.Position { return core.Position(c.received.Load()) }

// Flush implements core.Transport.
func (c *Conn) Flush(ctx context.Context) error {
	c.mu.Lock()
	c.finishing = true
	for c.writing && c.err == nil {
		if c.drained == nil {
			c.drained = make(chan struct{})
		}
		drained := c.drained
		c.mu.Unlock()
		select {
		case <-drained:
		case <-c.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		c.mu.Lock()
	}
	err := c.err
	c.mu.Unlock()
	if err != nil {
		return err
	}
	if half, ok := c.conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// Done is closed when the connection has ended.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Close implements core.Transport.
func (c *Conn) Close(cause error) {
	if cause == nil {
		cause = core.ErrClosed
	}
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = cause
	close(c.done)
	if c.room != nil {
		close(c.room)
		c.room = nil
	}
	c.mu.Unlock()
	c.config.Close(cause) // so that who reads and writes returns
}

// Wait implements core.Transport.
func (c *Conn) Wait() { c.running.Wait() }

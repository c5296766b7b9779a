package handler

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/edict-go/edict/core"
)

// commandContext is the context of one command, and its Scope. It is never reused: user code may
// keep it.
//
// It is a context of its own, not one made with context.WithCancel, because it is on the path of
// every command: it is one allocation, has no channel until someone asks for it and no timer unless
// there is a deadline.
type commandContext struct {
	connection *Connection
	sequence   core.Sequence
	command    uint16       // constant: its number in the connection's Names
	is         contextFlags // constant
	ended      ending       // guarded by mu
	state      atomic.Uint32

	mu    sync.Mutex
	done  chan struct{} // nil until asked for
	extra *contextExtra // nil for most commands
}

type contextFlags uint8

const (
	isBulk   contextFlags = 1 << iota
	isStream              // extra.credit is there then
)

// ending is with what a context has ended: a byte, where an error would make every context a third larger.
type ending uint8

const (
	goesOn ending = iota
	endedCanceled
	endedExpired
)

func (e ending) err() error { return [...]error{nil, context.Canceled, context.DeadlineExceeded}[e] }

// interceptedContext is a commandContext with a place for what interceptors see of the command: one allocation.
type interceptedContext struct {
	commandContext
	call Call
}

// contextExtra has what only some commands need. Guarded by the context's mu, but for what is constant.
type contextExtra struct {
	deadline time.Time
	timer    *time.Timer
	metadata []byte // encoded, as it came
	response core.Metadata
	after    map[*func()]struct{} // context.AfterFunc callbacks
	credit   *core.Credit         // of the results; streams only; constant
	inputs   *inputs              // nil if there are none; constant
	turn     *turn                // ordered commands only; constant
	id       core.CommandID       // numbered commands only; constant
	number   *number              // of those, the ones that are remembered; constant
	sent     atomic.Int64         // bytes of the results of a stream
	value    *any                 // what the Monitor adds to the context; nil until asked for
}

// extraWithSpace is a contextExtra with a place for a few metadata, such as a traceparent.
type extraWithSpace struct {
	contextExtra
	space [96]byte
}

// keepMetadata keeps a copy of encoded metadata. Called by the read loop, before others know of c.
func (c *commandContext) keepMetadata(encoded []byte) {
	if c.extra == nil {
		extra := &extraWithSpace{}
		extra.metadata = append(extra.space[:0], encoded...)
		c.extra = &extra.contextExtra
		return
	}
	c.extra.metadata = bytes.Clone(encoded)
}

func (c *commandContext) extraLocked() *contextExtra {
	if c.extra == nil {
		c.extra = &contextExtra{}
	}
	return c.extra
}

// Deadline implements context.Context.
func (c *commandContext) Deadline() (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.extra == nil || c.extra.timer == nil {
		return time.Time{}, false
	}
	return c.extra.deadline, true
}

// Done implements context.Context.
func (c *commandContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done == nil {
		c.done = make(chan struct{})
		if c.ended != goesOn {
			close(c.done)
		}
	}
	return c.done
}

// Err implements context.Context.
func (c *commandContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended.err()
}

// Value implements context.Context.
func (c *commandContext) Value(key any) any {
	if key == core.ScopeKey {
		return core.Scope(c)
	}
	if monitor := c.connection.invoker.config.Monitor; monitor != nil && monitor.Value != nil && key == monitor.Key {
		return c.monitorValue()
	}
	return nil
}

// AfterFunc lets package context attach its own contexts without a goroutine for each.
func (c *commandContext) AfterFunc(f func()) (stop func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended != goesOn {
		go f() // as context.AfterFunc does: f is its caller's, who waits for it if need be
		return func() bool { return false }
	}
	extra := c.extraLocked()
	if extra.after == nil {
		extra.after = map[*func()]struct{}{}
	}
	key := &f
	extra.after[key] = struct{}{}
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, waiting := extra.after[key]
		delete(extra.after, key)
		return waiting
	}
}

// String describes the context, for logs.
func (c *commandContext) String() string { return fmt.Sprintf("edict.Command(%v)", c.sequence) }

// setDeadline lets the context end after the time left.
func (c *commandContext) setDeadline(left time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	extra := c.extraLocked()
	extra.deadline = time.Now().Add(left)
	extra.timer = time.AfterFunc(left, func() { c.cancel(endedExpired) })
}

// finish ends the context because Exec has returned. It returns the metadata that goes back to the
// caller, and with what the context had ended before, nil if it had not.
func (c *commandContext) finish() (response core.Metadata, before error) {
	c.mu.Lock()
	if c.ended == goesOn && c.done == nil && c.extra == nil { // most commands
		c.ended = endedCanceled
		c.mu.Unlock()
		return nil, nil
	}
	before = c.ended.err()
	if c.extra != nil {
		response = c.extra.response
		c.extra.response = nil // Exec's goroutines may still call SetMetadata
	}
	c.mu.Unlock()
	c.cancel(endedCanceled)
	return response, before
}

// cancel ends the context; the first call counts.
func (c *commandContext) cancel(with ending) {
	c.mu.Lock()
	if c.ended != goesOn {
		c.mu.Unlock()
		return
	}
	c.ended = with
	if c.done != nil {
		close(c.done)
	}
	var after map[*func()]struct{}
	var turn *turn
	if c.extra != nil {
		turn = c.extra.turn
		after, c.extra.after = c.extra.after, nil
		if c.extra.timer != nil {
			c.extra.timer.Stop()
		}
	}
	c.mu.Unlock()
	for f := range after {
		go (*f)() // as context.AfterFunc does
	}
	if turn != nil {
		c.connection.interrupt(turn)
	}
}

// sizes returns those of a command whose encoding had received bytes, and its one result, if there is one, replied bytes.
func (c *commandContext) sizes(received, replied int) (request, response int64) {
	request, response = int64(received), int64(replied)
	if c.is&isStream == 0 {
		return request, response
	}
	if c.extra.inputs != nil {
		request += c.extra.inputs.taken.Load()
	}
	return request, response + c.extra.sent.Load()
}

// Peer implements core.Scope.
func (c *commandContext) Peer() core.Peer { return c.connection.config.Peer }

// Metadata implements core.Scope.
func (c *commandContext) Metadata() core.Metadata {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.extra == nil {
		return nil
	}
	metadata, err := core.DecodeMetadata(c.extra.metadata)
	if err != nil {
		return nil // Connection.start has refused commands with malformed metadata
	}
	return metadata
}

// metadataValue returns the first value of a key, which is in lower case, of what came with the command.
func (c *commandContext) metadataValue(key string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.extra == nil {
		return ""
	}
	return core.LookUpMetadata(c.extra.metadata, key)
}

// SetMetadata implements core.Scope.
func (c *commandContext) SetMetadata(key string, values ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	extra := c.extraLocked()
	if extra.response == nil {
		extra.response = core.Metadata{}
	}
	extra.response.Set(key, values...)
}

// Draining implements core.Scope.
func (c *commandContext) Draining() <-chan struct{} { return c.connection.invoker.draining }

// Buffer implements core.ResultSender.
func (c *commandContext) Buffer(ctx context.Context, size int) (*core.Buffer, error) {
	if size <= maxKeptBuffer {
		return core.GetBuffer(size), nil
	}
	ctx, stop := c.within(ctx)
	defer stop()
	if err := c.waitForCredit(ctx); err != nil {
		return nil, err
	}
	account := c.connection.account
	if err := account.Wait(ctx, core.BufferSize(size), core.ForWork); err != nil {
		return nil, err
	}
	return core.GetCharged(account, size), nil
}

// SendResult implements core.ResultSender.
func (c *commandContext) SendResult(ctx context.Context, buffer *core.Buffer) (again bool, err error) {
	ctx, stop := c.within(ctx)
	defer stop()
	if ctx.Err() != nil {
		buffer.Release()
		return false, context.Cause(ctx)
	}
	large := len(buffer.Bytes) > maxKeptBuffer
	if large && !chargeResult(buffer, c.connection.account) {
		buffer.Release()
		return true, nil
	}
	uncompressed := len(buffer.Bytes)
	if compressor := c.connection.config.Compressor; compressor != nil {
		compressor.Compress(buffer)
	}
	if again, err = c.sendEncoded(ctx, buffer); !again && err == nil {
		c.extra.sent.Add(int64(uncompressed))
	}
	return again, err
}

// sendEncoded sends a result that is charged and compressed as need be.
func (c *commandContext) sendEncoded(ctx context.Context, buffer *core.Buffer) (again bool, err error) {
	large := len(buffer.Bytes) > maxKeptBuffer
	size := len(buffer.Bytes)
	for c.extra.credit.Take(size+core.ResultOverhead) != nil {
		if large { // nothing is held while it waits
			buffer.Release()
			return true, nil
		}
		if err := c.waitForCredit(ctx); err != nil {
			buffer.Release()
			return false, err
		}
	}
	var kept core.RecordedResult
	n := c.extra.number
	keeps := n != nil && n.recorded == nil
	if keeps { // before it is given away
		kept = n.copyOf(buffer)
	}
	frame := core.Frame{Kind: core.KindResult, Sequence: c.sequence, Body: buffer.Bytes, Bulk: c.is&isBulk != 0}
	if buffer.Compressed {
		frame.Flags |= core.FlagCompressed
	}
	if size >= core.LargeBody || buffer.Charged() > 0 {
		frame.Buffer = buffer
	}
	_, err = c.connection.transport.Send(ctx, frame)
	if err != nil || frame.Buffer == nil {
		buffer.Release()
	}
	if err != nil {
		c.extra.credit.Return(size + core.ResultOverhead) // the caller will not see it, so it would not make room for it
		return false, c.sendError(ctx, err)
	}
	if keeps {
		n.note(kept, size)
	}
	return false, nil
}

// chargeResult charges a buffer for the result that is in it, or reports that there is no room. If that was waited
// for already it is enough: a codec that makes a larger slice than it needs would have it waited for for ever.
func chargeResult(buffer *core.Buffer, account *core.Account) bool {
	return buffer.Charge(account, cap(buffer.Bytes), core.ForWork) || buffer.Charged() >= len(buffer.Bytes)
}

// within returns a context that ends with ctx and with the command's.
func (c *commandContext) within(ctx context.Context) (_ context.Context, stop func()) {
	if ctx == context.Context(c) {
		return ctx, func() {}
	}
	joined, cancel := context.WithCancelCause(ctx)
	stopAfter := context.AfterFunc(c, func() { cancel(c.Err()) })
	return joined, func() { stopAfter(); cancel(nil) }
}

// waitForCredit waits until the caller takes results.
func (c *commandContext) waitForCredit(ctx context.Context) error {
	waited := false
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		wait := c.extra.credit.Ready()
		if wait == nil {
			return nil
		}
		if !waited {
			waited = true
			c.connection.counters.creditWaits.Add(1)
		}
		c.setState(stateCredit)
		select {
		case <-wait:
		case <-c.connection.whenForsaken():
			return errForsaken
		case <-ctx.Done():
		}
		c.setState(stateRunning)
	}
}

// sendError returns what the command gets if a result could not be sent with ctx. That the connection is lost is a cancel,
// which the command's context learns of a moment later.
func (c *commandContext) sendError(ctx context.Context, err error) error {
	if e := c.Err(); e != nil {
		return e
	}
	if _, refused := errors.AsType[*core.Error](err); refused || ctx.Err() != nil {
		return err
	}
	return fmt.Errorf("%w: %w", context.Canceled, err)
}

package handler

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/edict-go/edict/core"
)

// task is one command from its arrival to its end; it is the Execution that its Executor sees. It
// belongs to the read loop until it is queued, then to the worker that takes it; an ordered one, see
// turnState, also to the lanes and to a second worker.
type task struct {
	connection *Connection
	ctx        *commandContext
	cell       *cell // where the read loop finds ctx
	executor   core.Executor
	turn       *turn   // ordered commands only
	number     *number // numbered commands that are remembered only
	name       string

	body   []byte       // the encoded command, in kept, or
	kept   []byte       // small bodies; reused
	buffer *core.Buffer // here, if it is large or came compressed

	scratch *core.Buffer // the encoded result of a unary command
	replied bool
	begun   bool        // Exec was called
	noted   bool        // its failure is
	told    *core.Error // the error that its caller is told; nil if there is none

	described     bool                // metadata came with it; set for each command
	asked         bool                // its monitor was
	monitor       core.CommandMonitor // is to be told of the end; nil: nobody
	interceptWith context.Context     // the Monitor's own interceptor comes first, with this; nil: it does not
	result        int                 // bytes of the encoded result, if there is one only; set by Reply
	came          time.Duration
	call          *Call // as the interceptors see it, complete from Intercept on; nil if there are none
	cost          int   // what it counts for in Connection.held
	charged       int   // what is charged for the decoded command, if it is large
	size          int   // of the encoded command, when it is inflated

	// What the interceptors surround; see Intercept.
	command any
	execute func(context.Context, any, core.Execution) error
	steps   []func(context.Context) error // the interceptors from each on, and last execute; reused
}

var tasks = sync.Pool{New: func() any { return new(task) }}

// maxKeptBuffer bounds what a recycled task keeps for its next use.
const maxKeptBuffer = 8 << 10

func (t *task) recycle() {
	if t.buffer != nil {
		t.buffer.Release()
	}
	if cap(t.kept) > maxKeptBuffer {
		t.kept = nil
	}
	if t.scratch != nil && (cap(t.scratch.Bytes) > maxKeptBuffer || t.scratch.Charged() > 0) {
		t.scratch.Release()
		t.scratch = nil
	}
	if t.charged != 0 {
		t.connection.account.Give(t.charged)
		t.charged = 0
	}
	// Field by field: clearing the whole of it costs more than it should on this path.
	t.connection, t.ctx, t.cell, t.executor, t.name = nil, nil, nil, nil, ""
	t.turn, t.number, t.body, t.buffer, t.replied, t.begun, t.noted = nil, nil, nil, nil, false, false, false
	t.result, t.told, t.asked, t.monitor, t.interceptWith = 0, nil, false, nil, nil
	if t.call != nil {
		t.call, t.command, t.execute = nil, nil, nil
	}
	tasks.Put(t)
}

// run executes the command and ends it, whatever Exec does: return, panic or end its goroutine. If an
// ordered command must wait for its turn run reports so; t belongs to others then.
func (t *task) run() (waits bool) {
	var err error
	returned, cost := false, t.cost
	defer func() {
		if waits {
			return
		}
		if !returned {
			if cause := recover(); cause != nil {
				err = t.panicked(cause)
			} else {
				err = core.Errorf(core.Internal, "the command ended its goroutine (runtime.Goexit)")
				defer t.connection.abandoned(cost)
			}
		}
		t.end(err)
	}()
	if t.buffer != nil && t.buffer.Compressed {
		err = t.inflate()
	}
	if t.turn == nil || t.turn.execute == nil { // else it is decoded already
		t.size = len(t.body)
		if t.buffer != nil {
			t.size = t.buffer.Len()
		}
	}
	switch {
	case err != nil:
	case t.turn == nil:
		err = t.executor.Execute(t.ctx, t)
	default:
		waits, err = t.runInTurn()
	}
	if !waits && t.number != nil && t.number.recorded != nil { // one that waits belongs to others
		err = t.replay()
	}
	returned = true
	return waits
}

// runInTurn decodes an ordered command, if that was not done yet, and executes it if it is due. A command
// whose context ended before is not executed.
func (t *task) runInTurn() (waits bool, err error) {
	turn := t.turn
	if turn.execute == nil {
		key, execute, err := turn.executor.Prepare(t)
		if err != nil {
			return false, err
		}
		turn.execute = execute
		t.decoded()
		t.ctx.setState(stateTurn) // before others may have it
		if !t.connection.enterLane(turn, key) {
			return true, nil
		}
	}
	if t.connection.lost.Load() {
		t.ctx.cancel(endedCanceled) // the read loop is about to, but may not have come to this one yet
	}
	if err := t.ctx.Err(); err != nil {
		return false, &core.Error{Code: core.CodeOf(err), Message: err.Error() + " before it was the command's turn", Cause: err}
	}
	return false, turn.execute(t.ctx)
}

// decoded lets go of the encoded command. What a large one was charged for stays: the decoded one takes as much,
// as a rule.
func (t *task) decoded() {
	if t.buffer != nil {
		t.buffer.Trim()
		t.charged += t.buffer.Uncharge()
		t.buffer.Release()
	}
	t.body, t.buffer = nil, nil
}

// inflate inflates a command that came compressed.
func (t *task) inflate() error {
	compressor := t.connection.config.Compressor
	size, err := compressor.InflatedLen(t.buffer, "the command")
	if err != nil {
		return err
	}
	// Twice: while it is decoded there are both.
	if size > maxKeptBuffer && !t.buffer.Charge(t.connection.account, 2*size, core.ForCalls) {
		return noRoom("to inflate the command")
	}
	return compressor.Inflate(t.buffer, "the command")
}

// panicked logs a panic with its stack, which is not for the caller to see.
func (t *task) panicked(cause any) error {
	var ctx context.Context = t.ctx
	if t.call != nil && t.call.more != nil && t.call.more.logContext != nil {
		ctx = t.call.more.logContext
	}
	t.connection.invoker.config.Logger.ErrorContext(ctx, "edict: command panicked",
		"command", t.name, "peer", t.connection.peerName(), "panic", fmt.Sprint(cause), "stack", string(debug.Stack()))
	t.noted = true
	t.connection.note(core.FailureCommandPanicked, t.name, fmt.Sprint(cause))
	return core.Errorf(core.Internal, "the command panicked; the server's log has the details")
}

// end sends what came of the command and forgets it.
func (t *task) end(err error) {
	c, ctx := t.connection, t.ctx
	response, before := ctx.finish()
	leftEarly := before == context.Canceled && err == nil && ctx.is&isStream != 0
	if leftEarly {
		err = before // results may have been dropped, so it must not look complete
	}
	ctx.dropInputs()
	frame := core.Frame{Sequence: ctx.sequence, Bulk: ctx.is&isBulk != 0}
	switch {
	case t.number == nil:
		t.fill(&frame, err, before, response)
	case t.number.recorded != nil && err == nil:
		t.fillRecorded(&frame)
	default:
		t.fill(&frame, err, before, response)
		t.endNumbered(&frame)
	}
	if t.turn != nil {
		// Not before: the result and the error may be parts of the receiver. Not later: sending may wait
		// for a slow client.
		c.leaveLane(t.turn)
	}
	// The caller may reuse the slot as soon as it has the frame, so free it before.
	t.cell.Store(nil)
	// Not later: who has the result may look whether it was counted.
	t.observeLatency()
	if t.monitor != nil {
		t.tellMonitor(leftEarly)
	}
	_, sendErr := c.transport.Send(context.Background(), frame)
	if sendErr != nil {
		frame.Buffer.Release()
		if core.CodeOf(sendErr) == core.ResourceExhausted { // too big for the caller; else it is gone
			c.refuse(ctx.sequence, &core.Error{Code: core.ResourceExhausted, Outcome: core.Executed, Message: sendErr.Error()})
		}
	}
	c.invoker.inFlight.Add(-1)
	t.recycle()
}

// fill fills in the frame that ends the call. before is with what the context had ended before Exec did, nil
// if it had not.
func (t *task) fill(frame *core.Frame, err, before error, response core.Metadata) {
	if len(response) > 0 {
		encoded, metadataErr := core.AppendMetadata(nil, response)
		if metadataErr == nil {
			frame.Flags |= core.FlagMetadata
			frame.Metadata = encoded
		} else if err == nil {
			err = metadataErr
		}
	}
	switch {
	case err != nil:
		frame.Kind = core.KindError
		t.told = t.describe(err, before)
		frame.Body = core.AppendError(nil, t.told)
	case t.replied:
		frame.Kind = core.KindResult
		frame.Flags |= core.FlagLast
		frame.Body = t.scratch.Bytes
		if t.scratch.Compressed {
			frame.Flags |= core.FlagCompressed
		}
		if len(frame.Body) >= core.LargeBody || t.scratch.Charged() > 0 {
			frame.Buffer, t.scratch = t.scratch, nil
		}
	default:
		frame.Kind = core.KindEnd
	}
}

// maxMessage bounds the text of an error on the wire.
const maxMessage = 16 << 10

// describe returns err as it goes over the wire. The methods of err are user code, which may panic.
func (t *task) describe(err, before error) (e *core.Error) {
	defer func() {
		if cause := recover(); cause != nil {
			e = core.AsError(t.panicked(cause))
		}
		switch {
		case t.number != nil && t.number.unknown:
			e.Outcome = core.OutcomeUnknown
		case t.begun, t.number != nil && t.number.recorded != nil:
			e.Outcome = core.Executed
		default:
			e.Outcome = core.Refused
		}
		t.noteFailure(e, before)
	}()
	// The deadline or a cancel is what the caller must hear of, whatever Exec made of it.
	if before != nil && core.CodeOf(err) == core.Unknown {
		err = fmt.Errorf("%w: %w", before, err)
	}
	e = core.AsError(err)
	if len(e.Message) > maxMessage {
		e.Message = e.Message[:maxMessage]
	}
	size := 0
	for i, detail := range e.Details {
		if size += len(detail.Type) + len(detail.JSON); size > maxMessage || i >= maxDetails {
			e.Details = e.Details[:i]
			break
		}
	}
	return e
}

// maxDetails bounds the details of an error on the wire.
const maxDetails = 64

// Command implements core.Execution.
func (t *task) Command() []byte {
	if t.buffer != nil {
		return t.buffer.Join()
	}
	return t.body
}

// Intercepted implements core.Execution.
func (t *task) Intercepted() bool {
	if t.connection.monitors != nil && !t.asked {
		t.askMonitor()
	}
	return t.firstStep() < len(t.connection.invoker.config.Interceptors)
}

// firstStep returns the number of the first interceptor of the command.
func (t *task) firstStep() int {
	if t.monitor == nil {
		return 0
	}
	return t.connection.invoker.first
}

// Intercept implements core.Execution.
func (t *task) Intercept(ctx context.Context, command any, run func(context.Context, any, core.Execution) error) error {
	call := t.call
	call.Name, call.Command, call.Stream, call.Inputs = t.name, command, t.executor.Stream(), t.executor.Inputs()
	call.Scope, call.received, call.came, call.described = t.ctx, t.size, t.came, t.described
	t.command, t.execute = command, run
	for i := len(t.steps); i <= len(t.connection.invoker.config.Interceptors); i++ {
		t.steps = append(t.steps, func(ctx context.Context) error { return t.step(ctx, i) })
	}
	if t.interceptWith != nil {
		ctx = t.interceptWith
	}
	return t.step(ctx, t.firstStep())
}

// step calls an interceptor, or what all of them surround.
func (t *task) step(ctx context.Context, number int) error {
	interceptors := t.connection.invoker.config.Interceptors
	if number == len(interceptors) {
		return t.execute(ctx, t.command, t)
	}
	return interceptors[number](ctx, t.call, t.steps[number+1])
}

// Decoded implements core.Execution.
func (t *task) Decoded() {
	if t.buffer != nil {
		t.decoded()
	}
}

// Begin implements core.Execution.
func (t *task) Begin() error {
	if t.number != nil {
		if err := t.beginNumbered(); err != nil {
			return err
		}
	}
	t.begun = true
	t.ctx.setState(stateRunning)
	if t.call != nil {
		t.call.begun = true
	}
	return nil
}

// Observed implements core.Execution.
func (t *task) Observed() bool {
	return t.call != nil && t.call.more != nil && len(t.call.more.observers) > 0
}

// Observe implements core.Execution.
func (t *task) Observe(result any) error {
	if t.call.more == nil {
		return nil
	}
	for _, observe := range t.call.more.observers {
		if err := observe(result); err != nil {
			return err
		}
	}
	return nil
}

// ObserveInput implements core.Execution.
func (t *task) ObserveInput(input any) error {
	if t.call.more == nil {
		return nil
	}
	for _, observe := range t.call.more.inputObservers {
		if err := observe(input); err != nil {
			return err
		}
	}
	return nil
}

// Scratch implements core.Execution.
func (t *task) Scratch(size int) ([]byte, error) {
	if size > maxKeptBuffer && t.scratch.Charged() == 0 {
		if err := t.waitForScratch(size); err != nil {
			return nil, err
		}
	}
	if t.scratch == nil {
		t.scratch = core.GetBuffer(0)
	}
	return t.scratch.Bytes[:0], nil
}

// waitForScratch makes scratch a charged buffer for size bytes. Nothing is held while it waits.
func (t *task) waitForScratch(size int) error {
	t.scratch.Release()
	t.scratch = nil
	held := core.BufferSize(size)
	if err := t.connection.account.Wait(t.ctx, held, core.ForWork); err != nil {
		return err
	}
	t.scratch = core.GetCharged(t.connection.account, size)
	return nil
}

// Reply implements core.Execution.
func (t *task) Reply(encoded []byte) (again bool, err error) {
	t.scratch.Bytes, t.scratch.Compressed = encoded, false
	if size := len(encoded); size > maxKeptBuffer && !chargeResult(t.scratch, t.connection.account) {
		err := t.waitForScratch(size)
		return err == nil, err
	}
	if t.scratch.Charged() > 0 {
		t.scratch.Trim() // of what was guessed
	}
	if compressor := t.connection.config.Compressor; compressor != nil {
		compressor.Compress(t.scratch)
	}
	if t.call != nil {
		t.call.replied = len(encoded)
	}
	t.replied, t.result = true, len(encoded)
	return false, nil
}

// Results implements core.Execution.
func (t *task) Results() core.ResultSender { return t.ctx }

// Received implements core.Execution.
func (t *task) Received() core.InputReceiver { return t.ctx.extra.inputs }

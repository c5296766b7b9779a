package handler

import (
	"context"
	"io"
	"sync"
	"sync/atomic"

	"github.com/edict-go/edict/core"
)

// inputs are the inputs of one command on their way from the read loop to Exec. It implements
// core.InputReceiver.
type inputs struct {
	ctx *commandContext

	window core.Window  // owned by Exec's goroutine
	taken  atomic.Int64 // bytes that Exec has taken, not compressed

	mu       sync.Mutex // guards the following
	queue    []*core.Buffer
	credit   int           // bytes that the client may still send; may be exceeded by one input
	reserved int           // of the account, for credit and queue
	ended    bool          // INPUT_END has come
	failure  error         // what the command gets after the queue instead of the end
	closed   bool          // nobody will take any more
	changed  chan struct{} // if not nil: closed at the next change
}

// newInputs returns the inputs of a command, whose first window was taken from the account.
func newInputs(ctx *commandContext) *inputs {
	c := ctx.connection
	size := c.config.InputWindow
	if more := min(c.flow.Learned(), c.config.MaxInputWindow) - size; more > 0 && c.account.Take(more, core.ForGrowth) {
		size += more
	}
	return &inputs{
		ctx: ctx, credit: size, reserved: size,
		window: core.Window{Flow: &c.flow, Account: c.account, Size: size, Max: c.config.MaxInputWindow},
	}
}

// open tells the client of what its window has beyond that of the handshake. Called by the read loop.
func (i *inputs) open() {
	if more := i.window.Size - i.ctx.connection.config.InputWindow; more > 0 {
		i.give(more)
	}
}

// give sends CREDIT. It never waits.
func (i *inputs) give(credit int) {
	// An error means that the connection has ended, and the command's context with it.
	_ = i.ctx.connection.transport.Post(core.Frame{Kind: core.KindCredit, Sequence: i.ctx.sequence, Body: core.CreditBody(credit)})
}

// reservedCredit returns how many bytes may come for which room was taken already.
func (i *inputs) reservedCredit() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return max(0, min(i.credit, i.reserved))
}

// deliver takes an INPUT or INPUT_END frame from the read loop. An error is a violation of the protocol.
func (i *inputs) deliver(frame *core.Frame) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case i.closed:
		return nil
	case i.ended:
		return violationf("%v after INPUT_END for call %v", frame.Kind, frame.Sequence)
	case frame.Kind == core.KindInputEnd:
		i.ended = true
		if back := max(0, min(i.credit, i.reserved)); back > 0 { // no more will come
			i.reserved -= back
			i.ctx.connection.account.Give(back)
		}
	case frame.Flags&core.FlagCompressed != 0 && i.ctx.connection.config.Compressor == nil:
		return violationf("compressed INPUT for call %v, which was not agreed on", frame.Sequence)
	case i.credit <= 0:
		return violationf("INPUT beyond the window of call %v", frame.Sequence)
	case i.failure != nil: // there must be no gap
	case frame.NoRoom:
		i.failure = noRoom("for an input")
	case frame.Oversize:
		i.failure = core.Errorf(core.ResourceExhausted, "an input is larger than the server accepts (MaxFrame)")
	default:
		buffer := frame.TakeBody()
		i.credit -= buffer.Len() + core.ResultOverhead
		if !buffer.Charge(i.ctx.connection.account, -i.credit, core.ForWork) { // what goes beyond the window
			buffer.Release()
			i.failure = noRoom("for an input")
			break
		}
		i.queue = append(i.queue, buffer)
	}
	if i.changed != nil {
		close(i.changed)
		i.changed = nil
	}
	return nil
}

// ReceiveInput implements core.InputReceiver.
func (i *inputs) ReceiveInput(ctx context.Context) (*core.Buffer, error) {
	ctx, stop := i.ctx.within(ctx)
	defer stop()
	for {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		i.mu.Lock()
		switch {
		case len(i.queue) > 0:
			buffer := i.queue[0]
			i.queue[0] = nil
			i.queue = i.queue[1:]
			i.mu.Unlock()
			i.take(len(buffer.Join()) + core.ResultOverhead)
			if err := i.inflate(buffer); err != nil {
				buffer.Release()
				i.fail(err)
				return nil, err
			}
			i.taken.Add(int64(len(buffer.Bytes)))
			return buffer, nil
		case i.failure != nil:
			defer i.mu.Unlock()
			return nil, i.failure
		case i.ended:
			i.mu.Unlock()
			return nil, io.EOF
		}
		if i.changed == nil {
			i.changed = make(chan struct{})
		}
		changed := i.changed
		i.mu.Unlock()
		i.ctx.setState(stateInput)
		select {
		case <-changed:
		case <-i.ctx.connection.whenForsaken():
			return nil, errForsaken
		case <-ctx.Done():
		}
		i.ctx.setState(stateRunning)
	}
}

// inflate inflates an input, if it came compressed. It waits for room for that as long as the command goes on.
func (i *inputs) inflate(buffer *core.Buffer) error {
	if !buffer.Compressed {
		return nil
	}
	c := i.ctx.connection
	size, err := c.config.Compressor.InflatedLen(buffer, "an input")
	if err != nil {
		return err
	}
	if size > maxKeptBuffer {
		if err := buffer.ChargeWaiting(i.ctx, c.account, size, core.ForWork); err != nil {
			return err
		}
	}
	return c.config.Compressor.Inflate(buffer, "an input")
}

// fail drops what has come and lets the command have err from now on: there must be no gap.
func (i *inputs) fail(err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.failure = err
	i.dropLocked()
}

// take tells the client that there is room again, in steps of half a window.
func (i *inputs) take(size int) {
	credit, growth := i.window.Take(size)
	if credit == 0 {
		return
	}
	i.mu.Lock()
	over := i.ended || i.closed
	if over {
		i.ctx.connection.account.Give(growth)
	} else {
		i.credit += credit
		i.reserved += growth
	}
	i.mu.Unlock()
	if over {
		return
	}
	i.give(credit)
	if ping := i.window.Ping(); ping != nil {
		_ = i.ctx.connection.transport.Post(core.Frame{Kind: core.KindPing, Body: ping})
	}
}

// dropInputs drops the inputs that nobody has taken, when nobody will.
func (c *commandContext) dropInputs() {
	if c.is&isStream != 0 && c.extra.inputs != nil {
		c.extra.inputs.close()
	}
}

func (i *inputs) close() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.closed = true
	i.dropLocked()
	i.ctx.connection.account.Give(i.reserved)
	i.reserved = 0
}

func (i *inputs) dropLocked() {
	for _, buffer := range i.queue {
		buffer.Release()
	}
	i.queue = nil
}

package handler

import (
	"io"
	"sync"

	"github.com/edict-go/edict/core"
)

// inputs are the inputs of one command on their way from the read loop to Exec. It implements
// core.InputReceiver.
type inputs struct {
	ctx    *commandContext
	window int // what the client may send before Exec takes some

	taken int // bytes that Exec has taken and that are not yet credited; owned by Exec's goroutine

	mu      sync.Mutex // guards the following
	queue   []*core.Buffer
	credit  int           // bytes that the client may still send; may be exceeded by one input
	ended   bool          // INPUT_END has come
	failure error         // what the command gets after the queue instead of the end
	closed  bool          // nobody will take any more
	changed chan struct{} // if not nil: closed at the next change
}

func newInputs(ctx *commandContext, window int) *inputs {
	return &inputs{ctx: ctx, window: window, credit: window}
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
	case frame.Flags&core.FlagCompressed != 0 && i.ctx.connection.config.Compressor == nil:
		return violationf("compressed INPUT for call %v, which was not agreed on", frame.Sequence)
	case i.credit <= 0:
		return violationf("INPUT beyond the window of call %v", frame.Sequence)
	case i.failure != nil: // there must be no gap
	case frame.Oversize:
		i.failure = core.Errorf(core.ResourceExhausted, "an input is larger than the server accepts (MaxFrame)")
	default:
		buffer := frame.TakeBody()
		i.queue = append(i.queue, buffer)
		i.credit -= buffer.Len() + core.ResultOverhead
	}
	if i.changed != nil {
		close(i.changed)
		i.changed = nil
	}
	return nil
}

// ReceiveInput implements core.InputReceiver.
func (i *inputs) ReceiveInput() (*core.Buffer, error) {
	for {
		if err := i.ctx.Err(); err != nil {
			return nil, err
		}
		i.mu.Lock()
		switch {
		case len(i.queue) > 0:
			buffer := i.queue[0]
			i.queue[0] = nil
			i.queue = i.queue[1:]
			i.mu.Unlock()
			i.take(len(buffer.Join()) + core.ResultOverhead)
			if buffer.Compressed {
				if err := i.ctx.connection.config.Compressor.Inflate(buffer, "an input"); err != nil {
					buffer.Release()
					i.fail(err)
					return nil, err
				}
			}
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
		select {
		case <-changed:
		case <-i.ctx.Done():
		}
	}
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
	i.taken += size
	if i.taken < (i.window+1)/2 {
		return
	}
	i.mu.Lock()
	i.credit += i.taken
	tell := !i.ended
	i.mu.Unlock()
	if tell {
		// An error means that the connection has ended, and the command's context with it.
		_ = i.ctx.connection.transport.Post(core.Frame{
			Kind: core.KindCredit, Sequence: i.ctx.sequence, Body: core.CreditBody(i.taken),
		})
	}
	i.taken = 0
}

// dropInputs drops the inputs that nobody has taken, when nobody will.
func (c *commandContext) dropInputs() {
	if c.stream && c.extra.inputs != nil {
		c.extra.inputs.close()
	}
}

func (i *inputs) close() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.closed = true
	i.dropLocked()
}

func (i *inputs) dropLocked() {
	for _, buffer := range i.queue {
		buffer.Release()
	}
	i.queue = nil
}

package core

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
)

// sending is the sending side of a call that takes inputs. It belongs to the goroutine that calls Send
// and CloseSend, which may be another one than that of Receive, but for credit and ready.
type sending struct {
	encoder CommandEncoder
	bulk    bool
	size    int          // of the last input, a guess for the next
	closed  bool         // INPUT_END is queued
	sent    atomic.Int64 // bytes of the encoded inputs

	credit Credit
	ready  chan struct{} // capacity 1: the call has changed
	// ctx ends when the call has ended in any way, or its context has: Send waits for nothing then.
	ctx  context.Context
	stop context.CancelFunc
}

func newSending(ctx context.Context, encoder CommandEncoder, window int, bulk bool) *sending {
	s := &sending{encoder: encoder, bulk: bulk, ready: make(chan struct{}, 1)}
	s.ctx, s.stop = context.WithCancel(ctx)
	s.credit.Set(window)
	return s
}

// stopSending ends a Send that waits, because the call has ended.
func (c *call) stopSending() {
	if c.sending != nil {
		c.sending.stop()
	}
}

// wake makes a waiting Send look again. Any goroutine may call it.
func (s *sending) wake() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// Send implements Exchange.
func (c *call) Send(input any) error {
	s := c.sending
	switch {
	case s == nil:
		return named(&Error{Code: FailedPrecondition, Message: "the command takes no inputs"}, c.Name)
	case s.closed:
		return named(&Error{Code: FailedPrecondition, Message: "Send after CloseSend"}, c.Name)
	}
	buffer := GetBuffer(s.size)
	encoded, err := s.encoder.AppendCommand(buffer.Bytes, input)
	buffer.Bytes = encoded
	if err != nil {
		buffer.Release()
		return named(&Error{Code: InvalidArgument, Message: "can't encode the input: " + err.Error(), Cause: err}, c.Name)
	}
	s.size = len(encoded)
	if compressor := c.client.config.Compressor; compressor != nil {
		compressor.Compress(buffer)
		encoded = buffer.Bytes
	}
	if err := c.takeCredit(len(encoded) + ResultOverhead); err != nil {
		buffer.Release()
		return err
	}
	frame := Frame{Kind: KindInput, Sequence: c.sequence, Body: encoded, Bulk: s.bulk}
	if buffer.Compressed {
		frame.Flags |= FlagCompressed
	}
	if len(encoded) >= LargeBody {
		frame.Buffer = buffer
	}
	_, err = c.client.transport.Send(s.ctx, frame)
	if err != nil || frame.Buffer == nil {
		buffer.Release()
	}
	if err != nil {
		s.credit.Return(len(encoded) + ResultOverhead) // the command will not see it, so it would not make room for it
	} else {
		s.sent.Add(int64(s.size))
	}
	return c.inputError(err)
}

// takeCredit waits until the command takes inputs or the call has ended.
func (c *call) takeCredit(size int) error {
	waited := false
	for {
		if c.over() {
			return io.EOF
		}
		wait := c.sending.credit.Take(size)
		if wait == nil {
			return nil
		}
		if c.interrupted() != nil {
			return io.EOF
		}
		if !waited {
			waited = true
			c.client.creditWaits.Add(1)
		}
		select {
		case <-wait:
		case <-c.sending.ready:
		case <-c.sending.ctx.Done():
		}
	}
}

// over reports whether the call has ended, as far as that can be told at little cost.
func (c *call) over() bool {
	c.mu.Lock()
	over := c.ended || c.abandoned || c.canceled != nil
	c.mu.Unlock()
	return over || c.ctx.Err() != nil
}

// inputError returns what Send returns if the transport did not take an input.
func (c *call) inputError(err error) error {
	if e, ok := errors.AsType[*Error](err); ok && e.Code == ResourceExhausted { // a limit of the transport
		copied := *e
		return named(&copied, c.Name)
	}
	if err != nil {
		return io.EOF // the context or the connection has ended, as Receive tells
	}
	return nil
}

// CloseSend implements Exchange.
func (c *call) CloseSend() error {
	s := c.sending
	if s == nil {
		return named(&Error{Code: FailedPrecondition, Message: "the command takes no inputs"}, c.Name)
	}
	if s.closed || c.over() {
		return nil
	}
	s.closed = true
	_, err := c.client.transport.Send(s.ctx, Frame{Kind: KindInputEnd, Sequence: c.sequence})
	return c.inputError(err)
}

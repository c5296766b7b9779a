package edictotel

import (
	"context"
	"io"
	"runtime"
	"sync/atomic"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/core"
)

// Sender returns sender with a span around each call: all attempts that a group makes are below it, and so belong to one
// trace. It is an INTERNAL span with the command's name, whose edict.attempts says how many attempts there were, hedges
// not counted. It records no metrics: those of the attempts are recorded.
//
//	desks, err := group.Dial(ctx, DeskCommands, config, telemetry.ClientOption())
//	traced := edictotel.Sender(telemetry, DeskCommands, desks)
//	answer, err := edict.Call(ctx, traced, Ask{Who: "Ada"})
func Sender[T any](t *Telemetry, commands *edict.Registry[T], sender edict.Sender[T]) edict.Sender[T] {
	s := &tracedSender[T]{around: side{telemetry: t, kind: trace.SpanKindInternal}, commands: commands, sender: sender}
	s.around.commands.Store(&map[string]*command{})
	return s
}

type tracedSender[T any] struct {
	around   side // makes spans only
	commands *edict.Registry[T]
	sender   edict.Sender[T]
}

// Start implements edict.Sender.
func (s *tracedSender[T]) Start(ctx context.Context, request edict.Request[T]) (edict.Exchange, error) {
	index, ok := s.commands.Index(request.Command)
	if !ok {
		return s.sender.Start(ctx, request) // which says so
	}
	c := s.around.command(s.commands.At(index).Name())
	ctx, span, _ := s.around.begin(ctx, c)
	if span == nil || !span.IsRecording() {
		return s.sender.Start(ctx, request) // the attempts inherit that they aren't sampled
	}
	e := &tracedExchange{side: &s.around, command: c, span: span, stream: request.Stream}
	var err error
	defer func() {
		if e.Exchange == nil && err == nil { // encoding the command has panicked
			e.finish(edict.Errorf(edict.Internal, "panic"), edict.CallStats{})
		}
	}()
	exchange, err := s.sender.Start(ctx, request)
	if err != nil {
		e.finish(err, edict.CallStats{})
		return nil, err
	}
	e.Exchange = exchange
	return e, nil
}

// tracedExchange is a call with a span around it, which is recorded.
type tracedExchange struct {
	edict.Exchange
	side    *side
	command *command
	span    trace.Span
	stream  bool

	received bool  // Receive has told the end, which is
	err      error // nil is well
	finished atomic.Bool
	canceled atomic.Bool
}

// Receive implements core.Exchange.
func (e *tracedExchange) Receive() (core.Message, error) {
	message, err := e.Exchange.Receive()
	switch {
	case err == io.EOF, err == nil && !e.stream:
		e.received, e.err = true, nil
	case err != nil:
		e.received, e.err = true, err
	}
	return message, err
}

// Cancel implements core.Exchange. Whoever has cancelled a call may drop it, so that nobody closes it.
func (e *tracedExchange) Cancel(cause error) {
	e.Exchange.Cancel(cause)
	if !e.canceled.Swap(true) {
		runtime.SetFinalizer(e, func(e *tracedExchange) { e.finish(errLeft, edict.CallStats{}) })
	}
}

// Close implements core.Exchange.
func (e *tracedExchange) Close() {
	if !e.received {
		e.err = errLeft
	}
	stats := edict.StatsOf(e.Exchange)
	e.Exchange.Close()
	e.finish(e.err, stats)
}

// CallStats implements core.Measured.
func (e *tracedExchange) CallStats() edict.CallStats { return edict.StatsOf(e.Exchange) }

// finish ends the span, once.
func (e *tracedExchange) finish(err error, stats edict.CallStats) {
	if e.finished.Swap(true) {
		return
	}
	r := e.command.result(e.side, edict.CodeOf(err), edict.OutcomeOf(err))
	e.span.SetAttributes(r.attributes...)
	e.span.SetAttributes(attemptsKey.Int(stats.Resent + 1))
	if r.failed && err != errLeft {
		e.span.SetStatus(codes.Error, codeNames[known(edict.CodeOf(err))])
	}
	e.span.End()
}

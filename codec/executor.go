package codec

import (
	"context"
	"io"
	"iter"
	"sync/atomic"

	"github.com/edict-go/edict/core"
)

// unary executes commands with one result.
type unary[C core.Command[T, R], T, R any] struct {
	receiver T
	command  Coder[C]
	result   Coder[R]
	guess    atomic.Int64 // how large the next result may be

	runBoxed func(context.Context, any, core.Execution) error // run, made once
}

func newUnary[C core.Command[T, R], T, R any](receiver T, command Coder[C], result Coder[R]) *unary[C, T, R] {
	u := &unary[C, T, R]{receiver: receiver, command: command, result: result}
	u.runBoxed = func(ctx context.Context, command any, execution core.Execution) error {
		return u.run(ctx, command.(C), execution)
	}
	return u
}

func (u *unary[C, T, R]) Stream() bool { return false }
func (u *unary[C, T, R]) Inputs() bool { return false }

// Execute implements core.Executor.
func (u *unary[C, T, R]) Execute(ctx context.Context, execution core.Execution) error {
	command, err := u.command.Decode(execution.Command())
	if err != nil {
		return undecodable(err)
	}
	return u.execute(ctx, command, execution)
}

func (u *unary[C, T, R]) execute(ctx context.Context, command C, execution core.Execution) error {
	if execution.Intercepted() {
		return execution.Intercept(ctx, command, u.runBoxed)
	}
	return u.run(ctx, command, execution)
}

func (u *unary[C, T, R]) run(ctx context.Context, command C, execution core.Execution) error {
	execution.Decoded()
	if err := execution.Begin(); err != nil {
		return err
	}
	result, err := command.Exec(ctx, u.receiver)
	if err != nil {
		return err
	}
	if execution.Observed() {
		if err := execution.Observe(result); err != nil {
			return err
		}
	}
	for {
		guess := u.guess.Load()
		scratch, err := execution.Scratch(int(guess))
		if err != nil {
			return err
		}
		encoded, err := u.result.Append(scratch, result)
		if err != nil {
			return unencodable(err)
		}
		if size := int64(len(encoded)); size != guess && max(size, guess) > largeResult {
			u.guess.Store(max(size, guess/2))
		}
		if again, err := execution.Reply(encoded); !again {
			return err
		}
	}
}

// largeResult is the size from which it matters how large results are.
const largeResult = 8 << 10

// serverStream executes commands with any number of results.
type serverStream[C core.StreamCommand[T, R], T, R any] struct {
	receiver T
	command  Coder[C]
	result   Coder[R]
}

func (s *serverStream[C, T, R]) Stream() bool { return true }
func (s *serverStream[C, T, R]) Inputs() bool { return false }

// Execute implements core.Executor.
func (s *serverStream[C, T, R]) Execute(ctx context.Context, execution core.Execution) error {
	command, err := s.command.Decode(execution.Command())
	if err != nil {
		return undecodable(err)
	}
	return s.execute(ctx, command, execution)
}

func (s *serverStream[C, T, R]) execute(ctx context.Context, command C, execution core.Execution) error {
	results := newSink(ctx, execution, s.result)
	if execution.Intercepted() {
		return execution.Intercept(ctx, command, func(ctx context.Context, _ any, execution core.Execution) error {
			return s.run(ctx, command, execution, results)
		})
	}
	return s.run(ctx, command, execution, results)
}

func (s *serverStream[C, T, R]) run(ctx context.Context, command C, execution core.Execution, results *sink[R]) error {
	execution.Decoded()
	if err := execution.Begin(); err != nil {
		return err
	}
	return command.Exec(ctx, s.receiver, results)
}

// duplex executes commands with inputs.
type duplex[C core.DuplexCommand[T, I, R], T, I, R any] struct {
	receiver T
	command  Coder[C]
	input    Coder[I]
	result   Coder[R]
}

func (d *duplex[C, T, I, R]) Stream() bool { return true }
func (d *duplex[C, T, I, R]) Inputs() bool { return true }

// Execute implements core.Executor.
func (d *duplex[C, T, I, R]) Execute(ctx context.Context, execution core.Execution) error {
	command, err := d.command.Decode(execution.Command())
	if err != nil {
		return undecodable(err)
	}
	return d.execute(ctx, command, execution)
}

func (d *duplex[C, T, I, R]) execute(ctx context.Context, command C, execution core.Execution) error {
	inputs, results := &source[I]{ctx: ctx, inputs: execution.Received(), coder: d.input}, newSink(ctx, execution, d.result)
	if execution.Intercepted() {
		inputs.observe = execution.ObserveInput
		return execution.Intercept(ctx, command, func(ctx context.Context, _ any, execution core.Execution) error {
			return d.run(ctx, command, execution, inputs, results)
		})
	}
	return d.run(ctx, command, execution, inputs, results)
}

func (d *duplex[C, T, I, R]) run(ctx context.Context, command C, execution core.Execution, inputs *source[I], results *sink[R]) error {
	execution.Decoded()
	if err := execution.Begin(); err != nil {
		return err
	}
	return command.Exec(ctx, d.receiver, inputs, results)
}

// source is the Source of a command that runs behind a connection.
type source[I any] struct {
	ctx     context.Context // the command's
	inputs  core.InputReceiver
	coder   Coder[I]
	observe func(any) error // nil without interceptors
}

// Receive implements core.Source.
func (s *source[I]) Receive() (I, error) { return s.ReceiveContext(s.ctx) }

// ReceiveContext implements core.Source.
func (s *source[I]) ReceiveContext(ctx context.Context) (I, error) {
	var none I
	buffer, err := s.inputs.ReceiveInput(ctx)
	if err != nil {
		return none, err
	}
	input, err := s.coder.Decode(buffer.Bytes)
	buffer.Release()
	if err != nil {
		return none, &core.Error{Code: core.InvalidArgument, Message: "can't decode the input: " + err.Error(), Cause: err}
	}
	if s.observe != nil {
		if err := s.observe(input); err != nil {
			return none, err
		}
	}
	return input, nil
}

// All implements core.Source.
func (s *source[I]) All() iter.Seq2[I, error] {
	return func(yield func(I, error) bool) {
		for {
			input, err := s.Receive()
			if err == io.EOF || !yield(input, err) || err != nil {
				return
			}
		}
	}
}

// sink is the Sink of a command that runs behind a connection.
type sink[R any] struct {
	ctx     context.Context // the command's
	results core.ResultSender
	coder   Coder[R]
	observe func(any) error // nil without interceptors
	size    int             // of the last result, a guess for the next
}

func newSink[R any](ctx context.Context, execution core.Execution, coder Coder[R]) *sink[R] {
	s := &sink[R]{ctx: ctx, results: execution.Results(), coder: coder}
	if execution.Intercepted() {
		s.observe = execution.Observe
	}
	return s
}

// Send implements core.Sink.
func (s *sink[R]) Send(result R) error { return s.SendContext(s.ctx, result) }

// SendContext implements core.Sink.
func (s *sink[R]) SendContext(ctx context.Context, result R) error {
	if s.observe != nil {
		if err := s.observe(result); err != nil {
			return err
		}
	}
	for {
		buffer, err := s.results.Buffer(ctx, s.size)
		if err != nil {
			return err
		}
		encoded, err := s.coder.Append(buffer.Bytes, result)
		buffer.Bytes = encoded
		if err != nil {
			buffer.Release()
			return unencodable(err)
		}
		s.size = len(encoded)
		if again, err := s.results.SendResult(ctx, buffer); !again {
			return err
		}
	}
}

func undecodable(err error) error {
	return &core.Error{Code: core.InvalidArgument, Message: "can't decode the command: " + err.Error(), Cause: err}
}

func unencodable(err error) error {
	return &core.Error{Code: core.Internal, Message: "can't encode the result: " + err.Error(), Cause: err}
}

package codec

import (
	"context"

	"github.com/edict-go/edict/core"
)

// unary executes commands with one result.
type unary[C core.Command[T, R], T, R any] struct {
	receiver T
	command  Coder[C]
	result   Coder[R]
}

func (u *unary[C, T, R]) Stream() bool { return false }

// Execute implements core.Executor.
func (u *unary[C, T, R]) Execute(ctx context.Context, execution core.Execution) error {
	command, err := u.command.Decode(execution.Command())
	if err != nil {
		return undecodable(err)
	}
	if execution.Intercepted() {
		return execution.Intercept(ctx, command, func(ctx context.Context) error { return u.run(ctx, command, execution) })
	}
	return u.run(ctx, command, execution)
}

func (u *unary[C, T, R]) run(ctx context.Context, command C, execution core.Execution) error {
	execution.Begin()
	result, err := command.Exec(ctx, u.receiver)
	if err != nil {
		return err
	}
	if execution.Intercepted() {
		if err := execution.Observe(result); err != nil {
			return err
		}
	}
	encoded, err := u.result.Append(execution.Scratch(), result)
	if err != nil {
		return unencodable(err)
	}
	execution.Reply(encoded)
	return nil
}

// serverStream executes commands with any number of results.
type serverStream[C core.StreamCommand[T, R], T, R any] struct {
	receiver T
	command  Coder[C]
	result   Coder[R]
}

func (s *serverStream[C, T, R]) Stream() bool { return true }

// Execute implements core.Executor.
func (s *serverStream[C, T, R]) Execute(ctx context.Context, execution core.Execution) error {
	command, err := s.command.Decode(execution.Command())
	if err != nil {
		return undecodable(err)
	}
	if execution.Intercepted() {
		return execution.Intercept(ctx, command, func(ctx context.Context) error { return s.run(ctx, command, execution) })
	}
	return s.run(ctx, command, execution)
}

func (s *serverStream[C, T, R]) run(ctx context.Context, command C, execution core.Execution) error {
	sink := &sink[R]{results: execution.Results(), coder: s.result}
	if execution.Intercepted() {
		sink.observe = execution.Observe
	}
	execution.Begin()
	return command.Exec(ctx, s.receiver, sink)
}

// sink is the Sink of a command that runs behind a connection.
type sink[R any] struct {
	results core.ResultSender
	coder   Coder[R]
	observe func(any) error // nil without interceptors
	size    int             // of the last result, a guess for the next
}

// Send implements core.Sink.
func (s *sink[R]) Send(result R) error {
	if s.observe != nil {
		if err := s.observe(result); err != nil {
			return err
		}
	}
	buffer := core.GetBuffer(s.size)
	encoded, err := s.coder.Append(buffer.Bytes, result)
	buffer.Bytes = encoded
	if err != nil {
		buffer.Release()
		return unencodable(err)
	}
	s.size = len(encoded)
	return s.results.SendResult(buffer)
}

func undecodable(err error) error {
	return &core.Error{Code: core.InvalidArgument, Message: "can't decode the command: " + err.Error(), Cause: err}
}

func unencodable(err error) error {
	return &core.Error{Code: core.Internal, Message: "can't encode the result: " + err.Error(), Cause: err}
}

package core

import (
	"context"
	"iter"
)

// Command is a request that carries its own execution: Exec runs on the server, against the
// server's receiver of type T, and returns one result of type R.
//
// Exec runs in a goroutine of its own, so it may block; it should return soon after ctx ends. Its
// ctx ends when the caller cancels, when the caller's deadline passes, when the connection is lost
// and when Exec returns.
type Command[T, R any] interface {
	Exec(ctx context.Context, receiver T) (R, error)
}

// StreamCommand is a command with any number of results, in order, sent while Exec runs.
type StreamCommand[T, R any] interface {
	Exec(ctx context.Context, receiver T, results Sink[R]) error
}

// Sink takes the results of a running StreamCommand.
//
// Send returns once the result is encoded and queued for the connection; the result may be changed
// or reused afterwards. It waits while the caller has not made room (flow control) and returns an
// error when the command's context ends, when the connection is lost or when Exec has returned.
// After an error no further result is delivered. It may be called from any goroutine that ends
// before Exec does, one at a time.
type Sink[R any] interface {
	Send(result R) error
}

// DuplexCommand is a command that takes any number of inputs while it sends any number of results. One
// that takes many inputs and sends one result is an upload.
//
// Exec may return before it has taken all inputs; the caller's sending ends then.
type DuplexCommand[T, I, R any] interface {
	Exec(ctx context.Context, receiver T, inputs Source[I], results Sink[R]) error
}

// Source has the inputs of a running DuplexCommand, in the order in which the caller sent them.
type Source[I any] interface {
	// Receive waits for the next input. It returns io.EOF after the last one, and another error when the
	// command's context ends or the input can't be decoded. It may be called from any goroutine that
	// ends before Exec does, one at a time, also while another one sends results.
	Receive() (I, error)
	// All returns the inputs that are still to come. An error comes once and last; the end is no
	// error. Leaving the loop leaves the rest for later.
	All() iter.Seq2[I, error]
}

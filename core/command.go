package core

import "context"

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

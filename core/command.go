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
	// SendContext is Send, but it stops waiting when ctx ends, too; then the result is not sent, the error is
	// ctx's cause, and others may be sent.
	SendContext(ctx context.Context, result R) error
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
	// ReceiveContext is Receive, but it stops waiting when ctx ends, too: its error is ctx's cause then, and
	// nothing is lost.
	ReceiveContext(ctx context.Context) (I, error)
	// All returns the inputs that are still to come. An error comes once and last; the end is no
	// error. Leaving the loop leaves the rest for later.
	All() iter.Seq2[I, error]
}

// Ordered is an optional interface of commands, whatever their shape: those with the same ordering key
// execute one after another, those with different keys at the same time. Nothing else about them changes.
//
//	func (d Deposit) OrderingKey() string { return d.Account }
//
// A key belongs to the server, because it is the server's receiver that the order protects: commands of
// different types with the same key wait for each other, and so do those of different connections.
// Commands of one connection execute in the order in which the client sent them (so a large one does not
// go in parts, and holds up what comes behind it); of those of different
// connections the one that the server has decoded first. The empty key is no order.
//
// A command has its turn until its Exec has returned, interceptors included, and its result or error is
// encoded; however it ended, the next one follows. A command that waits for its turn has no
// goroutine, but it is in flight: it counts for the limits, and shutdown waits for it. If its context ends
// meanwhile (deadline, cancel, lost connection), it ends at once, and its error says Refused: it did not
// run. A command that waits in its Exec for another one with its key waits for ever.
//
// The server calls OrderingKey once, on the decoded command, before interceptors see it. It should
// return soon: later ordered commands of the same connection wait for it. It may be called while other
// commands run. A client doesn't call it; a group may, in the caller's goroutine.
type Ordered interface {
	OrderingKey() string
}

// Idempotent is an optional interface of commands: one whose Idempotent returns true does no harm if it is
// executed twice. To read is, to set a value, not to add to it.
//
//	func (Balance) Idempotent() bool { return true }
//
// A client that reconnects sends such a command again if it was lost with a connection, and nobody knows
// whether it ran; so does a group, which may also send it to two servers at once (hedging). They ask the
// caller's command; servers don't ask.
type Idempotent interface {
	Idempotent() bool
}

// Package handler is the server's side of a connection: it receives commands, runs each in a
// goroutine, and sends what comes of them.
//
// [Invoker] is what all connections of one server share: interceptors, limits, workers, the logger.
// [Connection] is one connection with its commands in flight.
//
// # A command's life
//
// Connection.Serve reads a COMMAND frame, checks the limits, copies the body and queues a task. A
// worker takes the task: the Executor decodes the command, the interceptors see it, its Exec runs,
// and the result is sent. Whatever happens, a panic or runtime.Goexit included, the caller gets
// exactly one END, ERROR or last RESULT.
//
// # Workers
//
// The read loop never runs user code and never waits for it. It wakes one worker per burst, not one
// per command: a worker that takes a task, and sees more of them, first wakes another worker and
// then runs its own. So a command that blocks holds up no one, while a burst of quick commands is
// done by few goroutines.
//
// # Order
//
// Commands with an ordering key (core.Ordered) execute one after another per key. They are decoded in
// parallel like all others; then each waits, without a goroutine, until it is its turn, and is queued for
// a worker again. The keys are those of the Invoker: connections share them.
package handler

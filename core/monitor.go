package core

import (
	"context"
	"io"
	"time"
)

// CommandMonitor is told of the calls of one command, on one side, without surrounding them as an interceptor does: of
// each that it begins, and how it has ended. It is for metrics of calls that take microseconds. Its methods are
// called by the goroutine that has the call, of which there are many: they must be quick.
type CommandMonitor interface {
	// Begin is told that a call begins. If it returns a context the call goes through the Intercept of the Monitor, with that, and
	// there is no End. metadata is, on a client, what is to go with the command before what the caller sends, if it is not
	// intercepted: encoded as SetEncodedMetadata does that, and not changed any more. The first value of a key counts.
	//
	// So a monitor that only counts returns nil, nil.
	Begin(ctx context.Context, call CallBegin) (intercept context.Context, metadata []byte)
	// End is told, once, how a call has ended for which Begin has returned no context.
	End(call CallEnd)
}

// CallBegin is what is known of a call that begins, beside its context.
type CallBegin struct {
	// Described reports whether metadata goes or came with the command.
	Described bool
	// Metadata is, on a server, what came, encoded: FindMetadata finds a value in it. It must not be changed, nor be kept.
	Metadata []byte
}

// CallEnd is how a call has ended. All of it fits into registers.
type CallEnd struct {
	// Took is how long the call has taken: on a client from its Start to its Close, on a server from when the command came
	// until its last frame was made.
	Took time.Duration
	// Err is nil if the call ended well. On a client its code is Canceled if the caller took no more results. On a server it
	// is what the client is told.
	Err error
	// Outcome says whether the command ran.
	Outcome Outcome
	// CallStats has the sizes, as far as there are any.
	CallStats
}

// Now returns the time since the process began: it is half as dear as time.Now.
func Now() time.Duration { return time.Since(processBegan) }

var processBegan = time.Now()

// tellEnd tells the call's monitor how it has ended, when its caller closes it.
func (c *call) tellEnd() {
	err, outcome := c.failed, Executed
	switch {
	case err == io.EOF:
		err = nil
	case err != nil:
		outcome = OutcomeOf(err)
	case c.Stream || !c.sawEnd:
		err, outcome = errNotTaken, OutcomeUnknown
	}
	request := int64(c.sent)
	if c.sending != nil {
		request += c.sending.sent.Load()
	}
	// Put together here, for to copy what was just stored costs more than all else of this.
	c.monitor.End(CallEnd{
		Took: Now() - c.started, Err: err, Outcome: outcome,
		CallStats: CallStats{RequestBytes: request, ResponseBytes: int64(c.got)},
	})
}

// errNotTaken is how a call ends for its monitor whose caller has not taken all of its results.
var errNotTaken error = &Error{Code: Canceled, Message: "the caller takes no more results"}

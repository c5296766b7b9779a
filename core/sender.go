package core

import "context"

// Sender starts commands for receivers of type T. A client and a group of clients are Senders, and
// so is a fake in a test: see Reply.
type Sender[T any] interface {
	// Start sends the command and returns without waiting for its result. It waits for a free
	// place if as many commands are in flight as the server allows, until ctx ends. ctx governs
	// the whole call: when it ends, the command is cancelled.
	Start(ctx context.Context, request Request[T]) (Exchange, error)
}

// Request is a command on its way to a Sender.
type Request[T any] struct {
	// Command is the command itself: a Command[T, R], StreamCommand[T, R] or DuplexCommand[T, I, R] for
	// some I and R.
	Command any
	// Stream is true if the caller takes any number of results, Inputs if it sends inputs.
	Stream bool
	Inputs bool
	// Options are what the caller wants beside that; nil is nothing. They are not changed until the call is closed.
	// They are apart, so that a Request fits into registers: see benchmarks/FINDINGS.md.
	Options *RequestOptions

	_ [0]func(T) // binds the request to T
}

// RequestOptions are what few calls want. The zero RequestOptions are those of a call without any.
type RequestOptions struct {
	// Bulk lets the call's results and inputs give way to those of other calls.
	Bulk bool
	// FailFast lets the call fail if there is no connection now, instead of waiting for one.
	FailFast bool
	// Window is with how many bytes of results under way a stream is to begin, if that is more than others of
	// the connection begin with; 0 is that.
	Window int
	// Metadata goes with the command; nil is none.
	Metadata Metadata
	// Attempts is set by a Sender that may hand the command to several Senders; else nil.
	Attempts *Attempts
}

// NoOptions are those of calls whose Request has none. They must not be changed.
var NoOptions RequestOptions

// Exchange is a call that has been started. It belongs to one goroutine, except for Cancel; Send and
// CloseSend may belong to another one than the rest.
type Exchange interface {
	// Receive waits for the next result. After the last one it returns io.EOF; an error of the
	// call comes instead of that and stays. The message is valid until the next Receive or Close.
	Receive() (Message, error)
	// Send sends an input of a call that takes some. It waits while the command does not take them, and
	// returns io.EOF when the call has ended in any way, which Receive tells.
	Send(input any) error
	// CloseSend tells the command that there are no more inputs.
	CloseSend() error
	// Cancel tells the server that the results are not wanted. A Receive that waits, now or later,
	// ends with an error that matches cause, if the call had not ended by then. Any goroutine may
	// call it, until Close.
	Cancel(cause error)
	// Metadata returns what the server sent beside the results: complete when Receive has returned
	// io.EOF or an error, and for a unary call with its result.
	Metadata() Metadata
	// Close must be called once, at the end. It cancels the call if that goes on, and releases
	// what it holds. No method may be called afterwards.
	Close()
}

// CallStats is what is known of a call beside its results.
type CallStats struct {
	// RequestBytes is the size of the encoded command and the inputs sent, ResponseBytes that of the results taken:
	// both before compression, without frames and metadata.
	RequestBytes, ResponseBytes int64
	// Resent is how many times the command was sent again: on another connection, or elsewhere by a group.
	Resent int
}

// Measured is an optional interface of Exchanges. CallStats belongs to the goroutine of Receive, and is to be called
// before Close.
type Measured interface{ CallStats() CallStats }

// Message is one result as it came: encoded, or as a value from a Sender without a wire.
type Message struct {
	// Value is the result itself if the Sender had it as such. Otherwise it is nil.
	Value any
	// Body is the encoded result, and Coder what decodes it: a *ResultDecoder[R].
	Body  []byte
	Coder any
}

// ResultDecoder decodes results of type R. It is a struct, not an interface, because to find out that
// a Coder is one must cost next to nothing.
type ResultDecoder[R any] struct {
	Decode func(source []byte) (R, error)
}

// Decode returns the result in a message.
func Decode[R any](message Message) (R, error) {
	if coder, ok := message.Coder.(*ResultDecoder[R]); ok {
		result, err := coder.Decode(message.Body)
		if err != nil {
			return result, &Error{Code: Internal, Outcome: Executed, Message: "can't decode the result: " + err.Error(), Cause: err}
		}
		return result, nil
	}
	result, ok := message.Value.(R)
	if !ok {
		return result, Errorf(Internal, "the result is %T where %T is wanted", message.Value, result)
	}
	return result, nil
}

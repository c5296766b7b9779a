package edict

import (
	"context"
	"io"
	"iter"
	"sync"

	"github.com/edict-go/edict/core"
)

// Sender starts commands for receivers of type T: a *Client[T], or a fake (see Reply).
type Sender[T any] = core.Sender[T]

// Request is a command on its way to a Sender. See [core.Request].
type Request[T any] = core.Request[T]

// RequestOptions are what a Request has beside the command. See [core.RequestOptions].
type RequestOptions = core.RequestOptions

// Exchange is a call as a Sender started it. See [core.Exchange].
type Exchange = core.Exchange

// CallOption changes one call.
type CallOption interface{ applyToCall(*callSettings) }

type callSettings struct {
	request  core.RequestOptions
	response *Metadata
}

type callOption func(*callSettings)

func (o callOption) applyToCall(s *callSettings) { o(s) }

// WithMetadata sends metadata with the command. It must not be changed until the call has returned.
func WithMetadata(metadata Metadata) CallOption {
	return callOption(func(s *callSettings) { s.request.Metadata = metadata })
}

// WithResponseMetadata stores in target, when the call has ended, what the server sent beside the
// result or error.
func WithResponseMetadata(target *Metadata) CallOption {
	return callOption(func(s *callSettings) { s.response = target })
}

// WithBulk lets the call's results and inputs give way to those of other calls on the connection, which
// are interactive: a backup beside a user. Large messages always give way to small ones, so it is of
// use for streams of small ones. It changes nothing else, and nothing about the command's execution.
func WithBulk() CallOption { return callOption(func(s *callSettings) { s.request.Bulk = true }) }

// WithWindow lets a stream begin with a window of so many bytes, instead of growing to it: for one whose
// results are wanted at once, over a long distance. The bytes are reserved in the Budget as long as the call goes on;
// starting it waits for them. For calls of one result it means nothing.
func WithWindow(bytes int) CallOption {
	return callOption(func(s *callSettings) { s.request.Window = bytes })
}

// settle puts the options into request, and returns where the metadata of the response is wanted, or nil.
func settle[T any](request *Request[T], options []CallOption) (response *Metadata) {
	if len(options) == 0 {
		return nil // most calls; the settings below are allocated
	}
	s := new(callSettings)
	for _, option := range options {
		option.applyToCall(s)
	}
	request.Options = &s.request
	return s.response
}

// Call executes a command and returns its result. It waits until the command has ended, ctx ends or
// the connection does. An error has an *Error in its chain, which says in its Outcome whether the
// command ran. After a deadline that is as a rule OutcomeUnknown; Executed, if the server's word that
// the command had failed by then came in time.
func Call[T, R any](ctx context.Context, sender Sender[T], command Command[T, R], options ...CallOption) (R, error) {
	request := Request[T]{Command: command}
	response := settle(&request, options)
	exchange, err := sender.Start(ctx, request)
	if err != nil {
		var none R
		return none, err
	}
	var result R
	message, err := exchange.Receive()
	if err == nil {
		result, err = core.Decode[R](message) // not by receive: each function that a large result passes copies it
	}
	if response != nil {
		*response = exchange.Metadata()
	}
	exchange.Close()
	if err == io.EOF {
		err = noResult()
	}
	return result, err
}

func receive[R any](exchange Exchange) (result R, err error) {
	message, err := exchange.Receive()
	if err != nil {
		return result, err
	}
	return core.Decode[R](message)
}

func noResult() error {
	return &Error{Code: Internal, Outcome: Executed, Message: "the command ended without a result"}
}

// Stream executes a command and returns its results as they come. The command starts when the range
// over them does, and once more with each further range. An error comes once, last, with a zero
// result. Leaving the loop cancels the command.
//
// Results that are not taken hold up the command's Sink.Send on the server, and nothing else.
func Stream[T, R any](ctx context.Context, sender Sender[T], command StreamCommand[T, R], options ...CallOption) iter.Seq2[R, error] {
	return func(yield func(R, error) bool) {
		invocation, err := StartStream(ctx, sender, command, options...)
		if err != nil {
			var none R
			yield(none, err)
			return
		}
		for result, err := range invocation.Results() {
			if !yield(result, err) {
				return
			}
		}
	}
}

// Start sends a command and returns without waiting for its result, which Receive returns. It waits
// for a place if as many commands are in flight as the server allows.
func Start[T, R any](ctx context.Context, sender Sender[T], command Command[T, R], options ...CallOption) (*Invocation[R], error) {
	return start[T, R](ctx, sender, Request[T]{Command: command}, options)
}

// StartStream is Start for a command with any number of results.
func StartStream[T, R any](ctx context.Context, sender Sender[T], command StreamCommand[T, R], options ...CallOption) (*Invocation[R], error) {
	return start[T, R](ctx, sender, Request[T]{Command: command, Stream: true}, options)
}

// StartDuplex is Start for a command that takes inputs.
func StartDuplex[T, I, R any](ctx context.Context, sender Sender[T], command DuplexCommand[T, I, R], options ...CallOption) (*DuplexInvocation[I, R], error) {
	invocation, err := start[T, R](ctx, sender, Request[T]{Command: command, Stream: true, Inputs: true}, options)
	if err != nil {
		return nil, err
	}
	return &DuplexInvocation[I, R]{invocation}, nil
}

// Upload executes a command with its inputs and returns its one result. The inputs are asked for as fast as
// the command takes them; an error among them cancels the command and is returned, as the cause of an
// *Error. If the command ends before it has taken all, the rest of them is not asked for.
func Upload[T, I, R any](ctx context.Context, sender Sender[T], command DuplexCommand[T, I, R], inputs iter.Seq2[I, error], options ...CallOption) (R, error) {
	var none R
	invocation, err := StartDuplex(ctx, sender, command, options...)
	if err != nil {
		return none, err
	}
	for input, err := range inputs {
		if err != nil {
			err = &Error{Code: CodeOf(err), Message: "the inputs broke off: " + err.Error(), Cause: err}
			invocation.close(err)
			return none, err
		}
		if err = invocation.Send(input); err == io.EOF {
			break // the command has ended
		} else if err != nil {
			invocation.close(err)
			return none, err
		}
	}
	if err := invocation.CloseSend(); err != nil && err != io.EOF {
		invocation.close(err)
		return none, err
	}
	result, err := invocation.Receive()
	if err == io.EOF {
		return none, noResult()
	}
	if err != nil {
		return none, err
	}
	switch _, err := invocation.Receive(); err {
	case io.EOF:
		return result, nil
	case nil:
		err = &Error{Code: Internal, Outcome: Executed, Message: "the command sent more than one result"}
		invocation.close(err)
		return none, err
	default:
		return none, err
	}
}

func start[T, R any](ctx context.Context, sender Sender[T], request Request[T], options []CallOption) (*Invocation[R], error) {
	response := settle(&request, options)
	exchange, err := sender.Start(ctx, request)
	if err != nil {
		return nil, err
	}
	i := &Invocation[R]{exchange: exchange, stream: request.Stream, response: response}
	if ctx.Done() != nil {
		// A caller that is not in Receive must hear of the end too, and the server through it.
		i.stop = context.AfterFunc(ctx, func() { i.cancel(context.Cause(ctx)) })
	}
	return i, nil
}

// Invocation is a command in flight, started with Start or StartStream. It belongs to one goroutine
// at a time, except for Cancel. It needs no closing once Receive has returned an error (for one
// result: has returned), or after Cancel; one that is dropped before keeps its resources until the
// command or its context ends.
type Invocation[R any] struct {
	stream   bool
	response *Metadata
	stop     func() bool // of the AfterFunc on the context; nil without one
	ended    error       // what Receive returns from now on

	mu       sync.Mutex // guards the following; Cancel may come while the receiver closes
	exchange Exchange
	closed   bool
	metadata Metadata
}

// Receive waits for the next result. After the last one it returns io.EOF; if the command failed it
// returns the error, now and later.
func (i *Invocation[R]) Receive() (R, error) {
	if i.ended != nil {
		var none R
		return none, i.ended
	}
	result, err := receive[R](i.exchange)
	switch {
	case err == io.EOF && !i.stream:
		err = noResult()
		i.close(err)
	case err != nil:
		i.close(err)
	case !i.stream:
		i.close(io.EOF)
	}
	return result, err
}

// Results returns the results that are still to come; an error comes once and last. Leaving the
// loop cancels the command.
func (i *Invocation[R]) Results() iter.Seq2[R, error] {
	return func(yield func(R, error) bool) {
		defer func() { i.close(canceledByCaller()) }() // if it is not closed already
		for {
			result, err := i.Receive()
			if err == io.EOF {
				return
			}
			if !yield(result, err) || err != nil {
				return
			}
		}
	}
}

func canceledByCaller() error {
	return &Error{Code: Canceled, Message: "the caller takes no more results", Cause: context.Canceled}
}

// Cancel tells the server that the results are not wanted. Receive then returns an error that
// matches context.Canceled, unless the command has ended before. Any goroutine may call it, at any
// time.
func (i *Invocation[R]) Cancel() { i.cancel(context.Canceled) }

func (i *Invocation[R]) cancel(cause error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.closed {
		i.exchange.Cancel(cause)
	}
}

// Metadata returns what the server sent beside the results. It is complete when the command has
// ended, as seen by Receive.
func (i *Invocation[R]) Metadata() Metadata {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.metadata
}

// close releases the exchange, which cancels the command if it goes on. ended is what later Receives
// return.
func (i *Invocation[R]) close(ended error) {
	if i.stop != nil {
		i.stop()
	}
	i.mu.Lock()
	if i.closed {
		i.mu.Unlock()
		return
	}
	i.closed = true // from now on Cancel leaves the exchange alone
	i.ended = ended
	i.metadata = i.exchange.Metadata()
	if i.response != nil {
		*i.response = i.metadata
	}
	i.mu.Unlock()
	i.exchange.Close() // an interceptor's code may run in it
}

// DuplexInvocation is an Invocation that also takes inputs. Send and CloseSend may be called from
// another goroutine than the rest, one at a time.
type DuplexInvocation[I, R any] struct{ *Invocation[R] }

// Send sends an input. It returns when it is encoded and queued for the connection; the input may be
// changed or reused afterwards. It waits while the command takes no more (flow control). When the call
// has ended, whatever the reason, it returns io.EOF: Receive tells the reason. Other errors mean that
// the input can't be sent; the call goes on without it.
func (d *DuplexInvocation[I, R]) Send(input I) error {
	if exchange := d.open(); exchange != nil {
		return exchange.Send(input)
	}
	return io.EOF
}

// CloseSend tells the command that there are no more inputs: its Source ends. Results still come.
func (d *DuplexInvocation[I, R]) CloseSend() error {
	if exchange := d.open(); exchange != nil {
		return exchange.CloseSend()
	}
	return io.EOF
}

// open returns the exchange, or nil if it is closed.
func (i *Invocation[R]) open() Exchange {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return nil
	}
	return i.exchange
}

// Reply returns an Exchange with these results, for fakes of a Sender in tests.
func Reply[R any](results ...R) Exchange {
	reply := &reply{}
	for _, result := range results {
		reply.results = append(reply.results, result)
	}
	return reply
}

// ReplyError returns an Exchange that fails, for fakes of a Sender in tests.
func ReplyError(err error) Exchange { return &reply{err: err} }

// reply is an Exchange without a wire.
type reply struct {
	results []any
	err     error
}

func (r *reply) Receive() (core.Message, error) {
	if len(r.results) > 0 {
		result := r.results[0]
		r.results = r.results[1:]
		return core.Message{Value: result}, nil
	}
	if r.err != nil {
		return core.Message{}, r.err
	}
	return core.Message{}, io.EOF
}

func (r *reply) Send(any) error     { return nil }
func (r *reply) CloseSend() error   { return nil }
func (r *reply) Cancel(error)       {}
func (r *reply) Metadata() Metadata { return nil }
func (r *reply) Close()             {}

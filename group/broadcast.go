package group

import (
	"context"
	"errors"
	"iter"
	"sync"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/core"
)

// Answer is what one endpoint answered to a Broadcast.
type Answer[R any] struct {
	Address  string
	Result   R
	Metadata core.Metadata // sent beside the result or error
}

// Broadcast executes a command once at each endpoint that is listed when the range over the answers begins, and
// returns the answers as they come. There is one per endpoint: its result, or an error with a zero Result. Unlike
// elsewhere, an error is not the end. Leaving the loop cancels what still runs.
//
// If nothing is listed yet it waits for that. For an endpoint that is not connected the command waits, as long as ctx allows and the endpoint is listed; with
// edict.WithFailFast its answer is an error at once.
//
// Failures are tried again at the same endpoint, by the same rules as those of other calls. The option
// edict.WithResponseMetadata sets nothing: see Answer.
func Broadcast[T, R any](ctx context.Context, g *Group[T], command core.Command[T, R], options ...edict.CallOption) iter.Seq2[Answer[R], error] {
	return func(yield func(Answer[R], error) bool) {
		var request recorder[T]
		if _, err := edict.Call(ctx, &request, command, options...); !errors.Is(err, errRecorded) {
			yield(Answer[R]{}, err)
			return
		}
		type answer struct {
			Answer[R]
			err error
		}
		endpoints, err := g.pool.endpointsListed(ctx)
		if err != nil {
			yield(Answer[R]{}, err)
			return
		}
		answers := make(chan answer, len(endpoints))
		ctx, cancel := context.WithCancel(ctx)
		var running sync.WaitGroup
		defer running.Wait()
		defer cancel()
		for _, e := range endpoints {
			running.Go(func() { // ends with its call, which ends with ctx
				a := answer{Answer: Answer[R]{Address: e.address}}
				a.Result, a.Metadata, a.err = callAt[R](ctx, g, request.Request, e.address)
				answers <- a
			})
		}
		for range endpoints {
			if a := <-answers; !yield(a.Answer, a.err) {
				return
			}
		}
	}
}

// callAt executes a command at one endpoint.
func callAt[R, T any](ctx context.Context, g *Group[T], request core.Request[T], address string) (result R, metadata core.Metadata, err error) {
	g.budget.deposit()
	exchange, err := g.start(ctx, request, address)
	if err != nil {
		return result, nil, err
	}
	defer exchange.Close()
	message, err := exchange.Receive()
	if err != nil {
		return result, exchange.Metadata(), err
	}
	result, err = core.Decode[R](message)
	return result, exchange.Metadata(), err
}

// recorder is a Sender that sends nothing: it finds out what request the options of a call make.
type recorder[T any] struct{ core.Request[T] }

var errRecorded = errors.New("recorded")

// Start implements core.Sender.
func (r *recorder[T]) Start(_ context.Context, request core.Request[T]) (core.Exchange, error) {
	r.Request = request
	return nil, errRecorded
}

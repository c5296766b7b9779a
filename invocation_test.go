package edict_test

import (
	"context"
	"io"
	"testing"

	"github.com/edict-go/edict"
)

// What an interceptor does when the call has ended may look at the invocation, or cancel it.
func TestObserverUsesItsInvocation(t *testing.T) {
	var invocation *edict.Invocation[int]
	seen := make(chan edict.Metadata, 1)
	watch := func(ctx context.Context, call *edict.ClientCall, next edict.ClientNext) (edict.Exchange, error) {
		exchange, err := next(ctx, call)
		if err != nil {
			return nil, err
		}
		return edict.ObserveEnd(call, exchange, func(error) {
			invocation.Cancel()
			seen <- invocation.Metadata()
		}), nil
	}
	client := serve(t).client(edict.WithClientInterceptors(watch))
	var err error
	if invocation, err = edict.Start(t.Context(), client, add{2, 3}); err != nil {
		t.Fatal(err)
	}
	if sum, err := invocation.Receive(); sum != 5 || err != nil {
		t.Error(sum, err)
	}
	<-seen
	if _, err := invocation.Receive(); err != io.EOF {
		t.Error(err)
	}
}

package edict_test

import (
	"context"
	"fmt"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/transport"
)

// requireToken lets in those who know the token. What it turns away was Refused: it did not run.
func requireToken(ctx context.Context, call *edict.ServerCall, next func(context.Context) error) error {
	if call.Metadata().Get("token") != "sesame" {
		return edict.Errorf(edict.Unauthenticated, "%s needs a token", call.Name)
	}
	return next(ctx)
}

// sendToken adds the token to every command.
func sendToken(ctx context.Context, call *edict.ClientCall, next edict.ClientNext) (edict.Exchange, error) {
	call.SetMetadata("token", "sesame")
	return next(ctx, call)
}

// logCalls prints how each call ended, also those that could not be sent.
func logCalls(ctx context.Context, call *edict.ClientCall, next edict.ClientNext) (edict.Exchange, error) {
	exchange, err := next(ctx, call)
	if err != nil {
		fmt.Println("log:", call.Name, err)
		return nil, err
	}
	return edict.ObserveEnd(call, exchange, func(err error) { fmt.Println("log:", call.Name, err) }), nil
}

func Example_interceptors() {
	ctx := context.Background()
	listener := transport.NewMemory()
	server := edict.NewServer(&Calc{}, Commands, edict.WithServerInterceptors(requireToken))
	go server.Serve(listener)
	defer server.Close()

	stranger, err := edict.Dial(ctx, "memory", Commands, edict.WithDialer(listener.Dial))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer stranger.Close()
	_, err = edict.Call(ctx, stranger, Add{2, 3})
	fmt.Println(err)

	friend, err := edict.Dial(ctx, "memory", Commands, edict.WithDialer(listener.Dial),
		edict.WithClientInterceptors(logCalls, sendToken))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer friend.Close()
	fmt.Println(edict.Call(ctx, friend, Add{2, 3}))
	// Output:
	// edict: Add: unauthenticated: Add needs a token (refused, not executed)
	// log: Add <nil>
	// 5 <nil>
}

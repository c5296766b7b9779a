package edict_test

import (
	"context"
	"fmt"

	"github.com/edict-go/edict"
)

// total is code to be tested. It takes any Sender, so that a test needs no server.
func total(ctx context.Context, calc edict.Sender[*Calc], numbers ...int) (int, error) {
	sum := 0
	for _, n := range numbers {
		var err error
		if sum, err = edict.Call(ctx, calc, Add{sum, n}); err != nil {
			return 0, err
		}
	}
	return sum, nil
}

// fakeCalc is a Sender that answers out of its head.
type fakeCalc struct{}

func (fakeCalc) Start(ctx context.Context, request edict.Request[*Calc]) (edict.Exchange, error) {
	add, ok := request.Command.(Add)
	if !ok || add.B < 0 {
		return nil, edict.Errorf(edict.InvalidArgument, "unexpected command: %#v", request.Command)
	}
	return edict.Reply(add.A + add.B), nil
}

func ExampleSender() {
	ctx := context.Background()
	fmt.Println(total(ctx, fakeCalc{}, 1, 2, 3))
	_, err := total(ctx, fakeCalc{}, 1, -2)
	fmt.Println(edict.CodeOf(err))
	// Output:
	// 6 <nil>
	// invalid argument
}

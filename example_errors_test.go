package edict_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/transport"
)

// Account is a receiver: all commands share it, so it has a lock.
type Account struct {
	mu      sync.Mutex
	balance int
}

// ErrTooPoor is declared beside the commands. errors.Is finds it on both sides, by its code and reason.
var ErrTooPoor = &edict.Error{Code: edict.FailedPrecondition, Reason: "too-poor"}

// Shortage is a detail: a fact for programs.
type Shortage struct{ Missing int }

type Withdraw struct{ Amount int }

func (w Withdraw) Exec(ctx context.Context, account *Account) (int, error) {
	account.mu.Lock()
	defer account.mu.Unlock()
	if missing := w.Amount - account.balance; missing > 0 {
		err := ErrTooPoor.With("%d more would be needed", missing)
		return 0, err.WithDetail(Shortage{Missing: missing}).WithRetryAfter(time.Minute)
	}
	account.balance -= w.Amount
	return account.balance, nil
}

var AccountCommands = edict.Commands(edict.Unary[Withdraw]())

func ExampleError() {
	ctx := context.Background()
	listener := transport.NewMemory()
	server := edict.NewServer(&Account{balance: 10}, AccountCommands)
	go server.Serve(listener)
	defer server.Close()
	client, err := edict.Dial(ctx, "memory", AccountCommands, edict.WithDialer(listener.Dial))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	_, err = edict.Call(ctx, client, Withdraw{Amount: 15})
	fmt.Println(err)
	fmt.Println(errors.Is(err, ErrTooPoor))
	fmt.Println(errors.Is(err, edict.FailedPrecondition))
	fmt.Println(edict.OutcomeOf(err))
	if shortage, ok := edict.DetailOf[Shortage](err); ok {
		fmt.Println("missing:", shortage.Missing)
	}
	if e, ok := errors.AsType[*edict.Error](err); ok {
		fmt.Println("try again in", e.RetryAfter)
	}
	// Output:
	// edict: Withdraw: failed precondition: 5 more would be needed (executed)
	// true
	// true
	// executed
	// missing: 5
	// try again in 1m0s
}

// After NotSent and Refused the command did not run and will not: it can be sent again without the
// risk of running it twice.
func ExampleOutcomeOf() {
	ctx := context.Background()
	listener := transport.NewMemory()
	server := edict.NewServer(&Account{balance: 10}, AccountCommands)
	go server.Serve(listener)
	defer server.Close()
	client, err := edict.Dial(ctx, "memory", AccountCommands, edict.WithDialer(listener.Dial))
	if err != nil {
		fmt.Println(err)
		return
	}
	client.Close()

	_, err = edict.Call(ctx, client, Withdraw{Amount: 5})
	if !edict.OutcomeOf(err).Ran() {
		fmt.Println("send it again:", err)
	}
	// Output: send it again: edict: Withdraw: unavailable: the connection was closed (not sent)
}

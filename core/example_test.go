package core_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/edict-go/edict/core"
)

// A package of commands declares its errors once. What arrives on the client is another value, but
// errors.Is finds the sentinel by its code and reason.
func ExampleError() {
	errPoor := &core.Error{Code: core.FailedPrecondition, Reason: "insufficient-funds"}

	// On the server, in Exec:
	type Balance struct{ Have, Want int }
	failed := errPoor.With("balance is %d, %d are wanted", 5, 7).WithDetail(Balance{5, 7}).WithRetryAfter(time.Minute)

	// Over the wire, and on the client:
	err := error(core.DecodeError(core.AppendError(nil, failed)))
	fmt.Println(err)
	fmt.Println(errors.Is(err, errPoor), errors.Is(err, core.FailedPrecondition), errors.Is(err, core.NotFound))
	if balance, ok := core.DetailOf[Balance](err); ok {
		fmt.Println("missing:", balance.Want-balance.Have)
	}
	if e, ok := errors.AsType[*core.Error](err); ok {
		fmt.Println("try again in", e.RetryAfter)
	}
	// Output:
	// edict: failed precondition: balance is 5, 7 are wanted
	// true true false
	// missing: 2
	// try again in 1m0s
}

// The outcome says whether a command can be sent again without the risk of running it twice.
func ExampleOutcomeOf() {
	for _, err := range []error{
		nil,
		&core.Error{Code: core.Unavailable, Outcome: core.Refused},
		&core.Error{Code: core.Unavailable},
	} {
		outcome := core.OutcomeOf(err)
		fmt.Printf("%v, may have run: %v\n", outcome, outcome.Ran())
	}
	// Output:
	// executed, may have run: true
	// refused, may have run: false
	// unknown, may have run: true
}

func ExampleMetadata() {
	m := core.Metadata{}
	m.Set("Tenant", "seven")
	m.Add("trace", "ab")
	m.Add("trace", "cd")
	fmt.Println(m.Get("tenant"), m["trace"], m.Get("absent") == "")
	// Output: seven [ab cd] true
}

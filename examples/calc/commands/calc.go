package commands

import (
	"context"
	"iter"
	"time"

	"github.com/edict-go/edict"
)

// Calc is the receiver: what the commands work on. The server has one, which all commands of all
// clients share, so its methods must be safe for concurrent use.
type Calc struct{}

// ErrDivisionByZero is found again on the client, with errors.Is, by its code and reason.
var ErrDivisionByZero = &edict.Error{
	Code: edict.InvalidArgument, Reason: "division-by-zero", Message: "can't divide by zero",
}

// Add returns a + b.
func (*Calc) Add(a, b int) int { return a + b }

// Divide returns a / b.
func (*Calc) Divide(a, b int) (int, error) {
	if b == 0 {
		return 0, ErrDivisionByZero
	}
	return a / b, nil
}

// Wait returns after d, or with an error when ctx ends.
func (*Calc) Wait(ctx context.Context, d time.Duration) (time.Duration, error) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return d, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// Primes returns the prime numbers up to and including limit.
func (*Calc) Primes(limit int) iter.Seq[int] {
	return func(yield func(int) bool) {
		for n := 2; n <= limit; n++ {
			if isPrime(n) && !yield(n) {
				return
			}
		}
	}
}

func isPrime(n int) bool {
	for d := 2; d*d <= n; d++ {
		if n%d == 0 {
			return false
		}
	}
	return true
}

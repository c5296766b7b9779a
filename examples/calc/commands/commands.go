// Package commands has the calculator and its commands. A client and a server both import it.
//
// The commands are plain structs, which the codecs JSON and MessagePack take as they are. For the
// codec MUS, edict-gen writes serializers, and the variable MUS, to edict_mus.gen.go.
package commands

import (
	"context"
	"time"

	"github.com/edict-go/edict"
)

//go:generate go tool edict-gen

// All is what a client and a server of the calculator agree on.
var All = edict.Commands(
	edict.Unary[Add](),
	edict.Unary[Divide](),
	edict.Unary[Wait](),
	edict.ServerStream[Primes](),
)

// Add adds two numbers.
type Add struct{ A, B int }

// Exec runs on the server. Its second result decides the type of edict.Call's: here int.
func (c Add) Exec(_ context.Context, calc *Calc) (int, error) {
	return calc.Add(c.A, c.B), nil
}

// Divide divides A by B. It fails with ErrDivisionByZero.
type Divide struct{ A, B int }

// Exec runs on the server.
func (c Divide) Exec(_ context.Context, calc *Calc) (int, error) {
	return calc.Divide(c.A, c.B)
}

// Wait does nothing for a while, and returns for how long.
type Wait struct{ For time.Duration }

// Exec runs on the server. ctx has the caller's deadline, and ends when the caller gives up.
func (c Wait) Exec(ctx context.Context, calc *Calc) (time.Duration, error) {
	return calc.Wait(ctx, c.For)
}

// Primes finds the prime numbers up to a limit. It is a command with any number of results.
type Primes struct{ UpTo int }

// Exec runs on the server. Each result is sent as soon as it is found; Send waits while the caller
// has not taken the ones before.
func (c Primes) Exec(_ context.Context, calc *Calc, out edict.Sink[int]) error {
	for prime := range calc.Primes(c.UpTo) {
		if err := out.Send(prime); err != nil {
			return err // the caller is gone
		}
	}
	return nil
}

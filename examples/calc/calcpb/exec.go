// Package calcpb has the calculator's commands as protocol buffers, for the codec protobuf.
//
// protoc writes the messages of calc.proto to calc.pb.go; the methods here make commands of them.
// They work on the same receiver as the commands of package commands do.
package calcpb

import (
	"context"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/examples/calc/commands"
)

// It needs protoc (Debian's package is protobuf-compiler; version 3.21 made what is here). The
// plugin is pinned in go.mod.
//
//go:generate sh -c "protoc --plugin=protoc-gen-go=$(go tool -n protoc-gen-go) --go_out=. --go_opt=paths=source_relative calc.proto"

// All is what a client and a server of the calculator agree on.
var All = edict.Commands(
	edict.Unary[*Add](),
	edict.Unary[*Divide](),
	edict.Unary[*Wait](),
	edict.ServerStream[*Primes](),
)

// Exec adds two numbers.
func (x *Add) Exec(_ context.Context, calc *commands.Calc) (*Number, error) {
	return &Number{Value: int64(calc.Add(int(x.A), int(x.B)))}, nil
}

// Exec divides A by B. It fails with commands.ErrDivisionByZero.
func (x *Divide) Exec(_ context.Context, calc *commands.Calc) (*Number, error) {
	quotient, err := calc.Divide(int(x.A), int(x.B))
	if err != nil {
		return nil, err
	}
	return &Number{Value: int64(quotient)}, nil
}

// Exec does nothing for a while, and returns for how long.
func (x *Wait) Exec(ctx context.Context, calc *commands.Calc) (*durationpb.Duration, error) {
	waited, err := calc.Wait(ctx, x.For.AsDuration())
	if err != nil {
		return nil, err
	}
	return durationpb.New(waited), nil
}

// Exec finds the prime numbers up to a limit.
func (x *Primes) Exec(_ context.Context, calc *commands.Calc, out edict.Sink[*Number]) error {
	for prime := range calc.Primes(int(x.UpTo)) {
		if err := out.Send(&Number{Value: int64(prime)}); err != nil {
			return err
		}
	}
	return nil
}

// Package shop has the commands that the tests of the command line call.
package shop

import (
	"context"
	"errors"
	"strings"

	"github.com/edict-go/edict"
)

// Shop is their receiver.
type Shop struct{}

// Add adds two numbers.
type Add struct{ A, B int }

// Exec implements edict.Command.
func (a Add) Exec(context.Context, *Shop) (int, error) { return a.A + a.B, nil }

// Buy fails, with an error for programs.
type Buy struct {
	Item string `json:"item"`
}

// Exec implements edict.Command.
func (b Buy) Exec(ctx context.Context, _ *Shop) (string, error) {
	if b.Item == "" {
		return "", (&edict.Error{Code: edict.FailedPrecondition, Reason: "sold-out"}).With("there is no tea left")
	}
	return b.Item + " for " + edict.MetadataOf(ctx).Get("tenant"), nil
}

// Count streams numbers.
type Count struct{ To int }

// Exec implements edict.StreamCommand.
func (c Count) Exec(_ context.Context, _ *Shop, out edict.Sink[int]) error {
	for n := range c.To {
		if err := out.Send(n); err != nil {
			return err
		}
	}
	return nil
}

// Shout answers each input.
type Shout struct{}

// Exec implements edict.DuplexCommand.
func (Shout) Exec(_ context.Context, _ *Shop, in edict.Source[string], out edict.Sink[string]) error {
	for text, err := range in.All() {
		if err != nil {
			return err
		}
		if err := out.Send(strings.ToUpper(text)); err != nil {
			return err
		}
	}
	return nil
}

// Hang runs until its caller leaves.
type Hang struct{}

// Exec implements edict.Command.
func (Hang) Exec(ctx context.Context, _ *Shop) (int, error) {
	<-ctx.Done()
	return 0, errors.New("the caller has left")
}

// Commands are those of Shop.
var Commands = edict.Commands(edict.Unary[Add](), edict.Unary[Buy](), edict.ServerStream[Count](), edict.Duplex[Shout](), edict.Unary[Hang]())

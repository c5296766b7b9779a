// Package commands has the commands of the example: a shop is asked for its stock.
package commands

import (
	"context"
	"log/slog"

	"github.com/edict-go/edict"
)

// Shop is the receiver of the commands.
type Shop struct {
	Name   string
	Stock  map[string]int
	Logger *slog.Logger
}

// Stock asks how much there is of something.
type Stock struct{ Item string }

// Exec implements edict.Command.
func (s Stock) Exec(ctx context.Context, shop *Shop) (int, error) {
	n, ok := shop.Stock[s.Item]
	if !ok {
		shop.Logger.InfoContext(ctx, "somebody asks for what we don't have", "shop", shop.Name)
		return 0, edict.Errorf(edict.NotFound, "we don't have that")
	}
	return n, nil
}

// Idempotent implements edict.Idempotent.
func (Stock) Idempotent() bool { return true }

// List names everything there is.
type List struct{}

// Exec implements edict.StreamCommand.
func (List) Exec(_ context.Context, shop *Shop, out edict.Sink[string]) error {
	for item := range shop.Stock {
		if err := out.Send(item); err != nil {
			return err
		}
	}
	return nil
}

// All has the commands.
var All = edict.Commands(edict.Unary[Stock](), edict.ServerStream[List]())

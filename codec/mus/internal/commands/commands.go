// Package commands has commands of all shapes, for the tests of the codec and of edict-gen.
package commands

import (
	"context"

	"github.com/edict-go/edict/codec/codectest"
	"github.com/edict-go/edict/core"
)

//go:generate go tool edict-gen

// Shop is the receiver.
type Shop struct{}

// Echo is the message that benchmarks send.
type Echo struct {
	Flag   bool
	Number int64
	Text   string
	Value  float64
}

// Exec returns e.
func (e Echo) Exec(context.Context, *Shop) (Echo, error) { return e, nil }

// Place carries a type of another package.
type Place struct{ Order codectest.Order }

// Exec returns the order.
func (p Place) Exec(context.Context, *Shop) (codectest.Order, error) { return p.Order, nil }

// Grow carries a recursive type.
type Grow struct{ Tree codectest.Tree }

// Exec returns the trees, and is on the pointer.
func (g *Grow) Exec(context.Context, *Shop) ([]codectest.Tree, error) { return g.Tree.Children, nil }

// Watch has many results.
type Watch struct{ Names []string }

// Exec sends nothing.
func (w Watch) Exec(context.Context, *Shop, core.Sink[map[string]codectest.Item]) error { return nil }

// Clear has nothing to say.
type Clear struct{}

// Exec does nothing.
func (Clear) Exec(context.Context, *Shop) (struct{}, error) { return struct{}{}, nil }

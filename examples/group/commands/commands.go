// Package commands has a library's branch and its commands. Clients and servers both import it.
package commands

import (
	"context"
	"sync/atomic"

	"github.com/edict-go/edict"
)

// All is what clients and servers agree on.
var All = edict.Commands(
	edict.Unary[Find](),
	edict.Unary[Reserve](),
	edict.Unary[Report](),
)

// Branch is the receiver: one of the library's branches. Each server has one.
type Branch struct {
	Name            string
	found, reserved atomic.Int64
}

// Find asks where a book is.
type Find struct{ Title string }

// Exec runs on the server.
func (c Find) Exec(_ context.Context, branch *Branch) (string, error) {
	branch.found.Add(1)
	return branch.Name, nil
}

// Idempotent makes Find an edict.Idempotent: a group tries it again even if nobody knows whether it ran.
func (Find) Idempotent() bool { return true }

// GroupKey makes Find a group.Keyed: with -strategy key the same title is looked up at the same branch.
func (c Find) GroupKey() string { return c.Title }

// Reserve reserves a book. It must not run twice, so a group tries it again only if it did not run.
type Reserve struct{ Title string }

// Exec runs on the server.
func (c Reserve) Exec(_ context.Context, branch *Branch) (string, error) {
	branch.reserved.Add(1)
	return branch.Name, nil
}

// Report asks a branch what it has done.
type Report struct{}

// Totals is what a branch has done.
type Totals struct {
	Branch          string
	Found, Reserved int64
}

// Exec runs on the server.
func (Report) Exec(_ context.Context, branch *Branch) (Totals, error) {
	return Totals{Branch: branch.Name, Found: branch.found.Load(), Reserved: branch.reserved.Load()}, nil
}

// Idempotent makes Report an edict.Idempotent.
func (Report) Idempotent() bool { return true }

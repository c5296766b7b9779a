package group

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/edict-go/edict/core"
)

// Group sends the commands of a receiver of type T to the endpoints that it knows, over connections that it makes
// and gives up by itself. It is an edict.Sender: use edict.Call, edict.Stream and edict.Start with it. Safe for
// concurrent use.
type Group[T any] struct {
	config Config
	pool   *pool[T]
	budget *budget
	calls  sync.Pool // of *call[T]

	latencies sync.Map // of *quantiles, by the type of command; empty without hedging

	retries, hedges, hedgesWon atomic.Int64
}

// New returns a group whose connections connect makes. It returns at once; WaitReady waits for the first
// connection, and so do the calls. Close or Shutdown must be called.
//
// Most programs use Dial. New is for connections with options that depend on the address, and for those that
// are not Edict's.
func New[T any](connect Connect[T], config Config) (*Group[T], error) {
	if config.Endpoints == nil {
		return nil, &core.Error{Code: core.InvalidArgument, Outcome: core.NotSent, Message: "group.Config.Endpoints is nil: use group.Static(addresses...)"}
	}
	config.setDefaults()
	g := &Group[T]{config: config, budget: newBudget(config.Retry)}
	g.pool = newPool(connect, &g.config)
	return g, nil
}

// Start implements edict.Sender. It waits for a connection if none is ready, unless the request says FailFast.
func (g *Group[T]) Start(ctx context.Context, request core.Request[T]) (core.Exchange, error) {
	g.budget.deposit()
	return g.start(ctx, request, "")
}

func (g *Group[T]) start(ctx context.Context, request core.Request[T], only string) (core.Exchange, error) {
	c := g.newCall(ctx, request)
	c.only = only
	if err := c.begin(); err != nil {
		c.recycle()
		return nil, err
	}
	return c, nil
}

// WaitReady waits until a connection is ready. If ctx ends first, if there will be no connection soon because
// all endpoints have refused for good, or if the group is closed, it returns an error.
func (g *Group[T]) WaitReady(ctx context.Context) error {
	for {
		ready := g.pool.view.Load()
		switch {
		case len(ready.endpoints) > 0:
			return nil
		case g.pool.isClosing():
			return errClosed()
		}
		if hopeless := ready.hopeless(""); hopeless != nil {
			return hopeless
		}
		select {
		case <-ready.changed:
		case <-ctx.Done():
			err := unready(ready.cause)
			err.Code, err.Cause = core.CodeOf(ctx.Err()), errors.Join(context.Cause(ctx), ready.cause)
			return err
		}
	}
}

// errClosed is the error of what needs a connection when the group is closed.
func errClosed() error {
	return &core.Error{Code: core.Unavailable, Outcome: core.NotSent, Message: "the group is closed", Cause: core.ErrClosed}
}

// Shutdown takes no more commands, waits until those in flight have ended, and closes all connections. If ctx
// ends first they are closed at once, and the error is ctx's. Calls that wait to be tried again end with an
// error that matches edict.ErrClosed.
func (g *Group[T]) Shutdown(ctx context.Context) error { return g.pool.stop(ctx) }

// Close closes all connections at once: calls in flight return, each with the outcome that is known of it. It
// waits for the group's goroutines, and may be called again.
func (g *Group[T]) Close() error {
	g.pool.cut(core.ErrClosed)
	_ = g.pool.stop(context.Background())
	return nil
}

// Package commands has the counter and its commands. A client and a server both import it.
package commands

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/edict-go/edict"
)

// All is what a client and a server agree on.
var All = edict.Commands(
	edict.Unary[Increase](),
	edict.Unary[Read](),
)

// Counter is the receiver. Work is how long a command takes.
type Counter struct {
	Work  time.Duration
	value atomic.Int64
	reads atomic.Int64
}

// Value returns what the counter has counted, Reads how often it was read by a command.
func (c *Counter) Value() int64 { return c.value.Load() }

// Reads returns how many Read commands were executed.
func (c *Counter) Reads() int64 { return c.reads.Load() }

// Increase adds 1 to the counter and returns its value. To do that twice would be wrong, so a client never sends
// it again when it may have run.
type Increase struct{}

// Exec runs on the server.
func (Increase) Exec(ctx context.Context, counter *Counter) (int64, error) {
	value := counter.value.Add(1)
	return value, work(ctx, counter.Work)
}

// Read returns the counter's value.
type Read struct{}

// Idempotent says that to read twice does no harm: so a client that has lost its connection may do it.
func (Read) Idempotent() bool { return true }

// Exec runs on the server.
func (Read) Exec(ctx context.Context, counter *Counter) (int64, error) {
	counter.reads.Add(1)
	return counter.Value(), work(ctx, counter.Work)
}

// work is what makes commands take their time, so that some are under way when the server is restarted.
func work(ctx context.Context, takes time.Duration) error {
	timer := time.NewTimer(takes)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

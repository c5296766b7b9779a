package commands

import (
	"context"
	"sync/atomic"
	"time"
)

// Audit is what tax inspectors read. It is written on a disk, which may be slow.
type Audit struct {
	takes   time.Duration
	later   chan Hold // nil: Record writes at once
	written atomic.Int64
}

// NewAudit returns an Audit on a disk that takes so long for a record. If later is true, Run writes what Record is given,
// so that Record need not wait for the disk.
func NewAudit(takes time.Duration, later bool) *Audit {
	audit := &Audit{takes: takes}
	if later {
		audit.later = make(chan Hold, 100)
	}
	return audit
}

// Record writes a hold, or leaves it to Run; then it waits only while a hundred are left already, until ctx ends.
func (a *Audit) Record(ctx context.Context, hold Hold) error {
	if a.later == nil {
		a.write(hold)
		return nil
	}
	select {
	case a.later <- hold:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Run writes what is left to it until ctx ends.
func (a *Audit) Run(ctx context.Context) {
	for {
		select {
		case hold := <-a.later:
			a.write(hold)
		case <-ctx.Done():
			return
		}
	}
}

// write stands for the disk.
func (a *Audit) write(Hold) {
	time.Sleep(a.takes)
	a.written.Add(1)
}

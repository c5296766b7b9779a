package main

import (
	"context"
	"errors"
	"hash/crc32"
	"os"
	"strings"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/handler"
)

// callID names a call for ever: the number of the client process in the upper half, and in the lower
// half the number of the call there.
type callID uint64

func makeID(process int, call uint32) callID { return callID(process)<<32 | callID(call) }

// ledger is the receiver of all commands. It notes each execution in the log, which outlives the
// process.
type ledger struct{ log *os.File }

// note notes how far a command has come. It is written, as far as this process is concerned, when it
// returns: a process that is killed afterwards has it in the log.
func (l *ledger) note(s stage, id callID) error {
	if _, err := l.log.Write(appendStage(nil, s, id)); err != nil {
		return edict.Errorf(edict.Internal, "the execution log: %w", err)
	}
	return nil
}

// execute notes a command around what it does.
func (l *ledger) execute(id callID, do func() error) error {
	if err := l.note(started, id); err != nil {
		return err
	}
	err := do()
	if failed := l.note(returned, id); failed != nil {
		return failed
	}
	return err
}

// noteReplays is a server's interceptor.
func (l *ledger) noteReplays(ctx context.Context, call *edict.ServerCall, next func(context.Context) error) error {
	err := next(ctx)
	if errors.Is(err, handler.ErrRecorded) {
		return errors.Join(err, l.note(replayed, call.Command.(identified).call()))
	}
	return err
}

// identified is what all commands are.
type identified interface{ call() callID }

func (w Work) call() callID    { return w.ID }
func (n Numbers) call() callID { return n.ID }
func (s Sums) call() callID    { return s.ID }

// errAsked is how a command fails that is asked to.
var errAsked = &edict.Error{Code: edict.FailedPrecondition, Reason: "asked-to-fail"}

// Work is a command with one result.
type Work struct {
	ID   callID
	Text string
	Size int           // of the result's text
	Hold time.Duration // how long it takes, unless it is cancelled
	Heed bool          // it ends early if the server drains
	Fail bool
}

// Receipt is the result of Work.
type Receipt struct {
	ID   callID
	Sum  uint32 // of Work's text
	Text string
}

// Exec notes the execution, then does what the command says.
func (w Work) Exec(ctx context.Context, l *ledger) (Receipt, error) {
	if err := l.execute(w.ID, func() error { return w.do(ctx) }); err != nil {
		return Receipt{}, err
	}
	return w.receipt(), nil
}

func (w Work) do(ctx context.Context) error {
	if w.Hold > 0 {
		held := time.NewTimer(w.Hold)
		defer held.Stop()
		var draining <-chan struct{}
		if w.Heed {
			draining = edict.Draining(ctx)
		}
		select {
		case <-held.C:
		case <-draining:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if w.Fail {
		return errAsked.With("as asked")
	}
	return nil
}

// receipt is the result that Work must have.
func (w Work) receipt() Receipt {
	return Receipt{ID: w.ID, Sum: crc32.ChecksumIEEE([]byte(w.Text)), Text: strings.Repeat("r", w.Size)}
}

// Numbers is a command with many results: the numbers below To, in order.
type Numbers struct {
	ID   callID
	To   int
	Size int // of each result's text
}

// Number is a result of Numbers.
type Number struct {
	ID   callID
	N    int
	Text string
}

// Exec notes the execution and sends the numbers.
func (n Numbers) Exec(_ context.Context, l *ledger, out edict.Sink[Number]) error {
	return l.execute(n.ID, func() error {
		for i := range n.To {
			if err := out.Send(n.number(i)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (n Numbers) number(i int) Number {
	return Number{ID: n.ID, N: i, Text: strings.Repeat("n", n.Size)}
}

// Sums is a command with many inputs: it answers each with the sum of all so far.
type Sums struct{ ID callID }

// Exec notes the execution and adds.
func (s Sums) Exec(_ context.Context, l *ledger, in edict.Source[int], out edict.Sink[int]) error {
	return l.execute(s.ID, func() error {
		sum := 0
		for n, err := range in.All() {
			if err != nil {
				return err
			}
			sum += n
			if err := out.Send(sum); err != nil {
				return err
			}
		}
		return nil
	})
}

var commands = edict.Commands(edict.Unary[Work](), edict.ServerStream[Numbers](), edict.Duplex[Sums]())

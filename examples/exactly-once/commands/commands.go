// Package commands has the bank's commands. Clients and server both import it.
package commands

import (
	"context"
	"time"

	"github.com/edict-go/edict"
)

// All is what a client and a server agree on.
var All = edict.Commands(
	edict.Unary[Transfer](),
	edict.Unary[Settle](),
)

// ErrVoid is the error of a transfer that was settled before it was done.
var ErrVoid = &edict.Error{Code: edict.Aborted, Reason: "void"}

// Transfer moves money from one account to another. To do that twice would be wrong. Its result is the ID under which
// it is in the ledger.
type Transfer struct {
	From, To int
	Amount   int64
}

// Exec runs on the server. The money and the ledger change in one transaction: if the server is killed, both have
// changed or neither.
func (t Transfer) Exec(ctx context.Context, bank *Bank) (edict.CommandID, error) {
	id, ok := edict.CommandIDOf(ctx)
	if !ok {
		return id, edict.Errorf(edict.FailedPrecondition, "a transfer needs a client that resumes, and a server with a journal")
	}
	time.Sleep(bank.Work / 2)
	err := bank.update(func(books *books) error {
		entry := books.entry(id)
		if entry.Void {
			return ErrVoid.With("%v was settled before it was done", id)
		}
		books.add(t.From, -t.Amount)
		books.add(t.To, t.Amount)
		entry.Transfer = t
		entry.Done++
		books.enter(id, entry)
		return nil
	})
	time.Sleep(bank.Work / 2)
	return id, err
}

// Settle says whether a transfer was done whose caller does not know. If it was not, it never will be.
type Settle struct{ ID edict.CommandID }

// Idempotent says that Settle may be executed again: the answer will be the same.
func (Settle) Idempotent() bool { return true }

// Exec runs on the server.
func (s Settle) Exec(_ context.Context, bank *Bank) (done bool, err error) {
	err = bank.update(func(books *books) error {
		entry := books.entry(s.ID)
		if done = entry.Done > 0; !done {
			entry.Void = true
			books.enter(s.ID, entry)
		}
		return nil
	})
	return done, err
}

package commands_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/examples/exactly-once/commands"
	"github.com/edict-go/edict/journal"
	"github.com/edict-go/edict/transport"
)

// bankWith serves a bank with two accounts, and returns a client of it.
func bankWith(t *testing.T, options ...edict.ServerOption) (*commands.Bank, *edict.Client[*commands.Bank]) {
	bank, err := commands.Open(filepath.Join(t.TempDir(), "bank"), 2, 100)
	if err != nil {
		t.Fatal(err)
	}
	listener := transport.NewMemory()
	server := edict.NewServer(bank, commands.All, options...)
	go server.Serve(listener)
	client, err := edict.Dial(t.Context(), "memory", commands.All, edict.WithDialer(listener.Dial), edict.WithResume(edict.Resume{}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(client.Close(), server.Shutdown(context.Background()), bank.Close()); err != nil {
			t.Error(err)
		}
	})
	return bank, client
}

func withJournal(t *testing.T) edict.ServerOption {
	kept, err := journal.Open(filepath.Join(t.TempDir(), "journal"), journal.Config{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = kept.Close() })
	return edict.WithResume(edict.Resume{Journal: kept})
}

func TestTransfer(t *testing.T) {
	bank, client := bankWith(t, withJournal(t))
	id, err := edict.Call(t.Context(), client, commands.Transfer{From: 0, To: 1, Amount: 30})
	if err != nil || id.Number != 1 {
		t.Fatal(id, err)
	}
	if balances, err := bank.Balances(); !slices.Equal(balances, []int64{70, 130}) {
		t.Error(balances, err)
	}
	for range 2 {
		if done, err := edict.Call(t.Context(), client, commands.Settle{ID: id}); !done || err != nil {
			t.Error(done, err)
		}
	}
	if ledger, err := bank.Ledger(); len(ledger) != 1 || ledger[id.String()].Done != 1 || ledger[id.String()].Void {
		t.Error(ledger, err)
	}
}

// A transfer that comes after it was settled, as one can whose caller has lost its patience, is not done.
func TestVoid(t *testing.T) {
	var bank *commands.Bank
	bank, client := bankWith(t, withJournal(t), edict.WithServerInterceptors(
		func(ctx context.Context, call *edict.ServerCall, next func(context.Context) error) error {
			if id, ok := edict.CommandIDOf(ctx); ok {
				if done, err := (commands.Settle{ID: id}).Exec(ctx, bank); done || err != nil {
					t.Error(done, err)
				}
			}
			return next(ctx)
		}))
	_, err := edict.Call(t.Context(), client, commands.Transfer{From: 0, To: 1, Amount: 30})
	failure, ok := errors.AsType[*edict.Error](err)
	if !ok || !errors.Is(err, commands.ErrVoid) || failure.Outcome != edict.Executed {
		t.Fatal(err)
	}
	if done, err := edict.Call(t.Context(), client, commands.Settle{ID: failure.CommandID}); done || err != nil {
		t.Error(done, err)
	}
	if balances, err := bank.Balances(); !slices.Equal(balances, []int64{100, 100}) {
		t.Error(balances, err)
	}
}

func TestWithoutAJournal(t *testing.T) {
	bank, client := bankWith(t)
	if _, err := edict.Call(t.Context(), client, commands.Transfer{From: 0, To: 1, Amount: 30}); !errors.Is(err, edict.FailedPrecondition) {
		t.Error(err)
	}
	if ledger, err := bank.Ledger(); len(ledger) != 0 {
		t.Error(ledger, err)
	}
}

package main

import (
	"context"
	"errors"
	"io"
	"log"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/examples/exactly-once/commands"
	"github.com/edict-go/edict/handler"
	"github.com/edict-go/edict/journal"
)

// balance is what is in each account at first.
const balance = 1000

// bankFile and journalFile are in the folder.
const (
	bankFile    = "bank.db"
	journalFile = "journal.db"
)

// answered is what the server prints of each transfer that it answers from its journal.
const answered = "answered from the journal: "

// runServer serves until Ctrl-C, or until it is killed. Whatever was begun when it was killed, the next one knows.
func runServer(ctx context.Context, s *settings, out *log.Logger) (err error) {
	bank, err := commands.Open(filepath.Join(s.folder, bankFile), s.accounts, balance)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bank.Close()) }()
	bank.Work = s.work
	kept, err := journal.Open(filepath.Join(s.folder, journalFile), journal.Config{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, kept.Close()) }()

	server := edict.NewServer(bank, commands.All,
		edict.WithResume(edict.Resume{Journal: kept}),
		edict.WithLogger(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))),
		edict.WithServerInterceptors(func(ctx context.Context, call *edict.ServerCall, next func(context.Context) error) error {
			err := next(ctx)
			if errors.Is(err, handler.ErrRecorded) {
				id, _ := edict.CommandIDOf(ctx)
				out.Printf("%s%v", answered, id)
			}
			return err
		}))
	listener, err := server.Listen(s.serve)
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	out.Printf("The bank is open at %s://%s. Kill it and start it again, or Ctrl-C.", listener.Addr().Network(), listener.Addr())

	<-ctx.Done()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		return err
	}
	if err := <-served; !errors.Is(err, edict.ErrClosed) {
		return err
	}
	out.Print("The bank is closed.")
	return nil
}

// untilEOF returns a context that ends with ctx, and when standard input does: with the program at its other end.
func untilEOF(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() { // ends with the process
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	return ctx, cancel
}

package main

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/journal"
)

// drainLimit is how long a server's or client's drain may take before it is forced.
const drainLimit = 10 * time.Second

// runServer is a server process: it serves until it is told to drain, or killed.
func runServer(c *child) error {
	serverTLS, _, err := loadCertificate(c.config.Certificate)
	if err != nil {
		return err
	}
	if err := warmUp(); err != nil {
		return err
	}
	before := measure()
	receiver := &ledger{c.log}
	settings := []edict.ServerOption{
		edict.WithTLS(serverTLS), edict.ServerConfig{Name: fmt.Sprint(c.config.Number), WriteTimeout: writeTimeout},
	}
	var kept *journal.Journal
	switch {
	case c.config.Journal != "":
		if kept, err = journal.Open(c.config.Journal, journal.Config{NoSync: c.config.NoSync}); err != nil {
			return err
		}
		settings = append(settings, edict.WithResume(edict.Resume{Journal: kept}), edict.WithServerInterceptors(receiver.noteReplays))
	case c.config.Resumable:
		settings = append(settings, edict.WithResume(edict.Resume{}))
	}
	server := edict.NewServer(receiver, commands, settings...)
	var serving sync.WaitGroup
	var addresses []string
	for _, address := range c.config.Listen {
		listener, err := server.Listen(address)
		if err != nil {
			return err
		}
		scheme, _, _ := strings.Cut(address, "://")
		addresses = append(addresses, scheme+"://"+listener.Addr().String())
		serving.Go(func() { _ = server.Serve(listener) }) // it ends with ErrClosed
	}
	c.report(report{Ready: addresses})
	<-c.drain

	start := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), drainLimit)
	defer cancel()
	f := final{Before: before}
	if err := server.Shutdown(ctx); err != nil {
		f.Forced = true
		_ = server.Close()
		if err := server.Shutdown(context.Background()); err != nil {
			return fmt.Errorf("shutdown after close: %w", err)
		}
	}
	f.Took = time.Since(start)
	serving.Wait()
	cancel()
	if kept != nil {
		stats := kept.Stats()
		f.Journal = &stats
		if err := kept.Close(); err != nil {
			return err
		}
	}
	f.After = settle(before)
	c.report(report{Final: &f})
	return nil
}

// warmUp opens a listener and closes it, so that what the runtime opens for the first one (epoll) is
// there before anything is measured.
func warmUp() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	return listener.Close()
}

// Package commands has the market and its commands. A client and a server both import it. For the codec
// MUS, edict-gen writes serializers, and the variable MUS, to edict_mus.gen.go.
package commands

import (
	"context"
	"fmt"

	"github.com/edict-go/edict"
)

//go:generate go tool edict-gen

// All is what a client and a server of the ticker agree on.
var All = edict.Commands(
	edict.ServerStream[Subscribe](),
	edict.Unary[Price](),
)

// Subscribe streams the prices of the market until the caller takes no more or the server shuts down.
type Subscribe struct{ Reader string } // who reads, for the server's log

// Tick is a new price.
type Tick struct {
	Number int64 // which tick of the market it is, from 1
	Symbol string
	Cents  int64
	// Merged is how many earlier ticks of this symbol this one stands for too: the reader was not
	// ready for them.
	Merged int
}

// String returns the tick as in "ABC 101.25".
func (t Tick) String() string { return fmt.Sprintf("%s %d.%02d", t.Symbol, t.Cents/100, t.Cents%100) }

// Exec runs on the server for as long as there is a reader.
func (c Subscribe) Exec(ctx context.Context, market *Market, ticks edict.Sink[Tick]) (err error) {
	r := market.subscribe()
	sent := 0
	defer func() { market.unsubscribe(r, c.Reader, sent, err) }()
	send := func(pending []Tick) error {
		for _, tick := range pending {
			// Send waits while the reader takes nothing. Meanwhile r merges what comes.
			if err := ticks.Send(tick); err != nil {
				return err
			}
			sent++
		}
		return nil
	}
	for {
		if err := send(market.take(r)); err != nil {
			return err
		}
		select {
		case <-r.wake:
		case <-edict.Draining(ctx): // Shutdown has been called: the last prices, then an orderly end
			if ctx.Err() != nil { // both at once: nobody reads on
				return ctx.Err()
			}
			return send(market.take(r))
		case <-ctx.Done(): // the reader has left its loop, or is gone
			return ctx.Err()
		}
	}
}

// Price asks for the last price of a symbol.
type Price struct{ Symbol string }

// ErrNotTraded is what Price fails with for other symbols than those of the market.
var ErrNotTraded = &edict.Error{Code: edict.NotFound, Reason: "not-traded"}

// Exec runs on the server.
func (c Price) Exec(_ context.Context, market *Market) (Tick, error) { return market.price(c.Symbol) }

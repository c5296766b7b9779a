package commands

import (
	"cmp"
	"context"
	"log"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// symbols are what the market trades, at 100.00 to begin with.
var symbols = []string{"ABC", "DEF", "GHI"}

// Market is the receiver: prices that change, and those who want to know.
type Market struct {
	log *log.Logger

	mu      sync.Mutex // guards the following and what readers have pending; nothing is sent while it is held
	number  int64      // of the last tick
	cents   map[string]int64
	readers map[*reader]bool
}

// reader is one subscription. What it has not been sent yet is at most one tick per symbol, the newest,
// however slow it is: an old price is of no use to anybody.
type reader struct {
	wake    chan struct{}   // capacity 1: there is something to take
	pending map[string]Tick // guarded by the market's mu
}

// NewMarket returns a market that says in log who stops reading, and why.
func NewMarket(log *log.Logger) *Market {
	m := &Market{log: log, cents: map[string]int64{}, readers: map[*reader]bool{}}
	for _, symbol := range symbols {
		m.cents[symbol] = 100_00
	}
	return m
}

// Run changes a price, over and over, until ctx ends.
func (m *Market) Run(ctx context.Context, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			m.tick()
		case <-ctx.Done():
			return
		}
	}
}

// tick changes one price and leaves it with each reader. It never waits for one.
func (m *Market) tick() {
	m.mu.Lock()
	defer m.mu.Unlock()
	symbol := symbols[m.number%int64(len(symbols))]
	m.number++
	m.cents[symbol] = max(1, m.cents[symbol]+rand.Int64N(51)-25)
	for r := range m.readers {
		tick := Tick{Number: m.number, Symbol: symbol, Cents: m.cents[symbol]}
		if old, ok := r.pending[symbol]; ok {
			tick.Merged = old.Merged + 1
		}
		r.pending[symbol] = tick
		select {
		case r.wake <- struct{}{}:
		default: // it will look anyway
		}
	}
}

// price returns the last price of a symbol.
func (m *Market) price(symbol string) (Tick, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	cents, ok := m.cents[symbol]
	if !ok {
		return Tick{}, ErrNotTraded.With("nobody trades %q here", symbol)
	}
	return Tick{Number: m.number, Symbol: symbol, Cents: cents}, nil
}

// take returns what a reader has not been sent yet, oldest first.
func (m *Market) take(r *reader) []Tick {
	m.mu.Lock()
	defer m.mu.Unlock()
	pending := make([]Tick, 0, len(r.pending))
	for _, tick := range r.pending {
		pending = append(pending, tick)
	}
	clear(r.pending)
	slices.SortFunc(pending, func(a, b Tick) int { return cmp.Compare(a.Number, b.Number) })
	return pending
}

func (m *Market) subscribe() *reader {
	r := &reader{wake: make(chan struct{}, 1), pending: map[string]Tick{}}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.readers[r] = true
	return r
}

// unsubscribe forgets a reader that was sent some ticks. reason is nil if the server ended its stream.
func (m *Market) unsubscribe(r *reader, name string, sent int, reason error) {
	m.mu.Lock()
	delete(m.readers, r)
	m.mu.Unlock()
	if reason == nil {
		m.log.Printf("server: %s was sent %d ticks; its stream ends because the server shuts down", name, sent)
	} else {
		m.log.Printf("server: %s was sent %d ticks; its command ends: %v", name, sent, reason)
	}
}

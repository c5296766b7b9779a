package commands

import (
	"context"
	"errors"
	"io"
	"log"
	"testing"
)

func TestMergedTicksAreCounted(t *testing.T) {
	market := NewMarket(log.New(io.Discard, "", 0))
	market.tick() // before anybody reads
	fast, slow := market.subscribe(), market.subscribe()
	for n := range 100 {
		market.tick()
		if ticks := market.take(fast); len(ticks) != 1 || ticks[0].Number != int64(n)+2 || ticks[0].Merged != 0 {
			t.Errorf("the fast reader gets %+v", ticks)
		}
	}
	ticks := market.take(slow)
	if len(ticks) != len(symbols) {
		t.Fatalf("the slow reader gets %+v", ticks)
	}
	all := 0
	for i, tick := range ticks {
		all += 1 + tick.Merged
		if want := int64(99 + i); tick.Number != want {
			t.Errorf("tick %d comes, not %d", tick.Number, want)
		}
		if price, err := market.price(tick.Symbol); err != nil || price.Cents != tick.Cents {
			t.Errorf("%v is not the last price, %v, %v", tick, price, err)
		}
	}
	if all != 100 {
		t.Errorf("%d ticks are accounted for", all)
	}
	if ticks := market.take(slow); len(ticks) > 0 {
		t.Errorf("it gets %+v again", ticks)
	}
	if _, err := market.price("XYZ"); !errors.Is(err, ErrNotTraded) {
		t.Error(err)
	}
}

// sink is an edict.Sink without a network.
type sink func(Tick) error

func (s sink) Send(tick Tick) error                           { return s(tick) }
func (s sink) SendContext(_ context.Context, tick Tick) error { return s(tick) }

func TestAReaderThatLeavesIsForgotten(t *testing.T) {
	market := NewMarket(log.New(io.Discard, "", 0))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	subscribed := make(chan bool)
	go func() {
		ended <- Subscribe{Reader: "me"}.Exec(ctx, market, sink(func(Tick) error { subscribed <- true; return nil }))
	}()
	for got := false; !got; { // a tick before it reads is lost on it
		market.tick()
		select {
		case got = <-subscribed:
		default:
		}
	}
	cancel()
	// It may be sending another one.
	for {
		select {
		case <-subscribed:
			continue
		case err := <-ended:
			if err != context.Canceled {
				t.Error(err)
			}
		}
		break
	}
	if len(market.readers) > 0 {
		t.Error("the market has a reader still")
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/examples/shop/commands"
)

// How often customers come, how many there are at most, and how long they wait.
const (
	between  = 10 * time.Millisecond
	most     = 500
	patience = 5 * time.Second
)

// customers order and look, and count how long that takes.
type customers struct {
	out    *log.Logger
	client edict.Sender[*commands.Shop]

	mu            sync.Mutex // guards the following
	orders, looks tally
}

// tally is what became of calls.
type tally struct {
	took   []time.Duration // of those that were answered
	failed int
	last   error
}

// call lets a customer order, and one look, each time that between is over, whether those before have got their answers or
// not, and prints a line each second. It ends with ctx, when all have; an error tells that some have failed.
func (c *customers) call(ctx context.Context) error {
	var calls sync.WaitGroup
	places := make(chan struct{}, most)
	begin := func(to *tally, call func(ctx context.Context) error) {
		select {
		case places <- struct{}{}:
		default:
			c.count(to, 0, errors.New("too many customers wait"))
			return
		}
		calls.Go(func() {
			defer func() { <-places }()
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
			defer cancel()
			began := time.Now()
			err := call(ctx)
			c.count(to, time.Since(began), err)
		})
	}
	arrive, second := time.NewTicker(between), time.NewTicker(time.Second)
	defer arrive.Stop()
	defer second.Stop()
	failed := 0
	for ctx.Err() == nil {
		select {
		case <-arrive.C:
			begin(&c.orders, func(ctx context.Context) error {
				_, err := edict.Call(ctx, c.client, commands.Order{Article: article()})
				return err
			})
			begin(&c.looks, func(ctx context.Context) error {
				_, err := edict.Call(ctx, c.client, commands.Look{Article: article()})
				return err
			})
		case <-second.C:
			failed += c.report()
		case <-ctx.Done():
		}
	}
	calls.Wait()
	if failed += c.report(); failed > 0 {
		return fmt.Errorf("%d orders have failed", failed)
	}
	return nil
}

// article returns tea three times in ten, or any other one.
func article() string {
	if rand.IntN(10) < 3 {
		return commands.Articles[0]
	}
	return commands.Articles[1+rand.IntN(len(commands.Articles)-1)]
}

func (c *customers) count(to *tally, took time.Duration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		to.failed++
		to.last = err
		return
	}
	to.took = append(to.took, took)
}

// report prints what was counted since the last time, and returns how many orders have failed.
func (c *customers) report() (failed int) {
	c.mu.Lock()
	orders, looks := c.orders, c.looks
	c.orders, c.looks = tally{}, tally{}
	c.mu.Unlock()
	c.out.Printf("%s  orders: %v | looks: %v", now(), &orders, &looks)
	return orders.failed
}

// String returns the tally as in "99, p50 2ms, p99 302ms, failed 0".
func (t *tally) String() string {
	slices.Sort(t.took)
	quantile := func(q float64) string {
		if len(t.took) == 0 {
			return "–"
		}
		return short(t.took[int(q*float64(len(t.took)))])
	}
	text := fmt.Sprintf("%d, p50 %s, p99 %s, failed %d", len(t.took), quantile(0.50), quantile(0.99), t.failed)
	if t.last != nil {
		text += fmt.Sprintf(" (the last: %v)", t.last)
	}
	return text
}

// short returns a duration with three digits at most.
func short(d time.Duration) string {
	for _, unit := range []time.Duration{time.Second, time.Millisecond, time.Microsecond} {
		if d >= unit {
			return fmt.Sprintf("%.3g%s", float64(d)/float64(unit), unit.String()[1:])
		}
	}
	return d.String()
}

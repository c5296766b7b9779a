package group_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/group"
)

func TestRoundRobin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, group.Config{}, "a", "b", "c")
		if served := f.served(9); !maps.Equal(served, map[string]int{"a": 3, "b": 3, "c": 3}) {
			t.Errorf("served by %v", served)
		}
	})
}

// The connections of one endpoint take turns too.
func TestConnectionsOfAnEndpointTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, group.Config{Min: 3}, "a")
		f.served(9)
		for i, m := range f.at("a") {
			if n := m.begun.Load(); n != 3 {
				t.Errorf("connection %d had %d calls", i, n)
			}
		}
	})
}

func TestLeastInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, group.Config{Strategy: group.LeastInFlight()}, "a", "b")
		release := make(chan struct{})
		f.answer = func(_ context.Context, m *fake, request core.Request[*lab]) (string, error) {
			if _, ok := request.Command.(wait); ok && m.address == "a" {
				<-release
			}
			return m.address, nil
		}
		for f.group.Stats().Endpoints[0].InFlight == 0 { // sooner or later a has one, which is held
			running, err := edict.Start(t.Context(), f.group, wait{})
			if err != nil {
				t.Fatal(err)
			}
			defer running.Cancel()
			synctest.Wait()
			if f.group.Stats().Endpoints[1].InFlight > 0 {
				if _, err := running.Receive(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if served := f.served(20); served["b"] != 20 {
			t.Errorf("served by %v, while a has calls in flight", served)
		}
		close(release)
	})
}

// A slow endpoint gets few calls after the first slow one, and its part again when it is as quick as the other.
func TestLowestLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, group.Config{Strategy: group.LowestLatency()}, "slow", "quick")
		slow := true
		f.answer = func(_ context.Context, m *fake, _ core.Request[*lab]) (string, error) {
			time.Sleep(rand.N(100 * time.Millisecond)) // as usual
			if slow && m.address == "slow" {
				time.Sleep(5 * time.Second)
			}
			return m.address, nil
		}
		if served := f.served(200); served["slow"] == 0 || served["slow"] > 3 {
			t.Errorf("slow: served by %v", served)
		}
		slow = false
		time.Sleep(5 * time.Minute) // forgets
		f.served(2)
		if served := f.served(500); served["slow"] < 100 {
			t.Errorf("as quick again: served by %v", served)
		}
	})
}

// One of which nothing is known is tried, and not flooded.
func TestLowestLatencyOfAnUnknownEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, group.Config{Strategy: group.LowestLatency()}, "known")
		f.answer = func(ctx context.Context, m *fake, _ core.Request[*lab]) (string, error) {
			if m.address == "new" {
				<-ctx.Done()
				return "", ctx.Err()
			}
			time.Sleep(time.Millisecond)
			return m.address, nil
		}
		f.served(10)
		f.updates <- []string{"known", "new"}
		synctest.Wait()
		for range 50 {
			running, err := edict.Start(t.Context(), f.group, who{})
			if err != nil {
				t.Fatal(err)
			}
			defer running.Cancel()
			time.Sleep(time.Millisecond)
		}
		if n := f.group.Stats().Endpoints[1].InFlight; n != 1 {
			t.Errorf("%d calls are in flight at the endpoint that does not answer", n)
		}
	})
}

func TestByKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, group.Config{Strategy: group.ByKey{}}, "a", "b", "c", "d")
		homes := func() map[string]string {
			homes := map[string]string{}
			for n := range 400 {
				key := fmt.Sprint("account ", n)
				for _, command := range []edict.Command[*lab, string]{who{Key: key}, inTurn{Key: key}} {
					address, err := edict.Call(t.Context(), f.group, command)
					if err != nil {
						t.Fatal(err)
					}
					if home := homes[key]; home != "" && home != address {
						t.Fatalf("%s is at %s and at %s", key, home, address)
					}
					homes[key] = address
				}
			}
			return homes
		}
		before := homes()
		parts := map[string]int{}
		for _, address := range before {
			parts[address]++
		}
		for address, part := range parts {
			if part < 60 || part > 140 {
				t.Errorf("%s has %d of 400 keys", address, part)
			}
		}
		if !maps.Equal(before, homes()) {
			t.Error("keys have moved, and nothing has changed")
		}

		f.updates <- []string{"a", "b", "d"}
		synctest.Wait()
		moved := 0
		for key, address := range homes() {
			if address != before[key] {
				moved++
			}
		}
		if moved != parts["c"] {
			t.Errorf("%d keys have moved, and %d had to", moved, parts["c"])
		}
		if served := f.served(100); len(served) != 3 {
			t.Errorf("commands without a key went to %v", served)
		}
	})
}

// With a bound a key in great demand spreads, no further than it must.
func TestByKeyWithABound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, group.Config{Strategy: group.ByKey{Bound: 1.25}}, "a", "b", "c", "d")
		f.answer = func(ctx context.Context, m *fake, _ core.Request[*lab]) (string, error) {
			<-ctx.Done()
			return "", ctx.Err()
		}
		for range 100 {
			running, err := edict.Start(t.Context(), f.group, who{Key: "hot"})
			if err != nil {
				t.Fatal(err)
			}
			defer running.Cancel()
		}
		for _, e := range f.group.Stats().Endpoints {
			if e.InFlight > 32 || e.InFlight < 6 {
				t.Errorf("%s has %d of 100 calls", e.Address, e.InFlight)
			}
		}
	})
}

// Commands with one ordering key stay on one connection of their endpoint, since the server keeps the order of
// those of one connection.
func TestOrderedCommandsStayOnAConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, group.Config{Min: 4, Strategy: group.ByKey{}}, "a", "b")
		used := map[*fake]bool{}
		for n := range 20 {
			before := map[*fake]int64{}
			all := append(f.at("a"), f.at("b")...)
			for _, m := range all {
				before[m] = m.begun.Load()
			}
			for range 5 {
				if _, err := edict.Call(t.Context(), f.group, inTurn{Key: fmt.Sprint(n)}); err != nil {
					t.Fatal(err)
				}
			}
			got := 0
			for _, m := range all {
				if m.begun.Load() > before[m] {
					got++
					used[m] = true
				}
			}
			if got != 1 {
				t.Fatalf("the commands of one key went over %d connections", got)
			}
		}
		if len(used) < 5 {
			t.Errorf("20 keys use %d of 8 connections", len(used))
		}
	})
}

// last always takes the last endpoint: a strategy of a user.
type last struct{}

func (last) Pick(_ any, endpoints []*group.Endpoint) int { return len(endpoints) - 1 }

func TestAStrategyOfOnesOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, group.Config{Strategy: last{}}, "a", "b", "c")
		if served := f.served(10); served["c"] != 10 {
			t.Errorf("served by %v", served)
		}
		f.start = func(m *fake) error {
			if m.address != "a" {
				return lost(core.NotSent)
			}
			return nil
		}
		if served := f.served(1); served["a"] != 1 { // c, b, a
			t.Errorf("served by %v", served)
		}
	})
}

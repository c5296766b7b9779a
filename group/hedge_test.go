package group_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/group"
)

// usual is how long a call takes as a rule in these tests.
const usual = 10 * time.Millisecond

// hedged makes a group that hedges after a little more than usual. The command of the test is answered by
// unusual, which knows whether it is the first attempt.
func hedged(t *testing.T, config group.Config, unusual func(ctx context.Context, m *fake, first bool) (string, error), addresses ...string) *fakes {
	config.Hedge = group.Hedge{Quantile: 0.95}
	f := newFakes(t, config, addresses...)
	learning := true
	f.answer = func(ctx context.Context, m *fake, _ core.Request[*lab]) (string, error) {
		if learning {
			time.Sleep(usual)
			return m.address, nil
		}
		return unusual(ctx, m, group.AttemptOf(ctx) == 1)
	}
	for range 64 {
		if _, err := edict.Call(t.Context(), f.group, read{}); err != nil {
			t.Fatal(err)
		}
		for _, err := range edict.Stream(t.Context(), f.group, count{To: 1}) {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := f.group.Stats().Hedges; n != 0 {
		t.Errorf("%d hedges while all was as usual", n)
	}
	learning = false
	return f
}

// stall waits for the end of its context and notes why it has ended.
type stall struct {
	mu     sync.Mutex
	causes []error
}

func (s *stall) answer(ctx context.Context) (string, error) {
	<-ctx.Done()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.causes = append(s.causes, context.Cause(ctx))
	return "", ctx.Err()
}

func (s *stall) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.causes)
}

// The second attempt has its answer first: it counts, and the first one is cancelled.
func TestAHedgeWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stalled stall
		f := hedged(t, group.Config{}, func(ctx context.Context, m *fake, first bool) (string, error) {
			if group.IsHedge(ctx) == first {
				t.Errorf("first attempt: %v, hedge: %v", first, group.IsHedge(ctx))
			}
			if first {
				return stalled.answer(ctx)
			}
			return m.address, nil
		}, "a", "b")
		began := time.Now()
		var metadata core.Metadata
		address, err := edict.Call(t.Context(), f.group, read{}, edict.WithResponseMetadata(&metadata))
		if err != nil || metadata.Get("by") != address {
			t.Errorf("%s, %v, with the metadata of %s", address, err, metadata.Get("by"))
		}
		if took := time.Since(began); took < usual || took > usual*3/2 {
			t.Errorf("it took %v", took)
		}
		if stats := f.group.Stats(); stats.Hedges != 1 || stats.HedgesWon != 1 || stalled.count() != 1 {
			t.Errorf("%d hedges, %d have won, %d first attempts have ended", stats.Hedges, stats.HedgesWon, stalled.count())
		}
		wantNothingInFlight(t, f)
	})
}

// The first attempt has its answer first, and the second is cancelled.
func TestAHedgeIsBeaten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stalled stall
		f := hedged(t, group.Config{}, func(ctx context.Context, m *fake, first bool) (string, error) {
			if !first {
				return stalled.answer(ctx)
			}
			time.Sleep(3 * usual)
			return m.address, nil
		}, "a", "b")
		began := time.Now()
		if _, err := edict.Call(t.Context(), f.group, read{}); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != 3*usual {
			t.Errorf("it took %v", took)
		}
		if stats := f.group.Stats(); stats.Hedges != 1 || stats.HedgesWon != 0 || stalled.count() != 1 {
			t.Errorf("%d hedges, %d have won, %d second attempts have ended", stats.Hedges, stats.HedgesWon, stalled.count())
		}
		wantNothingInFlight(t, f)
	})
}

// A quick call has no second attempt, and what takes long but may not run twice has none.
func TestWhatIsNotHedged(t *testing.T) {
	for name, test := range map[string]struct {
		config    group.Config
		call      func(ctx context.Context, f *fakes) error
		takes     time.Duration
		addresses []string
	}{
		"quick": {takes: usual - 1, call: func(ctx context.Context, f *fakes) error {
			_, err := edict.Call(ctx, f.group, read{})
			return err
		}},
		"not idempotent": {takes: time.Second, call: func(ctx context.Context, f *fakes) error {
			_, err := edict.Call(ctx, f.group, who{})
			return err
		}},
		"a stream": {takes: time.Second, call: func(ctx context.Context, f *fakes) error {
			for _, err := range edict.Stream(ctx, f.group, count{To: 1}) {
				return err
			}
			return nil
		}},
		"no budget": {
			takes: time.Second, config: group.Config{Retry: group.Retry{Ratio: -1, PerSecond: -1, Reserve: -1}},
			call: func(ctx context.Context, f *fakes) error {
				_, err := edict.Call(ctx, f.group, read{})
				return err
			},
		},
		"nowhere else": {takes: time.Second, addresses: []string{"a"}, call: func(ctx context.Context, f *fakes) error {
			_, err := edict.Call(ctx, f.group, read{})
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				addresses := []string{"a", "b"}
				if test.addresses != nil {
					addresses = test.addresses
				}
				f := hedged(t, test.config, func(_ context.Context, m *fake, _ bool) (string, error) {
					time.Sleep(test.takes)
					return m.address, nil
				}, addresses...)
				if err := test.call(t.Context(), f); err != nil {
					t.Error(err)
				}
				if n := f.group.Stats().Hedges; n != 0 {
					t.Errorf("%d hedges", n)
				}
				wantNothingInFlight(t, f)
			})
		})
	}
}

// The budget bounds hedges: when everything is slow, few are sent.
func TestTheBudgetBoundsHedges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(_ context.Context, m *fake, _ bool) (string, error) {
			time.Sleep(10 * usual)
			return m.address, nil
		}
		f := hedged(t, group.Config{Retry: group.Retry{Ratio: 0.1, PerSecond: -1, Reserve: 5}}, slow, "a", "b")
		for range 100 {
			if _, err := edict.Call(t.Context(), f.group, read{}); err != nil {
				t.Fatal(err)
			}
		}
		if n := f.group.Stats().Hedges; n == 0 || n > 15 {
			t.Errorf("%d hedges of 100 calls", n)
		}
	})
}

// One attempt fails: the other one goes on, whichever it is. If both do, the call is tried again by the rules.
func TestAnAttemptBesideAnotherFails(t *testing.T) {
	for name, test := range map[string]struct {
		first, second error // nil is an answer
		again         bool  // there is a third attempt
	}{
		"the first":  {first: lost(core.OutcomeUnknown)},
		"the second": {second: lost(core.OutcomeUnknown)},
		"both":       {first: lost(core.OutcomeUnknown), second: lost(core.OutcomeUnknown), again: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var attempts atomic.Int64
				f := hedged(t, group.Config{}, func(_ context.Context, m *fake, _ bool) (string, error) {
					switch attempts.Add(1) {
					case 1:
						time.Sleep(2 * usual)
						return m.address, test.first
					case 2:
						if test.second == nil {
							time.Sleep(4 * usual)
						}
						return m.address, test.second
					}
					return m.address, nil
				}, "a", "b")
				if _, err := edict.Call(t.Context(), f.group, read{}); err != nil {
					t.Error(err)
				}
				if want := map[bool]int64{false: 2, true: 3}[test.again]; attempts.Load() != want {
					t.Errorf("%d attempts, want %d", attempts.Load(), want)
				}
				wantNothingInFlight(t, f)
			})
		})
	}
}

// An error that is an answer counts as one: nobody waits for the other attempt.
func TestAnErrorIsAnAnswerToo(t *testing.T) {
	for name, fromFirst := range map[string]bool{"of the first": true, "of the second": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var stalled stall
				f := hedged(t, group.Config{}, func(ctx context.Context, m *fake, first bool) (string, error) {
					if first != fromFirst {
						return stalled.answer(ctx)
					}
					time.Sleep(3 * usual)
					return "", says(core.NotFound, core.Executed)
				}, "a", "b")
				began := time.Now()
				_, err := edict.Call(t.Context(), f.group, read{})
				wantError(t, err, core.NotFound, core.Executed)
				if took := time.Since(began); took > 5*usual || stalled.count() != 1 {
					t.Errorf("it took %v, and %d other attempts were cancelled", took, stalled.count())
				}
				wantNothingInFlight(t, f)
			})
		})
	}
}

// Cancel and the context end both attempts.
func TestBothAttemptsAreCancelled(t *testing.T) {
	errOver := errors.New("over")
	for name, byContext := range map[string]bool{"context": true, "cancel": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var stalled stall
				f := hedged(t, group.Config{}, func(ctx context.Context, _ *fake, _ bool) (string, error) {
					return stalled.answer(ctx)
				}, "a", "b")
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				running, err := edict.Start(ctx, f.group, read{})
				if err != nil {
					t.Fatal(err)
				}
				time.AfterFunc(5*usual, func() {
					if byContext {
						cancel(errOver)
					} else {
						running.Cancel()
					}
				})
				began := time.Now()
				_, err = running.Receive()
				wantError(t, err, core.Canceled, core.OutcomeUnknown)
				if byContext && !errors.Is(err, errOver) {
					t.Errorf("%v is not the context's cause", err)
				}
				if took := time.Since(began); took != 5*usual || stalled.count() != 2 {
					t.Errorf("it took %v, and %d attempts were cancelled", took, stalled.count())
				}
				wantNothingInFlight(t, f)
			})
		})
	}
}

// Many calls at once, with attempts that end in every order. It is for the race detector.
func TestHedgesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := group.Config{Retry: group.Retry{Reserve: 1e6}, Breaker: group.Breaker{Disabled: true}}
		f := hedged(t, config, func(ctx context.Context, m *fake, first bool) (string, error) {
			wait := usual
			if first {
				wait *= time.Duration(1 + rand.IntN(4))
			}
			select {
			case <-time.After(wait):
				return m.address, nil
			case <-ctx.Done():
				return "", ctx.Err()
			}
		}, "a", "b", "c")
		var calls sync.WaitGroup
		for n := range 300 {
			calls.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(n)*usual/100)
				defer cancel()
				if _, err := edict.Call(ctx, f.group, read{}); err != nil && !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
			})
		}
		calls.Wait()
		if stats := f.group.Stats(); stats.Hedges == 0 || stats.HedgesWon == 0 {
			t.Errorf("%d hedges, %d have won", stats.Hedges, stats.HedgesWon)
		}
		wantNothingInFlight(t, f)
	})
}

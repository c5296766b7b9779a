package group_test

import (
	"context"
	"errors"
	"io"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/delegate"
	"github.com/edict-go/edict/group"
)

// fails makes each fake fail with err for its first so many calls, after 1 ms.
func fails(times int64, err error) func(context.Context, *fake, core.Request[*lab]) (string, error) {
	return func(_ context.Context, m *fake, _ core.Request[*lab]) (string, error) {
		time.Sleep(time.Millisecond)
		if m.begun.Load() <= times {
			return "", err
		}
		return m.address, nil
	}
}

// What is tried again follows from the outcome, the code and the command.
func TestWhatIsTriedAgain(t *testing.T) {
	for _, test := range []struct {
		name    string
		command edict.Command[*lab, string]
		err     *core.Error
		again   bool
	}{
		{"refused, unavailable", who{}, says(core.Unavailable, core.Refused), true},
		{"refused, exhausted", who{}, says(core.ResourceExhausted, core.Refused), true},
		{"refused, denied", who{}, says(core.PermissionDenied, core.Refused), false},
		{"refused, unknown command", read{}, says(core.Unimplemented, core.Refused), false},
		{"not sent, unavailable", who{}, lost(core.NotSent), true},
		{"not sent, too large", who{}, &core.Error{Code: core.ResourceExhausted, Outcome: core.NotSent}, false},
		{"not sent, can't be encoded", read{}, &core.Error{Code: core.InvalidArgument, Outcome: core.NotSent}, false},
		{"unknown", who{}, lost(core.OutcomeUnknown), false},
		{"unknown, idempotent", read{}, lost(core.OutcomeUnknown), true},
		{"unknown, deadline", read{}, says(core.DeadlineExceeded, core.OutcomeUnknown), false},
		{"executed, unavailable", read{}, says(core.Unavailable, core.Executed), false},
		{"executed, internal", read{}, says(core.Internal, core.Executed), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakes(t, group.Config{}, "a", "b")
				f.answer = fails(1, test.err)
				_, err := edict.Call(t.Context(), f.group, test.command)
				calls := f.at("a")[0].begun.Load() + f.at("b")[0].begun.Load()
				if test.again && (err != nil || calls < 2) {
					t.Errorf("%v after %d attempts, want an answer", err, calls)
				}
				if !test.again && calls != 1 {
					t.Errorf("%d attempts", calls)
				}
				if !test.again {
					wantError(t, err, test.err.Code, test.err.Outcome)
				}
				wantNothingInFlight(t, f)
			})
		})
	}
}

func wantNothingInFlight(t *testing.T, f *fakes) {
	t.Helper()
	for _, e := range f.group.Stats().Endpoints {
		if e.InFlight != 0 {
			t.Errorf("%d calls are in flight at %s", e.InFlight, e.Address)
		}
		for _, c := range e.Connections {
			if c.InFlight != 0 {
				t.Errorf("%d calls are in flight on a connection to %s", c.InFlight, e.Address)
			}
		}
	}
}

// A call that was not sent goes to another connection at once, over and over, and costs no budget.
func TestNotSentIsTriedElsewhereAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, group.Config{Retry: group.Retry{Reserve: -1, Ratio: -1, PerSecond: -1}}, "a", "b", "c", "d")
		f.start = func(m *fake) error {
			if m.address != "d" {
				return lost(core.NotSent)
			}
			return nil
		}
		began := time.Now()
		if served := f.served(100); served["d"] != 100 {
			t.Errorf("served by %v", served)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("it took %v", took)
		}
	})
}

// If no connection takes it there are rounds, with a backoff before each, as long as the context allows; with
// WithFailFast there is one.
func TestNotSentAnywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, group.Config{Retry: group.Retry{Initial: time.Second, Max: 2 * time.Second}}, "a", "b")
		f.start = func(*fake) error { return lost(core.NotSent) }
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		_, err := edict.Call(ctx, f.group, who{})
		wantError(t, err, core.Unavailable, core.NotSent)
		if a, b := f.at("a")[0].begun.Load(), f.at("b")[0].begun.Load(); a != b || a < 40 || a > 90 {
			t.Errorf("%d and %d attempts", a, b)
		}
		if took := time.Since(began); took < 58*time.Second {
			t.Errorf("it took %v", took)
		}
		before := f.at("a")[0].begun.Load()
		_, err = edict.Call(t.Context(), f.group, who{}, edict.WithFailFast())
		wantError(t, err, core.Unavailable, core.NotSent)
		if n := f.at("a")[0].begun.Load() - before; n != 1 {
			t.Errorf("%d attempts at a", n)
		}
	})
}

// The first refusal is free, as for calls that a server refuses when it shuts down; the second costs.
func TestARefusalIsFreeOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, group.Config{Retry: group.Retry{Reserve: -1, Ratio: -1, PerSecond: -1}}, "a", "b", "c")
		refusing := map[string]bool{"a": true}
		f.answer = func(_ context.Context, m *fake, _ core.Request[*lab]) (string, error) {
			if refusing[m.address] {
				return "", says(core.Unavailable, core.Refused)
			}
			return m.address, nil
		}
		began := time.Now()
		if served := f.served(30); served["a"] != 0 {
			t.Errorf("served by %v", served)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("it took %v", took)
		}
		refusing["b"], refusing["c"] = true, true
		begun := func() int64 { return f.at("a")[0].begun.Load() + f.at("b")[0].begun.Load() + f.at("c")[0].begun.Load() }
		before := begun()
		_, err := edict.Call(t.Context(), f.group, who{})
		wantError(t, err, core.Unavailable, core.Refused)
		if n := begun() - before; n != 2 {
			t.Errorf("%d attempts without a budget", n)
		}
	})
}

// The budget bounds retries to a part of the calls.
func TestTheBudgetBoundsRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, group.Config{
			Retry:   group.Retry{MaxAttempts: 10, Ratio: 0.1, PerSecond: 1, Reserve: 5, Initial: time.Nanosecond, Max: time.Nanosecond},
			Breaker: group.Breaker{Disabled: true},
		}, "a")
		f.answer = func(context.Context, *fake, core.Request[*lab]) (string, error) {
			return "", says(core.ResourceExhausted, core.Refused)
		}
		calls := func(n int) int64 {
			before := f.at("a")[0].begun.Load()
			for range n {
				_, err := edict.Call(t.Context(), f.group, who{})
				wantError(t, err, core.ResourceExhausted, core.Refused)
			}
			return f.at("a")[0].begun.Load() - before - int64(n)
		}
		if retries := calls(1000); retries < 100 || retries > 106 {
			t.Errorf("%d retries of 1000 calls, want a tenth and the reserve", retries)
		}
		time.Sleep(3 * time.Second)
		if retries := calls(1); retries < 3 || retries > 4 {
			t.Errorf("%d retries after 3 s, want 3 and what was left", retries)
		}
		if left := f.group.Stats().Budget; left >= 1 {
			t.Errorf("%v retries are left", left)
		}
	})
}

// A server that asks for a pause gets it, if the deadline allows; if not, its error is returned at once.
func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, group.Config{}, "a", "b")
		f.answer = func(_ context.Context, m *fake, _ core.Request[*lab]) (string, error) {
			if m.address == "b" { // which is the first in turn
				return "", says(core.ResourceExhausted, core.Refused).WithRetryAfter(7 * time.Second)
			}
			return m.address, nil
		}
		began := time.Now()
		f.served(1)
		if took := time.Since(began); took != 7*time.Second {
			t.Errorf("it took %v", took)
		}
		began = time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		f.served(1) // a's turn
		_, err := edict.Call(ctx, f.group, who{})
		wantError(t, err, core.ResourceExhausted, core.Refused)
		if took := time.Since(began); took != 0 {
			t.Errorf("it took %v to give up", took)
		}
	})
}

// The backoff doubles up to its maximum, and is spread over all of the time from 0.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, group.Config{
			Retry:   group.Retry{MaxAttempts: 6, Initial: time.Second, Max: 4 * time.Second, Reserve: 1e6},
			Breaker: group.Breaker{Disabled: true},
		}, "a")
		var at []time.Time
		f.answer = func(context.Context, *fake, core.Request[*lab]) (string, error) {
			at = append(at, time.Now())
			return "", says(core.ResourceExhausted, core.Refused)
		}
		const calls = 500
		var sums, longest [5]time.Duration
		shortest := [5]time.Duration{time.Hour, time.Hour, time.Hour, time.Hour, time.Hour}
		for range calls {
			at = nil
			if _, err := edict.Call(t.Context(), f.group, who{}); len(at) != 6 {
				t.Fatalf("%d attempts, %v", len(at), err)
			}
			for i := range sums {
				wait := at[i+1].Sub(at[i])
				sums[i] += wait
				longest[i], shortest[i] = max(longest[i], wait), min(shortest[i], wait)
			}
		}
		for i, most := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 4 * time.Second, 4 * time.Second} {
			if average := sums[i] / calls; longest[i] > most || longest[i] < most*9/10 || shortest[i] > most/10 || average < most*4/10 || average > most*6/10 {
				t.Errorf("wait %d: %v to %v, %v on average; want 0 to %v, evenly", i, shortest[i], longest[i], average, most)
			}
		}
	})
}

// An attempt that may have run is not forgotten when a later one was refused.
func TestAnEarlierAttemptMayHaveRun(t *testing.T) {
	for name, second := range map[string]error{"refused": says(core.Unauthenticated, core.Refused), "not sent": lost(core.NotSent)} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakes(t, group.Config{Retry: group.Retry{MaxAttempts: 2}}, "a")
				f.start = func(m *fake) error {
					if m.begun.Load() > 1 && core.OutcomeOf(second) == core.NotSent {
						return second
					}
					return nil
				}
				f.answer = func(_ context.Context, m *fake, _ core.Request[*lab]) (string, error) {
					if m.begun.Load() == 1 {
						return "", lost(core.OutcomeUnknown)
					}
					return "", second
				}
				_, err := edict.Call(t.Context(), f.group, read{}, edict.WithFailFast())
				if n := f.at("a")[0].begun.Load(); n != 2 {
					t.Errorf("%d attempts", n)
				}
				wantError(t, err, core.CodeOf(second), core.OutcomeUnknown)
			})
		})
	}
}

// A stream is tried again until its first result is taken, and never afterwards.
func TestStreamsAreTriedAgainBeforeTheFirstResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, group.Config{}, "a", "b")
		f.answer = func(_ context.Context, m *fake, _ core.Request[*lab]) (string, error) {
			if m.address == "b" {
				return "", lost(core.OutcomeUnknown)
			}
			return "", nil
		}
		for _, to := range []int{0, 3} { // b fails before a result, and after three
			var got []int
			var failure error
			for n, err := range edict.Stream(t.Context(), f.group, count{To: to}) {
				if failure = err; err == nil {
					got = append(got, n)
				}
			}
			if to == 0 {
				f.served(1) // a's turn
			}
			if a, b := f.at("a")[0].begun.Load(), f.at("b")[0].begun.Load(); to == 0 && (failure != nil || a != 2 || b != 1) {
				t.Errorf("without a result: %v, %d and %d attempts", failure, a, b)
			} else if to > 0 && (len(got) != 3 || edict.OutcomeOf(failure) != core.OutcomeUnknown || b != 2) {
				t.Errorf("after results %v: %v, %d attempts at b", got, failure, b)
			}
		}
	})
}

// Inputs are not kept, so what takes some is tried again before it has begun, and not after.
func TestInputsAreNotSentTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, group.Config{}, "a", "b")
		f.start = func(m *fake) error {
			if m.address == "b" {
				return lost(core.NotSent)
			}
			return nil
		}
		f.answer = func(context.Context, *fake, core.Request[*lab]) (string, error) {
			return "", says(core.Unavailable, core.Refused)
		}
		sum, err := edict.StartDuplex(t.Context(), f.group, sumUp{})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(sum.Send(1), sum.CloseSend()); err != nil {
			t.Fatal(err)
		}
		_, err = sum.Receive()
		wantError(t, err, core.Unavailable, core.Refused)
		if a, b := f.at("a")[0].begun.Load(), f.at("b")[0].begun.Load(); a != 1 || b != 1 {
			t.Errorf("%d and %d attempts", a, b)
		}
	})
}

// A call that waits, for a retry or for a connection, ends with its context, with Cancel, and with the group.
func TestWhatEndsACallThatWaits(t *testing.T) {
	errOver := errors.New("over")
	for _, waiting := range []string{"for a retry", "for a connection"} {
		for _, test := range []struct {
			by   string
			code core.Code
			is   error
		}{
			{"context", core.Canceled, errOver},
			{"deadline", core.DeadlineExceeded, context.DeadlineExceeded},
			{"cancel", core.Canceled, context.Canceled},
			{"close", core.Unavailable, edict.ErrClosed},
		} {
			if waiting == "for a retry" && test.by == "deadline" {
				continue // it does not wait: see TestRetryAfter
			}
			t.Run(waiting+", "+test.by, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := newFakes(t, group.Config{}, "a")
					f.answer = func(_ context.Context, m *fake, _ core.Request[*lab]) (string, error) {
						refusal := says(core.ResourceExhausted, core.Refused)
						if waiting == "for a retry" {
							return "", refusal.WithRetryAfter(time.Hour)
						}
						m.Set(delegate.Reconnecting, 0, io.ErrUnexpectedEOF)
						return "", refusal
					}
					ctx, cancel := context.WithCancelCause(t.Context())
					defer cancel(nil)
					if test.by == "deadline" {
						var stop context.CancelFunc
						ctx, stop = context.WithTimeout(ctx, time.Minute)
						defer stop()
					}
					running, err := edict.Start(ctx, f.group, who{})
					if err != nil {
						t.Fatal(err)
					}
					began := time.Now()
					time.AfterFunc(time.Minute, func() {
						switch test.by {
						case "context":
							cancel(errOver)
						case "cancel":
							running.Cancel()
						case "close":
							_ = f.group.Close()
						}
					})
					_, err = running.Receive()
					wantError(t, err, test.code, core.NotSent)
					if !errors.Is(err, test.is) {
						t.Errorf("%v is not %v", err, test.is)
					}
					if took := time.Since(began); took != time.Minute {
						t.Errorf("it took %v", took)
					}
					wantNothingInFlight(t, f)
				})
			})
		}
	}
}

// A call waits for the first connection, and goes on when there is one; with WithFailFast it does not.
func TestCallsWaitForAConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, group.Config{}, "a")
		m := f.at("a")[0]
		m.Set(delegate.Reconnecting, 0, io.ErrUnexpectedEOF)
		synctest.Wait()
		_, err := edict.Call(t.Context(), f.group, who{}, edict.WithFailFast())
		wantError(t, err, core.Unavailable, core.NotSent)
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%v does not say why", err)
		}
		time.AfterFunc(time.Minute, func() { m.Set(delegate.Ready, 1, nil) })
		began := time.Now()
		f.served(1)
		if took := time.Since(began); took != time.Minute {
			t.Errorf("it took %v", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		m.Set(delegate.Reconnecting, 0, io.ErrUnexpectedEOF)
		synctest.Wait()
		_, err = edict.Call(ctx, f.group, who{})
		wantError(t, err, core.DeadlineExceeded, core.NotSent)
	})
}

// A call that was cancelled, or just dropped, is not in flight for ever.
func TestCallsThatNobodyReceives(t *testing.T) {
	f := newFakes(t, group.Config{}, "a") // without the fake clock, which does not wait for the garbage collector
	f.answer = hold(nil)
	inFlight := func() int { return f.group.Stats().Endpoints[0].InFlight }
	start := func() *edict.Invocation[string] {
		running, err := edict.Start(context.Background(), f.group, wait{})
		if err != nil {
			t.Fatal(err)
		}
		return running
	}
	running := start()
	if n := inFlight(); n != 1 {
		t.Errorf("%d calls are in flight", n)
	}
	running.Cancel()
	if n := inFlight(); n != 0 {
		t.Errorf("%d calls are in flight after Cancel", n)
	}
	if _, err := running.Receive(); edict.CodeOf(err) != core.Canceled {
		t.Error(err)
	}
	if n := inFlight(); n != 0 {
		t.Errorf("%d calls are in flight after Receive", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := edict.Start(ctx, f.group, wait{}); err != nil {
		t.Fatal(err)
	}
	cancel()
	until(t, "the context's end has counted the call out", func() bool { return inFlight() == 0 })
	start()
	until(t, "the garbage collector has counted the call out", func() bool { runtime.GC(); return inFlight() == 0 })
}

// Interceptors and servers can tell attempts apart.
func TestAttemptOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, group.Config{}, "a")
		var attempts []int
		f.answer = func(ctx context.Context, m *fake, _ core.Request[*lab]) (string, error) {
			attempts = append(attempts, group.AttemptOf(ctx))
			if len(attempts) < 3 {
				return "", says(core.ResourceExhausted, core.Refused)
			}
			return m.address, nil
		}
		f.served(1)
		if len(attempts) != 3 || attempts[0] != 1 || attempts[2] != 3 {
			t.Errorf("attempts %v", attempts)
		}
		if n := f.group.Stats().Retries; n != 2 {
			t.Errorf("%d retries", n)
		}
	})
}

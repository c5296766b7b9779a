package group_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/delegate"
	"github.com/edict-go/edict/group"
)

// once is without retries.
var once = group.Retry{MaxAttempts: 1}

// What opens a breaker: ten calls that end like that.
func TestWhatABreakerCounts(t *testing.T) {
	for _, test := range []struct {
		name string
		err  error
		open bool
	}{
		{"lost connection", lost(core.OutcomeUnknown), true},
		{"unavailable", says(core.Unavailable, core.Executed), true},
		{"unavailable, refused", says(core.Unavailable, core.Refused), true},
		{"no answer in time", &core.Error{Code: core.DeadlineExceeded}, true},
		{"internal", says(core.Internal, core.Executed), true},
		{"not sent", lost(core.NotSent), false},
		{"answered too late", says(core.DeadlineExceeded, core.Executed), false},
		{"can't be decoded", &core.Error{Code: core.Internal, Outcome: core.Executed}, false},
		{"cancelled here", &core.Error{Code: core.Canceled}, false},
		{"cancelled there", says(core.Canceled, core.Executed), false},
		{"invalid argument", says(core.InvalidArgument, core.Executed), false},
		{"not found", says(core.NotFound, core.Executed), false},
		{"exhausted", says(core.ResourceExhausted, core.Refused), false},
		{"plain", says(core.Unknown, core.Executed), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakes(t, group.Config{Breaker: group.Breaker{Requests: 10}, Retry: once}, "a")
				f.answer = func(context.Context, *fake, core.Request[*lab]) (string, error) { return "", test.err }
				for n := range 10 {
					if breaker := f.group.Stats().Endpoints[0].Breaker; breaker != "closed" {
						t.Fatalf("%s after %d calls", breaker, n)
					}
					_, _ = edict.Call(t.Context(), f.group, who{})
				}
				want := "closed"
				if test.open {
					want = "open"
				}
				if breaker := f.group.Stats().Endpoints[0].Breaker; breaker != want {
					t.Errorf("the breaker is %s", breaker)
				}
			})
		})
	}
}

// An open breaker lets nothing through for a while, then one call, and more if that has succeeded.
func TestABreakerOpensAndCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, group.Config{Breaker: group.Breaker{Requests: 10, Interval: time.Minute, OpenFor: time.Minute}, Retry: once}, "a")
		works := false
		f.answer = func(_ context.Context, m *fake, _ core.Request[*lab]) (string, error) {
			time.Sleep(time.Second)
			if !works {
				return "", lost(core.OutcomeUnknown)
			}
			return m.address, nil
		}
		for range 10 {
			_, err := edict.Call(t.Context(), f.group, who{})
			wantError(t, err, core.Unavailable, core.OutcomeUnknown)
		}
		time.Sleep(10 * time.Second)
		_, err := edict.Call(t.Context(), f.group, who{})
		wantError(t, err, core.Unavailable, core.NotSent)
		if e, _ := errors.AsType[*core.Error](err); e.RetryAfter != 50*time.Second || !strings.Contains(err.Error(), "breaker") {
			t.Errorf("%v, to be tried again after %v", err, e.RetryAfter)
		}
		if n := f.at("a")[0].begun.Load(); n != 10 {
			t.Errorf("%d calls got through", n)
		}
		if !strings.Contains(f.log.String(), "left alone") {
			t.Errorf("the log does not tell: %s", f.log)
		}

		time.Sleep(50*time.Second + 1)
		probe, err := edict.Start(t.Context(), f.group, who{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = edict.Call(t.Context(), f.group, who{})
		wantError(t, err, core.Unavailable, core.NotSent)
		_, err = probe.Receive()
		wantError(t, err, core.Unavailable, core.OutcomeUnknown)
		if breaker := f.group.Stats().Endpoints[0].Breaker; breaker != "open" {
			t.Errorf("%s after a probe that failed", breaker)
		}

		time.Sleep(time.Minute + 1)
		works = true
		f.served(1)
		if breaker := f.group.Stats().Endpoints[0].Breaker; breaker != "closed" {
			t.Errorf("%s after a probe that succeeded", breaker)
		}
		f.served(10)
	})
}

// One open breaker among others is passed over, and no call fails for it.
func TestAnEndpointWhoseBreakerIsOpenIsPassedOver(t *testing.T) {
	for name, strategy := range map[string]group.Strategy{
		"round robin": group.RoundRobin(), "least in flight": group.LeastInFlight(), "latency": group.LowestLatency(), "key": group.ByKey{},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakes(t, group.Config{Breaker: group.Breaker{Requests: 3, OpenFor: time.Hour}, Strategy: strategy, Retry: once}, "a", "b", "c")
				f.answer = func(_ context.Context, m *fake, _ core.Request[*lab]) (string, error) {
					time.Sleep(time.Millisecond)
					if m.address == "b" {
						return "", lost(core.OutcomeUnknown)
					}
					return m.address, nil
				}
				for f.group.Stats().Endpoints[1].Breaker != "open" {
					_, _ = edict.Call(t.Context(), f.group, who{})
				}
				if served := f.served(100); served["b"] != 0 {
					t.Errorf("served by %v", served)
				}
			})
		})
	}
}

// A retry while the breakers of the others are open waits, and does not run in circles.
func TestARetryWhileTheOthersAreOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, group.Config{Breaker: group.Breaker{Requests: 1, OpenFor: time.Hour}}, "a", "b")
		f.answer = func(_ context.Context, m *fake, _ core.Request[*lab]) (string, error) {
			if m.address == "b" {
				return "", says(core.Internal, core.Executed)
			}
			return m.address, nil
		}
		for f.group.Stats().Endpoints[1].Breaker != "open" {
			_, _ = edict.Call(t.Context(), f.group, who{})
		}
		failures := 2
		f.start = func(*fake) error {
			if failures--; failures >= 0 {
				return lost(core.NotSent)
			}
			return nil
		}
		began := time.Now()
		f.served(1)
		if took := time.Since(began); took == 0 || took > 200*time.Millisecond {
			t.Errorf("it took %v", took)
		}
	})
}

// A server that shuts down refuses calls, which says nothing against it.
func TestADrainingServerIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, group.Config{Breaker: group.Breaker{Requests: 5}}, "a", "b")
		f.answer = func(_ context.Context, m *fake, _ core.Request[*lab]) (string, error) {
			time.Sleep(time.Millisecond)
			if m.address == "a" {
				m.Set(delegate.Draining, 0, nil)
				return "", says(core.Unavailable, core.Refused)
			}
			return m.address, nil
		}
		results := make(chan error)
		for range 40 {
			go func() {
				_, err := edict.Call(t.Context(), f.group, who{})
				results <- err
			}()
		}
		for range 40 {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
		if breaker := f.group.Stats().Endpoints[0].Breaker; breaker != "closed" {
			t.Errorf("the breaker is %s", breaker)
		}
	})
}

// A stream that breaks off behind a result has answered, and has failed.
func TestAStreamThatBreaksOffCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, group.Config{Breaker: group.Breaker{Requests: 10}, Retry: once}, "a")
		f.answer = func(context.Context, *fake, core.Request[*lab]) (string, error) { return "", lost(core.OutcomeUnknown) }
		for range 5 {
			for range edict.Stream(t.Context(), f.group, count{To: 3}) {
			}
		}
		if breaker := f.group.Stats().Endpoints[0].Breaker; breaker != "open" {
			t.Errorf("the breaker is %s", breaker)
		}
	})
}

// A probe that has no answer, because its caller waits for none or its stream is silent, does not keep the
// endpoint from being tried again.
func TestAProbeWithoutAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, group.Config{Breaker: group.Breaker{Requests: 1, OpenFor: time.Minute}, Retry: once}, "a")
		fail := true
		f.answer = func(ctx context.Context, m *fake, request core.Request[*lab]) (string, error) {
			if fail {
				return "", lost(core.OutcomeUnknown)
			}
			if _, ok := request.Command.(wait); ok {
				<-ctx.Done()
				return "", ctx.Err()
			}
			return m.address, nil
		}
		_, err := edict.Call(t.Context(), f.group, who{})
		wantError(t, err, core.Unavailable, core.OutcomeUnknown)
		fail = false
		time.Sleep(time.Minute + 1)
		silent, err := edict.Start(t.Context(), f.group, wait{})
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Cancel()
		_, err = edict.Call(t.Context(), f.group, who{})
		wantError(t, err, core.Unavailable, core.NotSent)
		time.Sleep(time.Minute + 1)
		f.served(1)
	})
}

// A probe that its caller gives up, here because it has no more inputs for it, makes room for another at once.
func TestAProbeThatIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, group.Config{Breaker: group.Breaker{Requests: 1, OpenFor: time.Minute}, Retry: once}, "a")
		f.answer = func(ctx context.Context, m *fake, request core.Request[*lab]) (string, error) {
			switch request.Command.(type) {
			case read:
				return "", lost(core.OutcomeUnknown)
			case sumUp:
				<-ctx.Done()
				return "", ctx.Err()
			}
			return m.address, nil
		}
		_, err := edict.Call(t.Context(), f.group, read{}, edict.WithFailFast())
		wantError(t, err, core.Unavailable, core.OutcomeUnknown)
		time.Sleep(time.Minute + 1)
		_, err = edict.Upload(t.Context(), f.group, sumUp{}, func(yield func(int, error) bool) { yield(0, io.ErrUnexpectedEOF) })
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("the upload ended with %v", err)
		}
		f.served(1)
		wantNothingInFlight(t, f)
	})
}

func TestWithoutABreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, group.Config{Breaker: group.Breaker{Disabled: true}, Retry: once}, "a")
		f.answer = func(context.Context, *fake, core.Request[*lab]) (string, error) { return "", lost(core.OutcomeUnknown) }
		for range 100 {
			_, err := edict.Call(t.Context(), f.group, who{})
			wantError(t, err, core.Unavailable, core.OutcomeUnknown)
		}
		if breaker := f.group.Stats().Endpoints[0].Breaker; breaker != "" {
			t.Errorf("the breaker is %s", breaker)
		}
	})
}

// A panic in a command's encoding is the caller's, and leaves nothing behind: the probe of a breaker neither.
func TestAPanicWhileSending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, group.Config{Breaker: group.Breaker{Requests: 1, OpenFor: time.Minute}, Retry: once}, "a")
		f.answer = func(context.Context, *fake, core.Request[*lab]) (string, error) { return "", lost(core.OutcomeUnknown) }
		_, err := edict.Call(t.Context(), f.group, who{})
		wantError(t, err, core.Unavailable, core.OutcomeUnknown)
		time.Sleep(time.Minute + 1)
		f.start = func(*fake) error { panic("can't be encoded") }
		func() {
			defer func() {
				if problem := recover(); problem != "can't be encoded" {
					t.Errorf("recovered %v", problem)
				}
			}()
			_, _ = edict.Call(t.Context(), f.group, who{})
		}()
		wantNothingInFlight(t, f)
		f.start, f.answer = nil, nil
		f.served(1)
	})
}

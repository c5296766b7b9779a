package group_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/delegate"
	"github.com/edict-go/edict/group"
)

// hold keeps the commands wait until the channel is closed.
func hold(release <-chan struct{}) func(context.Context, *fake, core.Request[*lab]) (string, error) {
	return func(ctx context.Context, m *fake, request core.Request[*lab]) (string, error) {
		if _, ok := request.Command.(wait); ok {
			select {
			case <-release:
			case <-ctx.Done():
				return "", ctx.Err()
			}
		}
		return m.address, nil
	}
}

func (f *fakes) startWait() *edict.Invocation[string] {
	f.t.Helper()
	running, err := edict.Start(f.t.Context(), f.group, wait{})
	if err != nil {
		f.t.Fatal(err)
	}
	synctest.Wait()
	return running
}

// connections returns how many there are to the first endpoint.
func (f *fakes) connections() int { return len(f.group.Stats().Endpoints[0].Connections) }

// The connections to an endpoint become more while all have as many calls as GrowAt says, and fewer when that was
// long ago.
func TestConnectionsFollowTheLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, group.Config{Min: 1, Max: 3, GrowAt: 4, IdleAfter: time.Minute, MaxAge: -1}, "a")
		release := make(chan struct{})
		f.answer = hold(release)
		var grown []int
		var running []*edict.Invocation[string]
		for range 16 {
			running = append(running, f.startWait())
			grown = append(grown, f.connections())
		}
		// The fifth finds four calls on the connection, and makes it five. The tenth finds four on the new one.
		if want := []int{1, 1, 1, 1, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3}; !slices.Equal(grown, want) {
			t.Errorf("connections %v, want %v", grown, want)
		}
		for i, c := range f.group.Stats().Endpoints[0].Connections {
			if c.InFlight < 3 || c.InFlight > 7 {
				t.Errorf("connection %d has %d of 16 calls", i, c.InFlight)
			}
		}
		time.Sleep(10 * time.Minute)
		if n := f.connections(); n != 3 {
			t.Errorf("%d connections while all are in use", n)
		}
		close(release)
		for _, call := range running {
			if _, err := call.Receive(); err != nil {
				t.Error(err)
			}
		}
		for _, test := range []struct {
			wait time.Duration
			want int
		}{{40 * time.Second, 3}, {40 * time.Second, 2}, {20 * time.Second, 2}, {50 * time.Second, 1}, {time.Hour, 1}} {
			time.Sleep(test.wait)
			synctest.Wait()
			if n := f.connections(); n != test.want {
				t.Errorf("%d connections after %v more, want %d", n, test.wait, test.want)
			}
		}
	})
}

// A connection that is being made is waited for before another one is.
func TestOneConnectionIsMadeAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, group.Config{Max: 10, GrowAt: 1}, "a")
		release := make(chan struct{})
		f.answer = hold(release)
		f.setDown("a", true)
		for range 20 {
			f.startWait()
		}
		if n := f.connections(); n != 2 {
			t.Errorf("%d connections", n)
		}
		f.setDown("a", false)
		f.at("a")[1].Set(delegate.Ready, 2, nil)
		time.Sleep(time.Minute)
		f.startWait()
		f.startWait() // finds one call on the new one too
		if n := f.connections(); n != 3 {
			t.Errorf("%d connections when the second is ready", n)
		}
		close(release)
	})
}

// What is no longer listed gets no more calls, and loses its connection when those there have ended.
func TestEndpointsComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, group.Config{MaxAge: -1}, "a", "b")
		release := make(chan struct{})
		f.answer = hold(release)
		held := []*edict.Invocation[string]{f.startWait(), f.startWait()} // one at each

		f.updates <- []string{"b", "c", "c"}
		synctest.Wait()
		if served := f.served(100); served["a"] != 0 || served["b"] != 50 || served["c"] != 50 {
			t.Errorf("served by %v", served)
		}
		a := f.at("a")[0]
		stats := f.group.Stats()
		if a.State() != delegate.Draining || len(stats.Leaving) != 1 || stats.Leaving[0].InFlight != 1 || stats.Leaving[0].Address != "a" {
			t.Errorf("a is %v, leaving are %+v", a.State(), stats.Leaving)
		}
		time.Sleep(time.Hour)
		close(release)
		for _, running := range held {
			if _, err := running.Receive(); err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		if leaving := f.group.Stats().Leaving; a.State() != delegate.Closed || len(leaving) != 0 {
			t.Errorf("a is %v, leaving are %+v", a.State(), leaving)
		}

		f.updates <- []string{"a", "b"}
		synctest.Wait()
		if n := len(f.at("b")); n != 1 {
			t.Errorf("%d connections were made to b, which was always listed", n)
		}
		if served := f.served(100); served["a"] != 50 || served["c"] != 0 {
			t.Errorf("served by %v", served)
		}
	})
}

// With a DrainTimeout the calls on a connection that leaves end after it.
func TestDrainTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, group.Config{DrainTimeout: time.Minute}, "a")
		f.answer = hold(nil)
		running := f.startWait()
		f.updates <- []string{"b"}
		began := time.Now()
		_, err := running.Receive()
		wantError(t, err, core.Unavailable, core.OutcomeUnknown)
		if took := time.Since(began); took != time.Minute {
			t.Errorf("it took %v", took)
		}
		synctest.Wait()
		if !strings.Contains(f.log.String(), "given up before its calls had ended") {
			t.Errorf("the log does not tell: %s", f.log)
		}
	})
}

// A list that is empty, and an error, leave all as it is.
func TestAResolverThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, group.Config{}, "a", "b")
		f.updates <- []string{}
		f.updates <- []string{"error"}
		synctest.Wait()
		if served := f.served(10); served["a"] != 5 || len(f.at("a")) != 1 {
			t.Errorf("served by %v", served)
		}
		for _, want := range []string{"the list of endpoints is empty", io.ErrNoProgress.Error()} {
			if !strings.Contains(f.log.String(), want) {
				t.Errorf("%q is not in the log: %s", want, f.log)
			}
		}
		f.updates <- []string{"b"}
		synctest.Wait()
		if served := f.served(10); served["b"] != 10 {
			t.Errorf("served by %v", served)
		}
	})
}

// A connection is replaced before it is MaxAge old; its successor is ready before it goes, and its calls end.
func TestMaxAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const maxAge = time.Hour
		f := newFakes(t, group.Config{MaxAge: maxAge}, "a")
		release := make(chan struct{})
		f.answer = hold(release)
		running := f.startWait()

		f.setDown("a", true) // the successor does not get ready yet
		time.Sleep(maxAge)
		synctest.Wait()
		made := f.at("a")
		if len(made) != 2 || made[0].State() != delegate.Ready {
			t.Fatalf("%d connections were made, the first is %v", len(made), made[0].State())
		}
		f.served(10) // by the first
		if n := made[0].begun.Load(); n != 11 {
			t.Errorf("the first has had %d calls", n)
		}
		time.Sleep(5 * maxAge)
		if n := len(f.at("a")); n != 2 {
			t.Errorf("%d connections were made", n)
		}

		f.setDown("a", false)
		made[1].Set(delegate.Ready, 1, nil)
		synctest.Wait()
		if made[0].State() != delegate.Draining {
			t.Errorf("the old connection is %v", made[0].State())
		}
		f.served(10)
		if n := made[1].begun.Load(); n != 10 {
			t.Errorf("the new one has had %d calls", n)
		}
		close(release)
		if _, err := running.Receive(); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if made[0].State() != delegate.Closed {
			t.Errorf("the old connection is %v", made[0].State())
		}
	})
}

// The connections of an endpoint don't age together, and one is replaced at a time. A connection that was made
// anew meanwhile is young.
func TestAgesDiffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const maxAge = time.Hour
		f := newFakes(t, group.Config{MaxAge: maxAge, Min: 20}, "a")
		began := time.Now()
		ages := map[time.Duration]int{}
		first := f.at("a")
		time.Sleep(maxAge / 2)
		young := first[0]
		young.Set(delegate.Reconnecting, 0, io.ErrUnexpectedEOF)
		young.Set(delegate.Ready, 1, nil)
		for time.Since(began) < maxAge {
			time.Sleep(time.Second)
			synctest.Wait()
			closed := 0
			for _, m := range first {
				if m.State() == delegate.Closed {
					closed++
				}
			}
			ages[time.Since(began).Truncate(maxAge/40)] = closed
			if closed > 0 && time.Since(began) < maxAge*3/4 {
				t.Fatalf("%d were replaced after %v", closed, time.Since(began))
			}
			if n := f.connections(); n != 20 {
				t.Fatalf("%d connections", n)
			}
		}
		if n := len(ages); ages[maxAge] != 19 {
			t.Errorf("%d were replaced by %v: %v (%d)", ages[maxAge], maxAge, ages, n)
		}
		distinct := map[int]bool{}
		for _, closed := range ages {
			distinct[closed] = true
		}
		if len(distinct) < 5 {
			t.Errorf("they were replaced in %d groups: %v", len(distinct), ages)
		}
		if young.State() != delegate.Ready {
			t.Errorf("the young one is %v", young.State())
		}
	})
}

func TestWithoutMaxAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, group.Config{MaxAge: -1}, "a")
		time.Sleep(1000 * time.Hour)
		if n := len(f.at("a")); n != 1 {
			t.Errorf("%d connections were made", n)
		}
	})
}

// A connection that has given up, because the server refuses it for good, is made again after a while. If all have,
// calls don't wait for it.
func TestConnectionsThatGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, group.Config{}, "a", "b")
		denied := says(core.PermissionDenied, core.Refused)
		f.at("a")[0].Set(delegate.Closed, 1, denied)
		synctest.Wait()
		if served := f.served(10); served["b"] != 10 {
			t.Errorf("served by %v", served)
		}
		f.at("b")[0].Set(delegate.Closed, 1, denied)
		synctest.Wait()
		_, err := edict.Call(t.Context(), f.group, who{})
		wantError(t, err, core.PermissionDenied, core.NotSent)
		if !errors.Is(err, denied) {
			t.Errorf("%v is not what the server has said", err)
		}
		wantError(t, f.group.WaitReady(t.Context()), core.PermissionDenied, core.NotSent)
		time.Sleep(10*time.Second + 1)
		if served := f.served(10); served["a"] != 5 || served["b"] != 5 {
			t.Errorf("served by %v", served)
		}
	})
}

// An address that can't be used harms none of the others.
func TestAnEndpointThatCantBeUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, group.Config{}, "a")
		f.setFail(errors.New("what a strange address"))
		f.updates <- []string{"a", "strange"}
		time.Sleep(time.Minute)
		if served := f.served(10); served["a"] != 10 {
			t.Errorf("served by %v", served)
		}
		if !strings.Contains(f.log.String(), "what a strange address") {
			t.Errorf("the log does not tell: %s", f.log)
		}
		f.setFail(nil)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if served := f.served(10); served["strange"] != 5 {
			t.Errorf("served by %v", served)
		}
	})
}

// Shutdown takes no more calls and waits for those that there are, also on connections that leave.
func TestShutdown(t *testing.T) {
	for name, patient := range map[string]bool{"waits": true, "does not wait for ever": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakes(t, group.Config{}, "a", "b")
				release := make(chan struct{})
				f.answer = hold(release)
				first, second := f.startWait(), f.startWait()
				f.updates <- []string{"b"}
				synctest.Wait()
				began := time.Now()
				time.AfterFunc(time.Minute, func() {
					if patient {
						close(release)
					}
				})
				time.AfterFunc(time.Second, func() {
					_, err := edict.Call(t.Context(), f.group, who{})
					wantError(t, err, core.Unavailable, core.NotSent)
					if !errors.Is(err, edict.ErrClosed) {
						t.Errorf("%v is not ErrClosed", err)
					}
				})
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
				defer cancel()
				err := f.group.Shutdown(ctx)
				took := time.Since(began)
				if patient && (err != nil || took != time.Minute) {
					t.Errorf("%v after %v", err, took)
				}
				if !patient && (!errors.Is(err, context.DeadlineExceeded) || took != 2*time.Minute) {
					t.Errorf("%v after %v", err, took)
				}
				for _, running := range []*edict.Invocation[string]{first, second} {
					if _, err := running.Receive(); patient != (err == nil) {
						t.Errorf("a call ended with %v", err)
					}
				}
				for _, m := range append(f.at("a"), f.at("b")...) {
					if m.State() != delegate.Closed {
						t.Errorf("the connection to %s is %v", m.address, m.State())
					}
				}
				if err := f.group.Shutdown(t.Context()); err != nil {
					t.Error("again:", err)
				}
			})
		})
	}
}

// Close waits for nobody, not even if Shutdown does.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, group.Config{}, "a")
		f.answer = hold(nil)
		running := f.startWait()
		stopped := make(chan error)
		go func() { stopped <- f.group.Shutdown(t.Context()) }()
		synctest.Wait()
		began := time.Now()
		if err := f.group.Close(); err != nil {
			t.Error(err)
		}
		<-stopped
		_, err := running.Receive()
		wantError(t, err, core.Unavailable, core.OutcomeUnknown)
		if took := time.Since(began); took != 0 {
			t.Errorf("it took %v", took)
		}
		if err := f.group.Close(); err != nil {
			t.Error("again:", err)
		}
		err = f.group.WaitReady(t.Context())
		wantError(t, err, core.Unavailable, core.NotSent)
	})
}

func TestWithoutEndpoints(t *testing.T) {
	_, err := group.Dial(t.Context(), labCommands, group.Config{})
	wantError(t, err, core.InvalidArgument, core.NotSent)
}

func TestStats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, group.Config{Min: 2, Retry: group.Retry{Reserve: 7}}, "a", "b")
		f.answer = func(_ context.Context, m *fake, _ core.Request[*lab]) (string, error) {
			time.Sleep(3 * time.Millisecond)
			return m.address, nil
		}
		began := time.Now()
		f.served(2)
		stats := f.group.Stats()
		if len(stats.Endpoints) != 2 || stats.Budget != 7 || stats.Retries != 0 {
			t.Fatalf("%+v", stats)
		}
		for i, address := range []string{"a", "b"} {
			e := stats.Endpoints[i]
			if e.Address != address || e.Breaker != "closed" || e.InFlight != 0 || e.Latency < 2*time.Millisecond || e.Latency > 3*time.Millisecond || len(e.Connections) != 2 {
				t.Errorf("%+v", e)
			}
			for _, c := range e.Connections {
				if c.State != delegate.Ready || c.RoundTripTime != time.Millisecond || !c.Since.Equal(began) || c.Address != address {
					t.Errorf("%+v", c)
				}
			}
		}
	})
}

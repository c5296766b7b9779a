package delegate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict/core"
)

// fakeLink is a connection that the test ends.
type fakeLink struct {
	number   int
	away     chan struct{}
	ended    chan struct{}
	lastCall chan struct{} // Shutdown waits for it

	mu   sync.Mutex // guards err
	err  error
	once sync.Once
}

func (l *fakeLink) Done() <-chan struct{}      { return l.ended }
func (l *fakeLink) GoingAway() <-chan struct{} { return l.away }

func (l *fakeLink) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

func (l *fakeLink) Shutdown(ctx context.Context) error {
	select {
	case <-l.lastCall:
	case <-l.ended:
	case <-ctx.Done():
	}
	return l.Close()
}

func (l *fakeLink) Close() error {
	l.lose(core.ErrClosed)
	return nil
}

// lose ends the link, goAway announces it.
func (l *fakeLink) lose(err error) {
	l.once.Do(func() {
		l.mu.Lock()
		l.err = err
		l.mu.Unlock()
		close(l.ended)
	})
}

func (l *fakeLink) goAway(err error) {
	l.mu.Lock()
	l.err = err
	l.mu.Unlock()
	close(l.away)
}

// supervision is a Supervisor of fake links.
type supervision struct {
	*testing.T
	*Supervisor[*fakeLink]
	links  []*fakeLink
	dials  []time.Duration
	refuse error // what attempts fail with

	watched sync.Mutex // guards changes
	changes []StateChange
}

// seen returns the changes since the last time.
func (s *supervision) seen() []StateChange {
	s.watched.Lock()
	defer s.watched.Unlock()
	changes := s.changes
	s.changes = nil
	return changes
}

func supervise(t *testing.T, reconnect Reconnect, story func(s *supervision)) {
	synctest.Test(t, func(t *testing.T) {
		s := &supervision{T: t}
		began := time.Now()
		s.Supervisor = NewSupervisor(SupervisorConfig[*fakeLink]{
			Connect: func(_ context.Context, handshaking func()) (*fakeLink, error) {
				s.dials = append(s.dials, time.Since(began))
				if s.refuse != nil {
					return nil, s.refuse
				}
				handshaking()
				link := &fakeLink{number: len(s.links), away: make(chan struct{}), ended: make(chan struct{}), lastCall: make(chan struct{})}
				s.links = append(s.links, link)
				return link, nil
			},
			Ready: func(*fakeLink) {}, Reconnect: reconnect,
		})
		observed := make(chan struct{})
		go func() {
			defer close(observed)
			s.Observe(func(change StateChange) {
				s.watched.Lock()
				defer s.watched.Unlock()
				s.changes = append(s.changes, change)
			})
		}()
		synctest.Wait()
		story(s)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		<-observed
		if s.Present().To != Closed || s.Err() == nil || len(s.Links()) > 0 {
			t.Errorf("after Close: %v, %v, %d links", s.Present(), s.Err(), len(s.Links()))
		}
		for _, link := range s.links {
			<-link.ended
		}
	})
}

// wantStates checks the states since the last time.
func (s *supervision) wantStates(names string) {
	s.Helper()
	synctest.Wait()
	var got []string
	for _, change := range s.seen() {
		got = append(got, change.To.String())
	}
	if strings.Join(got, " ") != names {
		s.Errorf("the states were %v, want %s", got, names)
	}
}

// wantLink checks where calls go.
func (s *supervision) wantLink(number int) *fakeLink {
	s.Helper()
	synctest.Wait()
	link, err := s.Await(s.Context(), nil)
	synctest.Wait()
	if err != nil || link.number != number {
		s.Fatalf("calls go to %+v, %v; want link %d", link, err, number)
	}
	return link
}

var errLost = &core.Error{Code: core.Unavailable, Message: "lost"}

func TestALostLinkIsReplaced(t *testing.T) {
	supervise(t, Reconnect{}, func(s *supervision) {
		s.wantStates("connecting handshaking ready")
		for i := range 3 {
			link := s.wantLink(i)
			link.lose(errLost)
			next, err := s.Await(s.Context(), link)
			if err != nil || next.number != i+1 {
				t.Errorf("%v, %v", next, err)
			}
			s.wantStates("reconnecting connecting handshaking ready")
		}
	})
}

func TestALinkThatGoesAwayIsReplacedFirst(t *testing.T) {
	supervise(t, Reconnect{}, func(s *supervision) {
		old := s.wantLink(0)
		s.wantStates("connecting handshaking ready")
		old.goAway(errLost)
		s.wantStates("draining")
		if _, err := s.Try(nil); core.OutcomeOf(err) != core.NotSent || !errors.Is(err, errLost) {
			t.Errorf("Try: %v", err)
		}
		s.wantLink(1)
		s.wantStates("connecting handshaking ready")
		if links := s.Links(); len(links) != 2 || isClosed(old.Done()) {
			t.Errorf("%d links", len(links))
		}
		close(old.lastCall)
		synctest.Wait()
		if links := s.Links(); len(links) != 1 || !isClosed(old.Done()) {
			t.Errorf("%d links", len(links))
		}
		s.wantStates("")
	})
}

// A link that goes away and has ended before anyone looks was draining all the same.
func TestALinkThatGoesAwayAndEnds(t *testing.T) {
	supervise(t, Reconnect{}, func(s *supervision) {
		for i := range 10 {
			link := s.wantLink(i)
			s.seen()
			link.goAway(errLost)
			link.lose(errLost)
			s.wantStates("draining reconnecting")
			s.wantLink(i + 1)
			s.wantStates("connecting handshaking ready")
		}
	})
}

// What the changes say: the number of the attempt, and what was wrong.
func TestChangesTellAttemptAndCause(t *testing.T) {
	supervise(t, Reconnect{MaxAttempts: 3}, func(s *supervision) {
		link := s.wantLink(0)
		s.seen()
		s.refuse = &core.Error{Code: core.Unavailable, Message: "refused"}
		link.lose(errLost)
		<-s.Supervisor.Done()
		synctest.Wait()
		var got []string
		changes := s.seen()
		for i, change := range changes {
			got = append(got, change.String())
			if i > 0 && (change.From != changes[i-1].To || change.At.Before(changes[i-1].At)) {
				t.Errorf("%v follows %v", change, changes[i-1])
			}
		}
		want := []string{
			"ready -> reconnecting: edict: unavailable: lost",
			"reconnecting -> connecting, attempt 1: edict: unavailable: lost",
			"connecting -> reconnecting, attempt 1: edict: unavailable: refused",
			"reconnecting -> connecting, attempt 2: edict: unavailable: refused",
			"connecting -> reconnecting, attempt 2: edict: unavailable: refused",
			"reconnecting -> connecting, attempt 3: edict: unavailable: refused",
			"connecting -> closed: edict: unavailable: refused",
		}
		if !slices.Equal(got, want) {
			t.Errorf("the changes are\n%s", strings.Join(got, "\n"))
		}
	})
}

// The pauses are drawn from nothing to a limit that doubles, and begin anew after a link that has lasted.
func TestPauses(t *testing.T) {
	const initial, longest = 100 * time.Millisecond, 2 * time.Second
	sums := make([]time.Duration, 10)
	var short, long [10]int // of those below a tenth of the limit, or above nine tenths
	const lives = 300
	for range lives {
		supervise(t, Reconnect{Initial: initial, Max: longest}, func(s *supervision) {
			<-time.After(longest)
			s.refuse = errLost
			s.dials = []time.Duration{longest}
			s.wantLink(0).lose(errLost)
			<-time.After(time.Minute)
			synctest.Wait()
			limit := initial
			for i := range sums {
				pause := s.dials[i+1] - s.dials[i]
				if pause > limit+1 {
					t.Errorf("pause %d is %v, at most %v are allowed", i, pause, limit)
				}
				sums[i] += pause
				if pause < limit/10 {
					short[i]++
				}
				if pause > limit*9/10 {
					long[i]++
				}
				limit = min(2*limit, longest)
			}
		})
	}
	limit := initial
	for i, sum := range sums {
		if average := sum / lives; average < limit*4/10 || average > limit*6/10 {
			t.Errorf("pause %d is %v on average, want half of %v", i, average, limit)
		}
		if short[i] < lives/30 || long[i] < lives/30 {
			t.Errorf("pause %d is drawn from the middle: of %d %d are short, %d long", i, lives, short[i], long[i])
		}
		limit = min(2*limit, longest)
	}
}

// A server may ask for a longer pause, but not for ever.
func TestRetryAfter(t *testing.T) {
	for _, asked := range []time.Duration{time.Minute, 10 * time.Hour, -time.Hour} {
		supervise(t, Reconnect{}, func(s *supervision) {
			link := s.wantLink(0)
			start := time.Now()
			link.goAway(errLost.WithRetryAfter(asked))
			s.wantLink(1)
			want := max(0, min(asked, 5*time.Minute))
			if after := time.Since(start); after < want || after > want+100*time.Millisecond {
				t.Errorf("asked for %v: %v", asked, after)
			}
		})
	}
}

func TestHopelessErrors(t *testing.T) {
	for code := core.Canceled; code <= core.Unauthenticated; code++ {
		hopeless := slices.Contains([]core.Code{
			core.InvalidArgument, core.PermissionDenied, core.FailedPrecondition, core.Unimplemented, core.Unauthenticated,
		}, code)
		if err := core.Errorf(code, "x"); Hopeless(err) != hopeless || Hopeless(fmt.Errorf("y: %w", err)) != hopeless {
			t.Errorf("%v: %v", code, Hopeless(err))
		}
		// A token may be another one by the next attempt, if there was a good one before.
		supervise(t, Reconnect{}, func(s *supervision) {
			s.refuse = core.Errorf(code, "refused")
			s.wantLink(0).lose(errLost)
			<-time.After(time.Minute)
			if ended := isClosed(s.Supervisor.Done()); ended != (hopeless && code != core.Unauthenticated) {
				t.Errorf("after %v: %v", code, s.Present())
			}
		})
	}
	if Hopeless(nil) || Hopeless(errors.New("connection refused")) {
		t.Error("other errors pass")
	}
}

// When no connection can be made any more, calls on one that goes away still come to their end; those that wait
// for another are told at once.
func TestHopelessWhileDraining(t *testing.T) {
	supervise(t, Reconnect{}, func(s *supervision) {
		link := s.wantLink(0)
		s.refuse = core.Errorf(core.PermissionDenied, "not you")
		s.seen()
		link.goAway(errLost)
		if _, err := s.Await(s.Context(), link); !errors.Is(err, core.PermissionDenied) || core.OutcomeOf(err) != core.NotSent {
			t.Errorf("Await: %v", err)
		}
		s.wantStates("draining connecting draining")
		if isClosed(link.Done()) || isClosed(s.Supervisor.Done()) {
			t.Error("the link was closed")
		}
		close(link.lastCall)
		<-s.Supervisor.Done()
		s.wantStates("closed")
		if err := s.WaitReady(s.Context()); !errors.Is(err, core.PermissionDenied) {
			t.Errorf("WaitReady: %v", err)
		}
	})
}

// Shutdown waits for the calls on all links, and makes no other; its context cuts that short.
func TestShutdownWaitsForCalls(t *testing.T) {
	for _, patient := range []bool{true, false} {
		supervise(t, Reconnect{}, func(s *supervision) {
			old := s.wantLink(0)
			old.goAway(errLost)
			present := s.wantLink(1)
			s.seen()
			ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
			defer cancel()
			start := time.Now()
			time.AfterFunc(time.Minute, func() { close(old.lastCall) })
			if patient {
				time.AfterFunc(2*time.Minute, func() { close(present.lastCall) })
			}
			err := s.Shutdown(ctx)
			after := time.Since(start)
			if patient && (err != nil || after != 2*time.Minute) || !patient && (!errors.Is(err, context.DeadlineExceeded) || after != time.Hour) {
				t.Errorf("%v after %v", err, after)
			}
			s.wantStates("draining closed")
			if len(s.dials) != 2 {
				t.Errorf("%d dials", len(s.dials))
			}
		})
	}
}

// An attempt has a bound of its own.
func TestAnAttemptThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSupervisor(SupervisorConfig[*fakeLink]{
			Connect: func(ctx context.Context, _ func()) (*fakeLink, error) {
				<-ctx.Done()
				return nil, core.Errorf(core.DeadlineExceeded, "no answer: %w", context.Cause(ctx))
			},
			Ready: func(*fakeLink) {}, Reconnect: Reconnect{Timeout: 3 * time.Second, MaxAttempts: 2},
		})
		start := time.Now()
		<-s.Done()
		if after := time.Since(start); after < 6*time.Second || after > 6100*time.Millisecond || !errors.Is(s.Err(), core.DeadlineExceeded) {
			t.Errorf("%v after %v", s.Err(), after)
		}
	})
}

func TestStates(t *testing.T) {
	var states States
	if states.Present().To != Disconnected {
		t.Errorf("at first: %v", states.Present())
	}
	states.Set(Ready, 1, nil)
	states.Set(Closed, 0, errLost)
	states.Set(Ready, 1, nil)
	if present := states.Present(); present.To != Closed || present.From != Ready {
		t.Errorf("Closed is the last, not %v", present)
	}
	if err := states.WaitReady(t.Context()); err != errLost {
		t.Errorf("WaitReady: %v", err)
	}
	names := map[State]string{Disconnected: "disconnected", Connecting: "connecting", Draining: "draining", Closed: "closed", 77: "state(77)", -1: "state(-1)"}
	for state, name := range names {
		if state.String() != name {
			t.Errorf("%d is called %v", state, state)
		}
	}
}

// Whoever looks at the changes at whatever pace sees them in order, and always the last.
func TestChangesAtAnyPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var states States
		const count = 1000
		var group sync.WaitGroup
		for pace := range 20 {
			group.Go(func() {
				seen, last := 0, -1
				for change := range states.Changes(t.Context()) {
					if change.To == Closed {
						break
					}
					if change.Attempt <= last {
						t.Errorf("%d after %d", change.Attempt, last)
					}
					seen, last = seen+1, change.Attempt
					<-time.After(time.Duration(pace) * time.Second)
				}
				if last != count || pace < 2 && seen < count {
					t.Errorf("at pace %d %d changes were seen, the last is %d", pace, seen, last)
				}
			})
		}
		for i := range count {
			<-time.After(time.Second)
			states.Set(Connecting, i+1, nil)
		}
		<-time.After(time.Hour)
		states.Set(Closed, 0, nil)
		group.Wait()
	})
}

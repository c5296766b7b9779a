package edict_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/edicttest"
)

// far starts a server and a client of it, with default settings, at both ends of a long fast link.
func far(t *testing.T, link edicttest.Link, options ...edict.DialOption) (*bench, *edict.Client[*lab]) {
	network := edicttest.New(edicttest.Config{Link: link})
	listener, err := network.Listen("server")
	if err != nil {
		t.Fatal(err)
	}
	b := serveOn(t, listener, network.Dialer("server"), edict.WithBudget(edict.NewBudget(1<<30)))
	return b, b.client(append([]edict.DialOption{edict.WithBudget(edict.NewBudget(1 << 30))}, options...)...)
}

const (
	farBandwidth = 12_500_000 // 100 Mbit/s
	farRoundTrip = 100 * time.Millisecond
)

var farLink = edicttest.Link{Latency: farRoundTrip / 2, Bandwidth: farBandwidth, Buffer: 8 << 20}

// Over a link of 100 Mbit/s and 100 ms, which holds 1.25 MB, a stream with default settings reaches most of the
// bandwidth, in both directions. A window of 256 KiB would give a fifth of it, one of 16 KiB a hundredth.
func TestWindowsGrowWithBandwidthAndDelay(t *testing.T) {
	const results, size = 1200, 32 << 10
	wantRate := func(t *testing.T, took time.Duration) {
		t.Helper()
		ideal := time.Duration(float64(results*size) / farBandwidth * float64(time.Second))
		t.Logf("%v; the bandwidth alone needs %v", took, ideal)
		if took > ideal*3/2 {
			t.Errorf("%d%% of the bandwidth", 100*ideal/took)
		}
	}
	t.Run("results", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, client := far(t, farLink)
			began, taken := time.Now(), 0
			for _, err := range edict.Stream(t.Context(), client, flood{Size: size}) {
				if err != nil {
					t.Fatal(err)
				}
				if taken++; taken == results {
					break
				}
			}
			wantRate(t, time.Since(began))
		})
	})
	t.Run("inputs", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b, client := far(t, farLink)
			close(b.lab.release)
			began := time.Now()
			text := string(make([]byte, size/6)) // in JSON each zero has six bytes
			got, err := edict.Upload(t.Context(), client, deaf{}, func(yield func(string, error) bool) {
				for range results {
					if !yield(text, nil) {
						return
					}
				}
			})
			if err != nil || got != results*len(text) {
				t.Fatal(got, err)
			}
			wantRate(t, time.Since(began))
		})
	})
}

// A reader that is slow, a producer that is slow, or a short way don't make windows grow.
func TestWindowsStaySmallWithoutNeed(t *testing.T) {
	for name, test := range map[string]struct {
		link  edicttest.Link
		pause time.Duration
	}{
		"slow reader":      {farLink, 50 * time.Millisecond},
		"slow link":        {edicttest.Link{Latency: time.Millisecond, Bandwidth: 100_000}, 0},
		"reader on a LAN":  {edicttest.Link{Latency: 50 * time.Microsecond}, time.Millisecond},
		"reader far away":  {edicttest.Link{Latency: 2 * time.Second}, 10 * time.Second},
		"nothing in a bit": {farLink, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				budget := edict.NewBudget(1 << 30)
				_, client := far(t, test.link, edict.WithBudget(budget))
				taken, most := 0, int64(0)
				for _, err := range edict.Stream(t.Context(), client, flood{Size: 1 << 10}) {
					if err != nil {
						t.Fatal(err)
					}
					time.Sleep(test.pause)
					if most = max(most, budget.Used()); taken == 500 {
						break
					}
					taken++
				}
				if most > 64<<10 {
					t.Errorf("the stream's window has grown to %d KiB", most>>10)
				}
			})
		})
	}
}

// Over a short way a window of 256 KiB is as good as a larger one, which would make small messages wait behind what
// is under way. A fast stream makes it grow to that, though the network alone would need less, and one whose reader
// takes all that has come at once does not make it grow beyond.
func TestWindowsStayOrdinaryOverAShortWay(t *testing.T) {
	for name, bandwidth := range map[string]int{"fast": 1_000_000_000, "in bursts": 0} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				budget := edict.NewBudget(1 << 30)
				_, client := far(t, edicttest.Link{Latency: 25 * time.Microsecond, Bandwidth: bandwidth}, edict.WithBudget(budget))
				taken, most := 0, int64(0)
				for _, err := range edict.Stream(t.Context(), client, flood{Size: 32 << 10}) {
					if err != nil {
						t.Fatal(err)
					}
					if most = max(most, budget.Used()); taken == 3000 {
						break
					}
					taken++
				}
				if most < 200<<10 || most > 320<<10 {
					t.Errorf("the stream's window has grown to %d KiB", most>>10)
				}
			})
		})
	}
}

// The second stream of a connection begins with what the first has needed, and WithWindow asks for it.
func TestWindowsAtTheStart(t *testing.T) {
	const size = 256 << 10
	first := func(t *testing.T, client *edict.Client[*lab], options ...edict.CallOption) time.Duration {
		t.Helper()
		began, taken := time.Now(), 0
		for _, err := range edict.Stream(t.Context(), client, flood{Size: 1 << 10}, options...) {
			if err != nil {
				t.Fatal(err)
			}
			if taken += 1 << 10; taken >= size*3/4 {
				break
			}
		}
		return time.Since(began)
	}
	synctest.Test(t, func(t *testing.T) {
		_, client := far(t, farLink)
		if took := first(t, client); took < 3*farRoundTrip {
			t.Errorf("the first stream took %v: it has not begun with a small window", took)
		}
		for range 3000 / 256 { // the window grows as far as one is remembered
			first(t, client)
		}
		if took := first(t, client); took > 2*farRoundTrip {
			t.Errorf("the next one took %v", took)
		}
		_, fresh := far(t, farLink)
		if took := first(t, fresh, edict.WithWindow(size)); took > 2*farRoundTrip {
			t.Errorf("with WithWindow it took %v", took)
		}
	})
}

// Where the budget ends, windows don't grow, and streams go on with what they have.
func TestWindowsGrowWithinTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		budget := edict.NewBudget(512 << 10)
		_, client := far(t, farLink, edict.WithBudget(budget))
		ended := make(chan error)
		for range 4 {
			go func() {
				taken := 0
				for _, err := range edict.Stream(t.Context(), client, flood{Size: 1 << 10}) {
					if err != nil {
						ended <- err
						return
					}
					if used := budget.Used(); used > budget.Limit()*5/8 {
						ended <- fmt.Errorf("windows have grown to %d KiB of %d", used>>10, budget.Limit()>>10)
						return
					}
					if taken++; taken == 2000 {
						break
					}
				}
				ended <- nil
			}()
		}
		for range 4 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
}

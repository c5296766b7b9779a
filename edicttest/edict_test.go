package edicttest_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/edicttest"
)

// counter is the receiver of the commands in these tests.
type counter struct{ value atomic.Int64 }

type increase struct{ By int64 }

func (c increase) Exec(_ context.Context, to *counter) (int64, error) { return to.value.Add(c.By), nil }

// climb sends every number from 1 to To.
type climb struct{ To int }

func (c climb) Exec(_ context.Context, _ *counter, out edict.Sink[int]) error {
	for n := range c.To {
		if err := out.Send(n + 1); err != nil {
			return err
		}
	}
	return nil
}

var counterCommands = edict.Commands(edict.Unary[increase](), edict.ServerStream[climb]())

// service is a real server and a real client on a network.
type service struct {
	t        *testing.T
	network  *edicttest.Network
	receiver *counter
	client   *edict.Client[*counter]
}

func newService(t *testing.T, config edicttest.Config, options ...edict.ServerOption) *service {
	t.Helper()
	s := &service{t: t, network: edicttest.New(config), receiver: &counter{}}
	listener, err := s.network.Listen("server")
	if err != nil {
		t.Fatal(err)
	}
	options = append(options, edict.WithLogger(slog.New(slog.DiscardHandler)))
	server := edict.NewServer(s.receiver, counterCommands, options...)
	served := make(chan error)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		_ = server.Close()
		if err := server.Shutdown(context.Background()); err != nil {
			t.Errorf("the server has not ended: %v", err)
		}
		<-served
		if open := s.network.Connections(); len(open) > 0 {
			t.Errorf("%d connections are left open", len(open))
		}
	})
	return s
}

// connect dials a client. What is done to the connection before its first byte is left to prepare.
func (s *service) connect(prepare func(*edicttest.Connection)) *edicttest.Connection {
	s.t.Helper()
	s.network.OnConnect(prepare)
	client, err := s.dial()
	if err != nil {
		s.t.Fatalf("Dial: %v", err)
	}
	s.client = client
	open := s.network.Connections()
	return open[len(open)-1]
}

func (s *service) dial() (*edict.Client[*counter], error) {
	client, err := edict.Dial(s.t.Context(), "server", counterCommands, edict.WithDialer(s.network.Dialer("server")))
	if err == nil {
		s.t.Cleanup(func() { _ = client.Close() })
	}
	return client, err
}

func (s *service) wantSum(want int64) {
	s.t.Helper()
	if sum, err := edict.Call(s.t.Context(), s.client, increase{1}); sum != want || err != nil {
		s.t.Fatalf("the sum is %d, %v; want %d", sum, err, want)
	}
}

func (s *service) wantLost(outcome edict.Outcome, executed int64) {
	s.t.Helper()
	_, err := edict.Call(s.t.Context(), s.client, increase{1})
	if edict.CodeOf(err) != edict.Unavailable || edict.OutcomeOf(err) != outcome {
		s.t.Errorf("the call ended with %v (%v), want %v", err, edict.OutcomeOf(err), outcome)
	}
	synctest.Wait()
	if n := s.receiver.value.Load(); n != executed {
		s.t.Errorf("%d commands were executed, want %d", n, executed)
	}
}

func nothing(*edicttest.Connection) {}

// withService runs a test of an honest client and server, with a fake clock.
func withService(t *testing.T, config edicttest.Config, test func(s *service)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(newService(t, config)) })
}

// Over every kind of link, with tears at every byte and bytes that come slowly, all is as usual.
func TestEdictOverAllLinks(t *testing.T) {
	for name, link := range links {
		t.Run(name, func(t *testing.T) {
			withService(t, edicttest.Config{Link: link, Seed: 1, Faults: edicttest.Faults{Tear: 10, Stall: 1, StallFor: time.Millisecond}}, func(s *service) {
				s.connect(nothing)
				for i := range int64(20) {
					s.wantSum(i + 1)
				}
				next := 0
				for n, err := range edict.Stream(s.t.Context(), s.client, climb{To: 300}) {
					if next++; n != next || err != nil {
						s.t.Fatalf("result %d is %d, %v", next, n, err)
					}
				}
				if next != 300 || len(s.network.Fired(edicttest.FaultTear)) == 0 || len(s.network.Fired(edicttest.FaultStall)) == 0 {
					s.t.Errorf("%d results; the faults were %v", next, s.network.Fired())
				}
			})
		})
	}
}

func TestEdictCutBetweenCalls(t *testing.T) {
	withService(t, edicttest.Config{}, func(s *service) {
		connection := s.connect(nothing)
		s.wantSum(1)
		connection.Cut()
		synctest.Wait()
		s.wantLost(edict.NotSent, 1)
		wantFired(s.t, s.network, edicttest.FaultCut)
		s.connect(nothing) // a new connection works
		s.wantSum(2)
	})
}

// Whether the command or the answer is lost: the calls before have succeeded, and what the client
// says of this one is no lie.
func TestEdictCutAfterFrames(t *testing.T) {
	for _, row := range []struct {
		direction edicttest.Direction
		point     edicttest.Point
	}{
		{toServer, edicttest.Frames(2)},
		{toServer, edicttest.InFrame(2, 1)},
		{toServer, edicttest.InFrame(2, 20)},
		{toServer, edicttest.Frames(3)},
		{toClient, edicttest.Frames(2)},
		{toClient, edicttest.InFrame(2, 16)},
	} {
		t.Run(fmt.Sprint(row.direction, row.point), func(t *testing.T) {
			withService(t, edicttest.Config{}, func(s *service) {
				s.connect(func(c *edicttest.Connection) { c.CutAfter(row.direction, row.point) })
				succeeded := int64(0)
				var err error
				for err == nil {
					if _, err = edict.Call(s.t.Context(), s.client, increase{1}); err == nil {
						succeeded++
					}
				}
				synctest.Wait()
				executed := s.receiver.value.Load()
				if succeeded < 1 || succeeded > 2 || executed < succeeded || executed > succeeded+1 {
					s.t.Errorf("%d calls succeeded, %d were executed", succeeded, executed)
				}
				if !errors.Is(err, syscall.ECONNRESET) && edict.CodeOf(err) != edict.Unavailable {
					s.t.Errorf("the error is %v", err)
				}
				if edict.OutcomeOf(err) == edict.NotSent && executed > succeeded {
					s.t.Errorf("%v says NotSent, but it was executed", err)
				}
				wantFired(s.t, s.network, edicttest.FaultCut)
			})
		})
	}
}

// Wherever the handshake is cut, Dial fails, and has sent nothing.
func TestEdictCutInTheHandshake(t *testing.T) {
	for _, d := range []edicttest.Direction{toServer, toClient} {
		for n := int64(0); ; n++ {
			inTheHandshake := true
			withService(t, edicttest.Config{}, func(s *service) {
				s.network.OnConnect(func(c *edicttest.Connection) {
					c.CutAfter(d, edicttest.Bytes(n))
					c.StallAfter(d, edicttest.Frames(0)) // so that nothing is cut behind it
				})
				if _, err := s.dial(); err == nil {
					inTheHandshake = false
				} else if edict.OutcomeOf(err) != edict.NotSent || len(s.network.Fired(edicttest.FaultCut)) != 1 {
					s.t.Errorf("%v cut after %d bytes: %v; %v", d, n, err, s.network.Fired())
				}
			})
			if !inTheHandshake {
				if n < 40 {
					t.Errorf("%v: the handshake has only %d bytes", d, n)
				}
				break
			}
		}
	}
}

func TestEdictRefusedAndSlowToAccept(t *testing.T) {
	withService(t, edicttest.Config{}, func(s *service) {
		s.network.RefuseDials("server", true)
		if _, err := s.dial(); edict.OutcomeOf(err) != edict.NotSent || !errors.Is(err, syscall.ECONNREFUSED) {
			s.t.Errorf("Dial: %v", err)
		}
		s.network.RefuseDials("server", false)
		s.network.DelayAccepts("server", 3*time.Second)
		start := time.Now()
		s.connect(nothing)
		wantAfter(s.t, start, 3*time.Second)
		s.wantSum(1)
		wantFired(s.t, s.network, edicttest.FaultRefuse, edicttest.FaultDelay)
	})
}

// A call to a peer that is stalled ends when its context does; the connection lives on.
func TestEdictStalled(t *testing.T) {
	for _, d := range []edicttest.Direction{toServer, toClient} {
		withService(t, edicttest.Config{}, func(s *service) {
			connection := s.connect(nothing)
			connection.Stall(d)
			start := time.Now()
			ctx, cancel := context.WithTimeout(s.t.Context(), 5*time.Second)
			defer cancel()
			if _, err := edict.Call(ctx, s.client, increase{1}); !errors.Is(err, context.DeadlineExceeded) {
				s.t.Errorf("the call ended with %v", err)
			}
			wantAfter(s.t, start, 5*time.Second)
			connection.Resume(d)
			synctest.Wait()
			s.wantSum(s.receiver.value.Load() + 1)
			wantFired(s.t, s.network, edicttest.FaultStall)
		})
	}
}

// A peer that has vanished is noticed by the keepalive, 15 s and 10 s after its last byte.
func TestEdictVanished(t *testing.T) {
	for _, d := range []edicttest.Direction{toServer, toClient} {
		withService(t, edicttest.Config{}, func(s *service) {
			connection := s.connect(nothing)
			connection.Vanish(d)
			start := time.Now()
			_, err := edict.Call(s.t.Context(), s.client, increase{1})
			if edict.CodeOf(err) != edict.Unavailable || edict.OutcomeOf(err) != edict.OutcomeUnknown {
				s.t.Errorf("%v: the call ended with %v (%v)", d, err, edict.OutcomeOf(err))
			}
			wantAfter(s.t, start, 25*time.Second)
			wantFired(s.t, s.network, edicttest.FaultVanish)
		})
	}
}

// A changed byte in a result reaches the caller: neither Edict nor TCP promise more without TLS.
func TestEdictCorrupted(t *testing.T) {
	withService(t, edicttest.Config{}, func(s *service) {
		s.connect(func(c *edicttest.Connection) { c.Corrupt(toClient, edicttest.InFrame(0, 16)) })
		if sum, err := edict.Call(s.t.Context(), s.client, increase{4}); sum != 5 || err != nil { // '4' ^ 1
			s.t.Errorf("the sum is %d, %v", sum, err)
		}
		wantFired(s.t, s.network, edicttest.FaultCorrupt)
	})
}

// With all faults at once every call still ends, and no outcome is a lie.
func TestEdictUnderDrawnFaults(t *testing.T) {
	faulty := 0
	edicttest.Seeds(t, 50, func(t *testing.T, seed uint64) {
		s := newService(t, edicttest.Config{
			Seed: seed,
			Link: edicttest.Link{Latency: time.Millisecond, Jitter: time.Millisecond, Segment: 200},
			Faults: edicttest.Faults{
				Refuse: 0.1, Cut: 0.1, Stall: 0.1, StallFor: 10 * time.Second, Tear: 1, Vanish: 0.02,
			},
		})
		var sure, perhaps int64
		for range 20 {
			client, err := s.dial()
			if err != nil {
				if edict.OutcomeOf(err) != edict.NotSent {
					t.Errorf("Dial: %v", err)
				}
				continue
			}
			for range 10 {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				_, err := edict.Call(ctx, client, increase{1})
				cancel()
				switch edict.OutcomeOf(err) {
				case edict.Executed: // also without an error
					sure++
				case edict.OutcomeUnknown:
					perhaps++
				}
			}
			_ = client.Close()
		}
		time.Sleep(time.Minute)
		if executed := s.receiver.value.Load(); executed < sure || executed > sure+perhaps {
			t.Errorf("%d were executed, %d for sure and %d perhaps; %v", executed, sure, perhaps, s.network.Fired())
		}
		if sure == 0 {
			t.Error("nothing worked")
		}
		if len(s.network.Fired(edicttest.FaultCut, edicttest.FaultVanish, edicttest.FaultStall)) > 0 {
			faulty++
		}
	})
	if faulty < 30 && faulty > 1 {
		t.Errorf("only %d of 50 seeds had faults", faulty)
	}
}

package edict_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/edicttest"
)

// site is a place on a network in memory at which servers come and go. Time is fake.
type site struct {
	t       *testing.T
	network *edicttest.Network
	lab     *lab // of all its servers
	options []edict.ServerOption
	// commands are those of the servers to come; nil is all.
	commands *edict.Registry[*lab]
	server   *edict.Server
}

func atSite(t *testing.T, story func(t *testing.T, s *site)) {
	atEmptySite(t, func(t *testing.T, s *site) {
		s.start()
		story(t, s)
	})
}

// atEmptySite is atSite without a server.
func atEmptySite(t *testing.T, story func(t *testing.T, s *site)) {
	synctest.Test(t, func(t *testing.T) {
		// Who waits for ever would be kept from it by the clients, whose clocks go on.
		defer time.AfterFunc(10*time.Hour, func() { panic("the story does not come to its end") }).Stop()
		story(t, &site{t: t, network: edicttest.New(edicttest.Config{}), lab: newLab()})
	})
}

// start starts a server. It ends with the test.
func (s *site) start() *edict.Server {
	s.t.Helper()
	listener, err := s.network.Listen("site")
	if err != nil {
		s.t.Fatal(err)
	}
	options := append([]edict.ServerOption{edict.WithLogger(slog.New(slog.DiscardHandler))}, s.options...)
	registry := s.commands
	if registry == nil {
		registry = labCommands
	}
	server := edict.NewServer(s.lab, registry, options...)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	synctest.Wait()
	s.t.Cleanup(func() {
		_ = server.Close()
		if err := server.Shutdown(context.Background()); err != nil {
			s.t.Errorf("a server has not ended: %v", err)
		}
		<-served
	})
	s.server = server
	return server
}

// stop closes the server at once.
func (s *site) stop() {
	s.t.Helper()
	_ = s.server.Close()
	if err := s.server.Shutdown(context.Background()); err != nil {
		s.t.Fatal(err)
	}
}

// client dials a client that reconnects and is closed at the end of the test.
func (s *site) client(options ...edict.DialOption) *edict.Client[*lab] {
	s.t.Helper()
	client, err := edict.Dial(s.t.Context(), "site", labCommands, s.dialing(options)...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = client.Close() })
	return client
}

func (s *site) dialing(options []edict.DialOption) []edict.DialOption {
	return append([]edict.DialOption{
		edict.WithDialer(s.network.Dialer("site")), edict.WithReconnect(edict.Reconnect{}),
		edict.WithLogger(slog.New(slog.DiscardHandler)),
	}, options...)
}

// outcome is how a call has ended that was made in the background.
type result[R any] struct {
	value R
	err   error
}

// later makes a call in the background.
func later[R any](client *edict.Client[*lab], ctx context.Context, command edict.Command[*lab, R], options ...edict.CallOption) <-chan result[R] {
	ended := make(chan result[R], 1)
	go func() {
		value, err := edict.Call(ctx, client, command, options...)
		ended <- result[R]{value, err}
	}()
	synctest.Wait()
	return ended
}

// waits reports whether a call has not ended.
func waits[R any](ended <-chan result[R]) bool {
	synctest.Wait()
	return len(ended) == 0
}

// look reads a value that the server keeps, as often as it likes.
type look struct{ Name string }

func (look) Idempotent() bool { return true }

func (c look) Exec(ctx context.Context, l *lab) (string, error) { return wait(c).Exec(ctx, l) }

// lookAround is a stream of them.
type lookAround struct{ Count int }

func (lookAround) Idempotent() bool { return true }

func (c lookAround) Exec(ctx context.Context, l *lab, results edict.Sink[int]) error {
	l.executed.Add(1)
	l.started <- "lookAround"
	for n := range c.Count {
		if err := results.Send(n); err != nil {
			return err
		}
	}
	select {
	case <-l.release:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A client goes on when its server was restarted: calls that are made meanwhile wait, and the changes of its
// state tell what happened.
func TestReconnect(t *testing.T) {
	atSite(t, func(t *testing.T, s *site) {
		var states []string
		client := s.client(edict.WithStateObserver(func(change edict.StateChange) {
			states = append(states, change.To.String())
		}))
		wantSum(t, client)
		s.stop()
		synctest.Wait()
		if state := client.State(); state != edict.StateReconnecting {
			t.Errorf("the state is %v", state)
		}
		sum := later(client, t.Context(), add{2, 3})
		<-time.After(time.Second)
		if !waits(sum) {
			t.Errorf("the call does not wait: %v", <-sum)
		}
		s.start()
		if got := <-sum; got.value != 5 || got.err != nil {
			t.Errorf("the call ended with %v", got)
		}
		if stats := client.Stats(); stats.Connections != 2 || stats.Attempts < 3 || stats.Resent != 1 {
			t.Errorf("counted %+v", stats)
		}
		if client.State() != edict.StateReady || client.Err() != nil {
			t.Errorf("the state is %v, %v", client.State(), client.Err())
		}
		if err := client.Close(); err != nil {
			t.Error(err)
		}
		<-client.Done()
		if err := client.Err(); !errors.Is(err, edict.ErrClosed) {
			t.Errorf("the client's error is %v", err)
		}
		// Attempts that failed come between, as many as there were.
		failed := []string{"connecting", "reconnecting"}
		for i := 3; i+1 < len(states) && slices.Equal(states[i+1:i+3], failed); {
			states = slices.Delete(states, i+1, i+3)
		}
		want := "connecting handshaking ready reconnecting connecting handshaking ready closed"
		if got := strings.Join(states, " "); got != want {
			t.Errorf("the states were %s, want %s", got, want)
		}
	})
}

// The number of dials while there is no server is bounded: by the pauses, which grow to 10 s and are half of
// that on average.
func TestDialsDuringAnOutage(t *testing.T) {
	atSite(t, func(t *testing.T, s *site) {
		client := s.client()
		s.stop()
		const outage = time.Hour
		<-time.After(outage)
		dials := client.Stats().Attempts
		// 720 of 5 s on average; pauses are drawn evenly, so the deviation is some 4 %.
		if dials < 600 || dials > 850 {
			t.Errorf("%d dials in %v", dials, outage)
		}
		s.start()
		start := time.Now()
		wantSum(t, client)
		if after := time.Since(start); after > 10*time.Second {
			t.Errorf("noticed the server after %v", after)
		}
	})
}

// A server that takes each connection and ends it at once does not get more dials than one that is away.
func TestDialsToAServerThatHangsUp(t *testing.T) {
	for name, live := range map[string]time.Duration{"at once": 0, "after a second": time.Second} {
		t.Run(name, func(t *testing.T) {
			atSite(t, func(t *testing.T, s *site) {
				s.network.OnConnect(func(connection *edicttest.Connection) {
					time.AfterFunc(live+time.Millisecond, connection.Cut)
				})
				client := s.client()
				<-time.After(time.Hour)
				if dials := client.Stats().Connections; dials < 400 || dials > 850 {
					t.Errorf("%d connections in an hour", dials)
				}
			})
		})
	}
}

// Pauses begin small again when a connection has lasted.
func TestPausesBeginAnew(t *testing.T) {
	atSite(t, func(t *testing.T, s *site) {
		client := s.client()
		for range 20 {
			s.stop()
			<-time.After(time.Minute) // pauses are of 10 s by now
			s.start()
			wantSum(t, client)
			<-time.After(10 * time.Second)
			s.network.Connections()[0].Cut()
			synctest.Wait()
			start := time.Now()
			wantSum(t, client)
			if after := time.Since(start); after > 100*time.Millisecond {
				t.Errorf("the first pause is %v", after)
			}
		}
	})
}

// When the server says that it goes away, new calls go to the next one, and those that run end where they are.
func TestGoAwayMovesCalls(t *testing.T) {
	atSite(t, func(t *testing.T, s *site) {
		client := s.client()
		long := later(client, t.Context(), wait{"long"})
		old := s.server
		stopped := make(chan error, 1)
		go func() { stopped <- old.Shutdown(t.Context()) }()
		synctest.Wait()
		if client.State() != edict.StateDraining {
			t.Errorf("the state is %v", client.State())
		}
		quick := later(client, t.Context(), add{2, 3})
		s.start()
		if got := <-quick; got.value != 5 || got.err != nil {
			t.Errorf("the call on the next connection: %v", got)
		}
		if !waits(long) || client.State() != edict.StateReady || client.InFlight() != 1 || old.InFlight() != 1 || s.server.InFlight() != 0 {
			t.Errorf("%v, %d in flight; the old server has %d, the new one %d", client.State(), client.InFlight(), old.InFlight(), s.server.InFlight())
		}
		close(s.lab.release)
		if got := <-long; got.value != "long" || got.err != nil {
			t.Errorf("the call on the old connection: %v", got)
		}
		if err := <-stopped; err != nil {
			t.Error(err)
		}
		if n := s.lab.executed.Load(); n != 2 {
			t.Errorf("%d executions of 2 calls", n)
		}
	})
}

// Under load no call notices that its server is replaced, again and again.
func TestServersAreReplacedUnderLoad(t *testing.T) {
	atSite(t, func(t *testing.T, s *site) {
		client := s.client()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		var calls, executed atomic.Int64
		done := make(chan struct{})
		for range 8 {
			go func() {
				defer func() { done <- struct{}{} }()
				for ctx.Err() == nil {
					if sum, err := edict.Call(t.Context(), client, add{2, 3}); sum != 5 || err != nil {
						t.Errorf("%d, %v", sum, err)
						return
					}
					calls.Add(1)
					<-time.After(70 * time.Millisecond)
				}
			}()
		}
		for range 25 {
			<-time.After(10 * time.Second)
			old := s.server
			ended := make(chan error, 1)
			go func() { ended <- old.Shutdown(t.Context()) }()
			synctest.Wait()
			s.start()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
		for range 8 {
			<-done
		}
		executed.Store(s.lab.executed.Load())
		if calls.Load() != executed.Load() || calls.Load() < 10_000 {
			t.Errorf("%d calls, %d executions", calls.Load(), executed.Load())
		}
		if stats := client.Stats(); stats.Connections < 20 {
			t.Errorf("%+v", stats)
		}
	})
}

// What did not run is sent again, what may have run is not, unless it is idempotent.
func TestWhatIsSentAgain(t *testing.T) {
	t.Run("unknown", func(t *testing.T) {
		atSite(t, func(t *testing.T, s *site) {
			client := s.client()
			call := later(client, t.Context(), wait{"once"})
			<-s.lab.started
			s.stop()
			s.start()
			got := <-call
			wantError(t, got.err, edict.Unavailable, edict.OutcomeUnknown)
			wantSum(t, client)
			if n := s.lab.executed.Load(); n != 2 {
				t.Errorf("%d executions", n)
			}
		})
	})
	t.Run("idempotent", func(t *testing.T) {
		atSite(t, func(t *testing.T, s *site) {
			client := s.client()
			call := later(client, t.Context(), look{"twice"})
			<-s.lab.started
			s.stop()
			s.start()
			<-s.lab.started
			close(s.lab.release)
			if got := <-call; got.value != "twice" || got.err != nil {
				t.Errorf("the call ended with %v", got)
			}
			if n := s.lab.executed.Load(); n != 2 || client.Stats().Resent != 1 {
				t.Errorf("%d executions, %+v", n, client.Stats())
			}
		})
	})
	t.Run("not sent", func(t *testing.T) {
		atSite(t, func(t *testing.T, s *site) {
			client := s.client()
			connection := s.network.Connections()[0]
			s.network.SetLink(edicttest.Link{Buffer: 1}) // the socket takes nothing more
			connection.Stall(edicttest.ToServer)
			first := later(client, t.Context(), add{1, 1})
			second := later(client, t.Context(), add{2, 2}) // queued behind it
			connection.Cut()
			synctest.Wait()
			s.network.SetLink(edicttest.Link{})
			if got := <-second; got.value != 4 || got.err != nil {
				t.Errorf("the call that was not sent: %v", got)
			}
			wantError(t, (<-first).err, edict.Unavailable, edict.OutcomeUnknown)
		})
	})
	t.Run("an ordinary error", func(t *testing.T) {
		atSite(t, func(t *testing.T, s *site) {
			client := s.client()
			_, err := edict.Call(t.Context(), client, fail{Code: edict.Unavailable, Text: "busy"})
			wantError(t, err, edict.Unavailable, edict.Executed)
			if n := s.lab.executed.Load(); n != 1 {
				t.Errorf("%d executions", n)
			}
		})
	})
}

// refuser refuses commands before they run, as an overloaded server might.
func refuser(refused *atomic.Int64) edict.ServerInterceptor {
	return func(context.Context, *edict.ServerCall, func(context.Context) error) error {
		refused.Add(1)
		return edict.Errorf(edict.Unavailable, "overloaded")
	}
}

// A refusal on a connection that works is no reason to send a call again.
func TestARefusalOnAConnectionThatWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var refused atomic.Int64
		s := &site{t: t, network: edicttest.New(edicttest.Config{}), lab: newLab()}
		s.options = []edict.ServerOption{edict.WithServerInterceptors(refuser(&refused))}
		s.start()
		client := s.client()
		_, err := edict.Call(t.Context(), client, add{2, 3})
		wantError(t, err, edict.Unavailable, edict.Refused)
		if refused.Load() != 1 || client.Stats().Resent != 0 {
			t.Errorf("sent %d times, %+v", refused.Load(), client.Stats())
		}
	})
}

// A stream is sent again only while its caller has no result.
func TestStreamsThatAreSentAgain(t *testing.T) {
	for _, taken := range []int{0, 1} {
		t.Run(fmt.Sprint(taken, " results taken"), func(t *testing.T) {
			atSite(t, func(t *testing.T, s *site) {
				client := s.client()
				stream, err := edict.StartStream(t.Context(), client, lookAround{Count: 3 * taken})
				if err != nil {
					t.Fatal(err)
				}
				<-s.lab.started
				for range taken {
					if n, err := stream.Receive(); n != 0 || err != nil {
						t.Fatal(n, err)
					}
				}
				s.stop()
				s.start()
				ended := make(chan error, 1)
				go func() {
					for {
						if _, err := stream.Receive(); err != nil {
							ended <- err
							return
						}
					}
				}()
				if taken > 0 {
					wantError(t, <-ended, edict.Unavailable, edict.OutcomeUnknown)
					return
				}
				<-s.lab.started
				close(s.lab.release)
				if err := <-ended; err != io.EOF {
					t.Errorf("the stream ended with %v", err)
				}
			})
		})
	}
}

// A call with inputs is started on the next connection as long as it has sent none.
func TestInputsWhileThereIsNoConnection(t *testing.T) {
	atSite(t, func(t *testing.T, s *site) {
		client := s.client()
		connection := s.network.Connections()[0]
		s.network.SetLink(edicttest.Link{Buffer: 1})
		connection.Stall(edicttest.ToServer)
		first := later(client, t.Context(), add{1, 1})
		duplex, err := edict.StartDuplex(t.Context(), client, sumUp{}) // queued, not sent
		if err != nil {
			t.Fatal(err)
		}
		s.stop()
		synctest.Wait() // the client has noticed: nothing is written any more
		s.network.SetLink(edicttest.Link{})
		type sum struct {
			n   int
			err error
		}
		summed := make(chan sum, 1)
		go func() {
			n, err := duplex.Receive() // notices the loss, and waits for the next connection
			summed <- sum{n, err}
		}()
		synctest.Wait()
		sent := make(chan error, 1)
		go func() {
			for i := range 3 {
				if err := duplex.Send(i + 1); err != nil {
					sent <- err
					return
				}
			}
			sent <- duplex.CloseSend()
		}()
		<-time.After(time.Second)
		if len(sent) > 0 {
			t.Errorf("Send does not wait: %v", <-sent)
		}
		s.start()
		if err := <-sent; err != nil {
			t.Errorf("the inputs: %v", err)
		}
		if got := <-summed; got.n != 6 || got.err != nil {
			t.Errorf("the sum is %v", got)
		}
		wantError(t, (<-first).err, edict.Unavailable, edict.OutcomeUnknown)
	})
}

// Once an input was sent the call ends with its connection. One that is told that there will be none, while it
// waits, hears that on the next one.
func TestInputsAndTheEndOfAConnection(t *testing.T) {
	atSite(t, func(t *testing.T, s *site) {
		client := s.client()
		duplex, err := edict.StartDuplex(t.Context(), client, sumUp{})
		if err != nil {
			t.Fatal(err)
		}
		if err := duplex.Send(1); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		s.stop()
		synctest.Wait()
		if err := duplex.Send(2); err != io.EOF {
			t.Errorf("Send: %v", err)
		}
		_, err = duplex.Receive()
		wantError(t, err, edict.Unavailable, edict.OutcomeUnknown)

		s.start()
		if err := client.WaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
		connection := s.network.Connections()[0]
		s.network.SetLink(edicttest.Link{Buffer: 1})
		connection.Stall(edicttest.ToServer)
		first := later(client, t.Context(), add{1, 1})
		if duplex, err = edict.StartDuplex(t.Context(), client, sumUp{}); err != nil {
			t.Fatal(err)
		}
		s.stop()
		synctest.Wait() // the client has noticed: nothing is written any more
		s.network.SetLink(edicttest.Link{})
		sum := make(chan int, 1)
		go func() {
			n, err := duplex.Receive()
			if err != nil {
				t.Error(err)
			}
			sum <- n
		}()
		synctest.Wait()
		if err := duplex.CloseSend(); err != nil {
			t.Errorf("CloseSend: %v", err)
		}
		if err := duplex.Send(5); !errors.Is(err, edict.FailedPrecondition) {
			t.Errorf("Send after CloseSend: %v", err)
		}
		s.start()
		if n := <-sum; n != 0 {
			t.Errorf("the sum is %d", n)
		}
		wantError(t, (<-first).err, edict.Unavailable, edict.OutcomeUnknown)
	})
}

// A call that is sent again, and waits for a place among those of the new connection, can be cancelled like any other.
func TestCancelWhileItWaitsForAPlace(t *testing.T) {
	atSite(t, func(t *testing.T, s *site) {
		client := s.client()
		calls := map[string]*edict.Invocation[string]{}
		for _, name := range []string{"a", "b"} {
			invocation, err := edict.Start(t.Context(), client, look{name})
			if err != nil {
				t.Fatal(err)
			}
			calls[name] = invocation
			<-s.lab.started
		}
		s.options = []edict.ServerOption{edict.ServerConfig{MaxInFlight: 1}}
		s.stop()
		ended := make(chan error, 2)
		for _, invocation := range calls {
			go func() {
				_, err := invocation.Receive()
				ended <- err
			}()
		}
		s.start()
		running := <-s.lab.started
		synctest.Wait()
		for name, invocation := range calls {
			if name != running {
				invocation.Cancel()
			}
		}
		synctest.Wait()
		if len(ended) != 1 {
			t.Fatal("the call that was cancelled goes on")
		}
		wantError(t, <-ended, edict.Canceled, edict.OutcomeUnknown)
		close(s.lab.release)
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// Whoever waits for a connection stops when its context ends, or when it is cancelled, and says what is known
// of the command.
func TestTheEndOfWaiting(t *testing.T) {
	cause := errors.New("changed my mind")
	for name, test := range map[string]struct {
		command edict.Command[*lab, string]
		end     func(i *edict.Invocation[string], cancel context.CancelCauseFunc)
		is      error
		outcome edict.Outcome
	}{
		"context, not sent":     {wait{"x"}, func(_ *edict.Invocation[string], cancel context.CancelCauseFunc) { cancel(cause) }, cause, edict.NotSent},
		"Cancel, not sent":      {wait{"x"}, func(i *edict.Invocation[string], _ context.CancelCauseFunc) { i.Cancel() }, context.Canceled, edict.NotSent},
		"context, may have run": {look{"x"}, func(_ *edict.Invocation[string], cancel context.CancelCauseFunc) { cancel(cause) }, cause, edict.OutcomeUnknown},
		"Cancel, may have run":  {look{"x"}, func(i *edict.Invocation[string], _ context.CancelCauseFunc) { i.Cancel() }, context.Canceled, edict.OutcomeUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			atSite(t, func(t *testing.T, s *site) {
				client := s.client()
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				connection := s.network.Connections()[0]
				if test.outcome == edict.NotSent {
					s.network.SetLink(edicttest.Link{Buffer: 1})
					connection.Stall(edicttest.ToServer)
					first := later(client, t.Context(), add{1, 1})
					defer func() { <-first }()
					synctest.Wait() // it is being written, and the next one will not be
				}
				invocation, err := edict.Start(ctx, client, test.command)
				if err != nil {
					t.Fatal(err)
				}
				if test.outcome != edict.NotSent {
					<-s.lab.started
				}
				s.stop()
				synctest.Wait() // the client has noticed: nothing is written any more
				s.network.SetLink(edicttest.Link{})
				ended := make(chan error, 1)
				go func() {
					_, err := invocation.Receive()
					ended <- err
				}()
				<-time.After(time.Minute)
				if len(ended) > 0 {
					t.Fatalf("the call has ended: %v", <-ended)
				}
				test.end(invocation, cancel)
				synctest.Wait()
				if len(ended) == 0 {
					t.Fatal("the call still waits")
				}
				err = <-ended
				wantError(t, err, edict.Canceled, test.outcome)
				if !errors.Is(err, test.is) || !strings.Contains(err.Error(), "edict: ") || !strings.Contains(err.Error(), "refused") {
					t.Errorf("the error is %v", err)
				}
				s.start()
				wantSum(t, client)
			})
		})
	}
}

// A deadline ends the waiting, in Start too.
func TestADeadlineWhileThereIsNoConnection(t *testing.T) {
	atSite(t, func(t *testing.T, s *site) {
		client := s.client()
		s.stop()
		synctest.Wait() // the client has noticed: nothing is written any more
		for range 2 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			start := time.Now()
			_, err := edict.Call(ctx, client, add{2, 3})
			wantError(t, err, edict.DeadlineExceeded, edict.NotSent)
			e, _ := errors.AsType[*edict.Error](err)
			if time.Since(start) != time.Minute || e.Command != "add" || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v after %v", err, time.Since(start))
			}
		}
	})
}

// What may have run before is not called NotSent because the next attempt was not.
func TestAnEarlierAttemptIsNotForgotten(t *testing.T) {
	atSite(t, func(t *testing.T, s *site) {
		client := s.client()
		call := later(client, t.Context(), look{"x"})
		<-s.lab.started
		s.stop()
		synctest.Wait()
		_ = client.Close()
		wantError(t, (<-call).err, edict.Unavailable, edict.OutcomeUnknown)
		if _, err := edict.Call(t.Context(), client, look{"y"}); !errors.Is(err, edict.ErrClosed) || edict.OutcomeOf(err) != edict.NotSent {
			t.Errorf("a call after Close: %v", err)
		}
	})
	atSite(t, func(t *testing.T, s *site) {
		client := s.client()
		call := later(client, t.Context(), look{"x"})
		<-s.lab.started
		s.stop()
		s.commands = edict.Commands(edict.Unary[add]()) // the next server does not know the command
		s.start()
		wantError(t, (<-call).err, edict.Unimplemented, edict.OutcomeUnknown)
		_, err := edict.Call(t.Context(), client, look{"y"})
		wantError(t, err, edict.Unimplemented, edict.NotSent)
	})
}

// A call that does not want to wait for a connection is told at once that there is none, and why.
func TestFailFast(t *testing.T) {
	atSite(t, func(t *testing.T, s *site) {
		client := s.client()
		if sum, err := edict.Call(t.Context(), client, add{2, 3}, edict.WithFailFast()); sum != 5 || err != nil {
			t.Error(sum, err)
		}
		s.stop()
		synctest.Wait()
		for i := range 3 {
			start := time.Now()
			_, err := edict.Call(t.Context(), client, add{2, 3}, edict.WithFailFast())
			wantError(t, err, edict.Unavailable, edict.NotSent)
			if time.Since(start) != 0 {
				t.Errorf("after %v", time.Since(start))
			}
			if _, err := edict.Start(t.Context(), client, add{2, 3}, edict.WithFailFast()); edict.OutcomeOf(err) != edict.NotSent {
				t.Errorf("Start: %v", err)
			}
			<-time.After(time.Duration(i) * time.Minute)
		}
		s.start()
		if err := client.WaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
		if sum, err := edict.Call(t.Context(), client, add{2, 3}, edict.WithFailFast()); sum != 5 || err != nil {
			t.Error(sum, err)
		}
		// It is sent again if there is another connection already, and only then.
		call := later(client, t.Context(), look{"x"}, edict.WithFailFast())
		<-s.lab.started
		s.stop()
		wantError(t, (<-call).err, edict.Unavailable, edict.OutcomeUnknown)
	})
	atSite(t, func(t *testing.T, s *site) {
		s.stop()
		client, err := edict.NewClient("site", labCommands, s.dialing(nil)...)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		<-time.After(time.Minute)
		_, err = edict.Call(t.Context(), client, add{2, 3}, edict.WithFailFast())
		wantError(t, err, edict.Unavailable, edict.NotSent)
		if !strings.Contains(err.Error(), "add: ") || !strings.Contains(err.Error(), "refused") {
			t.Errorf("the error is %v", err)
		}
	})
}

// Interceptors see one call, however often it is sent.
func TestInterceptorsSeeOneCall(t *testing.T) {
	atSite(t, func(t *testing.T, s *site) {
		started, ended := 0, 0
		client := s.client(edict.WithClientInterceptors(func(ctx context.Context, call *edict.ClientCall, next edict.ClientNext) (edict.Exchange, error) {
			started++
			call.SetMetadata("question", "of the interceptor")
			exchange, err := next(ctx, call)
			if err != nil {
				return nil, err
			}
			return edict.ObserveEnd(call, exchange, func(error) { ended++ }), nil
		}))
		call := later(client, t.Context(), look{"x"})
		for range 3 {
			<-s.lab.started
			s.stop()
			s.start()
		}
		<-s.lab.started
		close(s.lab.release)
		if got := <-call; got.err != nil || started != 1 || ended != 1 || client.Stats().Resent != 3 {
			t.Errorf("%v; %d calls were started, %d ended; %+v", got, started, ended, client.Stats())
		}
		s.stop()
		s.start()
		if text, err := edict.Call(t.Context(), client, peek{}); text != "of the interceptor" || err != nil {
			t.Errorf("%q, %v", text, err)
		}
	})
}

// Dial waits for the first connection as long as its context allows.
func TestDialThatWaits(t *testing.T) {
	atSite(t, func(t *testing.T, s *site) {
		s.stop()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		client, err := edict.Dial(ctx, "site", labCommands, s.dialing(nil)...)
		wantError(t, err, edict.DeadlineExceeded, edict.NotSent)
		if client != nil || time.Since(start) != time.Minute || !strings.Contains(err.Error(), "refused") {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		time.AfterFunc(time.Minute, func() { s.start() })
		wantSum(t, s.client())
	})
}

func TestNewClientConnectsInTheBackground(t *testing.T) {
	atSite(t, func(t *testing.T, s *site) {
		s.stop()
		client, err := edict.NewClient("site", labCommands, s.dialing(nil)...)
		if err != nil {
			t.Fatal(err)
		}
		if client.Peer() != (edict.Peer{}) || client.InFlight() != 0 || client.RoundTripTime() != 0 || client.Err() != nil {
			t.Errorf("before the first connection: %v, %d, %v, %v", client.Peer(), client.InFlight(), client.RoundTripTime(), client.Err())
		}
		sum := later(client, t.Context(), add{2, 3})
		<-time.After(time.Minute)
		if !waits(sum) {
			t.Error(<-sum)
		}
		s.start()
		if got := <-sum; got.value != 5 || got.err != nil {
			t.Errorf("the call ended with %v", got)
		}
		if client.Peer().Codec != "json" || client.Stats().Resent != 0 {
			t.Errorf("%v, %+v", client.Peer(), client.Stats())
		}
		if err := client.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if client.State() != edict.StateClosed {
			t.Errorf("the state is %v", client.State())
		}
	})
	if _, err := edict.NewClient("udp://127.0.0.1:1", labCommands); edict.OutcomeOf(err) != edict.NotSent || !strings.Contains(err.Error(), "unknown scheme") {
		t.Errorf("a wrong address: %v", err)
	}
}

// other has a command add of another shape.
type otherLab struct{}

func otherCommands() *edict.Registry[otherLab] {
	return edict.Commands(edict.Unary[otherAdd]().Named("add"))
}

type otherAdd struct{ A, B string }

func (otherAdd) Exec(context.Context, otherLab) (int, error) { return 0, nil }

// A rejection that will be repeated ends a client at once, with the reason; others don't.
func TestHopelessRejections(t *testing.T) {
	atSite(t, func(t *testing.T, s *site) {
		client, err := edict.NewClient("site", otherCommands(), s.dialing(nil)...)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := client.WaitReady(t.Context()); !errors.Is(err, edict.FailedPrecondition) || !strings.Contains(err.Error(), "field A") {
			t.Errorf("WaitReady: %v", err)
		}
		<-client.Done()
		_, err = edict.Call(t.Context(), client, otherAdd{})
		wantError(t, err, edict.FailedPrecondition, edict.NotSent)
		if client.State() != edict.StateClosed || client.Stats().Attempts != 1 || client.Err() == nil {
			t.Errorf("%v, %+v, %v", client.State(), client.Stats(), client.Err())
		}
		_ = client.Close()
		_, err = edict.Dial(t.Context(), "site", otherCommands(), s.dialing(nil)...)
		wantError(t, err, edict.FailedPrecondition, edict.NotSent)

		// Unless the policy says otherwise.
		var seen []int
		policy := edict.Reconnect{Stop: func(attempt int, err error) bool {
			if !edict.Hopeless(err) {
				t.Errorf("attempt %d: %v", attempt, err)
			}
			seen = append(seen, attempt)
			return attempt == 3
		}}
		_, err = edict.Dial(t.Context(), "site", otherCommands(), s.dialing([]edict.DialOption{edict.WithReconnect(policy)})...)
		wantError(t, err, edict.FailedPrecondition, edict.NotSent)
		if !slices.Equal(seen, []int{1, 2, 3}) {
			t.Errorf("the policy was asked for %v", seen)
		}

		s.stop()
		limit := edict.WithReconnect(edict.Reconnect{MaxAttempts: 5})
		_, err = edict.Dial(t.Context(), "site", labCommands, s.dialing([]edict.DialOption{limit})...)
		wantError(t, err, edict.Unavailable, edict.NotSent)
		if refused := len(s.network.Fired(edicttest.FaultRefuse)); refused != 0 {
			t.Errorf("%d dials", refused) // nobody listens: that is no fault
		}
	})
}

// A server that is full says when to come again.
func TestRetryAfterIsHeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &site{t: t, network: edicttest.New(edicttest.Config{}), lab: newLab()}
		s.options = []edict.ServerOption{edict.ServerConfig{MaxConnections: 1}}
		s.start()
		first := s.client()
		second, err := edict.NewClient("site", labCommands, s.dialing(nil)...)
		if err != nil {
			t.Fatal(err)
		}
		defer second.Close()
		<-time.After(time.Second) // what this server asks for
		if n := second.Stats().Attempts; n != 1 {
			t.Errorf("%d attempts in the first second", n)
		}
		<-time.After(time.Second + 100*time.Millisecond)
		if n := second.Stats().Attempts; n < 2 || n > 3 {
			t.Errorf("%d attempts in the first two seconds", n)
		}
		_ = first.Close()
		wantSum(t, second)
	})
}

// Close ends a client in every state, at once, and again.
func TestCloseInEveryState(t *testing.T) {
	for _, state := range []edict.State{
		edict.StateConnecting, edict.StateHandshaking, edict.StateReady, edict.StateDraining, edict.StateReconnecting, edict.StateClosed,
	} {
		for _, graceful := range []bool{false, true} {
			t.Run(fmt.Sprint(state, " ", graceful), func(t *testing.T) {
				atSite(t, func(t *testing.T, s *site) {
					switch state {
					case edict.StateConnecting:
						s.network.SetLink(edicttest.Link{Latency: time.Second})
					case edict.StateHandshaking:
						s.network.DelayAccepts("site", time.Second)
					}
					client, err := edict.NewClient("site", labCommands, s.dialing(nil)...)
					if err != nil {
						t.Fatal(err)
					}
					synctest.Wait()
					var running <-chan result[string]
					switch state {
					case edict.StateDraining:
						running = later(client, t.Context(), wait{"x"})
						ctx, cancel := context.WithCancel(t.Context())
						defer cancel()
						go func() { _ = s.server.Shutdown(ctx) }()
						synctest.Wait()
					case edict.StateReconnecting:
						s.stop()
						<-time.After(time.Minute)
						for client.State() != state {
							<-time.After(time.Millisecond)
						}
					case edict.StateClosed:
						_ = client.Close()
					}
					if client.State() != state {
						t.Fatalf("the state is %v", client.State())
					}
					waiting := later(client, t.Context(), add{2, 3})
					start := time.Now()
					if graceful {
						ctx, cancel := context.WithTimeout(t.Context(), time.Second)
						defer cancel()
						if err := client.Shutdown(ctx); (err != nil) != (running != nil) {
							t.Errorf("Shutdown: %v", err)
						}
						if running == nil && time.Since(start) != 0 {
							t.Errorf("Shutdown took %v", time.Since(start))
						}
					} else {
						_ = client.Close()
						if time.Since(start) != 0 {
							t.Errorf("Close took %v", time.Since(start))
						}
					}
					<-client.Done()
					for range 2 {
						if client.Close() != nil || client.Shutdown(t.Context()) != nil || client.State() != edict.StateClosed || !errors.Is(client.Err(), edict.ErrClosed) {
							t.Errorf("once more: %v, %v", client.State(), client.Err())
						}
					}
					if got := <-waiting; state != edict.StateReady && !errors.Is(got.err, edict.ErrClosed) {
						t.Errorf("the call that waited: %v", got.err)
					}
					if running != nil {
						wantError(t, (<-running).err, edict.Unavailable, edict.OutcomeUnknown)
					}
				})
			})
		}
	}
}

// Who reads the changes slowly misses old ones, never the last, and what is kept for him is bounded.
func TestChanges(t *testing.T) {
	atSite(t, func(t *testing.T, s *site) {
		client := s.client()
		var slow []edict.StateChange
		for change := range client.Changes(t.Context()) {
			if len(slow) == 0 {
				s.stop()
				<-time.After(time.Hour)
				_ = client.Close()
			}
			slow = append(slow, change)
		}
		if n := len(slow); n < 10 || n > 40 || slow[0].To != edict.StateReady || slow[n-1].To != edict.StateClosed {
			t.Errorf("%d changes: %v", n, slow)
		}
		for i := 2; i < len(slow); i++ {
			if slow[i].From != slow[i-1].To || slow[i].At.Before(slow[i-1].At) {
				t.Errorf("%v follows %v", slow[i], slow[i-1])
			}
		}
		for change := range client.Changes(t.Context()) {
			if change.To != edict.StateClosed {
				t.Errorf("after the end: %v", change)
			}
		}
		s.start()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for range s.client().Changes(ctx) { // the present state, then the context's end
		}
	})
}

// A client without WithReconnect has states too.
func TestStatesOfAClientWithOneConnection(t *testing.T) {
	atSite(t, func(t *testing.T, s *site) {
		states := make(chan edict.StateChange, 20)
		dial := func() *edict.Client[*lab] {
			t.Helper()
			client, err := edict.Dial(t.Context(), "site", labCommands, edict.WithDialer(s.network.Dialer("site")),
				edict.WithStateObserver(func(change edict.StateChange) { states <- change }))
			if err != nil {
				t.Fatal(err)
			}
			return client
		}
		want := func(names string) {
			t.Helper()
			synctest.Wait()
			var got []string
			for len(states) > 0 {
				got = append(got, (<-states).To.String())
			}
			if strings.Join(got, " ") != names {
				t.Errorf("the states were %v, want %s", got, names)
			}
		}
		client := dial()
		want("connecting handshaking ready")
		if err := client.WaitReady(t.Context()); err != nil {
			t.Error(err)
		}
		_ = client.Close()
		want("closed")
		if err := client.WaitReady(t.Context()); !errors.Is(err, edict.ErrClosed) {
			t.Errorf("WaitReady: %v", err)
		}
		client = dial()
		_ = client.Shutdown(t.Context())
		want("connecting handshaking ready draining closed")
		client = dial()
		synctest.Wait() // the server has come as far as the client
		_ = s.server.Shutdown(t.Context())
		want("connecting handshaking ready draining closed")
		_ = client.Close()
		if _, err := edict.Dial(t.Context(), "site", labCommands, edict.WithDialer(s.network.Dialer("site")),
			edict.WithStateObserver(func(change edict.StateChange) { states <- change })); err == nil {
			t.Error("connected to nobody")
		}
		want("connecting closed")
	})
}

// A peer that has vanished is noticed on both sides, and the client goes on elsewhere.
func TestAHalfOpenConnection(t *testing.T) {
	for _, directions := range [][]edicttest.Direction{{edicttest.ToServer}, {edicttest.ToClient}, {edicttest.ToServer, edicttest.ToClient}} {
		t.Run(fmt.Sprint(directions), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &site{t: t, network: edicttest.New(edicttest.Config{}), lab: newLab()}
				s.options = []edict.ServerOption{edict.ServerConfig{KeepaliveInterval: 4 * time.Second, KeepaliveTimeout: 3 * time.Second}}
				s.start()
				client := s.client(edict.ClientConfig{KeepaliveInterval: 8 * time.Second, KeepaliveTimeout: 5 * time.Second})
				<-time.After(time.Minute) // idle
				if client.State() != edict.StateReady || client.RoundTripTime() != 0 {
					t.Errorf("%v, %v", client.State(), client.RoundTripTime())
				}
				call := later(client, t.Context(), wait{"x"})
				<-s.lab.started
				connection := s.network.Connections()[0]
				for _, d := range directions {
					connection.Vanish(d)
				}
				start := time.Now()
				if err := <-s.lab.canceled; err == nil {
					t.Error("the command's context has not ended")
				}
				if after := time.Since(start); after > 7*time.Second && slices.Contains(directions, edicttest.ToServer) || after > 13*time.Second {
					t.Errorf("the server has noticed after %v", after)
				}
				wantError(t, (<-call).err, edict.Unavailable, edict.OutcomeUnknown)
				if after := time.Since(start); after > 13*time.Second {
					t.Errorf("the client has noticed after %v", after)
				}
				wantSum(t, client)
			})
		})
	}
}

// A command that did not run is not sent again if it had inputs: they are gone.
func TestInputsAreNotSentAgain(t *testing.T) {
	atSite(t, func(t *testing.T, s *site) {
		client := s.client()
		connection := s.network.Connections()[0]
		s.network.SetLink(edicttest.Link{Buffer: 1})
		connection.Stall(edicttest.ToServer)
		first := later(client, t.Context(), add{1, 1})
		duplex, err := edict.StartDuplex(t.Context(), client, sumUp{}) // queued, and so is its input
		if err != nil {
			t.Fatal(err)
		}
		if err := duplex.Send(1); err != nil {
			t.Fatal(err)
		}
		s.stop()
		synctest.Wait() // the client has noticed: nothing is written any more
		s.network.SetLink(edicttest.Link{})
		s.start()
		_, err = duplex.Receive()
		wantError(t, err, edict.Unavailable, edict.NotSent)
		wantError(t, (<-first).err, edict.Unavailable, edict.OutcomeUnknown)
		if n := s.lab.executed.Load(); n != 0 {
			t.Errorf("%d executions", n)
		}
	})
}

// A call that is refused by a server that goes away, and cancelled before its caller looks, does not wait for the
// next server.
func TestCancelBeforeTheWaiting(t *testing.T) {
	atSite(t, func(t *testing.T, s *site) {
		client := s.client()
		long := later(client, t.Context(), wait{"long"}) // so that the server stays to refuse
		connection := s.network.Connections()[0]
		connection.Stall(edicttest.ToClient)
		old := s.server
		stopped := make(chan error, 1)
		go func() { stopped <- old.Shutdown(t.Context()) }()
		synctest.Wait()
		invocation, err := edict.Start(t.Context(), client, add{2, 3}) // the client does not know yet
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		connection.Resume(edicttest.ToClient)
		synctest.Wait()
		invocation.Cancel()
		_, err = invocation.Receive()
		wantError(t, err, edict.Canceled, edict.Refused)
		close(s.lab.release)
		if got := <-long; got.err != nil {
			t.Error(got.err)
		}
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
}

// Each attempt has a fresh token; one that the server takes no more does not end a client that was let in once.
func TestAFreshTokenForEachAttempt(t *testing.T) {
	atSite(t, func(t *testing.T, s *site) {
		s.stop()
		var asked int
		accepted := "token 1"
		s.options = []edict.ServerOption{edict.WithAuthenticator(func(_ context.Context, credentials edict.Credentials) (edict.Principal, error) {
			if credentials.Token.Reveal() != accepted {
				return edict.Principal{}, &edict.Error{Code: edict.Unauthenticated, Message: "unknown token"}
			}
			return edict.Principal{Name: "till"}, nil
		})}
		s.start()
		client := s.client(edict.WithTokenProvider(func(context.Context) (string, error) {
			asked++
			return fmt.Sprint("token ", asked), nil
		}))
		accepted = "token 4" // 2 and 3 will be turned away
		s.stop()
		s.start()
		if sum, err := edict.Call(t.Context(), client, add{2, 3}); sum != 5 || err != nil {
			t.Error(sum, err)
		}
		if asked != 4 || client.Stats().Attempts != 4 {
			t.Errorf("asked for %d tokens in %d attempts, want 4", asked, client.Stats().Attempts)
		}
	})
}

package edict_test

import (
	"context"
	"errors"
	"io"
	"iter"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict"
)

// numbers are the inputs 1 to n, then err if there is one.
func numbers(n int, err error) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		for i := range n {
			if !yield(i+1, nil) {
				return
			}
		}
		if err != nil {
			yield(0, err)
		}
	}
}

func TestUpload(t *testing.T) {
	over(t, func(t *testing.T, b *bench) {
		client := b.client()
		for _, n := range []int{0, 1, 10_000} { // more than a window
			if sum, err := edict.Upload(t.Context(), client, sumUp{}, numbers(n, nil)); sum != n*(n+1)/2 || err != nil {
				t.Errorf("%d inputs: %d, %v", n, sum, err)
			}
		}
		// The command ends before it has taken all.
		sum, err := edict.Upload(t.Context(), client, sumUp{FailAfter: 2}, numbers(1_000_000, nil))
		if e, ok := errors.AsType[*edict.Error](err); !ok || sum != 0 || e.Code != edict.OutOfRange || e.Outcome != edict.Executed || e.Message != "3 is enough" {
			t.Errorf("%d, %v", sum, err)
		}
		// An error among the inputs ends the command.
		broken := errors.New("the disk is gone")
		if _, err := edict.Upload(t.Context(), client, sumUp{}, numbers(3, broken)); !errors.Is(err, broken) || edict.OutcomeOf(err) != edict.OutcomeUnknown {
			t.Errorf("got %v", err)
		}
		if client.InFlight() > 1 { // the last one may be ending
			t.Errorf("%d commands in flight", client.InFlight())
		}
	})
}

// Inputs and results flow at the same time, each in its order.
func TestDuplex(t *testing.T) {
	over(t, func(t *testing.T, b *bench) {
		invocation, err := edict.StartDuplex(t.Context(), b.client(), parrot{})
		if err != nil {
			t.Fatal(err)
		}
		texts := []string{"a", "", strings.Repeat("long ", 20_000), "b", strings.Repeat("x", 1<<20), "c"}
		sent := make(chan error, 1)
		go func() {
			for range 20 {
				for _, text := range texts {
					if err := invocation.Send(text); err != nil {
						sent <- err
						return
					}
				}
			}
			sent <- invocation.CloseSend()
		}()
		received := 0
		for text, err := range invocation.Results() {
			if err != nil || text != texts[received%len(texts)] {
				t.Fatalf("result %d has %d bytes, %v\n%s", received, len(text), err, b.log)
			}
			received++
		}
		if err := <-sent; err != nil || received != 20*len(texts) {
			t.Errorf("%d results, %v", received, err)
		}
		if err := invocation.Send("more"); err != io.EOF {
			t.Errorf("Send after the end: %v", err)
		}
	})
}

// A command that takes no inputs holds up its sender, and no one else.
func TestInputsAreUnderFlowControl(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := serve(t, edict.ServerConfig{Window: 10_000})
		client := b.client()
		invocation, err := edict.StartDuplex(t.Context(), client, deaf{})
		if err != nil {
			t.Fatal(err)
		}
		sent := 0
		done := make(chan error, 1)
		go func() {
			for range 100 {
				if err := invocation.Send(strings.Repeat("x", 1000-2-64)); err != nil { // 1000 with quotes and overhead
					done <- err
					return
				}
				sent++
			}
			done <- invocation.CloseSend()
		}()
		synctest.Wait()
		if sent != 10 {
			t.Errorf("%d inputs are sent, 10 fit", sent)
		}
		if sum, err := edict.Call(t.Context(), client, add{2, 3}); sum != 5 || err != nil {
			t.Errorf("another call: %d, %v", sum, err)
		}
		close(b.lab.release)
		if size, err := invocation.Receive(); size != 100*934 || err != nil {
			t.Errorf("the command got %d bytes, %v", size, err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// Whatever ends a call ends a Send that waits.
func TestAWaitingSendEndsWithTheCall(t *testing.T) {
	for name, end := range map[string]func(b *bench, client *edict.Client[*lab], invocation *edict.DuplexInvocation[string, int], cancel func()){
		"context": func(_ *bench, _ *edict.Client[*lab], _ *edict.DuplexInvocation[string, int], cancel func()) { cancel() },
		"Cancel": func(_ *bench, _ *edict.Client[*lab], invocation *edict.DuplexInvocation[string, int], _ func()) {
			invocation.Cancel()
		},
		"Close": func(_ *bench, client *edict.Client[*lab], _ *edict.DuplexInvocation[string, int], _ func()) {
			client.Close()
		},
		"the server": func(b *bench, _ *edict.Client[*lab], _ *edict.DuplexInvocation[string, int], _ func()) {
			b.server.Close()
		},
		"the command": func(b *bench, _ *edict.Client[*lab], _ *edict.DuplexInvocation[string, int], _ func()) {
			b.server.Shutdown(canceledContext())
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := serve(t)
				client := b.client()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				invocation, err := edict.StartDuplex(ctx, client, deaf{})
				if err != nil {
					t.Fatal(err)
				}
				done := make(chan error, 1)
				go func() {
					for {
						if err := invocation.Send(strings.Repeat("x", 10_000)); err != nil {
							done <- err
							return
						}
					}
				}()
				synctest.Wait()
				end(b, client, invocation, cancel)
				if err := <-done; err != io.EOF {
					t.Errorf("Send: %v", err)
				}
				if _, err := invocation.Receive(); edict.OutcomeOf(err) == edict.NotSent || edict.OutcomeOf(err) == edict.Refused {
					t.Errorf("Receive: %v", err)
				}
				if err := invocation.CloseSend(); err != nil && err != io.EOF {
					t.Errorf("CloseSend: %v", err)
				}
			})
		})
	}
}

func canceledContext() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// Leaving the loop over the results cancels the command, whose Source says so.
func TestBreakCancelsADuplexCommand(t *testing.T) {
	b := serve(t)
	invocation, err := edict.StartDuplex(t.Context(), b.client(), parrot{})
	if err != nil {
		t.Fatal(err)
	}
	if err := invocation.Send("hello"); err != nil {
		t.Fatal(err)
	}
	for text, err := range invocation.Results() {
		if text != "hello" || err != nil {
			t.Error(text, err)
		}
		break
	}
	if err := <-b.lab.canceled; err != context.Canceled {
		t.Errorf("the command got %v", err)
	}
	if err := invocation.Send("more"); err != io.EOF {
		t.Errorf("Send: %v", err)
	}
}

// An input that can't go leaves the call as it is.
func TestInputsThatCanNotGo(t *testing.T) {
	b := serve(t, edict.ServerConfig{MaxFrame: 64 << 10})
	invocation, err := edict.StartDuplex(t.Context(), b.client(), parrot{})
	if err != nil {
		t.Fatal(err)
	}
	if err := invocation.Send(strings.Repeat("x", 70_000)); edict.CodeOf(err) != edict.ResourceExhausted {
		t.Errorf("an input that is too large: %v", err)
	}
	if err := invocation.Send("small"); err != nil {
		t.Error(err)
	}
	if text, err := invocation.Receive(); text != "small" || err != nil {
		t.Error(len(text), err)
	}
	if err := invocation.CloseSend(); err != nil {
		t.Error(err)
	}
	if err := invocation.Send("late"); edict.CodeOf(err) != edict.FailedPrecondition {
		t.Errorf("Send after CloseSend: %v", err)
	}
	if err := invocation.CloseSend(); err != nil {
		t.Errorf("CloseSend again: %v", err)
	}
	if _, err := invocation.Receive(); err != io.EOF {
		t.Error(err)
	}
}

// A deadline ends a command that waits for inputs.
func TestADeadlineEndsADuplexCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := serve(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		_, err := edict.Upload(ctx, b.client(), sumUp{}, func(yield func(int, error) bool) {
			yield(1, nil)
			<-ctx.Done()
		})
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}

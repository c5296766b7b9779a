package edict_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/transport"
)

// patience is a receiver whose commands wait for no longer than they want to.
type patience struct{ failed chan error }

var errEnough = errors.New("that is enough")

// chat waits a second for each input and result, goes on, and tells how often it has.
type chat struct{}

func (chat) Exec(ctx context.Context, p *patience, inputs edict.Source[int], results edict.Sink[string]) error {
	within := func(f func(context.Context) error) error {
		ctx, cancel := context.WithTimeoutCause(ctx, time.Second, errEnough)
		defer cancel()
		return f(ctx)
	}
	sum := 0
	for {
		err := within(func(ctx context.Context) error {
			n, err := inputs.ReceiveContext(ctx)
			sum += n
			return err
		})
		switch {
		case err == io.EOF:
			for range 100 { // until nobody takes any more
				if err := within(func(ctx context.Context) error {
					return results.SendContext(ctx, string(make([]byte, 1000)))
				}); err != nil {
					p.failed <- err
					break
				}
			}
			if sum != 6 {
				return errors.New("an input was lost")
			}
			return results.Send("the last")
		case err != nil:
			p.failed <- err
		}
	}
}

// stay waits for an input with a context that never ends.
type stay struct{}

func (stay) Exec(_ context.Context, p *patience, inputs edict.Source[int], _ edict.Sink[string]) error {
	_, err := inputs.ReceiveContext(context.Background())
	p.failed <- err
	return err
}

// pourOn sends results with such a context.
type pourOn struct{}

func (pourOn) Exec(_ context.Context, p *patience, results edict.Sink[string]) error {
	for {
		if err := results.SendContext(context.Background(), string(make([]byte, 1000))); err != nil {
			p.failed <- err
			return err
		}
	}
}

var chatting = edict.Commands(edict.Duplex[chat](), edict.Duplex[stay](), edict.ServerStream[pourOn]())

// Whatever context a command waits with, it stops waiting when its own ends.
func TestACommandThatWaitsIsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		receiver := &patience{make(chan error, 100)}
		server := edict.NewServer(receiver, chatting)
		memory := transport.NewMemory()
		go server.Serve(memory)
		client, err := edict.Dial(t.Context(), "test", chatting, edict.WithDialer(memory.Dial))
		if err != nil {
			t.Fatal(err)
		}
		staying, err := edict.StartDuplex(t.Context(), client, stay{})
		if err != nil {
			t.Fatal(err)
		}
		pouring, err := edict.StartStream(t.Context(), client, pourOn{})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		staying.Cancel()
		if err := <-receiver.failed; !errors.Is(err, context.Canceled) {
			t.Errorf("it got %v", err)
		}
		pouring.Cancel()
		if err := <-receiver.failed; !errors.Is(err, context.Canceled) {
			t.Errorf("it got %v", err)
		}
		_ = client.Close()
		if err := server.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A command can stop waiting for an input, or for room for a result, and go on with nothing lost.
func TestACommandStopsWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		receiver := &patience{make(chan error, 100)}
		for _, options := range [][]edict.ServerOption{nil, {edict.WithServerInterceptors(func(ctx context.Context, _ *edict.ServerCall, next func(context.Context) error) error {
			return next(context.WithValue(ctx, chat{}, 1))
		})}} {
			server := edict.NewServer(receiver, chatting, options...)
			memory := transport.NewMemory()
			go server.Serve(memory)
			client, err := edict.Dial(t.Context(), "test", chatting, edict.WithDialer(memory.Dial), edict.ClientConfig{Window: 5000})
			if err != nil {
				t.Fatal(err)
			}
			invocation, err := edict.StartDuplex(t.Context(), client, chat{})
			if err != nil {
				t.Fatal(err)
			}
			for n := range 4 {
				time.Sleep(1500 * time.Millisecond)
				if err := <-receiver.failed; !errors.Is(err, errEnough) {
					t.Errorf("it got %v", err)
				}
				if err := invocation.Send(n); err != nil {
					t.Fatal(err)
				}
			}
			if err := invocation.CloseSend(); err != nil {
				t.Fatal(err)
			}
			if err := <-receiver.failed; !errors.Is(err, errEnough) { // of a result
				t.Errorf("it got %v", err)
			}
			last := ""
			for result, err := range invocation.Results() {
				if err != nil {
					t.Fatal(err)
				}
				last = result
			}
			if last != "the last" {
				t.Errorf("the last result is %q", last)
			}
			_ = client.Close()
			if err := server.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
}

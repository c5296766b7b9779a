package transport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/iotest"
	"time"

	"github.com/edict-go/edict/core"
)

// TestRunAndReceiveGiveTheSame, also when one goes on where the other has stopped.
func TestRunAndReceiveGiveTheSame(t *testing.T) {
	stream, want := encoded(samples())
	stop := errors.New("stop")
	onEachNetwork(t, Config{}, func(t *testing.T, client, server *Conn) {
		go func() {
			for _, frame := range samples() {
				if _, err := client.Send(t.Context(), frame); err != nil {
					t.Error(err)
				}
			}
			flush(t, client)
		}()
		var got []seen
		got = append(got, mustReceive(t, server))
		if err := server.Run(func(frame *core.Frame) error {
			got = append(got, look(*frame))
			if len(got) == 4 {
				return stop
			}
			return nil
		}); err != stop {
			t.Errorf("Run: %v, want the error of its handler", err)
		}
		got = append(got, mustReceive(t, server))
		rest, err := receiveAll(server)
		if got = append(got, rest...); err != io.EOF || !slices.Equal(got, want) {
			t.Errorf("got %d frames and %v, want %d and io.EOF", len(got), err, len(want))
		}
	})
	each, err := receiveEach(reading(iotest.HalfReader(bytes.NewReader(stream)), Config{}))
	if err != io.EOF || !slices.Equal(each, want) {
		t.Errorf("Receive gives %d frames and %v, want %d and io.EOF", len(each), err, len(want))
	}
}

// runToTheEnd is receiveAll for a Run that may never return: then it is said here, after a while.
func runToTheEnd(t *testing.T, conn *Conn) (frames []seen, err error) {
	t.Helper()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		frames, err = receiveAll(conn)
	}()
	select {
	case <-ended:
		return frames, err
	case <-time.After(10 * time.Second):
		t.Fatal("Run does not return though the peer has closed the connection")
		return nil, nil
	}
}

// TestRunSeesAnEndThatCameTogetherWithTheData: the peer has written and closed before anyone reads,
// so that there is one wake-up for both. Whoever waits after a short read waits for ever.
func TestRunSeesAnEndThatCameTogetherWithTheData(t *testing.T) {
	for _, how := range []string{"half-close", "close"} {
		t.Run(how, func(t *testing.T) {
			onEachNetwork(t, Config{}, func(t *testing.T, client, server *Conn) {
				mustSend(t, client, core.Frame{Kind: core.KindResult, Body: []byte("first")})
				mustReceive(t, server) // as after a handshake
				mustSend(t, client, core.Frame{Kind: core.KindResult, Body: []byte("last words")})
				flush(t, client)
				if how == "close" {
					client.Close(nil)
				}
				frames, err := runToTheEnd(t, server)
				if err != io.EOF || len(frames) != 1 || frames[0].body != "last words" {
					t.Errorf("got %d frames and %v, want one and io.EOF", len(frames), err)
				}
			})
		})
	}
}

// TestRunSeesTheEndWheneverItComes repeats it with an end that comes while the data is read.
func TestRunSeesTheEndWheneverItComes(t *testing.T) {
	for range 200 {
		client, server := connect(t, "unix")
		a, b := NewConn(client, Config{}), NewConn(server, Config{})
		go func() {
			if _, err := a.Send(t.Context(), core.Frame{Kind: core.KindResult, Body: []byte("last words")}); err != nil {
				t.Error(err)
			}
			flush(t, a)
		}()
		if _, err := runToTheEnd(t, b); err != io.EOF {
			t.Fatal(err)
		}
		closeBoth(a, b)
	}
}

// TestAHandlerMayCloseTheConnection: Close from within Run, as a Post that fails does it, must not
// wait for Run.
func TestAHandlerMayCloseTheConnection(t *testing.T) {
	broken := errors.New("broken")
	onEachNetwork(t, Config{}, func(t *testing.T, client, server *Conn) {
		mustSend(t, client, core.Frame{Kind: core.KindPing})
		ended := make(chan error, 1)
		go func() {
			ended <- server.Run(func(*core.Frame) error {
				server.Close(broken)
				return nil // Run finds out by itself
			})
		}()
		select {
		case err := <-ended:
			if err != broken {
				t.Errorf("Run: %v, want the cause", err)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("Run does not return though its handler has closed the connection")
		}
	})
}

// TestAFloodDoesNotKeepAClosedConnectionOpen: the peer sends and sends.
func TestAFloodDoesNotKeepAClosedConnectionOpen(t *testing.T) {
	onEachNetwork(t, Config{}, func(t *testing.T, client, server *Conn) {
		flooded := make(chan struct{})
		go func() {
			defer close(flooded)
			for {
				body, buffer := large(1<<20, 'f')
				if _, err := client.Send(context.Background(), core.Frame{Kind: core.KindResult, Body: body, Buffer: buffer}); err != nil {
					buffer.Release()
					return
				}
			}
		}()
		frames := 0
		err := server.Run(func(frame *core.Frame) error {
			frame.Buffer.Release()
			if frames++; frames == 10 {
				server.Close(nil)
			}
			return nil
		})
		if !errors.Is(err, core.ErrClosed) {
			t.Errorf("Run: %v, want ErrClosed", err)
		}
		<-flooded
	})
}

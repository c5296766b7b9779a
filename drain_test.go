package edict_test

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/transport"
)

// A server that shuts down under load executes what it has accepted and refuses the rest, and its clients get to
// know that of each call: none of them can't tell what became of it. Refusals that come when the server has ended
// its sending must not break the connection, because that would destroy what is on its way to the client.
func TestShutdownUnderLoadLeavesNoCallUnknown(t *testing.T) {
	for range 20 {
		b := serveAt(t, "tcp://127.0.0.1:0", nil, nil)
		client := b.client()
		var calls, begun sync.WaitGroup
		for range 16 {
			begun.Add(1)
			calls.Go(func() {
				for n := 0; ; n++ {
					_, err := edict.Call(t.Context(), client, add{2, 3})
					if n == 0 {
						begun.Done()
					}
					<-time.After(10 * time.Microsecond)
					if err != nil {
						if edict.OutcomeOf(err).Ran() {
							t.Errorf("%v (%v)", err, edict.OutcomeOf(err))
						}
						return
					}
				}
			})
		}
		begun.Wait()
		if err := b.server.Shutdown(context.Background()); err != nil {
			t.Fatal(err)
		}
		calls.Wait()
	}
}

// hesitant is a listener of a server that hesitates when a handshake is over, until it may go on.
type hesitant struct {
	net.Listener
	goOn chan struct{}
}

func (l hesitant) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return hesitating{conn, l.goOn}, err
}

type hesitating struct {
	net.Conn
	goOn chan struct{}
}

// RemoteAddr is what the server asks for when it has sent its WELCOME, and before it reads commands.
func (c hesitating) RemoteAddr() net.Addr {
	<-c.goOn
	return c.Conn.RemoteAddr()
}

// CloseWrite is how the server ends its sending, so that the client hears the end.
func (c hesitating) CloseWrite() error {
	return c.Conn.(interface{ CloseWrite() error }).CloseWrite()
}

// A client that a server has welcomed a moment before it shuts down, and that has sent commands already, hears of each what
// became of it. One that has heard nothing yet is not waited for.
func TestShutdownAtTheEndOfAHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := transport.NewMemory()
		listener := hesitant{memory, make(chan struct{})}
		b := serveOn(t, listener, memory.Dial)
		client := b.client()
		ended := make(chan error, 2)
		for range 2 {
			go func() {
				_, err := edict.Call(t.Context(), client, add{2, 3})
				ended <- err
			}()
		}
		silent, err := b.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		began := time.Now()
		stopped := make(chan error, 1)
		go func() { stopped <- b.server.Shutdown(t.Context()) }()
		if _, err := silent.Read(make([]byte, 1)); err != io.EOF {
			t.Error(err)
		}
		synctest.Wait()
		if len(ended) > 0 || len(stopped) > 0 {
			t.Error("it does not wait for the end of the handshake")
		}
		close(listener.goOn)
		answered := int64(0)
		for range 2 {
			if err := <-ended; err == nil {
				answered++
			} else if edict.CodeOf(err) != edict.Unavailable || edict.OutcomeOf(err).Ran() {
				t.Errorf("%v (%v)", err, edict.OutcomeOf(err))
			}
		}
		if err := <-stopped; err != nil || time.Since(began) > 0 {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if n := b.lab.executed.Load(); n != answered {
			t.Errorf("%d commands were executed, and %d answered", n, answered)
		}
	})
}

// A handshake that does not come to its end holds up Shutdown as long as its context allows.
func TestShutdownGivesUpAHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := transport.NewMemory()
		listener := hesitant{memory, make(chan struct{})}
		b := serveOn(t, listener, memory.Dial)
		client := b.client()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := b.server.Shutdown(ctx); err != context.DeadlineExceeded {
			t.Error(err)
		}
		<-client.Done()
		close(listener.goOn)
	})
}

package core_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict/core"
)

// door is a listener that gives what the test says.
type door struct {
	events chan any // a net.Conn or an error
	closed chan struct{}
	once   sync.Once
}

func newDoor() *door { return &door{events: make(chan any, 200), closed: make(chan struct{})} }

func (d *door) Accept() (net.Conn, error) {
	select {
	case event := <-d.events:
		if err, ok := event.(error); ok {
			return nil, err
		}
		return event.(net.Conn), nil
	case <-d.closed:
		return nil, net.ErrClosed
	}
}

func (d *door) Close() error {
	d.once.Do(func() { close(d.closed) })
	return nil
}

func (d *door) Addr() net.Addr { return &net.UnixAddr{Name: "door", Net: "unix"} }

// passing is an error of Accept that goes away by itself.
type passing struct{}

func (passing) Error() string   { return "too many open files" }
func (passing) Timeout() bool   { return false }
func (passing) Temporary() bool { return true }

// visitor is the connection and the Session of one client.
type visitor struct {
	net.Conn // nil
	full     bool

	drained chan struct{} // closed when Drain may return
	closing sync.Once
	closed  chan struct{}
	left    chan struct{} // closed when Serve may return by itself
	stays   bool          // Serve does not heed Close
}

func newVisitor() *visitor {
	return &visitor{drained: make(chan struct{}), closed: make(chan struct{}), left: make(chan struct{})}
}

func (v *visitor) Serve() {
	if v.stays {
		<-v.left
		return
	}
	select {
	case <-v.closed:
	case <-v.left:
	}
}

func (v *visitor) Drain(ctx context.Context) {
	select {
	case <-v.drained:
	case <-v.left:
	case <-ctx.Done():
	}
}

func (v *visitor) end() { v.closing.Do(func() { close(v.closed) }) }

func (v *visitor) isClosed() bool {
	synctest.Wait()
	select {
	case <-v.closed:
		return true
	default:
		return false
	}
}

// visitorConn is the net.Conn of a visitor; both have a Close.
type visitorConn struct {
	net.Conn
	visitor *visitor
}

func (c visitorConn) Close() error {
	c.visitor.end()
	return nil
}

func (v *visitor) Close() { v.end() }

// house is a server at a door.
type house struct {
	*core.Server
	door   *door
	served chan error
	log    *bytes.Buffer
}

// open runs a test with a server, in a bubble with a clock of its own.
func open(t *testing.T, maxConnections int, story func(t *testing.T, h *house)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := &house{door: newDoor(), served: make(chan error, 1), log: new(bytes.Buffer)}
		h.Server = core.NewServer(core.ServerConfig{
			MaxConnections: maxConnections,
			Logger:         slog.New(slog.NewTextHandler(h.log, nil)),
			Accept: func(conn net.Conn, full bool) core.Session {
				v := conn.(visitorConn).visitor
				v.full = full
				return v
			},
		})
		go func() { h.served <- h.Serve(h.door) }()
		story(t, h)
		if err := h.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
}

// visit lets a client come.
func (h *house) visit() *visitor {
	v := newVisitor()
	h.door.events <- visitorConn{visitor: v}
	synctest.Wait()
	return v
}

func TestTemporaryErrorsOfAcceptAreWaitedOut(t *testing.T) {
	open(t, 0, func(t *testing.T, h *house) {
		start := time.Now()
		for range 10 {
			h.door.events <- passing{}
		}
		accepted := newVisitor()
		h.door.events <- visitorConn{visitor: accepted}
		for h.Connections() == 0 {
			<-time.After(time.Millisecond)
		}
		// 5, 10, 20 ... 640 ms, then a second each
		if waited := time.Since(start).Round(5 * time.Millisecond); waited != 3275*time.Millisecond {
			t.Errorf("after ten errors the server accepts again after %v, want 3.275s", waited)
		}
		h.door.events <- passing{}
		next := time.Now()
		h.door.events <- visitorConn{visitor: newVisitor()}
		for h.Connections() == 1 {
			<-time.After(time.Millisecond)
		}
		if waited := time.Since(next).Round(5 * time.Millisecond); waited != 5*time.Millisecond {
			t.Errorf("after a success the pause begins at 5ms again, not %v", waited)
		}
		if n := strings.Count(h.log.String(), "too many open files"); n != 11 {
			t.Errorf("%d of 11 errors are logged", n)
		}
	})
}

func TestAnErrorThatStaysEndsServe(t *testing.T) {
	open(t, 0, func(t *testing.T, h *house) {
		broken := errors.New("broken")
		h.door.events <- broken
		if err := <-h.served; err != broken {
			t.Errorf("Serve: %v, want the listener's error", err)
		}
		<-h.door.closed
	})
}

func TestCloseEndsAPauseToo(t *testing.T) {
	open(t, 0, func(t *testing.T, h *house) {
		for range 50 {
			h.door.events <- passing{}
		}
		<-time.After(10 * time.Second) // it pauses for a second each time now
		start := time.Now()
		h.Close()
		if err := <-h.served; !errors.Is(err, core.ErrClosed) || time.Since(start) > time.Second {
			t.Errorf("Serve returned %v after %v", err, time.Since(start))
		}
	})
}

func TestTooManyConnections(t *testing.T) {
	open(t, 2, func(t *testing.T, h *house) {
		first, second := h.visit(), h.visit()
		if first.full || second.full || h.Connections() != 2 {
			t.Errorf("there is room for two, %d are open", h.Connections())
		}
		var told []*visitor
		for range 64 {
			told = append(told, h.visit())
		}
		for i, v := range told {
			if !v.full || v.isClosed() {
				t.Errorf("number %d beyond the limit is not told", i)
			}
		}
		if silent := h.visit(); silent.full || !silent.isClosed() {
			t.Error("so many are being told already, yet one more is")
		}
		if h.Connections() != 2 {
			t.Errorf("%d connections are open: those turned away don't count", h.Connections())
		}

		close(first.left)
		synctest.Wait()
		if next := h.visit(); next.full || h.Connections() != 2 {
			t.Error("one has left, and there is no room for another")
		}
		close(told[0].left)
		synctest.Wait()
		if v := h.visit(); !v.full || v.isClosed() {
			t.Error("one that was told has left, the next is not told")
		}
	})
}

func TestManyConnectionsAreServedAtOnce(t *testing.T) {
	open(t, 0, func(t *testing.T, h *house) {
		for n := 1; n <= 1000; n++ {
			if v := h.visit(); v.full || h.Connections() != n {
				t.Fatalf("connection %d: full %v, %d are open", n, v.full, h.Connections())
			}
		}
	})
}

func TestShutdownLetsSessionsFinish(t *testing.T) {
	open(t, 0, func(t *testing.T, h *house) {
		quick, slow := h.visit(), h.visit()
		ended := make(chan error)
		go func() { ended <- h.Shutdown(t.Context()) }()
		if err := <-h.served; !errors.Is(err, core.ErrClosed) {
			t.Errorf("Serve: %v, want ErrClosed", err)
		}
		close(quick.drained)
		close(quick.left) // the client closes when it is done
		synctest.Wait()
		select {
		case err := <-ended:
			t.Fatalf("Shutdown returned %v with a session that runs", err)
		default:
		}
		start := time.Now()
		close(slow.drained) // all is said, but the client does not close
		if err := <-ended; err != nil || time.Since(start) != 2*time.Second {
			t.Errorf("Shutdown: %v after %v, want nil after 2s", err, time.Since(start))
		}
		if !slow.isClosed() || h.Connections() != 0 {
			t.Errorf("%d connections are open", h.Connections())
		}
		late := newDoor()
		if err := h.Serve(late); !errors.Is(err, core.ErrClosed) {
			t.Errorf("Serve after Shutdown: %v", err)
		}
		<-late.closed
		if err := h.Shutdown(t.Context()); err != nil {
			t.Errorf("a second Shutdown: %v", err)
		}
	})
}

func TestShutdownGivesUpOnSessionsWithItsContext(t *testing.T) {
	open(t, 0, func(t *testing.T, h *house) {
		stubborn := newVisitor()
		stubborn.stays = true
		h.door.events <- visitorConn{visitor: stubborn}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if err := h.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("Shutdown: %v after %v, want the deadline after 1s", err, time.Since(start))
		}
		if !stubborn.isClosed() {
			t.Error("the session was not closed")
		}
		close(stubborn.left)
		if err := h.Shutdown(t.Context()); err != nil {
			t.Errorf("Shutdown, to wait: %v", err)
		}
	})
}

func TestCloseCutsAShutdownShort(t *testing.T) {
	open(t, 0, func(t *testing.T, h *house) {
		v := h.visit()
		ended := make(chan error)
		go func() { ended <- h.Shutdown(t.Context()) }()
		synctest.Wait()
		start := time.Now()
		h.Close()
		if err := <-ended; err != nil || time.Since(start) != 0 || !v.isClosed() {
			t.Errorf("Shutdown: %v after %v", err, time.Since(start))
		}
	})
}

func TestAConnectionThatComesDuringTheEndIsClosed(t *testing.T) {
	open(t, 0, func(t *testing.T, h *house) {
		for range 100 {
			h.door.events <- visitorConn{visitor: newVisitor()}
		}
		h.Close()
		<-h.served
		if err := h.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if h.Connections() != 0 {
			t.Errorf("%d connections are open", h.Connections())
		}
	})
}

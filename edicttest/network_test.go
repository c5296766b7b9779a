package edicttest_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict/edicttest"
)

func listen(t *testing.T, network *edicttest.Network, address string) net.Listener {
	t.Helper()
	listener, err := network.Listen(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener
}

func dial(t *testing.T, network *edicttest.Network, address string) net.Conn {
	t.Helper()
	conn, err := network.Dial(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func wantDialError(t *testing.T, network *edicttest.Network, address string, want error) {
	t.Helper()
	conn, err := network.Dial(t.Context(), address)
	if conn != nil || !errors.Is(err, want) {
		t.Fatalf("Dial = %v, %v; want %v", conn, err, want)
	}
}

func TestAnAddressIsTakenUntilItsListenerCloses(t *testing.T) {
	network := edicttest.New(edicttest.Config{})
	wantDialError(t, network, "server", syscall.ECONNREFUSED)
	listener := listen(t, network, "server")
	if listener.Addr().String() != "server" {
		t.Errorf("the address is %v", listener.Addr())
	}
	if _, err := network.Listen("server"); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("Listen: %v", err)
	}
	listen(t, network, "other")
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	if err := listener.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the second Close: %v", err)
	}
	if _, err := listener.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v", err)
	}
	wantDialError(t, network, "server", syscall.ECONNREFUSED)
	listen(t, network, "server")
	dial(t, network, "server")
	wantFired(t, network) // an address where nobody listens is no fault
}

// Dial needs no Accept, only a listener, and connections are accepted in order.
func TestDialDoesNotWaitForAccept(t *testing.T) {
	network := edicttest.New(edicttest.Config{})
	listener := listen(t, network, "server")
	for i := range 3 {
		conn := dial(t, network, "server")
		if _, err := conn.Write([]byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		conn, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		first := make([]byte, 1)
		if _, err := conn.Read(first); err != nil || first[0] != byte(i) {
			t.Errorf("connection %d says %d, %v", i, first, err)
		}
		_ = conn.Close()
	}
}

func TestCloseEndsAcceptAndWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := edicttest.New(edicttest.Config{})
		listener := listen(t, network, "server")
		accepted := make(chan error)
		go func() {
			_, err := listener.Accept()
			accepted <- err
		}()
		synctest.Wait()
		_ = listener.Close()
		if err := <-accepted; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept: %v", err)
		}

		listener = listen(t, network, "server")
		conn := dial(t, network, "server")
		_ = listener.Close()
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("a connection that was never accepted: %v", err)
		}
		if len(network.Connections()) > 0 {
			t.Error("it counts as open")
		}
		wantFired(t, network)
	})
}

func TestAFullBacklogMakesDialWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const backlog = 4096
		network := edicttest.New(edicttest.Config{})
		listener := listen(t, network, "server")
		for range backlog {
			dial(t, network, "server")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := network.Dial(ctx, "server"); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Dial: %v", err)
		}
		dialled := make(chan error, 2)
		for range 2 {
			go func() {
				_, err := network.Dial(t.Context(), "server")
				dialled <- err
			}()
		}
		synctest.Wait()
		if _, err := listener.Accept(); err != nil {
			t.Fatal(err)
		}
		if err := <-dialled; err != nil {
			t.Errorf("Dial: %v", err)
		}
		synctest.Wait() // the other one waits
		_ = listener.Close()
		if err := <-dialled; !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("Dial: %v", err)
		}
	})
}

func TestDialTakesARoundTrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := edicttest.New(edicttest.Config{Link: edicttest.Link{Latency: time.Second}})
		listen(t, network, "server")
		start := time.Now()
		dial(t, network, "server")
		wantAfter(t, start, 2*time.Second)

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start = time.Now()
		if _, err := network.Dial(ctx, "server"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Dial: %v", err)
		}
		wantAfter(t, start, time.Second)
		if _, err := network.Dial(ctx, "server"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Dial: %v", err)
		}
		wantAfter(t, start, time.Second)
	})
}

func TestRefuseDials(t *testing.T) {
	network := edicttest.New(edicttest.Config{})
	network.RefuseDials("server", true)
	listen(t, network, "server")
	listen(t, network, "other")
	wantDialError(t, network, "server", syscall.ECONNREFUSED)
	wantFired(t, network, edicttest.FaultRefuse)
	if fault := network.Fired()[0]; fault.Address != "server" || fault.Connection != -1 {
		t.Errorf("the fault is %+v", fault)
	}
	dial(t, network, "other")
	network.RefuseDials("server", false)
	dial(t, network, "server")
}

func TestDelayAccepts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := edicttest.New(edicttest.Config{})
		listener := listen(t, network, "server")
		network.DelayAccepts("server", time.Minute)
		start := time.Now()
		conn := dial(t, network, "server")
		if _, err := conn.Write([]byte("anybody?")); err != nil {
			t.Fatal(err)
		}
		wantAfter(t, start, 0)
		network.DelayAccepts("server", 0)
		dial(t, network, "server") // is not delayed, and not held up
		for _, want := range []time.Duration{0, time.Minute} {
			conn, err := listener.Accept()
			if err != nil {
				t.Fatal(err)
			}
			wantAfter(t, start, want)
			_ = conn.Close()
		}
		wantFired(t, network, edicttest.FaultDelay)
	})
}

// What a hook installs is there before the first byte.
func TestOnConnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ids []int
		p := newPair(t, edicttest.Config{}, func(c *edicttest.Connection) {
			ids = append(ids, c.ID())
			c.CutAfter(toServer, edicttest.Bytes(1))
		}, func(c *edicttest.Connection) {
			ids = append(ids, c.ID()+100)
		})
		if !slices.Equal(ids, []int{0, 100}) || p.connection.Address() != "server" {
			t.Errorf("the hooks saw %v", ids)
		}
		p.write(p.client, "ab")
		p.wantRead(p.server, "a")
		p.wantReadError(p.server, syscall.ECONNRESET)
	})
}

func TestConnectionsInTheOrderOfDialling(t *testing.T) {
	network := edicttest.New(edicttest.Config{})
	listener := listen(t, network, "server")
	want := []int{0, 1, 2, 3}
	for range want {
		dial(t, network, "server")
	}
	check := func() {
		t.Helper()
		var ids []int
		for _, c := range network.Connections() {
			ids = append(ids, c.ID())
		}
		if !slices.Equal(ids, want) {
			t.Errorf("connections %v, want %v", ids, want)
		}
	}
	check()
	network.Connections()[1].Cut()
	want = []int{0, 2, 3}
	check()
	dial(t, network, "server")
	want = append(want, 4)
	check()
	_ = listener.Close()
	want = nil
	check()
}

// Everything at once, for the race detector: dials, closes, faults, changes of the link.
func TestAllAtOnce(t *testing.T) {
	network := edicttest.New(edicttest.Config{Seed: 1, Faults: edicttest.Faults{
		Refuse: 0.1, Cut: 0.1, Stall: 0.1, StallFor: time.Millisecond, Tear: 1, Corrupt: 1, Vanish: 0.01,
	}})
	listener := listen(t, network, "server")
	var servers, clients sync.WaitGroup
	servers.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			servers.Go(func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(50 * time.Millisecond))
				buffer := make([]byte, 100)
				for {
					n, err := conn.Read(buffer)
					if err != nil {
						return
					}
					if _, err := conn.Write(buffer[:n]); err != nil {
						return
					}
				}
			})
		}
	})
	for i := range 8 {
		clients.Go(func() {
			for range 20 {
				conn, err := network.Dial(context.Background(), "server")
				if err != nil {
					continue
				}
				wait := arrivals(conn)
				_ = conn.SetDeadline(time.Now().Add(50 * time.Millisecond))
				for range 20 {
					if _, err := conn.Write(make([]byte, 200)); err != nil {
						break
					}
				}
				for _, c := range network.Connections() {
					switch (c.ID() + i) % 7 {
					case 0:
						c.Cut()
					case 1:
						c.Stall(toServer)
					case 2:
						c.Resume(toServer)
					case 3:
						c.Corrupt(toClient, edicttest.Bytes(50))
					case 4:
						c.Vanish(toClient)
					case 5:
						c.Deliver(toClient, 5)
					}
				}
				network.SetLink(edicttest.Link{Latency: time.Duration(i) * time.Microsecond, Buffer: 100 + i, Segment: 1 + i})
				_ = conn.(interface{ CloseWrite() error }).CloseWrite() // it may be cut
				_, _ = wait()
				_ = conn.Close()
			}
		})
	}
	clients.Wait()
	_ = listener.Close()
	servers.Wait()
	if open := network.Connections(); len(open) > 0 {
		t.Errorf("%d connections are left", len(open))
	}
	if len(network.Fired()) < 100 {
		t.Errorf("only %d faults", len(network.Fired()))
	}
}

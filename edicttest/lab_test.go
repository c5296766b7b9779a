package edicttest_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict/edicttest"
)

// pair is a network with one connection, and both ends of it.
type pair struct {
	t              *testing.T
	network        *edicttest.Network
	connection     *edicttest.Connection
	client, server net.Conn
}

// onPair runs a test of a connection, with a fake clock.
func onPair(t *testing.T, config edicttest.Config, test func(p *pair)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(newPair(t, config)) })
}

func newPair(t *testing.T, config edicttest.Config, prepare ...func(*edicttest.Connection)) *pair {
	t.Helper()
	p := &pair{t: t, network: edicttest.New(config)}
	for _, hook := range prepare {
		p.network.OnConnect(hook)
	}
	listener, err := p.network.Listen("server")
	if err != nil {
		t.Fatal(err)
	}
	p.client, err = p.network.Dial(t.Context(), "server")
	if err != nil {
		t.Fatal(err)
	}
	if p.server, err = listener.Accept(); err != nil {
		t.Fatal(err)
	}
	if open := p.network.Connections(); len(open) > 0 { // else it is cut already
		p.connection = open[0]
	}
	t.Cleanup(func() {
		_ = p.client.Close()
		_ = p.server.Close()
		_ = listener.Close()
		if left := len(p.network.Connections()); left > 0 {
			t.Errorf("%d connections are open after both ends were closed", left)
		}
	})
	return p
}

func (p *pair) write(conn net.Conn, text string) {
	p.t.Helper()
	if n, err := conn.Write([]byte(text)); n != len(text) || err != nil {
		p.t.Fatalf("Write = %d, %v", n, err)
	}
}

// wantRead reads exactly text.
func (p *pair) wantRead(conn net.Conn, text string) {
	p.t.Helper()
	got := make([]byte, len(text))
	if n, err := io.ReadFull(conn, got); err != nil || string(got) != text {
		p.t.Fatalf("read %q, %v; want %q", got[:n], err, text)
	}
}

// wantReadError reads nothing but an error.
func (p *pair) wantReadError(conn net.Conn, want error) {
	p.t.Helper()
	n, err := conn.Read(make([]byte, 10))
	if n != 0 || !errors.Is(err, want) {
		p.t.Fatalf("Read = %d, %v; want %v", n, err, want)
	}
}

func (p *pair) wantWriteError(conn net.Conn, want error) {
	p.t.Helper()
	n, err := conn.Write([]byte("lost"))
	if n != 0 || !errors.Is(err, want) {
		p.t.Fatalf("Write = %d, %v; want %v", n, err, want)
	}
}

// wantFired checks which faults have happened, whatever their time and place.
func wantFired(t *testing.T, network *edicttest.Network, want ...edicttest.FaultKind) {
	t.Helper()
	fired := network.Fired()
	same := len(fired) == len(want)
	for i := 0; same && i < len(want); i++ {
		same = fired[i].Kind == want[i]
	}
	if !same {
		t.Fatalf("the faults were %v; want %v", fired, want)
	}
}

// wantAfter checks how much time has passed since start.
func wantAfter(t *testing.T, start time.Time, want time.Duration) {
	t.Helper()
	if passed := time.Since(start); passed != want {
		t.Fatalf("it took %v, want %v", passed, want)
	}
}

// arrival is bytes that a Read has returned.
type arrival struct {
	at   time.Duration
	data string
}

// arrivals reads to the end, or an error, and notes what each Read gave. It ends with the connection; wait
// for it with the function it returns.
func arrivals(conn net.Conn) func() ([]arrival, error) {
	start := time.Now()
	var got []arrival
	var failed error
	var done sync.WaitGroup
	done.Go(func() {
		buffer := make([]byte, 1<<16)
		for {
			n, err := conn.Read(buffer)
			if n > 0 {
				got = append(got, arrival{time.Since(start), string(buffer[:n])})
			}
			if err != nil {
				failed = err
				return
			}
		}
	})
	return func() ([]arrival, error) {
		done.Wait()
		return got, failed
	}
}

// noise returns bytes that look random.
func noise(size int, seed uint64) []byte {
	data := make([]byte, size)
	random := rand.New(rand.NewPCG(seed, 0))
	for i := range data {
		data[i] = byte(random.Uint32())
	}
	return data
}

func closeWrite(t *testing.T, conn net.Conn) {
	t.Helper()
	if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Errorf("CloseWrite: %v", err)
	}
}

// sameBytes compares without printing megabytes.
func sameBytes(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s: %d bytes differ from the %d that were written", what, len(got), len(want))
	}
}

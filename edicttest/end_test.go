package edicttest_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict/edicttest"
)

const (
	toServer = edicttest.ToServer
	toClient = edicttest.ToClient
)

// links are what each promise of a net.Conn is tested on.
var links = map[string]edicttest.Link{
	"plain":        {},
	"small buffer": {Buffer: 20},
	"slow":         {Latency: 30 * time.Millisecond, Jitter: 20 * time.Millisecond, Bandwidth: 1 << 20},
	"torn":         {Segment: 13},
	"all":          {Latency: time.Millisecond, Jitter: time.Second, Bandwidth: 100_000, Segment: 100, Buffer: 1000},
}

func onLinks(t *testing.T, test func(p *pair)) {
	for name, link := range links {
		t.Run(name, func(t *testing.T) {
			onPair(t, edicttest.Config{Link: link, Seed: 7}, test)
		})
	}
}

// Both sides write a lot before they read anything, and all of it arrives, once and in order.
func TestAllThatIsWrittenArrives(t *testing.T) {
	onLinks(t, func(p *pair) {
		there, back := noise(300_001, 1), noise(200_003, 2)
		var sides sync.WaitGroup
		for _, side := range []struct {
			conn           net.Conn
			writes, awaits []byte
		}{{p.client, there, back}, {p.server, back, there}} {
			sides.Go(func() {
				for rest := side.writes; len(rest) > 0; {
					n, err := side.conn.Write(rest[:min(len(rest), 1000)])
					if err != nil {
						p.t.Errorf("Write: %v", err)
						return
					}
					rest = rest[n:]
				}
				closeWrite(p.t, side.conn)
			})
			sides.Go(func() {
				got, err := io.ReadAll(side.conn)
				if err != nil {
					p.t.Errorf("ReadAll: %v", err)
				}
				sameBytes(p.t, "read", got, side.awaits)
			})
		}
		sides.Wait()
	})
}

// What several goroutines write at a time is not mixed.
func TestWritesAreNotMixed(t *testing.T) {
	onLinks(t, func(p *pair) {
		const writers, size = 5, 2000
		wait := arrivals(p.server)
		var done sync.WaitGroup
		for i := range writers {
			done.Go(func() { p.write(p.client, string(bytes.Repeat([]byte{byte('a' + i)}, size))) })
		}
		done.Wait()
		closeWrite(p.t, p.client)
		var all []byte
		got, _ := wait()
		for _, a := range got {
			all = append(all, a.data...)
		}
		if len(all) != writers*size {
			p.t.Fatalf("%d bytes", len(all))
		}
		for i := 0; i < len(all); i += size {
			if part := all[i : i+size]; bytes.Count(part, part[:1]) != size {
				p.t.Fatalf("the write at %d is mixed with another", i)
			}
		}
	})
}

// A write that ends lets the next one begin, also if nobody reads meanwhile.
func TestTheNextWriteBegins(t *testing.T) {
	for range 20 { // which of them is woken first is chance
		onPair(t, edicttest.Config{Link: edicttest.Link{Buffer: 10}}, func(p *pair) {
			var done sync.WaitGroup
			for range 6 {
				done.Go(func() { p.write(p.client, "abc") })
			}
			synctest.Wait()
			p.wantRead(p.server, "abcabcabca")
			done.Wait()
		})
	}
}

func TestAWriteWaitsForRoom(t *testing.T) {
	onPair(t, edicttest.Config{Link: edicttest.Link{Buffer: 10}}, func(p *pair) {
		written := make(chan struct{})
		go func() {
			defer close(written)
			p.write(p.client, "0123456789abc")
		}()
		synctest.Wait()
		select {
		case <-written:
			p.t.Fatal("13 bytes fit into a buffer of 10")
		default:
		}
		p.wantRead(p.server, "012")
		<-written
		p.wantRead(p.server, "3456789abc")

		// A larger buffer lets a write go on.
		p.write(p.client, "0123456789")
		written = make(chan struct{})
		go func() {
			defer close(written)
			p.write(p.client, "abc")
		}()
		synctest.Wait()
		p.network.SetLink(edicttest.Link{Buffer: 13})
		<-written
		p.wantRead(p.server, "0123456789abc")
	})
}

func TestCloseWriteEndsOneDirection(t *testing.T) {
	onLinks(t, func(p *pair) {
		p.write(p.client, "bye")
		closeWrite(p.t, p.client)
		closeWrite(p.t, p.client) // again: nothing
		p.wantWriteError(p.client, syscall.EPIPE)
		p.wantRead(p.server, "bye")
		p.wantReadError(p.server, io.EOF)
		p.wantReadError(p.server, io.EOF)
		p.write(p.server, "still here")
		p.wantRead(p.client, "still here")
	})
}

func TestAfterCloseThePeerReadsTheRest(t *testing.T) {
	onLinks(t, func(p *pair) {
		p.write(p.client, "last words")
		if err := p.client.Close(); err != nil {
			p.t.Fatal(err)
		}
		p.wantRead(p.server, "last words")
		p.wantReadError(p.server, io.EOF)
		if len(p.network.Connections()) != 1 {
			p.t.Error("a connection is open until both ends are closed")
		}
		// The first write learns that there is nobody, the next one fails.
		p.write(p.server, "who")
		time.Sleep(5 * time.Second) // of the fake clock: as long as it is under way
		p.wantWriteError(p.server, syscall.EPIPE)
		p.wantReadError(p.server, io.EOF)
	})
}

// A write that waits for room ends when the reader closes.
func TestCloseWakesTheWriter(t *testing.T) {
	onLinks(t, func(p *pair) {
		failed := make(chan error)
		go func() {
			var err error
			for err == nil {
				_, err = p.client.Write(make([]byte, 1000))
			}
			failed <- err
		}()
		p.write(p.server, "read me")
		time.Sleep(time.Minute)
		_ = p.server.Close()
		if err := <-failed; !errors.Is(err, syscall.EPIPE) {
			p.t.Errorf("Write: %v", err)
		}
		p.wantRead(p.client, "read me")
		p.wantReadError(p.client, io.EOF)
	})
}

// Nothing can be done with an end that is closed, and what was going on ends.
func TestAClosedEnd(t *testing.T) {
	onLinks(t, func(p *pair) {
		failed := make(chan error, 2)
		go func() {
			_, err := p.client.Read(make([]byte, 1))
			failed <- err
		}()
		go func() {
			var err error
			for err == nil {
				_, err = p.client.Write(make([]byte, 1000))
			}
			failed <- err
		}()
		time.Sleep(time.Minute)
		if err := p.client.Close(); err != nil {
			p.t.Fatal(err)
		}
		for range 2 {
			if err := <-failed; !errors.Is(err, net.ErrClosed) {
				p.t.Errorf("what was going on ended with %v", err)
			}
		}
		p.wantReadError(p.client, net.ErrClosed)
		p.wantWriteError(p.client, net.ErrClosed)
		for name, err := range map[string]error{
			"Close":            p.client.Close(),
			"CloseWrite":       p.client.(interface{ CloseWrite() error }).CloseWrite(),
			"SetDeadline":      p.client.SetDeadline(time.Now()),
			"SetReadDeadline":  p.client.SetReadDeadline(time.Now()),
			"SetWriteDeadline": p.client.SetWriteDeadline(time.Now()),
		} {
			if !errors.Is(err, net.ErrClosed) {
				p.t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestADeadlineEndsAReadOnTime(t *testing.T) {
	onPair(t, edicttest.Config{}, func(p *pair) {
		start := time.Now()
		_ = p.client.SetReadDeadline(start.Add(3 * time.Second))
		p.wantReadError(p.client, os.ErrDeadlineExceeded)
		wantAfter(p.t, start, 3*time.Second)
		p.wantReadError(p.client, os.ErrDeadlineExceeded)
		p.write(p.client, "writing goes on")
		p.wantRead(p.server, "writing goes on")
		_, err := p.client.Read(make([]byte, 1))
		if failure, ok := errors.AsType[net.Error](err); !ok || !failure.Timeout() {
			p.t.Errorf("%v is no timeout", err)
		}
		// What is there can't be read either, until the deadline is moved; then nothing is lost.
		p.write(p.server, "late")
		p.wantReadError(p.client, os.ErrDeadlineExceeded)
		_ = p.client.SetReadDeadline(time.Time{})
		p.wantRead(p.client, "late")
	})
}

func TestADeadlineEndsAWriteOnTime(t *testing.T) {
	onPair(t, edicttest.Config{Link: edicttest.Link{Buffer: 4}}, func(p *pair) {
		start := time.Now()
		_ = p.client.SetWriteDeadline(start.Add(3 * time.Second))
		n, err := p.client.Write([]byte("0123456789"))
		if n != 4 || !errors.Is(err, os.ErrDeadlineExceeded) {
			p.t.Fatalf("Write = %d, %v", n, err)
		}
		wantAfter(p.t, start, 3*time.Second)
		p.wantWriteError(p.client, os.ErrDeadlineExceeded)
		_ = p.client.SetWriteDeadline(time.Time{})
		p.wantRead(p.server, "0123")
		p.write(p.client, "4567")
		p.wantRead(p.server, "4567")
	})
}

// SetDeadline sets both, wakes who waits already, can be moved, and can be in the past.
func TestDeadlinesMove(t *testing.T) {
	onPair(t, edicttest.Config{Link: edicttest.Link{Buffer: 1}}, func(p *pair) {
		start := time.Now()
		failed := make(chan error, 2)
		go func() {
			_, err := p.client.Read(make([]byte, 1))
			failed <- err
		}()
		go func() {
			_, err := p.client.Write(make([]byte, 2))
			failed <- err
		}()
		synctest.Wait()
		_ = p.client.SetDeadline(start.Add(time.Second))
		_ = p.client.SetDeadline(start.Add(time.Hour))
		time.Sleep(time.Minute)
		if len(failed) > 0 {
			p.t.Fatalf("a deadline that was moved has passed: %v", <-failed)
		}
		_ = p.client.SetDeadline(start) // in the past
		for range 2 {
			if err := <-failed; !errors.Is(err, os.ErrDeadlineExceeded) {
				p.t.Error(err)
			}
		}
		wantAfter(p.t, start, time.Minute)
	})
}

// A write that waits for another one has its deadline too.
func TestADeadlineOfAWriteThatWaitsForAnother(t *testing.T) {
	onPair(t, edicttest.Config{Link: edicttest.Link{Buffer: 1}}, func(p *pair) {
		failed := make(chan int, 2)
		for range 2 {
			go func() {
				n, err := p.client.Write([]byte("ab"))
				if !errors.Is(err, os.ErrDeadlineExceeded) {
					p.t.Error(err)
				}
				failed <- n
			}()
		}
		synctest.Wait()
		_ = p.client.SetWriteDeadline(time.Now().Add(time.Second))
		if written := <-failed + <-failed; written != 1 {
			p.t.Errorf("%d bytes were written to a buffer of 1", written)
		}
	})
}

func TestNothingIsReadAndWritten(t *testing.T) {
	onPair(t, edicttest.Config{}, func(p *pair) {
		for _, slice := range [][]byte{nil, {}} {
			if n, err := p.client.Read(slice); n != 0 || err != nil {
				p.t.Errorf("Read = %d, %v", n, err)
			}
			if n, err := p.client.Write(slice); n != 0 || err != nil {
				p.t.Errorf("Write = %d, %v", n, err)
			}
		}
		if p.connection.Vanish(toServer); len(p.network.Fired()) > 0 {
			p.t.Errorf("nothing was lost, but %v", p.network.Fired())
		}
		_, _ = p.client.Write(nil)
		wantFired(p.t, p.network)
	})
}

func TestAddresses(t *testing.T) {
	onPair(t, edicttest.Config{}, func(p *pair) {
		for _, address := range []struct {
			got  net.Addr
			want string
		}{
			{p.client.LocalAddr(), "client:0"},
			{p.client.RemoteAddr(), "server"},
			{p.server.LocalAddr(), "server"},
			{p.server.RemoteAddr(), "client:0"},
		} {
			if address.got.String() != address.want || address.got.Network() != "edicttest" {
				p.t.Errorf("%v of %s, want %s", address.got, address.got.Network(), address.want)
			}
		}
		_ = p.client.Close()
		_, err := p.client.Write(nil)
		if want := "write edicttest client:0->server: use of closed network connection"; err == nil || err.Error() != want {
			p.t.Errorf("the error is %q, want %q", err, want)
		}
	})
}

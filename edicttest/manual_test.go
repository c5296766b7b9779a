package edicttest_test

import (
	"io"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict/edicttest"
)

// In a manual network nothing moves by itself.
func TestManual(t *testing.T) {
	link := edicttest.Link{Latency: time.Hour, Jitter: time.Hour, Bandwidth: 1}
	onPair(t, edicttest.Config{Manual: true, Link: link}, func(p *pair) {
		start := time.Now()
		p.write(p.client, "hello")
		_ = p.server.SetReadDeadline(start.Add(24 * time.Hour))
		p.wantReadError(p.server, os.ErrDeadlineExceeded)
		_ = p.server.SetReadDeadline(time.Time{})
		step := func(n, wantMoved, wantPending int, wantEnd bool) {
			t.Helper()
			moved := p.connection.Deliver(toServer, n)
			pending, end := p.connection.Pending(toServer), p.connection.EndPending(toServer)
			if moved != wantMoved || pending != wantPending || end != wantEnd {
				p.t.Fatalf("Deliver(%d) = %d; %d bytes are pending, the end: %v", n, moved, pending, end)
			}
		}
		step(0, 0, 5, false)
		step(-1, 0, 5, false)
		step(2, 2, 3, false)
		p.wantRead(p.server, "he")
		closeWrite(p.t, p.client)
		step(0, 0, 3, true)
		step(2, 2, 1, true)
		p.wantRead(p.server, "ll")
		step(100, 1, 0, false) // and the end
		p.wantRead(p.server, "o")
		p.wantReadError(p.server, io.EOF)
		step(100, 0, 0, false)
		wantAfter(p.t, start, 24*time.Hour)
	})
}

// The end alone is delivered by Deliver(d, 0).
func TestManualEnd(t *testing.T) {
	onPair(t, edicttest.Config{Manual: true}, func(p *pair) {
		read := make(chan error, 1)
		go func() {
			_, err := p.server.Read(make([]byte, 1))
			read <- err
		}()
		_ = p.client.Close()
		synctest.Wait()
		if len(read) > 0 || !p.connection.EndPending(toServer) {
			p.t.Fatal("the end came by itself")
		}
		p.connection.Deliver(toServer, 0)
		if err := <-read; err != io.EOF {
			p.t.Errorf("Read: %v", err)
		}
		// What goes to an end that is closed is moved, dropped, and breaks the writer.
		p.write(p.server, "abc")
		p.write(p.server, "def")
		if moved := p.connection.Deliver(toClient, 3); moved != 3 {
			p.t.Errorf("%d bytes moved", moved)
		}
		p.wantWriteError(p.server, syscall.EPIPE)
	})
}

func TestManualBufferAndFaults(t *testing.T) {
	onPair(t, edicttest.Config{Manual: true, Link: edicttest.Link{Buffer: 10, Segment: 4}}, func(p *pair) {
		p.write(p.client, "0123456789")
		p.connection.Stall(toServer)
		if moved := p.connection.Deliver(toServer, 5); moved != 0 {
			p.t.Errorf("%d bytes moved in a stall", moved)
		}
		p.connection.Resume(toServer)
		if pending := p.connection.Pending(toServer); pending != 10 {
			p.t.Errorf("the end of a stall moved %d bytes", 10-pending)
		}
		p.connection.CutAfter(toServer, edicttest.Bytes(7))
		p.connection.Deliver(toServer, 5)
		_ = p.client.SetWriteDeadline(time.Now().Add(time.Second))
		p.wantWriteError(p.client, os.ErrDeadlineExceeded) // delivered, but not read: no room
		if n, err := p.server.Read(make([]byte, 10)); n > 4 || err != nil {
			p.t.Errorf("Read = %d, %v", n, err)
		}
		if moved := p.connection.Deliver(toServer, 5); moved != 2 {
			p.t.Errorf("%d bytes moved before the cut", moved)
		}
		if p.connection.Deliver(toServer, 5) != 0 || p.connection.Pending(toServer) != 0 {
			p.t.Error("bytes move after the cut")
		}
		wantFired(p.t, p.network, edicttest.FaultStall, edicttest.FaultCut)
	})
}

// A stall that is drawn ends by the clock, also here.
func TestManualDrawnStall(t *testing.T) {
	config := edicttest.Config{Manual: true, Faults: edicttest.Faults{Stall: 100, StallFor: time.Second}}
	onPair(t, config, func(p *pair) {
		p.write(p.client, string(noise(10_000, 0)))
		moved := p.connection.Deliver(toServer, 10_000)
		if moved == 0 || moved == 10_000 || p.connection.Deliver(toServer, 1) != 0 {
			p.t.Fatalf("%d bytes moved", moved)
		}
		time.Sleep(time.Second)
		if p.connection.Pending(toServer) != 10_000-moved || p.connection.Deliver(toServer, 1) != 1 {
			p.t.Error("the stall has not ended")
		}
		for p.connection.Deliver(toServer, 10_000) > 0 {
		}
		p.connection.Resume(toServer)
		if p.connection.Deliver(toServer, 1) != 1 {
			p.t.Error("Resume has not ended the stall")
		}
	})
}

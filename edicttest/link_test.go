package edicttest_test

import (
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/edict-go/edict/edicttest"
)

func TestLatency(t *testing.T) {
	link := edicttest.Link{Latency: 30 * time.Millisecond}
	onPair(t, edicttest.Config{Link: link}, func(p *pair) {
		start := time.Now()
		p.write(p.client, "ping")
		if pending := p.connection.Pending(toServer); pending != 4 {
			p.t.Errorf("%d bytes are pending, want 4", pending)
		}
		p.wantRead(p.server, "ping")
		wantAfter(p.t, start, 30*time.Millisecond)
		p.write(p.server, "pong")
		closeWrite(p.t, p.server)
		p.wantRead(p.client, "pong")
		p.wantReadError(p.client, io.EOF)
		wantAfter(p.t, start, 60*time.Millisecond)
		// The end takes as long as a byte.
		closeWrite(p.t, p.client)
		p.wantReadError(p.server, io.EOF)
		wantAfter(p.t, start, 90*time.Millisecond)
	})
}

// Bytes under way do not wait for each other, and the latency of each is that of the time when it was
// written.
func TestLatencyOfSeveralWrites(t *testing.T) {
	onPair(t, edicttest.Config{Link: edicttest.Link{Latency: 10 * time.Second}}, func(p *pair) {
		wait := arrivals(p.server)
		for _, text := range []string{"a", "b", "c"} {
			p.write(p.client, text)
			time.Sleep(time.Second)
		}
		p.network.SetLink(edicttest.Link{})
		p.write(p.client, "d") // not before those that are under way
		closeWrite(p.t, p.client)
		got, _ := wait()
		want := []arrival{{10 * time.Second, "a"}, {11 * time.Second, "b"}, {12 * time.Second, "cd"}}
		if !slices.Equal(got, want) {
			p.t.Errorf("got %v, want %v", got, want)
		}
	})
}

func TestJitter(t *testing.T) {
	link := edicttest.Link{Latency: time.Second, Jitter: time.Second}
	onPair(t, edicttest.Config{Link: link, Seed: 1}, func(p *pair) {
		distinct := map[time.Duration]bool{}
		for range 100 {
			start := time.Now()
			p.write(p.client, "x")
			p.wantRead(p.server, "x")
			took := time.Since(start)
			if took < time.Second || took >= 2*time.Second {
				p.t.Fatalf("a byte took %v", took)
			}
			distinct[took] = true
		}
		if len(distinct) < 90 {
			p.t.Errorf("100 writes took only %d different times", len(distinct))
		}
	})
}

func TestBandwidth(t *testing.T) {
	link := edicttest.Link{Bandwidth: 1000, Latency: time.Second}
	onPair(t, edicttest.Config{Link: link}, func(p *pair) {
		wait := arrivals(p.server)
		p.write(p.client, strings.Repeat("x", 2000))
		p.write(p.client, strings.Repeat("x", 1000))
		closeWrite(p.t, p.client)
		got, _ := wait()
		if len(got) != 300 || got[0].at != time.Second+10*time.Millisecond || got[299].at != 4*time.Second {
			p.t.Errorf("%d arrivals from %v to %v", len(got), got[0].at, got[len(got)-1].at)
		}
	})
}

func TestSegments(t *testing.T) {
	for _, link := range []edicttest.Link{{Segment: 10}, {Segment: 10, Jitter: time.Second}} {
		onPair(t, edicttest.Config{Link: link, Seed: 3}, func(p *pair) {
			wait := arrivals(p.server)
			text := string(noise(1000, 0))
			p.write(p.client, text[:333])
			p.write(p.client, text[333:])
			closeWrite(p.t, p.client)
			var joined strings.Builder
			sizes := map[int]bool{}
			got, _ := wait()
			for _, a := range got {
				joined.WriteString(a.data)
				sizes[len(a.data)] = true
			}
			if joined.String() != text || len(sizes) != 10 || sizes[0] || sizes[11] {
				p.t.Errorf("%d bytes came, in pieces of %v", joined.Len(), sizes)
			}
		})
	}
	// Without segments, or with those of a byte.
	onPair(t, edicttest.Config{}, func(p *pair) {
		p.write(p.client, "one")
		p.write(p.client, "two")
		closeWrite(p.t, p.client)
		wait := arrivals(p.server)
		if got, _ := wait(); len(got) != 1 {
			p.t.Errorf("read %v, want all at once", got)
		}
		p.network.SetLink(edicttest.Link{Segment: 1})
		p.write(p.server, "abc")
		closeWrite(p.t, p.server)
		if got, _ := arrivals(p.client)(); len(got) != 3 {
			p.t.Errorf("read %v, want single bytes", got)
		}
	})
}

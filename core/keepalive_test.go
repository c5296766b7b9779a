package core_test

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict/core"
)

const (
	interval = 8 * time.Second
	timeout  = 5 * time.Second
)

// watched is a transport that a Keepalive watches: it sees PINGs, and bytes when the test says so.
type watched struct {
	conversation
	keepalive core.Keepalive
	began     time.Time
}

func watch(t *testing.T, story func(w *watched)) {
	synctest.Test(t, func(t *testing.T) {
		w := &watched{conversation: conversation{T: t, closed: make(chan struct{})}, began: time.Now()}
		w.keepalive.Start(w, interval, timeout, 0)
		story(w)
		w.keepalive.Stop()
	})
}

// receive lets a byte come.
func (w *watched) receive() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.received++
}

// pings returns the PINGs since the last time.
func (w *watched) pings() []core.Frame {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	sent := w.sent
	w.sent = nil
	return sent
}

// pong answers a PING.
func (w *watched) pong(ping core.Frame) bool {
	w.receive()
	return w.keepalive.Pong(ping.Body)
}

func (w *watched) after() time.Duration { return time.Since(w.began) }

// wantLost waits for the end and returns when that was.
func (w *watched) wantLost() time.Duration {
	w.Helper()
	<-w.closed
	if !errors.Is(w.cause, core.ErrSilent) {
		w.Errorf("closed because of %v", w.cause)
	}
	return w.after()
}

func TestASilentPeerIsPingedAndGivenUp(t *testing.T) {
	watch(t, func(w *watched) {
		<-time.After(interval - 1)
		if pings := w.pings(); len(pings) != 0 {
			t.Errorf("%d frames before the interval was over", len(pings))
		}
		<-time.After(1)
		if pings := w.pings(); len(pings) != 1 || pings[0].Kind != core.KindPing || len(pings[0].Body) > core.MaxPingBody {
			t.Errorf("%v after the interval", pings)
		}
		if at := w.wantLost(); at != interval+timeout {
			t.Errorf("given up after %v", at)
		}
		if pings := w.pings(); len(pings) != 0 {
			t.Errorf("%d more frames", len(pings))
		}
		<-time.After(time.Hour) // nothing more happens
	})
}

func TestAPeerThatAnswersIsPingedOncePerInterval(t *testing.T) {
	watch(t, func(w *watched) {
		const way = 30 * time.Millisecond
		for i := range 100 {
			<-time.After(time.Duration(i+1)*interval - w.after())
			pings := w.pings()
			if len(pings) != 1 {
				t.Fatalf("%d frames at %v", len(pings), w.after())
			}
			<-time.After(way)
			if !w.pong(pings[0]) || w.keepalive.RoundTripTime() != way {
				t.Fatalf("the round trip took %v", w.keepalive.RoundTripTime())
			}
		}
	})
}

// Whenever the last byte came, the end comes within interval and timeout, and the PING not too early.
func TestTheLastByteCounts(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		watch(t, func(w *watched) {
			for range random.IntN(5) {
				<-time.After(time.Duration(random.Int64N(int64(interval * 3 / 4))))
				w.receive()
			}
			last := w.after()
			silence := w.wantLost() - last
			if silence > interval+timeout || silence < interval*3/4+timeout {
				t.Errorf("given up after a silence of %v", silence)
			}
			if pings := w.pings(); len(pings) != 1 {
				t.Errorf("%d PINGs", len(pings))
			}
		})
	}
}

func TestABusyConnectionIsNeverPinged(t *testing.T) {
	watch(t, func(w *watched) {
		for range 1000 {
			<-time.After(interval*3/4 - 1)
			w.receive()
		}
		if pings := w.pings(); len(pings) != 0 {
			t.Errorf("%d PINGs in %v", len(pings), w.after())
		}
	})
}

// A byte behind the PING keeps the connection alive, whatever it belongs to.
func TestAnyByteIsAnAnswer(t *testing.T) {
	watch(t, func(w *watched) {
		for range 100 {
			<-time.After(interval*3/4 + timeout - 1)
			w.receive()
		}
		if pings := w.pings(); len(pings) < 90 {
			t.Errorf("%d PINGs", len(pings))
		}
		select {
		case <-w.closed:
			t.Errorf("given up: %v", w.cause)
		default:
		}
	})
}

func TestPongsThatAnswerNothing(t *testing.T) {
	watch(t, func(w *watched) {
		if w.keepalive.Pong(nil) || w.keepalive.Pong(make([]byte, 8)) {
			t.Error("a PONG was taken before the first PING")
		}
		<-time.After(interval)
		ping := w.pings()[0]
		wrong := binary.LittleEndian.AppendUint64(nil, binary.LittleEndian.Uint64(ping.Body)+1)
		for _, body := range [][]byte{nil, {1}, wrong, append(ping.Body, 0)} {
			if w.keepalive.Pong(body) {
				t.Errorf("the PONG % x was taken", body)
			}
		}
		if !w.keepalive.Pong(ping.Body) || w.keepalive.Pong(ping.Body) {
			t.Error("the PONG counts once")
		}
	})
}

// A process that was stopped for longer than the timeout has not read what came meanwhile: it gives the peer
// another moment.
func TestWhoWasHeldUpDoesNotBlameThePeer(t *testing.T) {
	watch(t, func(w *watched) {
		<-time.After(interval)
		w.pings()
		<-time.After(1)
		w.mu.Lock()
		w.stopped = time.Minute // the next look takes that long
		w.mu.Unlock()
		<-time.After(time.Minute + interval/4 + 1) // until right after that look
		w.receive()
		<-time.After(interval / 2)
		select {
		case <-w.closed:
			t.Errorf("given up: %v", w.cause)
		default:
		}
	})
}

func TestKeepaliveOff(t *testing.T) {
	talk(t, core.ClientConfig{RoundTripTime: 7}, func(c *conversation) {
		<-time.After(time.Hour)
		c.wantSilence("without an interval there are no PINGs")
		if c.client.RoundTripTime() != 7 {
			t.Errorf("the round trip took %v", c.client.RoundTripTime())
		}
	})
}

// A client measures with its PINGs, ignores other PONGs, and ends when it is given up.
func TestAClientsKeepalive(t *testing.T) {
	talk(t, core.ClientConfig{KeepaliveInterval: interval, KeepaliveTimeout: timeout}, func(c *conversation) {
		<-time.After(interval)
		ping := c.wantSent("after the interval", core.KindPing)
		<-time.After(time.Second)
		c.says(core.Frame{Kind: core.KindPong, Body: []byte("12345678")})
		c.says(core.Frame{Kind: core.KindPong, Body: ping.Body})
		synctest.Wait()
		if c.client.RoundTripTime() != time.Second {
			t.Errorf("the round trip took %v", c.client.RoundTripTime())
		}
		<-c.client.Done() // this transport counts no bytes
		if err := c.client.Err(); !errors.Is(err, core.ErrSilent) || !errors.Is(err, core.Unavailable) {
			t.Errorf("ended with %v", err)
		}
	})
}

package core

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// ErrSilent is in the chain of the errors of a connection that was given up because its peer did not
// answer a PING, nor sent anything else.
var ErrSilent = errors.New("the peer is silent")

// keepaliveSteps is how many times per interval a Keepalive looks whether something was received. So it
// knows when that was, to a step.
const keepaliveSteps = 4

// Keepalive finds out whether the peer of a connection is still there, and how far away it is. When
// nothing was received for an interval (for three quarters of it at least), it sends a PING; when nothing is
// received for the timeout after that, it closes the transport with an error that matches ErrSilent (if that is
// Resumable, it breaks the connection underneath, and goes on with the next one). So a
// peer that has vanished is noticed within interval and timeout of its last byte, and a connection on
// which something comes again and again is never pinged.
//
// It has a timer and no goroutine, and costs nothing where frames are read: it looks at what the transport
// counts anyway. Safe for concurrent use.
type Keepalive struct {
	// Set by Start.
	transport         Transport
	interval, timeout time.Duration
	began             time.Time

	roundTrip atomic.Int64 // the last one

	mu    sync.Mutex // guards the following; not held while a method of the transport runs
	timer *time.Timer
	// Times are counted from began.
	due      time.Duration // when the timer should fire
	looked   time.Duration // when the transport was looked at last, and
	received Position      // what it had received by then
	quiet    time.Duration // nothing has come for longer than since then, and a step more at most
	pinged   time.Duration // when a PING was sent, if nothing has come since; else 0
	stamp    uint64        // what the PONG must repeat; 0 if none is awaited
	stopped  bool
}

// Start begins to watch a transport. If interval is 0 it sends no PINGs; RoundTripTime returns roundTrip,
// the time that something else has taken (the handshake), until a PING was answered.
func (k *Keepalive) Start(transport Transport, interval, timeout, roundTrip time.Duration) {
	k.transport, k.interval, k.timeout, k.began = transport, interval, timeout, time.Now()
	k.roundTrip.Store(int64(roundTrip))
	if interval <= 0 {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.received = transport.Received()
	if !k.stopped {
		k.due = k.step()
		k.timer = time.AfterFunc(k.step(), k.look)
	}
}

// Stop ends the watch.
func (k *Keepalive) Stop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stopped = true
	if k.timer != nil {
		k.timer.Stop()
	}
}

// RoundTripTime returns how long the last PING and its PONG were under way, both together; 0 if that is
// not known.
func (k *Keepalive) RoundTripTime() time.Duration { return time.Duration(k.roundTrip.Load()) }

// Pong takes the body of a PONG. It reports whether that is the answer to the last PING. It does not wait.
func (k *Keepalive) Pong(body []byte) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.stamp == 0 || len(body) != stampSize || binary.LittleEndian.Uint64(body) != k.stamp {
		return false
	}
	k.roundTrip.Store(int64(time.Since(k.began)) - int64(k.stamp))
	k.stamp = 0
	return true
}

// stampSize is the size of a PING's body: the time, in nanoseconds, since Start.
const stampSize = 8

func (k *Keepalive) step() time.Duration { return max(1, k.interval/keepaliveSteps) }

// look is what the timer calls. It does one thing, the right one at this moment, and sets the timer anew.
func (k *Keepalive) look() {
	received := k.transport.Received()
	resumable, _ := k.transport.(Resumable)
	attached := resumable == nil || resumable.Attached()
	k.mu.Lock()
	if k.stopped {
		k.mu.Unlock()
		return
	}
	now := time.Since(k.began)
	if !attached { // nothing can come
		k.quiet, k.pinged = now, 0
	}
	late := now-k.due > k.step()
	if received != k.received { // since the last look, and who knows when
		k.received, k.quiet, k.pinged = received, k.looked, 0
	}
	k.looked = now
	var ping []byte
	dead := false
	next := k.step()
	switch {
	case k.pinged != 0 && now-k.pinged < k.timeout:
		next = min(next, k.timeout-(now-k.pinged))
	case k.pinged != 0:
		// One that was held up itself, stopped or starved, can't blame the peer: it looks once more.
		dead = !late
	case now-k.quiet < k.interval:
		next = min(next, k.interval-(now-k.quiet))
	default:
		k.pinged = now
		k.stamp = uint64(now)
		ping = binary.LittleEndian.AppendUint64(nil, k.stamp)
		next = min(next, k.timeout)
	}
	if !dead || resumable != nil {
		k.due = now + next
		k.timer.Reset(next)
	}
	k.mu.Unlock()

	switch {
	case dead:
		cause := fmt.Errorf("%w: nothing came from it for %v, nor an answer to a PING for %v",
			ErrSilent, (now - k.quiet).Round(time.Millisecond), k.timeout)
		if resumable != nil {
			resumable.Break(cause)
		} else {
			k.transport.Close(cause)
		}
	case ping != nil:
		// An error means that the connection has ended.
		_ = k.transport.Post(Frame{Kind: KindPing, Body: ping})
	}
}

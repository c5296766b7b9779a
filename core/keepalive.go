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

	mu       sync.Mutex // guards the following; not held while a method of the transport runs
	timer    *time.Timer
	due      time.Time // when it should fire
	looked   time.Time // when the transport was looked at last, and
	received Position  // what it had received by then
	quiet    time.Time // nothing has come for longer than since then, and a step more at most
	pinged   time.Time // when a PING was sent, if nothing has come since; else zero
	stamp    uint64    // what the PONG must repeat; 0 if none is awaited
	stopped  bool
}

// Start begins to watch a transport. If interval is 0 it sends no PINGs; RoundTripTime returns roundTrip,
// the time that something else has taken (the handshake), until a PING was answered.
func (k *Keepalive) Start(transport Transport, interval, timeout, roundTrip time.Duration) {
	now := time.Now()
	k.transport, k.interval, k.timeout, k.began = transport, interval, timeout, now
	k.roundTrip.Store(int64(roundTrip))
	if interval <= 0 {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.looked, k.quiet, k.received = now, now, transport.Received()
	if !k.stopped {
		k.due = now.Add(k.step())
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
	now := time.Now()
	if !attached { // nothing can come
		k.quiet, k.pinged = now, time.Time{}
	}
	late := now.Sub(k.due) > k.step()
	if received != k.received { // since the last look, and who knows when
		k.received, k.quiet, k.pinged = received, k.looked, time.Time{}
	}
	k.looked = now
	var ping []byte
	dead := false
	next := k.step()
	switch {
	case !k.pinged.IsZero() && now.Sub(k.pinged) < k.timeout:
		next = min(next, k.timeout-now.Sub(k.pinged))
	case !k.pinged.IsZero():
		// One that was held up itself, stopped or starved, can't blame the peer: it looks once more.
		dead = !late
	case now.Sub(k.quiet) < k.interval:
		next = min(next, k.interval-now.Sub(k.quiet))
	default:
		k.pinged = now
		k.stamp = uint64(max(1, now.Sub(k.began)))
		ping = binary.LittleEndian.AppendUint64(nil, k.stamp)
		next = min(next, k.timeout)
	}
	if !dead || resumable != nil {
		k.due = now.Add(next)
		k.timer.Reset(next)
	}
	k.mu.Unlock()

	switch {
	case dead:
		cause := fmt.Errorf("%w: nothing came from it for %v, nor an answer to a PING for %v",
			ErrSilent, now.Sub(k.quiet).Round(time.Millisecond), k.timeout)
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

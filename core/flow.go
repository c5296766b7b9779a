package core

import (
	"encoding/binary"
	"sync"
	"time"
)

// Windows of streams begin small and grow as far as bandwidth and delay need it, like TCP's receive buffers
// (Fisk and Feng's "dynamic right-sizing") and the windows of gRPC and QUIC: the receiver measures the round trip
// of the connection, and how much of a stream its consumer has taken in the time of one. If that is more than half of
// the window, the window may be what holds the stream up, so it doubles. A consumer or a producer that is slow
// leaves the window as it is.
//
// A window that is larger than need be makes nothing faster and all else slower: what is under way waits in the
// network's queues, and the small messages of other calls behind it, and in memory that is in no cache any more. So
// nothing may look like a long way that is none: bursts, or a PONG that has waited in such a queue itself.
const (
	// DefaultWindow is the window with which a stream begins if nothing is set, in bytes: about what TCP sends
	// at first.
	DefaultWindow = 16 << 10
	// DefaultMaxWindow is how far a window may grow if nothing is set, in bytes.
	DefaultMaxWindow = 4 << 20
	// ResultOverhead is what a result, or an input, costs in a window beside its body, so that a stream of
	// empty ones is bounded too.
	ResultOverhead = 64

	// ordinaryWindow is as far as windows grow over a short way, and as large as they are from the start if others
	// of their connection have needed it.
	ordinaryWindow = 256 << 10
	// shortWay is a round trip that is one within a machine or a building: an ordinary window is 1 GB/s there.
	shortWay = 250 * time.Microsecond
	// turn is how long both sides may take, beside the network, until what was taken has brought more. What is
	// taken in less than that may be a burst.
	turn = time.Millisecond
	// measureAgain is how old the last measure of the round trip is before there is another one.
	measureAgain = time.Second
)

// Flow is what one side of a connection knows of its network. The zero Flow knows nothing. Safe for concurrent
// use.
type Flow struct {
	mu        sync.Mutex    // guards the following; a leaf
	number    uint64        // of the last PING; 0: there was none
	awaited   bool          // it was not answered
	at        time.Time     // when it was sent, or answered
	roundTrip time.Duration // 0: not known
	learned   int           // the window that a stream of the connection has needed last, if it had to grow
}

// flowPing begins the body of the PINGs that measure, to tell them from others.
const flowPing = "rtt\n"

// Ping returns the body of a PING that is to be sent now, or nil if none is needed.
func (f *Flow) Ping() []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if f.awaited || f.number > 0 && now.Sub(f.at) < measureAgain {
		return nil
	}
	f.number++
	f.awaited, f.at = true, now
	return binary.LittleEndian.AppendUint64([]byte(flowPing), f.number)
}

// Pong takes the body of a PONG, and reports whether it answers the last Ping.
func (f *Flow) Pong(body []byte) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(body) != len(flowPing)+8 || string(body[:len(flowPing)]) != flowPing || !f.awaited ||
		binary.LittleEndian.Uint64(body[len(flowPing):]) != f.number {
		return false
	}
	now := time.Now()
	// The stream that it was sent with makes queues, which make it longer, and nothing makes it shorter.
	if took := max(now.Sub(f.at), time.Microsecond); f.roundTrip == 0 || took < f.roundTrip {
		f.roundTrip = took
	}
	f.awaited, f.at = false, now
	return true
}

// Undisturbed takes a round trip that was measured while nothing else was under way; 0 is none.
func (f *Flow) Undisturbed(roundTrip time.Duration) {
	if roundTrip > 0 {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.roundTrip = roundTrip
	}
}

// RoundTrip returns the round trip's time, 0 if it is not known.
func (f *Flow) RoundTrip() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.roundTrip
}

// Learned returns the window with which a stream should begin because others have grown to it; 0 if none has.
func (f *Flow) Learned() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.learned
}

func (f *Flow) learn(window int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.learned = min(window, ordinaryWindow)
}

// Window is the receiver's part of the flow control of one stream: how much the sender may have under way,
// and what CREDIT it gets. It belongs to the goroutine that takes what comes.
type Window struct {
	// Flow and Account are the connection's.
	Flow    *Flow
	Account *Account
	// Size is the window's size now, Max how far it may grow. What Size adds up to is taken from Account.
	Size, Max int

	taken int       // since the last CREDIT
	began time.Time // the measure; zero if there is none
	since int       // taken since then
}

// Take counts a message that was taken and cost so much, and returns how much CREDIT the sender is to get: 0
// for none yet. Growth is how much of that the window has grown, which was taken from Account.
func (w *Window) Take(cost int) (credit, growth int) {
	w.taken += cost
	w.since += cost
	if w.taken < (w.Size+1)/2 {
		return 0, 0
	}
	if w.Size < w.Max {
		growth = w.grow()
	}
	credit = min(w.taken+growth, maxCredit)
	w.taken = 0
	return credit, growth
}

// Ping returns the body of a PING that is to be sent with the CREDIT, nil if none is needed.
func (w *Window) Ping() []byte {
	if w.Size >= w.Max {
		return nil
	}
	return w.Flow.Ping()
}

// grow returns by how much the window has grown.
func (w *Window) grow() int {
	now, roundTrip := time.Now(), w.Flow.RoundTrip()
	if roundTrip == 0 || w.began.IsZero() {
		w.began, w.since = now, 0
		return 0
	}
	took := now.Sub(w.began)
	if took < max(roundTrip, turn) {
		return 0
	}
	most := w.Max
	if roundTrip < shortWay {
		most = min(most, ordinaryWindow)
	}
	if w.Size < ordinaryWindow {
		roundTrip = max(roundTrip, turn)
	}
	perRoundTrip := float64(w.since) * float64(roundTrip) / float64(took)
	w.began, w.since = now, 0
	if w.Size >= most || 2*perRoundTrip <= float64(w.Size) {
		return 0
	}
	growth := min(w.Size, most-w.Size)
	if !w.Account.Take(growth, ForGrowth) {
		return 0
	}
	w.Size += growth
	w.Flow.learn(w.Size)
	return growth
}

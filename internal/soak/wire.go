package main

import (
	"container/heap"
	"io"
	"math/rand/v2"
	"sync"
	"time"
)

// weather is what a wire does to packets.
type weather struct {
	Delay     time.Duration // on average; each packet has between half of it and one and a half
	Loss      float64       // the share that is lost
	Double    float64       // the share that comes twice
	Late      float64       // the share that is overtaken by others
	Partition bool          // nothing comes through
}

// lateBy is how much later a packet is that others overtake.
const lateBy = 10 * time.Millisecond

// maxFlying bounds how many packets are under way in one direction; more are lost.
const maxFlying = 10_000

// wireCounts is what has happened to packets.
type wireCounts struct{ Carried, Lost, Doubled, Late, Cut int64 }

// wire carries packets between two devices.
type wire struct {
	devices [2]io.ReadWriteCloser
	group   sync.WaitGroup
	done    chan struct{}

	mu      sync.Mutex // guards the following; not held during I/O
	weather weather
	counts  wireCounts
	random  *rand.Rand
}

// newWire carries packets between a and b, which it owns, until close: each Read and Write is a packet.
func newWire(a, b io.ReadWriteCloser, seed uint64) *wire {
	w := &wire{
		devices: [2]io.ReadWriteCloser{a, b}, done: make(chan struct{}),
		random: rand.New(rand.NewPCG(seed, 1)),
	}
	for i := range w.devices {
		way := &way{wire: w, from: w.devices[i], to: w.devices[1-i], arrived: make(chan struct{}, 1)}
		w.group.Go(way.receive)
		w.group.Go(way.send)
	}
	return w
}

// set changes the weather.
func (w *wire) set(weather weather) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.weather = weather
}

func (w *wire) count() wireCounts {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.counts
}

// close ends the wire and waits for its goroutines.
func (w *wire) close() {
	close(w.done)
	for _, device := range w.devices {
		_ = device.Close()
	}
	w.group.Wait()
}

// fate decides when a packet arrives: not at all, once, or more than once.
func (w *wire) fate(now time.Time) (arrivals []time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.weather.Partition:
		w.counts.Cut++
		return nil
	case w.random.Float64() < w.weather.Loss:
		w.counts.Lost++
		return nil
	}
	w.counts.Carried++
	at := now.Add(time.Duration((0.5 + w.random.Float64()) * float64(w.weather.Delay)))
	if w.random.Float64() < w.weather.Late {
		w.counts.Late++
		at = at.Add(lateBy)
	}
	arrivals = append(arrivals, at)
	if w.random.Float64() < w.weather.Double {
		w.counts.Doubled++
		arrivals = append(arrivals, at.Add(time.Millisecond))
	}
	return arrivals
}

// way is one direction of a wire.
type way struct {
	wire     *wire
	from, to io.ReadWriteCloser
	arrived  chan struct{} // capacity 1: there is a new packet

	mu     sync.Mutex // guards the following
	flying flock
	taken  int // packets so far
}

// receive takes packets from a device and decides their fate.
//
// Started by newWire; ends when the device is closed; close waits for it.
func (w *way) receive() {
	packet := make([]byte, 1<<16)
	for {
		n, err := w.from.Read(packet)
		if err != nil {
			return
		}
		data := append([]byte(nil), packet[:n]...)
		w.mu.Lock()
		for _, at := range w.wire.fate(time.Now()) {
			if len(w.flying) < maxFlying {
				w.taken++
				heap.Push(&w.flying, flight{at, w.taken, data})
			}
		}
		w.mu.Unlock()
		select {
		case w.arrived <- struct{}{}:
		default:
		}
	}
}

// send gives packets to the other device when they are due.
//
// Started by newWire; ends with the wire; close waits for it.
func (w *way) send() {
	for {
		w.mu.Lock()
		var due []flight
		now := time.Now()
		for len(w.flying) > 0 && !w.flying[0].at.After(now) {
			due = append(due, heap.Pop(&w.flying).(flight))
		}
		next := time.Hour
		if len(w.flying) > 0 {
			next = w.flying[0].at.Sub(now)
		}
		w.mu.Unlock()
		for _, packet := range due {
			_, _ = w.to.Write(packet.data) // what the device doesn't take is lost, like the others
		}
		if len(due) > 0 {
			continue
		}
		timer := time.NewTimer(next)
		select {
		case <-timer.C:
		case <-w.arrived:
		case <-w.wire.done:
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// flight is a packet under way.
type flight struct {
	at     time.Time
	number int // of those that are due at the same time the one taken first goes first
	data   []byte
}

// flock is the packets under way, a heap by their arrival.
type flock []flight

func (f flock) Len() int      { return len(f) }
func (f flock) Swap(i, j int) { f[i], f[j] = f[j], f[i] }
func (f *flock) Push(x any)   { *f = append(*f, x.(flight)) }

func (f flock) Less(i, j int) bool {
	if f[i].at.Equal(f[j].at) {
		return f[i].number < f[j].number
	}
	return f[i].at.Before(f[j].at)
}

func (f *flock) Pop() any {
	last := len(*f) - 1
	packet := (*f)[last]
	(*f)[last] = flight{}
	*f = (*f)[:last]
	return packet
}

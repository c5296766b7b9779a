package main

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// usage is what a process has used up. All but the last three only grow.
type usage struct {
	CPU         time.Duration // user and system
	Allocations uint64
	Bytes       uint64 // allocated
	Peak        uint64 // resident bytes at most since resetPeak
	Resident    uint64 // bytes now
	Live        uint64 // bytes of heap and stacks in use; exact after collect only
}

// readUsage reads this process's usage. It stops the world for an instant.
func readUsage() (usage, error) {
	var resources syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &resources); err != nil {
		return usage{}, err
	}
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	u := usage{
		CPU:         time.Duration(resources.Utime.Nano() + resources.Stime.Nano()),
		Allocations: memory.Mallocs,
		Bytes:       memory.TotalAlloc,
		Live:        memory.HeapAlloc + memory.StackInuse,
		Resident:    memory.Sys - memory.HeapReleased,
		Peak:        memory.Sys,
	}
	// Linux knows better what is resident.
	if status, err := os.ReadFile("/proc/self/status"); err == nil {
		u.Peak = statusBytes(status, "VmHWM:")
		u.Resident = statusBytes(status, "VmRSS:")
	}
	return u, nil
}

// statusBytes returns a line of /proc/self/status, which is in kilobytes.
func statusBytes(status []byte, name string) uint64 {
	lines := bufio.NewScanner(bytes.NewReader(status))
	for lines.Scan() {
		fields := bytes.Fields(lines.Bytes())
		if len(fields) >= 2 && string(fields[0]) == name {
			kilobytes, err := strconv.ParseUint(string(fields[1]), 10, 64)
			if err == nil {
				return kilobytes << 10
			}
		}
	}
	return 0
}

// resetPeak makes Peak start again from what is resident now, where the system can do that.
func resetPeak() {
	os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) //nolint:errcheck // without it Peak is that of the whole run
}

// collect frees what can be freed. More than once: a sync.Pool gives up its contents at the second
// collection, and finalizers run between them.
func collect() {
	for range 3 {
		runtime.GC()
	}
	debug.FreeOSMemory()
}

// minus returns what was used between before and u; the peak and the amounts stay.
func (u usage) minus(before usage) usage {
	u.CPU -= before.CPU
	u.Allocations -= before.Allocations
	u.Bytes -= before.Bytes
	return u
}

// plus adds another process's usage.
func (u usage) plus(other usage) usage {
	return usage{
		CPU:         u.CPU + other.CPU,
		Allocations: u.Allocations + other.Allocations,
		Bytes:       u.Bytes + other.Bytes,
		Peak:        u.Peak + other.Peak,
		Resident:    u.Resident + other.Resident,
		Live:        u.Live + other.Live,
	}
}

const (
	slowest          = time.Minute // what takes longer counts as this
	histogramDigits  = 3
	shards           = 64
	latenciesPerTurn = 64
)

// window is the time in which a load is observed. A load starts before the window opens and stops
// after it has closed, so neither its beginning nor its end is in the figures.
type window struct {
	stopped  chan struct{} // closed when the load shall end
	stopping atomic.Bool   // the same, for loops that ask often
	open     atomic.Bool   // latencies count

	operations counters
	other      counters // whatever else a workload counts
	missed     atomic.Int64

	mu        sync.Mutex // guards what follows
	latencies *hdrhistogram.Histogram
	failure   error
	failed    chan struct{} // closed with the first failure
}

func newWindow() *window {
	return &window{
		stopped:   make(chan struct{}),
		failed:    make(chan struct{}),
		latencies: hdrhistogram.New(1, slowest.Nanoseconds(), histogramDigits),
	}
}

// stop ends the load.
func (w *window) stop() {
	if !w.stopping.Swap(true) {
		close(w.stopped)
	}
}

// fail ends the load because of err; the first one counts. What goes wrong because the load is
// ending already doesn't.
func (w *window) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failure == nil && !w.stopping.Load() {
		w.failure = err
		close(w.failed)
	}
}

// err returns the first failure.
func (w *window) err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failure
}

// record takes one latency.
func (w *window) record(latency time.Duration) {
	if w.open.Load() {
		w.mu.Lock()
		w.recordLocked(latency)
		w.mu.Unlock()
	}
}

func (w *window) recordLocked(latency time.Duration) {
	// Within the histogram's range, this can't fail.
	w.latencies.RecordValue(min(max(latency, 1), slowest).Nanoseconds()) //nolint:errcheck
}

// recorder takes the latencies of one goroutine without contention. flush it at the end.
type recorder struct {
	window *window
	taken  int
	buffer [latenciesPerTurn]time.Duration
}

func (r *recorder) record(latency time.Duration) {
	if !r.window.open.Load() {
		return
	}
	r.buffer[r.taken] = latency
	if r.taken++; r.taken == len(r.buffer) {
		r.flush()
	}
}

func (r *recorder) flush() {
	r.window.mu.Lock()
	defer r.window.mu.Unlock()
	for _, latency := range r.buffer[:r.taken] {
		r.window.recordLocked(latency)
	}
	r.taken = 0
}

// counters is one number that many goroutines add to, each at a place of its own.
type counters [shards]struct {
	atomic.Int64
	_ [56]byte // a cache line to itself
}

func (c *counters) add(goroutine int, delta int64) { c[goroutine%shards].Add(delta) }

func (c *counters) total() int64 {
	total := int64(0)
	for i := range c {
		total += c[i].Load()
	}
	return total
}

var errTooLong = errors.New("didn't end in time")

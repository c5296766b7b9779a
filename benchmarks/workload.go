package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/edict-go/edict/benchmarks/peer"
	"github.com/edict-go/edict/benchmarks/report"
)

// workload is one kind of load.
type workload struct {
	name  string
	about string

	// needs are the features without which a peer is left out.
	needs []peer.Feature

	// alwaysSeparate is for a workload that must tell the sides apart.
	alwaysSeparate bool

	// cells lists the points to measure, without TLS and Separate.
	cells func(settings) []report.Cell

	// run measures one peer at one point.
	run func(context.Context, *trial) (map[report.Figure]float64, error)
}

// workloads lists every workload in the order of reports.
var workloads = []workload{closed, delayed, open, stream, idle, connect, mixed}

// trial is one measurement in the making: one peer, one cell, one round.
type trial struct {
	settings    settings
	peer        peer.Peer
	cell        report.Cell
	certificate *peer.Certificate // nil for plain connections
	target      target
	clients     []peer.Client
}

// runTrial starts a fresh server, lets the workload measure, and cleans up.
func runTrial(ctx context.Context, load workload, t *trial) (figures map[report.Figure]float64, err error) {
	limit := t.settings.warmup + t.settings.duration + grace
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errTooLong)
	defer cancel()
	if !t.settings.deadlines {
		// Calls see a context that can be cancelled, but no deadline.
		ctx, cancel = context.WithCancel(withoutDeadline{ctx})
		defer cancel()
	}
	collect()
	if t.target, err = startTarget(t.peer, t.certificate, t.cell.Separate); err != nil {
		return nil, fmt.Errorf("starting the server: %w", err)
	}
	defer func() {
		for _, client := range t.clients {
			err = errors.Join(err, wrap("closing a client", client.Close()))
		}
		err = errors.Join(err, wrap("closing the server", t.target.close()))
	}()
	return load.run(ctx, t)
}

// grace is how long a trial may take beyond its warm-up and its duration.
const grace = 60 * time.Second

func wrap(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// withoutDeadline hides a context's deadline and keeps its cancellation.
type withoutDeadline struct{ context.Context }

// Deadline says that there is none.
func (withoutDeadline) Deadline() (time.Time, bool) { return time.Time{}, false }

// dial opens one connection, which the trial closes.
func (t *trial) dial(ctx context.Context) (peer.Client, error) {
	client, err := t.dialUnowned(ctx)
	if err == nil {
		t.clients = append(t.clients, client)
	}
	return client, err
}

// dialUnowned opens one connection, which the caller closes.
func (t *trial) dialUnowned(ctx context.Context) (peer.Client, error) {
	options := peer.DialOptions{Address: t.target.address()}
	if t.certificate != nil {
		var err error
		if options.TLS, err = t.certificate.ClientConfig(); err != nil {
			return nil, err
		}
	}
	client, err := t.peer.Dial(ctx, options)
	return client, wrap("dialing", err)
}

// dialAll opens the cell's connections.
func (t *trial) dialAll(ctx context.Context) error {
	for range t.cell.Conns {
		if _, err := t.dial(ctx); err != nil {
			return err
		}
	}
	return nil
}

// usage is what both sides have used.
func (t *trial) usage() (usage, error) {
	here, err := readUsage()
	if err != nil {
		return usage{}, err
	}
	there, err := t.target.usage()
	return here.plus(there), err
}

// observation is what a window has seen.
type observation struct {
	elapsed    time.Duration
	operations int64
	other      int64
	window     *window
	used       usage
}

const (
	slowStart = 10 * time.Second
	poll      = 10 * time.Millisecond
)

// observe starts load, lets it warm up, watches it for the duration, and stops it. load returns when
// the window's stopped is closed and everything it started has ended.
func (t *trial) observe(ctx context.Context, load func(*window)) (observation, error) {
	w := newWindow()
	var running sync.WaitGroup
	running.Go(func() { load(w) })
	defer running.Wait()
	defer w.stop()
	wait := func(duration time.Duration) error {
		timer := time.NewTimer(duration)
		defer timer.Stop()
		select {
		case <-timer.C:
			return nil
		case <-w.failed:
			return w.err()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}

	if err := wait(t.settings.warmup); err != nil {
		return observation{}, err
	}
	// A load that takes longer to get going is given the time: everything in flight once, or a while.
	for waited := time.Duration(0); w.operations.total() < int64(t.cell.InFlight) && waited < slowStart; waited += poll {
		if err := wait(poll); err != nil {
			return observation{}, err
		}
	}
	resetPeak()
	before, err := t.usage()
	if err != nil {
		return observation{}, err
	}
	started, operations, other, missed := time.Now(), w.operations.total(), w.other.total(), w.missed.Load()
	w.open.Store(true)
	if err := wait(t.settings.duration); err != nil {
		return observation{}, err
	}
	w.open.Store(false)
	seen := observation{
		window:     w,
		operations: w.operations.total() - operations,
		other:      w.other.total() - other,
		elapsed:    time.Since(started),
	}
	w.missed.Add(-missed)
	after, err := t.usage()
	if err != nil {
		return observation{}, err
	}
	seen.used = after.minus(before)
	w.stop()
	running.Wait()
	if err := w.err(); err != nil {
		return observation{}, err
	}
	if seen.operations == 0 {
		return observation{}, errors.New("no operation ended while it was watched; try a longer -duration")
	}
	return seen, nil
}

// figures are those that every observed workload has.
func (o observation) figures() map[report.Figure]float64 {
	operations := float64(o.operations)
	figures := map[report.Figure]float64{
		report.OpsPerSecond:         operations / o.elapsed.Seconds(),
		report.CPUSecondsPerMillion: o.used.CPU.Seconds() / operations * 1e6,
		report.BytesPerOp:           float64(o.used.Bytes) / operations,
		report.AllocsPerOp:          float64(o.used.Allocations) / operations,
		report.PeakMegabytes:        float64(o.used.Peak) / 1e6,
	}
	latencies := o.window.latencies
	if latencies.TotalCount() > 0 {
		for figure, percentile := range map[report.Figure]float64{
			report.P50: 50, report.P90: 90, report.P99: 99, report.P999: 99.9,
		} {
			figures[figure] = float64(latencies.ValueAtQuantile(percentile)) / 1e3
		}
		figures[report.Max] = float64(latencies.Max()) / 1e3
	}
	return figures
}

// caller makes the messages of one goroutine: each differs from the one before, and no two callers
// have one in common.
type caller struct {
	number int
	text   string
	turn   int64
}

func newCaller(number, payload int) *caller {
	pattern := fmt.Sprintf("%x/", number)
	return &caller{number: number, text: strings.Repeat(pattern, payload/len(pattern)+1)[:payload]}
}

func (c *caller) next() peer.Message {
	c.turn++
	return peer.Message{
		Flag: c.turn%2 == 0, Number: int64(c.number)<<32 | c.turn, Text: c.text, Ratio: float64(c.turn) / 8,
	}
}

type call func(context.Context, peer.Message) (peer.Message, error)

// check makes one call and compares its reply.
func check(ctx context.Context, do call, request peer.Message) error {
	reply, err := do(ctx, request)
	if err != nil {
		return err
	}
	if reply != request {
		return fmt.Errorf("%w: sent %v, got %v", peer.ErrWrongReply, request, reply)
	}
	return nil
}

// callInLoop makes calls one after the other until the window stops.
func callInLoop(ctx context.Context, w *window, do call, c *caller) {
	latencies := &recorder{window: w}
	defer latencies.flush()
	last := time.Now()
	for !w.stopping.Load() {
		if err := check(ctx, do, c.next()); err != nil {
			w.fail(err)
			return
		}
		now := time.Now()
		latencies.record(now.Sub(last))
		last = now
		w.operations.add(c.number, 1)
	}
}

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime/pprof"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/handler"
)

// runClient is a client process: it calls until it is told to drain, or killed.
func runClient(c *child) error {
	_, clientTLS, err := loadCertificate(c.config.Certificate)
	if err != nil {
		return err
	}
	if err := warmUp(); err != nil {
		return err
	}
	before := measure()
	work := newWorkload(c.config, c.log)
	calling, stopCalling := context.WithCancel(context.Background())
	defer stopCalling()
	keeping, stopKeeping := context.WithCancel(context.Background())
	defer stopKeeping()

	var keepers, callers, reporting sync.WaitGroup
	for _, line := range work.lines {
		keepers.Go(func() { line.keep(keeping, clientTLS, c.log) })
	}
	for i := range c.config.Callers {
		callers.Go(func() { work.call(calling, i) })
	}
	reporting.Go(func() { work.reportUntil(keeping, c) })
	c.report(report{Ready: []string{}})
	<-c.drain

	// The clients shut down under load: the callers go on until they are told that it is over.
	start := time.Now()
	f := final{Before: before}
	f.Forced = work.shutdown()
	stopCalling()
	if !waitFor(&callers, drainLimit) {
		f.Hung = int(work.begun.Load() - work.ended.Load())
		fmt.Fprintln(os.Stderr, "callers hang:")
		_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 2)
	}
	stopKeeping()
	keepers.Wait()
	reporting.Wait()
	f.Took = time.Since(start)
	f.After = settle(before)
	c.report(report{Progress: work.progress()})
	c.report(report{Final: &f})
	return nil
}

// waitFor waits for group, no longer than limit, and reports whether it is done.
func waitFor(group *sync.WaitGroup, limit time.Duration) bool {
	done := make(chan struct{})
	go func() { // ends with the group; if that hangs, so does it, and is counted as left
		group.Wait()
		close(done)
	}()
	select {
	case <-done:
		return true
	case <-time.After(limit):
		return false
	}
}

// route is a way to a server.
type route struct {
	Name, Address string
	Resumes       bool // its connections are resumed
}

// line keeps one client connected by a route.
type line struct {
	route
	good atomic.Int64 // calls that succeeded

	mu      sync.Mutex // guards the following
	client  *edict.Client[*ledger]
	changed chan struct{} // closed and replaced when client changes
	closing bool

	// Owned by the observer's goroutine.
	sessions uint64 // so far
	since    int64  // when the last one was seen first, in microseconds
}

const (
	dialTimeout = 3 * time.Second
	minBackoff  = 5 * time.Millisecond
	maxBackoff  = 200 * time.Millisecond
	// writeTimeout is that of both sides: shorter than usual, so that a peer that is gone is found out
	// within a run.
	writeTimeout = 5 * time.Second
)

// keep dials, and dials again when the connection is lost, after a backoff that grows with each failure,
// until ctx ends or the line is closing. A client that resumes does all of that itself.
//
// Started by runClient, which ends and waits for it.
func (l *line) keep(ctx context.Context, clientTLS *tls.Config, log *os.File) {
	config := edict.ClientConfig{HandshakeTimeout: dialTimeout, WriteTimeout: writeTimeout}
	if l.Resumes {
		client, err := edict.NewClient(l.Address, commands, edict.WithTLS(clientTLS), config, edict.WithResume(edict.Resume{}),
			edict.WithStateObserver(func(change edict.StateChange) { l.observe(change, log) }),
			edict.WithReconnect(edict.Reconnect{Initial: minBackoff, Max: maxBackoff, Timeout: dialTimeout}))
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", l.Name, err)
			os.Exit(4)
		}
		l.set(client)
		<-ctx.Done()
		_ = client.Close()
		return
	}
	backoff := minBackoff
	for ctx.Err() == nil {
		dialing, cancel := context.WithTimeout(ctx, dialTimeout)
		client, err := edict.Dial(dialing, l.Address, commands, edict.WithTLS(clientTLS), config)
		cancel()
		if err == nil {
			backoff = minBackoff
			if l.set(client) {
				select {
				case <-client.Done():
					fmt.Fprintf(os.Stderr, "%s: %v\n", l.Name, client.Err())
				case <-ctx.Done():
				}
			}
			_ = client.Close()
			if !l.set(nil) {
				return
			}
		} else if edict.OutcomeOf(err) != edict.NotSent {
			fmt.Fprintf(os.Stderr, "dial %s: %v has the outcome %v\n", l.Address, err, edict.OutcomeOf(err))
			os.Exit(4)
		}
		select {
		case <-time.After(backoff/2 + rand.N(backoff)):
		case <-ctx.Done():
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// observe notes in the log when the server has not known the client again.
func (l *line) observe(change edict.StateChange, log *os.File) {
	if change.To != edict.StateReady {
		return
	}
	now, stats := time.Now().UnixMicro(), l.stats()
	sessions := max(stats.Connections-stats.Resumed, 1) // there may be no client yet
	if sessions <= l.sessions {
		return
	}
	if l.sessions > 0 {
		write(log, appendSession(nil, l.Name, l.since, now))
	}
	l.sessions, l.since = sessions, now
}

// set sets the client that callers get, or refuses it because the line is closing.
func (l *line) set(client *edict.Client[*ledger]) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closing {
		return false
	}
	l.client = client
	close(l.changed)
	l.changed = make(chan struct{})
	return true
}

// shutdown drains the client, if there is one; there will be no other. It reports whether it was
// forced.
func (l *line) shutdown(ctx context.Context) (forced bool) {
	l.mu.Lock()
	l.closing = true
	client := l.client
	l.mu.Unlock()
	return client != nil && client.Shutdown(ctx) != nil
}

// stats returns those of the client; nothing if it does not reconnect.
func (l *line) stats() (stats edict.ClientStats) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.Resumes && l.client != nil {
		stats = l.client.Stats()
	}
	return stats
}

func (l *line) isClosing() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closing
}

// get returns a client that is connected, or keeps itself so, waiting for one as long as ctx allows; nil after that.
func (l *line) get(ctx context.Context) *edict.Client[*ledger] {
	for {
		l.mu.Lock()
		client, changed := l.client, l.changed
		l.mu.Unlock()
		if client != nil && client.Err() == nil {
			return client
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		case <-time.After(maxBackoff): // the client has ended and keep has not seen it yet
		}
	}
}

// workload is what the callers of a client process do.
type workload struct {
	config childConfig
	log    *os.File
	lines  []*line

	next         atomic.Uint32
	begun, ended atomic.Int64
}

func newWorkload(config childConfig, log *os.File) *workload {
	w := &workload{config: config, log: log}
	for _, route := range config.Routes {
		w.lines = append(w.lines, &line{route: route, changed: make(chan struct{})})
	}
	return w
}

// reportUntil reports progress.
//
// Started by runClient, which ends and waits for it.
func (w *workload) reportUntil(ctx context.Context, c *child) {
	ticker := time.NewTicker(progressEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			c.report(report{Progress: w.progress()})
		case <-ctx.Done():
			return
		}
	}
}

func (w *workload) progress() *progress {
	p := &progress{Begun: w.begun.Load(), Ended: w.ended.Load(), Good: map[string]int64{}, Resent: map[string]uint64{}}
	for _, line := range w.lines {
		p.Good[line.Name] = line.good.Load()
		stats := line.stats()
		p.Resumed += stats.Resumed
		p.Resent[line.Name] = stats.Resent
	}
	return p
}

// shutdown drains all lines and reports whether one had to be forced.
func (w *workload) shutdown() bool {
	ctx, cancel := context.WithTimeout(context.Background(), drainLimit)
	defer cancel()
	var group sync.WaitGroup
	var forced atomic.Bool
	for _, line := range w.lines {
		group.Go(func() {
			if line.shutdown(ctx) {
				forced.Store(true)
			}
		})
	}
	group.Wait()
	return forced.Load()
}

// call is one caller: it makes calls, one after the other or some at once, until ctx ends.
//
// Started by runClient, which ends and waits for it.
func (w *workload) call(ctx context.Context, number int) {
	caller := &caller{
		workload: w, line: w.lines[number%len(w.lines)],
		random: rand.New(rand.NewPCG(w.config.Seed, uint64(w.config.Number)<<32|uint64(number))),
	}
	for ctx.Err() == nil {
		client := caller.line.get(ctx)
		if client == nil {
			return
		}
		caller.choose(client)
		select {
		case <-time.After(time.Duration(caller.random.ExpFloat64() * float64(w.config.Pause))):
		case <-ctx.Done():
		}
	}
}

// caller is one goroutine's state.
type caller struct {
	*workload
	line   *line
	random *rand.Rand
}

const (
	maxBurst = 32
	// lateAfter is how long a call may go on after its context has ended. It would be far less on a
	// machine that has nothing else to do.
	lateAfter = 3 * time.Second
)

// choose makes one call, or several at once, of a kind that chance decides.
func (c *caller) choose(client *edict.Client[*ledger]) {
	switch n := c.random.IntN(100); {
	case n < 3:
		c.burst(client)
	case n < 18:
		c.stream(client)
	case n < 23:
		c.duplex(client)
	default:
		c.unary(client)
	}
}

// attempt is a call under way.
type attempt struct {
	record
	ctx    context.Context
	cancel context.CancelFunc
	ends   time.Time // when ctx was to end or did; zero if it does not
	asked  time.Time // when the caller began to wait for the result
}

// begin records that a call begins and gives it a context: none to speak of, or one that ends soon, by
// a deadline or a cancel.
func (c *caller) begin(client *edict.Client[*ledger], stream bool) *attempt {
	a := &attempt{record: record{id: makeID(c.config.Number, c.next.Add(1)), stream: stream, route: c.line.Name}}
	a.server, _ = strconv.Atoi(client.Peer().Name)
	a.asked = time.Now()
	a.began = a.asked.UnixMicro()
	c.begun.Add(1)
	write(c.log, appendBegun(nil, a.id))
	a.ctx, a.cancel = context.Background(), func() {}
	soon := time.Duration(c.random.ExpFloat64() * float64(10*time.Millisecond))
	switch n := c.random.IntN(10); {
	case n < 2:
		a.ends = time.Now().Add(soon)
		a.ctx, a.cancel = context.WithDeadline(context.Background(), a.ends)
	case n < 4:
		a.ends = time.Now().Add(soon)
		ctx, cancel := context.WithCancel(context.Background())
		timer := time.AfterFunc(soon, cancel)
		a.ctx, a.cancel = ctx, func() {
			timer.Stop()
			cancel()
		}
	}
	return a
}

// end records how a call ended. want is how it fails if it is to fail.
func (c *caller) end(a *attempt, err, want error) {
	now := time.Now()
	a.cancel()
	a.code, a.outcome, a.finished = edict.CodeOf(err), edict.OutcomeOf(err), now.UnixMicro()
	a.cut, a.leaving = errors.Is(err, errCut), c.line.isClosing()
	a.late = !a.ends.IsZero() && now.Sub(a.ends) > lateAfter && now.Sub(a.asked) > lateAfter
	a.odd = a.odd || c.isOdd(a, err, want, now)
	if err == nil {
		c.line.good.Add(1)
	}
	resumes := c.line.Resumes && a.outcome == edict.OutcomeUnknown && (a.code == edict.Unavailable || a.cut)
	if a.wrong || a.gap || a.late || a.odd || resumes {
		fmt.Fprintf(os.Stderr, "call %x, %+v: %v\n", uint64(a.id), a.problems, err)
	}
	write(c.log, appendEnded(nil, a.record))
	c.ended.Add(1)
}

// errCut is how a call ends whose command was being executed when a server with a journal was killed.
var errCut = &edict.Error{Code: edict.Aborted, Reason: handler.ReasonCut}

// isOdd reports whether err is none of those that the call may end with.
func (c *caller) isOdd(a *attempt, err, want error, now time.Time) bool {
	if err == nil {
		return want != nil
	}
	e, ok := errors.AsType[*edict.Error](err)
	if !ok || !e.Code.Valid() {
		return true
	}
	switch e.Code {
	case edict.Canceled, edict.DeadlineExceeded:
		// A timer of the server may be a moment quicker than that of the client.
		return a.ends.IsZero() || now.Before(a.ends.Add(-10*time.Millisecond))
	case edict.Unavailable:
		return false
	}
	if c.line.Resumes && errors.Is(err, errCut) {
		return e.Outcome != edict.OutcomeUnknown
	}
	return want == nil || !errors.Is(err, want)
}

// write appends a line to the records. A process whose records are not complete is of no use.
func write(log *os.File, line []byte) {
	if _, err := log.Write(line); err != nil {
		fmt.Fprintln(os.Stderr, "the records:", err)
		os.Exit(4)
	}
}

// work draws a command, and how it is to fail if it is.
func (c *caller) work(id callID) (work Work, want error) {
	work = Work{ID: id, Text: c.text(), Size: c.size()}
	switch n := c.random.IntN(100); {
	case n < 10:
		work.Hold = time.Duration(c.random.ExpFloat64() * float64(20*time.Millisecond))
	case n < 11:
		work.Hold, work.Heed = time.Second, true
	case n < 16:
		work.Fail, want = true, errAsked
	}
	return work, want
}

// size draws the size of a text: most are small, some are beyond what is written without a copy.
func (c *caller) size() int {
	large := 1
	if c.line.Resumes {
		large = 6
	}
	switch n := c.random.IntN(200); {
	case n < large:
		return c.random.IntN(200_000)
	case n < 10:
		return c.random.IntN(5_000)
	}
	return c.random.IntN(200)
}

func (c *caller) text() string {
	text := make([]byte, c.size())
	for i := range text {
		text[i] = 'a' + byte(c.random.IntN(26))
	}
	return string(text)
}

// unary makes a call with one result.
func (c *caller) unary(client *edict.Client[*ledger]) {
	a := c.begin(client, false)
	work, want := c.work(a.id)
	receipt, err := edict.Call(a.ctx, client, work)
	a.wrong = err == nil && receipt != work.receipt()
	c.end(a, err, want)
}

// burst makes many calls at once, some of which are cancelled on the way.
func (c *caller) burst(client *edict.Client[*ledger]) {
	type started struct {
		*attempt
		work       Work
		want       error
		invocation *edict.Invocation[Receipt]
	}
	var all []started
	for range 1 + c.random.IntN(maxBurst) {
		a := c.begin(client, false)
		work, want := c.work(a.id)
		invocation, err := edict.Start(a.ctx, client, work)
		if err != nil {
			c.end(a, err, want)
			continue
		}
		all = append(all, started{a, work, want, invocation})
	}
	for _, s := range all {
		if s.ends.IsZero() && c.random.IntN(5) == 0 {
			s.ends = time.Now()
			s.invocation.Cancel()
		}
		s.asked = time.Now()
		receipt, err := s.invocation.Receive()
		s.wrong = err == nil && receipt != s.work.receipt()
		c.end(s.attempt, err, s.want)
	}
}

// stream makes a call with many results, and leaves some before their end.
func (c *caller) stream(client *edict.Client[*ledger]) {
	a := c.begin(client, true)
	numbers := Numbers{ID: a.id, To: c.random.IntN(50), Size: c.size()}
	leave := -1
	if c.random.IntN(5) == 0 {
		leave = c.random.IntN(numbers.To + 1)
	}
	next := 0
	var failure error
	for number, err := range edict.Stream(a.ctx, client, numbers) {
		if err != nil {
			failure = err
			break
		}
		a.gap = a.gap || number.N != next
		a.wrong = a.wrong || number != numbers.number(number.N)
		next++
		if next == leave {
			a.ends = time.Now()
			failure = &edict.Error{Code: edict.Canceled} // what the caller would be told, if it asked
			break
		}
	}
	a.gap = a.gap || failure == nil && next != numbers.To
	c.end(a, failure, nil)
}

// duplex makes a call with many inputs and as many results.
func (c *caller) duplex(client *edict.Client[*ledger]) {
	a := c.begin(client, true)
	a.inputs = true
	invocation, err := edict.StartDuplex(a.ctx, client, Sums{a.id})
	if err != nil {
		c.end(a, err, nil)
		return
	}
	sum, answers := 0, 0
	inputs := c.random.IntN(20)
	for range inputs {
		input := c.random.IntN(100)
		if invocation.Send(input) != nil {
			break // Receive says why
		}
		var answer int
		if answer, err = invocation.Receive(); err != nil {
			break
		}
		sum += input
		answers++
		a.wrong = a.wrong || answer != sum
	}
	if err == nil {
		_ = invocation.CloseSend() // as above
		_, err = invocation.Receive()
		a.wrong = a.wrong || err == nil // nothing was asked
		invocation.Cancel()
	}
	if err == io.EOF {
		a.gap = answers != inputs
		err = nil
	}
	c.end(a, err, nil)
}

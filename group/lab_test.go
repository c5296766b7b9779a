package group_test

import (
	"context"
	"io"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/delegate"
	"github.com/edict-go/edict/group"
)

// lab is the receiver of the tests' commands.
type lab struct {
	name     string
	executed atomic.Int64
	marks    *marks
	ids      chan edict.CommandID // of the commands read, the first ones that nobody has taken
	started  chan struct{}
	release  chan struct{}
}

func newLab(name string) *lab {
	return &lab{name: name, ids: make(chan edict.CommandID, 1000), started: make(chan struct{}, 1000), release: make(chan struct{})}
}

// who returns the server's name.
type who struct{ Key string }

func (who) Exec(_ context.Context, l *lab) (string, error) {
	l.executed.Add(1)
	return l.name, nil
}

func (c who) GroupKey() string { return c.Key }

// read is who, idempotent.
type read struct{}

func (read) Exec(ctx context.Context, l *lab) (string, error) {
	l.executed.Add(1)
	id, _ := edict.CommandIDOf(ctx)
	select {
	case l.ids <- id:
	default:
	}
	return l.name, nil
}

func (read) Idempotent() bool { return true }

// wait runs until it is released.
type wait struct{}

func (wait) Exec(ctx context.Context, l *lab) (string, error) {
	l.executed.Add(1)
	l.started <- struct{}{}
	select {
	case <-l.release:
		return l.name, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// inTurn is ordered.
type inTurn struct{ Key string }

func (inTurn) Exec(_ context.Context, l *lab) (string, error) { return l.name, nil }
func (c inTurn) OrderingKey() string                          { return c.Key }

// mark notes that it was executed.
type mark struct{ ID int }

func (c mark) Exec(_ context.Context, l *lab) (int, error) {
	l.marks.add(c.ID)
	return c.ID, nil
}

// markAgain may do so more than once.
type markAgain struct{ Mark mark }

func (c markAgain) Exec(ctx context.Context, l *lab) (int, error) { return c.Mark.Exec(ctx, l) }
func (markAgain) Idempotent() bool                                { return true }

// count streams numbers.
type count struct{ To int }

func (c count) Exec(_ context.Context, l *lab, results edict.Sink[int]) error {
	for n := range c.To {
		if err := results.Send(n); err != nil {
			return err
		}
	}
	return nil
}

func (count) Idempotent() bool { return true }

// report is count, which must not be executed twice. It is held up before the result Hold, if that is not 0.
type report struct{ To, Hold int }

func (c report) Exec(ctx context.Context, l *lab, results edict.Sink[int]) error {
	l.marks.add(c.To)
	for n := range c.To {
		if n == c.Hold && n > 0 {
			<-l.release
		}
		if err := results.Send(n); err != nil {
			return err
		}
	}
	return nil
}

// sumUp adds its inputs.
type sumUp struct{}

func (sumUp) Exec(_ context.Context, _ *lab, inputs edict.Source[int], results edict.Sink[int]) error {
	sum := 0
	for n, err := range inputs.All() {
		if err != nil {
			return err
		}
		sum += n
	}
	return results.Send(sum)
}

func (sumUp) Idempotent() bool { return true }

var labCommands = edict.Commands(
	edict.Unary[who](), edict.Unary[read](), edict.Unary[wait](), edict.Unary[inTurn](),
	edict.Unary[mark](), edict.Unary[markAgain](),
	edict.ServerStream[count](), edict.ServerStream[report](), edict.Duplex[sumUp](),
)

// fake is a connection without a network. Its state is what the test says.
type fake struct {
	delegate.States
	fakes   *fakes
	address string
	begun   atomic.Int64 // calls
	running sync.WaitGroup
	cut     chan struct{} // closed when it was shut down at once
}

func (f *fake) State() delegate.State        { return f.Present().To }
func (f *fake) RoundTripTime() time.Duration { return time.Millisecond }

// Start asks the test whether it fails, and lets it answer in a goroutine.
func (f *fake) Start(ctx context.Context, request core.Request[*lab]) (core.Exchange, error) {
	f.begun.Add(1)
	if request.Options == nil || !request.Options.FailFast {
		panic("a group's requests fail fast")
	}
	if f.State() != delegate.Ready {
		return nil, lost(core.NotSent)
	}
	if ctx.Err() != nil {
		return nil, &core.Error{Code: core.CodeOf(ctx.Err()), Outcome: core.NotSent, Message: ctx.Err().Error()}
	}
	if f.fakes.start != nil {
		if err := f.fakes.start(f); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	e := &fakeExchange{fake: f, ctx: ctx, cancel: cancel, request: request, ended: make(chan struct{})}
	f.running.Go(e.run)
	return e, nil
}

// Shutdown waits for the calls.
func (f *fake) Shutdown(ctx context.Context) error {
	f.Set(delegate.Draining, 0, nil)
	defer f.Set(delegate.Closed, 0, core.ErrClosed)
	stop := context.AfterFunc(ctx, func() { close(f.cut) })
	f.running.Wait()
	if !stop() {
		return context.Cause(ctx)
	}
	return nil
}

// fakeExchange is a call of a fake.
type fakeExchange struct {
	fake     *fake
	ctx      context.Context
	cancel   context.CancelCauseFunc
	request  core.Request[*lab]
	ended    chan struct{}
	result   string
	err      error
	received int
}

// run ends with the answer, with ctx, or when the fake was shut down at once.
func (e *fakeExchange) run() {
	defer close(e.ended)
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		if e.fake.fakes.answer == nil {
			e.result = e.fake.address
			return
		}
		e.result, e.err = e.fake.fakes.answer(e.ctx, e.fake, e.request)
	}()
	select {
	case <-answered:
	case <-e.fake.cut:
		e.cancel(lost(core.OutcomeUnknown))
		<-answered
	}
	if cause := context.Cause(e.ctx); cause != nil && e.err == e.ctx.Err() {
		code := core.CodeOf(cause)
		if code == core.Unknown {
			code = core.Canceled
		}
		e.err = &core.Error{Code: code, Message: cause.Error(), Cause: cause}
	}
}

// Receive returns the one result, or as many as a count says, and then the error.
func (e *fakeExchange) Receive() (core.Message, error) {
	<-e.ended
	if count, ok := e.request.Command.(count); ok && e.received < count.To {
		e.received++
		return core.Message{Value: e.received - 1}, nil
	}
	if e.err != nil {
		return core.Message{}, e.err
	}
	if e.request.Stream || e.received > 0 {
		return core.Message{}, io.EOF
	}
	e.received++
	return core.Message{Value: e.result}, nil
}

func (e *fakeExchange) Send(any) error          { return nil }
func (e *fakeExchange) CloseSend() error        { return nil }
func (e *fakeExchange) Cancel(cause error)      { e.cancel(cause) }
func (e *fakeExchange) Metadata() core.Metadata { return core.Metadata{"by": {e.fake.address}} }
func (e *fakeExchange) Close()                  { e.cancel(context.Canceled); <-e.ended }

// lost is the error of a lost connection.
func lost(outcome core.Outcome) *core.Error {
	return &core.Error{Code: core.Unavailable, Outcome: outcome, Message: "connection lost"}
}

// says is a server's error.
func says(code core.Code, outcome core.Outcome) *core.Error {
	return &core.Error{Code: code, Outcome: outcome, Remote: true, Message: "the server's word"}
}

// fakes make a group of fakes.
type fakes struct {
	t       *testing.T
	group   *group.Group[*lab]
	log     *logBuffer
	updates chan []string // to the resolver

	// Set before the first call: what Start returns if it fails, and what the answer is; nil is none, and the
	// address. An answer that its context has ended returns its Err.
	start  func(*fake) error
	answer func(context.Context, *fake, core.Request[*lab]) (string, error)

	mu   sync.Mutex // guards the following
	made []*fake
	down map[string]bool // new ones of these don't get ready
	fail error           // what connect returns
}

// newFakes makes a group of fakes for addresses, and waits until the first is ready.
func newFakes(t *testing.T, config group.Config, addresses ...string) *fakes {
	t.Helper()
	f := &fakes{t: t, log: &logBuffer{}, down: map[string]bool{}, updates: make(chan []string, 10)}
	if config.Endpoints == nil {
		config.Endpoints = group.ResolverFunc(f.resolve)
		f.updates <- addresses
	}
	config.Logger = slog.New(slog.NewTextHandler(f.log, nil))
	g, err := group.New(f.connect, config)
	if err != nil {
		t.Fatal(err)
	}
	f.group = g
	t.Cleanup(func() { _ = g.Close() })
	if err := g.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fakes) resolve(ctx context.Context) iter.Seq2[[]string, error] {
	return func(yield func([]string, error) bool) {
		for {
			select {
			case addresses := <-f.updates:
				var err error
				if len(addresses) == 1 && addresses[0] == "error" {
					addresses, err = nil, io.ErrNoProgress
				}
				if !yield(addresses, err) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

func (f *fakes) connect(address string) (group.Member[*lab], error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return nil, f.fail
	}
	m := &fake{fakes: f, address: address, cut: make(chan struct{})}
	if f.down[address] {
		m.Set(delegate.Reconnecting, 1, io.ErrUnexpectedEOF)
	} else {
		m.Set(delegate.Ready, 1, nil)
	}
	f.made = append(f.made, m)
	return m, nil
}

// at returns the connections to an address, in the order in which they were made.
func (f *fakes) at(address string) []*fake {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(f.made), func(m *fake) bool { return m.address != address })
}

func (f *fakes) setDown(address string, down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down[address] = down
}

func (f *fakes) setFail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = err
}

// served makes calls and counts who answers.
func (f *fakes) served(calls int) map[string]int {
	f.t.Helper()
	served := map[string]int{}
	for range calls {
		address, err := edict.Call(f.t.Context(), f.group, who{})
		if err != nil {
			f.t.Fatal(err)
		}
		served[address]++
	}
	return served
}

// wantError checks the code and outcome of an error.
func wantError(t testing.TB, err error, code edict.Code, outcome edict.Outcome) {
	t.Helper()
	if edict.CodeOf(err) != code || edict.OutcomeOf(err) != outcome {
		t.Fatalf("got %v (%v, %v), want %v, %v", err, edict.CodeOf(err), edict.OutcomeOf(err), code, outcome)
	}
}

// logBuffer is a log, to be searched.
type logBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *logBuffer) Write(line []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(line)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

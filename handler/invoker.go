package handler

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/edict-go/edict/core"
)

// Interceptor surrounds the execution of every command, unary and stream alike. It runs in the
// command's goroutine, after decoding, and in the command's turn if it is ordered. It may refuse the command by returning an error without
// calling next, pass another context on, look at results (Call.OnResult), and change the error that
// the caller gets. It must call next at most once, and not when it has returned, from a goroutine that it has left behind:
// what next belongs to is another command's by then. The same goes for the Call.
type Interceptor func(ctx context.Context, call *Call, next func(context.Context) error) error

// Call is a command as an Interceptor sees it.
type Call struct {
	// Name is the command's name, Command the command itself, as it was decoded.
	Name    string
	Command any
	// Stream is true for commands with any number of results, Inputs for those that take inputs.
	Stream bool
	Inputs bool

	begun     bool // Exec was called
	described bool // metadata came with it

	// Scope has the peer and the metadata of both directions.
	core.Scope

	more     *moreOfCall   // nil if no interceptor has asked for it
	received int           // bytes of the encoded command
	replied  int           // bytes of the encoded result, if there is one only
	came     time.Duration // since the invoker began
}

// moreOfCall is what few interceptors ask for.
type moreOfCall struct {
	observers, inputObservers []func(any) error
	logContext                context.Context // nil: the command's
}

func (c *Call) ask() *moreOfCall {
	if c.more == nil {
		c.more = new(moreOfCall)
	}
	return c.more
}

// context returns the command's, nil for a fake, in a test of an interceptor.
func (c *Call) context() *commandContext {
	ctx, _ := c.Scope.(*commandContext)
	return ctx
}

// LogWith sets the context with which the server logs a panic of the command: one that an interceptor has made, so that
// a slog.Handler finds in it what the interceptor has added, the trace for example.
func (c *Call) LogWith(ctx context.Context) { c.ask().logContext = ctx }

// MetadataValue returns the first value of a key in the metadata that came with the command, or "". It is
// Metadata().Get for those who ask for some keys of each command: it decodes nothing else.
func (c *Call) MetadataValue(key string) string {
	ctx := c.context()
	if ctx == nil {
		return c.Metadata().Get(key)
	}
	return ctx.metadataValue(strings.ToLower(key))
}

// encoded returns the metadata that came with the command; nil for a fake.
func (c *Call) encoded() []byte {
	ctx := c.context()
	if ctx == nil || !c.described {
		return nil
	}
	return ctx.extra.metadata // constant
}

// HasMetadata reports whether any came with the command: mostly there is nothing to look for.
func (c *Call) HasMetadata() bool {
	if c.context() == nil {
		return len(c.Metadata()) > 0
	}
	return c.described
}

// Age returns how long ago the command has come, before it was decoded and before it waited for its turn or for a goroutine.
func (c *Call) Age() time.Duration {
	ctx := c.context()
	if ctx == nil {
		return 0
	}
	return ctx.connection.invoker.now() - c.came
}

// Begun reports whether the command's Exec was called. For after next has returned: an error means that the command
// was refused, if it is false, and else that it was executed.
func (c *Call) Begun() bool { return c.begun }

// Stats returns the sizes of the command with the inputs taken, and of the results. For after next has returned.
func (c *Call) Stats() core.CallStats {
	if ctx := c.context(); ctx != nil {
		request, response := ctx.sizes(c.received, c.replied)
		return core.CallStats{RequestBytes: request, ResponseBytes: response}
	}
	return core.CallStats{}
}

// OnInput makes observe see each input when the command takes it, in the goroutine that does. If it
// returns an error the command gets that instead of the input.
func (c *Call) OnInput(observe func(input any) error) {
	more := c.ask()
	more.inputObservers = append(more.inputObservers, observe)
}

// OnResult makes observe see each result before it is sent, in the goroutine that sends it. If it
// returns an error the result is not sent, and Exec gets that error from Send, or, for a unary
// command, the caller does.
func (c *Call) OnResult(observe func(result any) error) {
	more := c.ask()
	more.observers = append(more.observers, observe)
}

// Config has the settings that all connections of a server share. The zero Config works.
type Config struct {
	// MaxInFlight is how many commands may run on the server at once; beyond, commands are refused
	// with ResourceExhausted and a retry hint. 0 is 262,144; negative is no limit.
	MaxInFlight int
	// IdleWorkers is how many goroutines are kept for commands to come. 0 is 256; negative is none.
	IdleWorkers int
	// Logger gets what goes wrong on the server's side, stacks of panics for example. nil is
	// slog.Default().
	Logger *slog.Logger
	// Interceptors surround each command, the first one outermost.
	Interceptors []Interceptor
	// Monitor, if not nil, is told of each command, and surrounds those interceptors where it wants to.
	Monitor *Monitor
	// Failures is where it is noted what goes wrong; nil is one of the Invoker's own.
	Failures *core.Failures
	// Latencies lets how long commands take be counted in a histogram for each.
	Latencies bool
}

const (
	defaultMaxInFlight = 1 << 18
	defaultIdleWorkers = 256
)

// Invoker is what the connections of one server share. Safe for concurrent use.
type Invoker struct {
	config   Config
	first    int // of config.Interceptors, for commands that the Monitor doesn't intercept: its own is before
	began    time.Time
	inFlight atomic.Int64
	workers  workers
	lanes    lanes

	latencies sync.Map                  // of *core.Histogram by the commands' names
	monitored atomic.Pointer[monitored] // the commands of the last connection; nil without a Monitor

	drainOnce sync.Once
	draining  chan struct{}
}

// NewInvoker returns an Invoker. Stop must be called at the end.
func NewInvoker(config Config) *Invoker {
	if config.MaxInFlight == 0 {
		config.MaxInFlight = defaultMaxInFlight
	}
	if config.IdleWorkers == 0 {
		config.IdleWorkers = defaultIdleWorkers
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	if config.Failures == nil {
		config.Failures = new(core.Failures)
	}
	i := &Invoker{config: config, began: time.Now(), draining: make(chan struct{})}
	if config.Monitor != nil && config.Monitor.Intercept != nil {
		i.first = 1
		i.config.Interceptors = slices.Concat([]Interceptor{config.Monitor.Intercept}, config.Interceptors)
	}
	i.lanes.byKey = map[string]*turns{}
	i.workers.maxIdle = max(0, config.IdleWorkers)
	return i
}

// Drain closes the channel that running commands see as Scope.Draining.
func (i *Invoker) Drain() { i.drainOnce.Do(func() { close(i.draining) }) }

// InFlight returns the number of commands that run or wait to run.
func (i *Invoker) InFlight() int { return int(i.inFlight.Load()) }

// Stop ends the workers as they become idle. The Invoker still works afterwards.
func (i *Invoker) Stop() { i.workers.stop() }

// Wait waits until all workers have ended: after Stop, and after all connections have ended.
func (i *Invoker) Wait() { i.workers.group.Wait() }

// admit counts a command in, or reports that the server is full.
func (i *Invoker) admit() bool {
	if n := i.inFlight.Add(1); i.config.MaxInFlight > 0 && n > int64(i.config.MaxInFlight) {
		i.inFlight.Add(-1)
		return false
	}
	return true
}

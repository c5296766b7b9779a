package handler

import (
	"context"
	"errors"
	"time"

	"github.com/edict-go/edict/core"
)

// Monitor is told of the commands of a server, and how they end, without surrounding them: an Interceptor costs each command
// an allocation and a chain of calls, a Monitor what its own methods do. Commands that are refused before they are decoded
// don't reach it, as they don't reach interceptors.
type Monitor struct {
	// Command returns what is told of the commands with a name, one that the server knows. It may be called again for the same name, and
	// should then return the same. It must not return nil.
	Command func(name string) core.CommandMonitor
	// Intercept surrounds the commands for which Begin has returned a context. nil does nothing about them.
	Intercept Interceptor
	// Value, if not nil, makes what the context of a command that is not intercepted has for Key: when somebody asks for it, and then
	// once for each command.
	Key   any
	Value func(core.Scope) any
}

// Interceptor returns an Interceptor that does what m does, for a place within other interceptors.
func (m *Monitor) Interceptor() Interceptor {
	return func(ctx context.Context, call *Call, next func(context.Context) error) (err error) {
		monitor := m.Command(call.Name)
		intercept, _ := monitor.Begin(ctx, core.CallBegin{Described: call.HasMetadata(), Metadata: call.encoded()})
		switch {
		case intercept != nil && m.Intercept != nil:
			return m.Intercept(intercept, call, next)
		case intercept != nil:
			return next(intercept)
		}
		if m.Value != nil {
			if value := m.Value(call.Scope); value != nil {
				ctx = context.WithValue(ctx, m.Key, value)
			}
		}
		returned := false
		defer func() {
			end := core.CallEnd{Took: call.Age(), Err: err, CallStats: call.Stats()}
			switch {
			case !returned: // a panic, which goes on, or runtime.Goexit
				end.Err = errEnded
				call.LogWith(ctx)
			case errors.Is(err, ErrRecorded):
				end.Err = nil
			case err != nil && core.CodeOf(err) == core.Unknown && ctx.Err() != nil:
				end.Err = ctx.Err() // which is what the caller hears of
			}
			end.Outcome = outcomeOf(end.Err, call.Begun())
			monitor.End(end)
		}()
		err = next(ctx)
		returned = true
		return err
	}
}

// errEnded is what a monitor hears of a panic.
var errEnded error = core.Errorf(core.Internal, "the command panicked, or ended its goroutine")

func outcomeOf(err error, begun bool) core.Outcome {
	if err != nil && !begun {
		return core.Refused
	}
	return core.Executed
}

// monitored is a list of commands with what is told of each.
type monitored struct {
	names    []string
	monitors []core.CommandMonitor
}

// monitorsOf returns what is told of a connection's commands, by their numbers; nil without a Monitor. Most connections
// have the same list.
func (i *Invoker) monitorsOf(config *ConnectionConfig) []core.CommandMonitor {
	if i.config.Monitor == nil || len(config.Names) == 0 {
		return nil
	}
	if last := i.monitored.Load(); last != nil && len(last.names) == len(config.Names) && &last.names[0] == &config.Names[0] {
		return last.monitors
	}
	of := &monitored{config.Names, make([]core.CommandMonitor, len(config.Names))}
	for number, name := range config.Names {
		if config.Executors[number] != nil { // else the name is anything that the client has sent
			of.monitors[number] = i.config.Monitor.Command(name)
		}
	}
	i.monitored.Store(of)
	return of.monitors
}

// askMonitor lets the command's monitor decide, once, whether the command goes through the Monitor's Intercept.
func (t *task) askMonitor() {
	t.asked = true
	call := core.CallBegin{Described: t.described}
	if t.described {
		call.Metadata = t.ctx.extra.metadata // constant
	}
	monitor := t.connection.monitors[t.ctx.command]
	if t.interceptWith, _ = monitor.Begin((*unmonitoredContext)(t.ctx), call); t.interceptWith == nil {
		t.monitor = monitor
		return
	}
	if t.call == nil {
		t.call = new(Call)
	}
}

// tellMonitor tells the command's monitor how it has ended. leftEarly says that it has ended well, but its caller had left.
func (t *task) tellMonitor(leftEarly bool) {
	var err error
	if t.told != nil && !leftEarly {
		err = t.told
	}
	request, response := t.ctx.sizes(t.size, t.result)
	// Put together here, for to copy what was just stored costs more than all else of this.
	t.monitor.End(core.CallEnd{
		Took: t.connection.invoker.now() - t.came, Err: err, Outcome: outcomeOf(err, t.begun),
		CallStats: core.CallStats{RequestBytes: request, ResponseBytes: response},
	})
}

// unmonitoredContext is the context of a command without what its Monitor adds. That is what the Monitor itself sees.
type unmonitoredContext commandContext

func (c *unmonitoredContext) Deadline() (time.Time, bool) { return (*commandContext)(c).Deadline() }
func (c *unmonitoredContext) Done() <-chan struct{}       { return (*commandContext)(c).Done() }
func (c *unmonitoredContext) Err() error                  { return (*commandContext)(c).Err() }

func (c *unmonitoredContext) AfterFunc(f func()) (stop func() bool) {
	return (*commandContext)(c).AfterFunc(f)
}

func (c *unmonitoredContext) Value(key any) any {
	if key == core.ScopeKey {
		return core.Scope((*commandContext)(c))
	}
	return nil
}

func (c *unmonitoredContext) String() string { return (*commandContext)(c).String() }

// monitorValue returns what the Monitor adds to the context.
func (c *commandContext) monitorValue() any {
	c.mu.Lock()
	extra := c.extraLocked()
	value := extra.value
	c.mu.Unlock()
	if value != nil {
		return *value
	}
	made := c.connection.invoker.config.Monitor.Value(c) // not under the lock: it is the user's code
	c.mu.Lock()
	defer c.mu.Unlock()
	if extra.value == nil {
		extra.value = &made
	}
	return *extra.value
}

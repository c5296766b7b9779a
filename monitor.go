package edict

import (
	"context"
	"time"

	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/handler"
)

// ClientMonitor is told of the calls of a client, and how they end, without surrounding them: an interceptor costs each call
// an allocation and some calls of functions, a monitor what its own methods do. Calls of commands that are not registered don't reach
// it. Whoever cancels a call and drops it, without Receive, is not told of.
type ClientMonitor struct {
	// Command returns what is told of the calls of the command with a name. It may be called again for the same name, and
	// should then return the same. It must not return nil.
	Command func(name string) CommandMonitor
	// Intercept surrounds the calls for which Begin has returned a context. nil does nothing about them.
	Intercept ClientInterceptor
}

// CommandMonitor is told of the calls of one command. See [core.CommandMonitor].
type CommandMonitor = core.CommandMonitor

// CallBegin is what is known of a call that begins. See [core.CallBegin].
type CallBegin = core.CallBegin

// CallEnd is how a call has ended. See [core.CallEnd].
type CallEnd = core.CallEnd

// ServerMonitor is told of the commands of a server. See [handler.Monitor].
type ServerMonitor = handler.Monitor

// WithClientMonitor lets a monitor be told of the client's calls. It surrounds all interceptors, if it is given before them and is the
// first one; else it is one of them, at its place (see Interceptor), and costs what those do.
func WithClientMonitor(monitor ClientMonitor) DialOption {
	return dialOption(func(s *dialSettings) {
		if s.monitor == nil && len(s.interceptors) == 0 {
			s.monitor = &monitor
		} else {
			s.interceptors = append(s.interceptors, monitor.Interceptor())
		}
	})
}

// WithServerMonitor lets a monitor be told of the server's commands. It surrounds all interceptors, if it is given before them and is
// the first one; else it is one of them, at its place (see Interceptor), and costs what those do.
func WithServerMonitor(monitor ServerMonitor) ServerOption {
	return serverOption(func(s *serverSettings) {
		if s.monitor == nil && len(s.interceptors) == 0 {
			s.monitor = &monitor
		} else {
			s.interceptors = append(s.interceptors, monitor.Interceptor())
		}
	})
}

// Interceptor returns an interceptor that does what m does, for a place within others.
func (m *ClientMonitor) Interceptor() ClientInterceptor {
	return func(ctx context.Context, call *ClientCall, next ClientNext) (Exchange, error) {
		monitor := m.Command(call.Name)
		intercept, metadata := monitor.Begin(ctx, CallBegin{Described: len(call.metadata) > 0 || call.set != nil})
		switch {
		case intercept != nil && m.Intercept != nil:
			return m.Intercept(intercept, call, next)
		case intercept != nil:
			return next(intercept, call)
		}
		call.add(metadata)
		return monitored(ctx, monitor, call, next)
	}
}

// add adds encoded metadata to what SetMetadata has set.
func (c *ClientCall) add(encoded []byte) {
	if len(encoded) == 0 {
		return
	}
	if c.set == nil {
		c.set = new(setMetadata)
	}
	c.set.encoded = append(c.set.encoded, encoded...)
}

// monitored starts a call by way of interceptors, such that monitor is told of its end.
func monitored(ctx context.Context, monitor CommandMonitor, call *ClientCall, next ClientNext) (exchange Exchange, err error) {
	began, returned := core.Now(), false
	defer func() { tellFailure(monitor, began, returned, err) }()
	exchange, err = next(ctx, call)
	returned = true
	if err != nil {
		return nil, err
	}
	return &observedExchange{
		Exchange: exchange, stream: call.Stream, err: canceledByCaller(),
		observe: func(err error, stats CallStats) { monitor.End(callEnd(began, err, stats)) },
	}, nil
}

// tellFailure tells the monitor of a call that could not be started: with an error, or because to start it has not returned.
func tellFailure(monitor CommandMonitor, began time.Duration, returned bool, err error) {
	switch {
	case !returned:
		monitor.End(callEnd(began, errPanicked, CallStats{}))
	case err != nil:
		monitor.End(callEnd(began, err, CallStats{}))
	}
}

// errPanicked is how a call ends for its monitor whose command or context has panicked before it was sent.
var errPanicked error = &Error{Code: Internal, Outcome: NotSent, Message: "a panic before the command was sent"}

// callEnd describes the end of a call that began at began.
func callEnd(began time.Duration, err error, stats CallStats) CallEnd {
	return CallEnd{Took: core.Now() - began, Err: err, Outcome: OutcomeOf(err), CallStats: stats}
}

// beMonitored lets the client tell monitor of its calls.
func (c *Client[T]) beMonitored(monitor *ClientMonitor) {
	inner := c.start
	if inner == nil {
		inner = c.send
	}
	c.around = inner
	if monitor.Intercept != nil {
		c.around = func(ctx context.Context, call *ClientCall) (Exchange, error) {
			return monitor.Intercept(ctx, call, inner)
		}
	}
	c.monitors = make([]CommandMonitor, c.registry.Len())
	for i := range c.monitors {
		name, _ := c.registry.Describe(i)
		c.monitors[i] = monitor.Command(name)
	}
}

// startMonitored starts a call of a client with a ClientMonitor.
func (c *Client[T]) startMonitored(ctx context.Context, index int, call *Request[T]) (exchange Exchange, err error) {
	options := call.Options
	if options == nil {
		options = &core.NoOptions
	}
	monitor := c.monitors[index]
	intercept, metadata := monitor.Begin(ctx, CallBegin{Described: len(options.Metadata) > 0})
	if intercept != nil {
		return c.around(intercept, c.intercepted(index, call))
	}
	if c.start != nil {
		intercepted := c.intercepted(index, call)
		intercepted.add(metadata)
		return monitored(ctx, monitor, intercepted, c.start)
	}
	began, returned := core.Now(), false
	defer func() { tellFailure(monitor, began, returned, err) }()
	exchange, err = c.life.start(ctx, &request{
		index: index, command: call.Command, stream: call.Stream, inputs: call.Inputs, options: options,
		encoded: metadata, monitor: monitor, began: began,
	})
	returned = true
	return exchange, err
}

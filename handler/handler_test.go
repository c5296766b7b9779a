package handler

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// wire is a Transport of which the test plays the other end: what it writes to in arrives, what the
// connection sends comes out of out.
type wire struct {
	in, out chan core.Frame
	closed  chan struct{}
	once    sync.Once
	cause   error
}

func newWire() *wire {
	return &wire{in: make(chan core.Frame, 100), out: make(chan core.Frame, 100), closed: make(chan struct{})}
}

func (w *wire) Run(handle func(*core.Frame) error) error {
	for {
		select {
		case frame, open := <-w.in:
			if !open {
				return io.EOF
			}
			if err := handle(&frame); err != nil {
				return err
			}
		case <-w.closed:
			return w.cause
		}
	}
}

func (w *wire) Send(_ context.Context, frame core.Frame) (core.Position, error) {
	return 0, w.Post(frame)
}

func (w *wire) Post(frame core.Frame) error {
	frame.Body = append([]byte(nil), frame.Body...)
	w.out <- frame
	return nil
}

func (w *wire) Withdraw(core.Sequence, core.Position) bool { return false }
func (w *wire) Drop(core.Sequence)                         {}
func (w *wire) Attempted() core.Position                   { return 0 }
func (w *wire) Received() core.Position                    { return 0 }
func (w *wire) Flush(context.Context) error                { return nil }
func (w *wire) Wait()                                      {}
func (w *wire) Close(cause error)                          { w.once.Do(func() { w.cause = cause; close(w.closed) }) }
func (w *wire) command(slot uint32, more bool)             { w.in <- command(slot, more) }

func command(slot uint32, more bool) core.Frame {
	return core.Frame{Kind: core.KindCommand, Sequence: core.MakeSequence(slot, 1), More: more}
}

// function is an Executor made of a function.
type function func(ctx context.Context, execution core.Execution) error

func (function) Stream() bool { return false }
func (function) Inputs() bool { return false }

func (f function) Execute(ctx context.Context, execution core.Execution) error {
	return f(ctx, execution)
}

// serving runs a connection whose only command is f, until the test's end.
func serving(t *testing.T, config Config, f function) (*wire, *Connection, *Invoker) {
	t.Helper()
	invoker := newInvoker(t, config)
	w, connection := connect(t, invoker, f)
	return w, connection, invoker
}

// newInvoker returns an Invoker, of which nothing must be left when the test's connections have ended.
func newInvoker(t *testing.T, config Config) *Invoker {
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	invoker := NewInvoker(config)
	t.Cleanup(func() {
		invoker.Stop()
		invoker.Wait()
		if n := invoker.InFlight(); n != 0 {
			t.Errorf("%d commands in flight after the end", n)
		}
		if n := len(invoker.lanes.byKey); n != 0 {
			t.Errorf("%d lanes after the end", n)
		}
	})
	return invoker
}

// connect runs a connection with some commands, until the test's end.
func connect(t *testing.T, invoker *Invoker, executors ...core.Executor) (*wire, *Connection) {
	w := newWire()
	connection := invoker.NewConnection(w, ConnectionConfig{Executors: executors, Names: make([]string, len(executors))})
	ended := make(chan error, 1)
	go func() { ended <- connection.Serve() }()
	t.Cleanup(func() {
		connection.Close()
		<-ended
		if connection.arrivals != (turns{}) {
			t.Error("turns are left after the end")
		}
	})
	return w, connection
}

// Commands that come together run at once, also if one before them is refused or blocks.
func TestCommandsThatComeTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		w, _, invoker := serving(t, Config{}, func(context.Context, core.Execution) error {
			<-release
			return nil
		})
		for slot := range uint32(20) {
			w.command(slot, true)
		}
		refused := command(20, false)
		refused.Command = 9
		w.in <- refused
		if frame := <-w.out; frame.Kind != core.KindError || frame.Sequence.Slot() != 20 {
			t.Fatalf("got %v of %v", frame.Kind, frame.Sequence)
		}
		synctest.Wait()
		if n := invoker.InFlight(); n != 20 {
			t.Errorf("%d commands run, not 20", n)
		}
		close(release)
		for range 20 {
			if frame := <-w.out; frame.Kind != core.KindEnd {
				t.Errorf("got %v", frame.Kind)
			}
		}
	})
}

// Whatever a worker's command does to its goroutine, others take its place.
func TestWorkersOutliveTheirCommands(t *testing.T) {
	w, connection, _ := serving(t, Config{IdleWorkers: 1}, func(context.Context, core.Execution) error { panic("!") })
	for slot := range uint32(50) {
		w.command(slot, false)
		if e := core.DecodeError((<-w.out).Body); e.Code != core.Internal || e.Outcome != core.Refused {
			t.Fatalf("got %v, %v: the panic came before Begin", e, e.Outcome)
		}
	}
	connection.Drain(t.Context())
	if frame := <-w.out; frame.Kind != core.KindGoAway {
		t.Errorf("got %v", frame.Kind)
	}
	w.command(0, false)
	if e := core.DecodeError((<-w.out).Body); e.Code != core.Unavailable || e.Outcome != core.Refused {
		t.Errorf("a command after GOAWAY: %v, %v", e, e.Outcome)
	}
}

// GOAWAY names the end of the last command that was accepted.
func TestGoAwayHasThePosition(t *testing.T) {
	w, connection, _ := serving(t, Config{}, func(context.Context, core.Execution) error { return nil })
	frame := command(1, false)
	frame.End = 1234
	w.in <- frame
	<-w.out
	connection.Drain(t.Context())
	if position := binary.LittleEndian.Uint64((<-w.out).Body); position != 1234 {
		t.Errorf("position %d", position)
	}
}

func TestErrorsAreBounded(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	w, _, _ := serving(t, Config{}, func(_ context.Context, execution core.Execution) error {
		if err := execution.Begin(); err != nil {
			return err
		}
		e := core.Errorf(core.Aborted, "%s", long).WithDetail(long)
		for range 100 {
			e = e.WithDetail(1)
		}
		return e
	})
	w.command(0, false)
	frame := <-w.out
	e := core.DecodeError(frame.Body)
	if len(frame.Body) > 3*maxMessage || e.Code != core.Aborted || e.Outcome != core.Executed || len(e.Message) != maxMessage {
		t.Errorf("%d bytes, %v %v, %d of message", len(frame.Body), e.Code, e.Outcome, len(e.Message))
	}
}

// scopedKey is the key of a value in a context made from a command's.
type scopedKey struct{}

func TestCommandContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := &commandContext{connection: &Connection{invoker: NewInvoker(Config{})}}
		ctx.setDeadline(time.Second)
		if _, ok := ctx.Deadline(); !ok || ctx.Err() != nil {
			t.Error("no deadline, or ended at once")
		}
		child, cancel := context.WithCancel(context.WithValue(ctx, scopedKey{}, "value"))
		defer cancel()
		var order []string
		stop := context.AfterFunc(ctx, func() { order = append(order, "never") })
		context.AfterFunc(ctx, func() { order = append(order, "after") })
		if !stop() || stop() {
			t.Error("stop does not say whether it came in time")
		}
		<-child.Done()
		synctest.Wait()
		if !errors.Is(child.Err(), context.DeadlineExceeded) || ctx.Err() != context.DeadlineExceeded {
			t.Errorf("ended with %v and %v", child.Err(), ctx.Err())
		}
		if len(order) != 1 || order[0] != "after" {
			t.Errorf("AfterFunc: %v", order)
		}
		select {
		case <-ctx.Done():
		default:
			t.Error("Done is not closed")
		}
		late := make(chan struct{})
		context.AfterFunc(ctx, func() { close(late) })
		<-late
		if response, before := ctx.finish(); response != nil || before != context.DeadlineExceeded {
			t.Errorf("finish: %v, %v", response, before)
		}
	})
}

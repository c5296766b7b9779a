package core_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict/core"
)

// conversation is a client and the server that the test plays: a Transport that hands what the
// client sends to the test, and what the test says to the client.
type conversation struct {
	*testing.T
	client *core.Client

	incoming chan core.Frame // to the client
	closed   chan struct{}

	mu        sync.Mutex
	sent      []core.Frame // not yet looked at by the test
	end       core.Position
	attempted core.Position
	hold      bool // what is sent stays in the queue
	withdrawn []core.Position
	cause     error
	broken    error // what Run returns after incoming was closed
	sendError error // what Send and Post return
	received  core.Position
	stopped   time.Duration // how long the next Received takes, as if the process were stopped
}

// talk runs a conversation with a client, in a bubble with a clock of its own.
func talk(t *testing.T, config core.ClientConfig, story func(c *conversation)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := &conversation{T: t, incoming: make(chan core.Frame, 1000), closed: make(chan struct{})}
		c.client = core.NewClient(c, config)
		story(c)
		if err := c.client.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
}

func (c *conversation) Send(ctx context.Context, frame core.Frame) (core.Position, error) {
	if err := c.Post(frame); err != nil {
		return 0, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sent[len(c.sent)-1].End, nil
}

func (c *conversation) Post(frame core.Frame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		return c.cause
	}
	if c.sendError != nil {
		return c.sendError
	}
	frame.Body = append([]byte(nil), frame.Body...)
	frame.Metadata = append([]byte(nil), frame.Metadata...)
	frame.Buffer.Release()
	frame.End, c.end = c.end, c.end+100 // End: where it begins; every frame has 100 bytes
	if !c.hold {
		c.attempted = c.end
	}
	c.sent = append(c.sent, frame)
	return nil
}

func (c *conversation) Drop(core.Sequence) {}

func (c *conversation) Withdraw(_ core.Sequence, position core.Position) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if position < c.attempted {
		return false
	}
	c.withdrawn = append(c.withdrawn, position)
	return true
}

func (c *conversation) Received() core.Position {
	c.mu.Lock()
	defer c.mu.Unlock()
	if stopped := c.stopped; stopped > 0 {
		c.stopped = 0
		c.mu.Unlock()
		<-time.After(stopped)
		c.mu.Lock()
	}
	return c.received
}

func (c *conversation) Attempted() core.Position {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.attempted
}

func (c *conversation) Run(handle func(*core.Frame) error) error {
	for {
		select {
		case frame, ok := <-c.incoming:
			if !ok {
				return c.broken
			}
			if err := handle(&frame); err != nil {
				return err
			}
		case <-c.closed:
			return c.cause
		}
	}
}

func (c *conversation) Flush(context.Context) error { return nil }

func (c *conversation) Close(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause == nil {
		c.cause = cause
		close(c.closed)
	}
}

func (c *conversation) Wait() {}

// text encodes commands that are strings.
type text struct{}

func (text) AppendCommand(dst []byte, command any) ([]byte, error) {
	if s, ok := command.(string); ok {
		return append(dst, s...), nil
	}
	return dst, errors.New("not a string")
}

func unary(command any) *core.Outgoing {
	return &core.Outgoing{Bound: &core.Bound{Name: "Say", Number: 3, Encoder: text{}, Result: "coder"}, Command: command}
}

func stream(command any) *core.Outgoing {
	out := unary(command)
	out.Stream = true
	return out
}

// start sends a command.
func (c *conversation) start(ctx context.Context, out *core.Outgoing) core.Exchange {
	c.Helper()
	exchange, err := c.client.Start(ctx, out)
	if err != nil {
		c.Fatalf("Start: %v", err)
	}
	return exchange
}

// says is what the server says.
func (c *conversation) says(frames ...core.Frame) {
	for _, frame := range frames {
		c.incoming <- frame
	}
	synctest.Wait()
}

// breaks ends the connection from the server's side.
func (c *conversation) breaks(err error) {
	c.broken = err
	close(c.incoming)
	synctest.Wait()
}

// wantSent returns the next frame that the client has sent.
func (c *conversation) wantSent(why string, kind core.Kind) core.Frame {
	c.Helper()
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.sent) == 0 {
		c.Fatalf("%s: the client has sent nothing, want %v", why, kind)
	}
	frame := c.sent[0]
	c.sent = c.sent[1:]
	if frame.Kind != kind {
		c.Fatalf("%s: the client has sent %v, want %v", why, frame.Kind, kind)
	}
	return frame
}

// wantSilence checks that the client has sent nothing more.
func (c *conversation) wantSilence(why string) {
	c.Helper()
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.sent) > 0 {
		c.Errorf("%s: the client has sent %v, want nothing", why, c.sent[0].Kind)
		c.sent = nil
	}
}

// wantResult takes the next result of a call.
func (c *conversation) wantResult(exchange core.Exchange, body string) {
	c.Helper()
	message, err := exchange.Receive()
	if err != nil || string(message.Body) != body || message.Coder != "coder" {
		c.Errorf("Receive: %q, coder %v, and %v; want %q", message.Body, message.Coder, err, body)
	}
}

// wantError checks with what a call has ended, now and if asked again.
func (c *conversation) wantError(exchange core.Exchange, code core.Code, outcome core.Outcome, words string) *core.Error {
	c.Helper()
	_, err := exchange.Receive()
	e, ok := errors.AsType[*core.Error](err)
	if !ok || e.Code != code || e.Outcome != outcome || !strings.Contains(e.Error(), words) || e.Command != "Say" {
		c.Fatalf("Receive: %v; want Say, %v, %v, with %q", err, code, outcome, words)
	}
	if _, again := exchange.Receive(); again != err {
		c.Errorf("a second Receive: %v, want the same", again)
	}
	return e
}

// wantEnded checks that the connection has ended, and how.
func (c *conversation) wantEnded(words string) *core.Error {
	c.Helper()
	synctest.Wait()
	select {
	case <-c.client.Done():
	default:
		c.Fatalf("the connection goes on, want it to end with %q", words)
	}
	e, ok := errors.AsType[*core.Error](c.client.Err())
	if !ok || !strings.Contains(e.Error(), words) {
		c.Fatalf("the connection ended with %v, want %q", c.client.Err(), words)
	}
	return e
}

func (c *conversation) wantInFlight(why string, n int) {
	c.Helper()
	synctest.Wait()
	if got := c.client.InFlight(); got != n {
		c.Errorf("%s: %d calls are in flight, want %d", why, got, n)
	}
}

func result(sequence core.Sequence, body string) core.Frame {
	return core.Frame{Kind: core.KindResult, Sequence: sequence, Body: []byte(body)}
}

func lastResult(sequence core.Sequence, body string) core.Frame {
	frame := result(sequence, body)
	frame.Flags = core.FlagLast
	return frame
}

func end(sequence core.Sequence) core.Frame {
	return core.Frame{Kind: core.KindEnd, Sequence: sequence}
}

func failure(sequence core.Sequence, e *core.Error) core.Frame {
	return core.Frame{Kind: core.KindError, Sequence: sequence, Body: core.AppendError(nil, e)}
}

func goAway(position core.Position, e *core.Error) core.Frame {
	body := binary.LittleEndian.AppendUint64(nil, uint64(position))
	return core.Frame{Kind: core.KindGoAway, Body: core.AppendError(body, e)}
}

func TestAUnaryCall(t *testing.T) {
	talk(t, core.ClientConfig{}, func(c *conversation) {
		out := unary("hello")
		out.Options = &core.RequestOptions{Metadata: core.Metadata{"tenant": {"seven"}}}
		ctx, cancel := context.WithTimeout(c.Context(), time.Minute)
		defer cancel()
		exchange := c.start(ctx, out)
		command := c.wantSent("the command", core.KindCommand)
		if command.Flags != core.FlagTimeout|core.FlagMetadata || command.Timeout != time.Minute || command.Command != 3 || string(command.Body) != "hello" {
			t.Errorf("the COMMAND is %+v", command)
		}
		if m, err := core.DecodeMetadata(command.Metadata); err != nil || m.Get("tenant") != "seven" {
			t.Errorf("the metadata is %v, %v", m, err)
		}
		answer := lastResult(command.Sequence, "good day")
		answer.Flags |= core.FlagMetadata
		answer.Metadata, _ = core.AppendMetadata(nil, core.Metadata{"took": {"long"}})
		c.says(answer)
		c.wantResult(exchange, "good day")
		if took := exchange.Metadata().Get("took"); took != "long" {
			t.Errorf("the response's metadata has took=%q", took)
		}
		if _, err := exchange.Receive(); err != io.EOF {
			t.Errorf("after the result: %v, want io.EOF", err)
		}
		exchange.Close()
		c.wantInFlight("after the end", 0)
		c.wantSilence("a call that has ended needs no CANCEL")
	})
}

func TestAServersErrorIsTheCallers(t *testing.T) {
	talk(t, core.ClientConfig{}, func(c *conversation) {
		exchange := c.start(c.Context(), unary("x"))
		command := c.wantSent("the command", core.KindCommand)
		c.says(failure(command.Sequence, &core.Error{
			Code: core.NotFound, Outcome: core.Executed, Reason: "no-such-thing", Message: "it is not there", RetryAfter: 2 * time.Second,
		}))
		e := c.wantError(exchange, core.NotFound, core.Executed, "it is not there")
		if !e.Remote || e.RetryAfter != 2*time.Second || !errors.Is(e, &core.Error{Code: core.NotFound, Reason: "no-such-thing"}) {
			t.Errorf("got %+v", e)
		}
		exchange.Close()
		c.wantInFlight("after the error", 0)
		c.wantSilence("a call that has ended needs no CANCEL")
	})
}

func TestACommandThatCanNotBeEncodedIsNotSent(t *testing.T) {
	talk(t, core.ClientConfig{}, func(c *conversation) {
		_, err := c.client.Start(c.Context(), unary(17))
		if !errors.Is(err, core.InvalidArgument) || core.OutcomeOf(err) != core.NotSent || !strings.Contains(err.Error(), "not a string") {
			t.Errorf("got %v", err)
		}
		tooMuch := unary("x")
		tooMuch.Options = &core.RequestOptions{Metadata: core.Metadata{"big": {strings.Repeat("x", core.MaxMetadataBytes)}}}
		_, err = c.client.Start(c.Context(), tooMuch)
		if !errors.Is(err, core.ResourceExhausted) || core.OutcomeOf(err) != core.NotSent {
			t.Errorf("got %v", err)
		}
		c.wantInFlight("nothing was sent", 0)
		c.wantSilence("a command between two good ones")
		c.start(c.Context(), unary("good")).Close()
	})
}

func TestAStaleResultForAReusedSlotIsIgnored(t *testing.T) {
	talk(t, core.ClientConfig{MaxInFlight: 1}, func(c *conversation) {
		ctx, cancel := context.WithCancel(c.Context())
		first := c.start(ctx, unary("first"))
		before := c.wantSent("the first command", core.KindCommand).Sequence
		cancel()
		c.wantError(first, core.Canceled, core.OutcomeUnknown, "context canceled")
		first.Close()
		c.wantSent("the caller gave up", core.KindCancel)
		c.says(failure(before, &core.Error{Code: core.Canceled}))

		second := c.start(c.Context(), unary("second"))
		after := c.wantSent("the second command", core.KindCommand).Sequence
		if after.Slot() != before.Slot() || after.Generation() == before.Generation() {
			t.Fatalf("the sequences are %v and %v, want the same slot in another generation", before, after)
		}
		c.says(lastResult(before, "stale"), end(before), failure(before, &core.Error{Code: core.Internal}))
		c.wantInFlight("what is late ends nothing", 1)
		c.says(lastResult(after, "fresh"))
		c.wantResult(second, "fresh")
		second.Close()
	})
}

func TestFramesForCallsThatNeverWereAreIgnored(t *testing.T) {
	talk(t, core.ClientConfig{}, func(c *conversation) {
		c.says(lastResult(core.MakeSequence(0, 1), "x"), end(core.MakeSequence(core.MaxSlots-1, 1<<39)), result(7, "y"))
		exchange := c.start(c.Context(), unary("x"))
		c.says(lastResult(c.wantSent("the command", core.KindCommand).Sequence, "z"))
		c.wantResult(exchange, "z")
		exchange.Close()
	})
}

func TestSlotsAreReused(t *testing.T) {
	talk(t, core.ClientConfig{}, func(c *conversation) {
		for i := range 1000 {
			exchange := c.start(c.Context(), unary(fmt.Sprint(i)))
			command := c.wantSent("a command", core.KindCommand)
			if want := core.MakeSequence(0, uint64(i+1)); command.Sequence != want {
				t.Fatalf("call %d has the sequence %v, want %v", i, command.Sequence, want)
			}
			c.says(lastResult(command.Sequence, string(command.Body)))
			c.wantResult(exchange, fmt.Sprint(i))
			exchange.Close()
		}
	})
}

func TestStartWaitsForAPlaceInOrder(t *testing.T) {
	talk(t, core.ClientConfig{MaxInFlight: 2}, func(c *conversation) {
		c.start(c.Context(), unary("a"))
		c.start(c.Context(), unary("b"))
		a := c.wantSent("a", core.KindCommand).Sequence
		b := c.wantSent("b", core.KindCommand).Sequence

		failed := make(chan error, 3)
		for _, name := range []string{"c", "d", "e"} {
			go func() {
				if _, err := c.client.Start(c.Context(), unary(name)); err != nil {
					failed <- err
				}
			}()
			synctest.Wait() // so that they stand in this order
		}
		ctx, cancel := context.WithTimeout(c.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		_, err := c.client.Start(ctx, unary("hurried"))
		if !errors.Is(err, context.DeadlineExceeded) || core.OutcomeOf(err) != core.NotSent || time.Since(begin) != time.Second {
			t.Errorf("Start: %v after %v, want the deadline after 1s and NotSent", err, time.Since(begin))
		}
		c.wantSilence("there is no place")

		c.says(end(b))
		if body := string(c.wantSent("a place is free", core.KindCommand).Body); body != "c" {
			t.Errorf("%s was sent first, want c", body)
		}
		c.wantSilence("there is one place only")
		c.says(end(a))
		if body := string(c.wantSent("a place is free", core.KindCommand).Body); body != "d" {
			t.Errorf("%s was sent second, want d", body)
		}
		c.client.Close()
		if err := <-failed; !errors.Is(err, core.ErrClosed) || core.OutcomeOf(err) != core.NotSent {
			t.Errorf("Start of e, which waited still: %v, want ErrClosed and NotSent", err)
		}
	})
}

func TestAStartThatWaitsEndsWithTheConnection(t *testing.T) {
	talk(t, core.ClientConfig{MaxInFlight: 1}, func(c *conversation) {
		c.start(c.Context(), unary("a"))
		failed := make(chan error)
		go func() {
			_, err := c.client.Start(c.Context(), unary("b"))
			failed <- err
		}()
		synctest.Wait()
		c.breaks(io.ErrUnexpectedEOF)
		if err := <-failed; !errors.Is(err, core.Unavailable) || core.OutcomeOf(err) != core.NotSent {
			t.Errorf("got %v", err)
		}
	})
}

// TestAPlaceGrantedToSomeoneWhoLeavesIsPassedOn: no place is lost when a Start is given one at the
// moment at which its context ends.
func TestAPlaceGrantedToSomeoneWhoLeavesIsPassedOn(t *testing.T) {
	talk(t, core.ClientConfig{MaxInFlight: 1}, func(c *conversation) {
		for i := range 200 {
			c.start(c.Context(), unary("a"))
			a := c.wantSent("a", core.KindCommand).Sequence
			ctx, cancel := context.WithCancel(c.Context())
			waited := make(chan core.Exchange)
			go func() {
				exchange, _ := c.client.Start(ctx, unary("b"))
				waited <- exchange
			}()
			synctest.Wait()
			go cancel()
			c.incoming <- end(a)
			if exchange := <-waited; exchange != nil { // it had the place and its context has ended
				exchange.Close()
				b := c.wantSent("b", core.KindCommand).Sequence
				c.wantSent("b was given up", core.KindCancel)
				c.says(end(b))
			}
			c.wantInFlight(fmt.Sprint("round ", i), 0)
		}
	})
}

func TestACanceledContextStartsNothing(t *testing.T) {
	talk(t, core.ClientConfig{}, func(c *conversation) {
		because := errors.New("because")
		ctx, cancel := context.WithCancelCause(c.Context())
		cancel(because)
		_, err := c.client.Start(ctx, unary("x"))
		if !errors.Is(err, context.Canceled) || !errors.Is(err, because) || core.OutcomeOf(err) != core.NotSent {
			t.Errorf("got %v, want Canceled, the cause, and NotSent", err)
		}
		c.wantSilence("nothing to say")
	})
}

func TestWhatIsStillQueuedIsWithdrawn(t *testing.T) {
	talk(t, core.ClientConfig{}, func(c *conversation) {
		c.hold = true
		ctx, cancel := context.WithCancel(c.Context())
		exchange := c.start(ctx, unary("x"))
		position := c.wantSent("the command", core.KindCommand).End
		cancel()
		c.wantError(exchange, core.Canceled, core.NotSent, "")
		exchange.Close()
		c.wantSilence("the server has not heard of it, so there is nothing to cancel")
		c.wantInFlight("withdrawn", 0)
		if len(c.withdrawn) != 1 || c.withdrawn[0] != position {
			t.Errorf("withdrawn: %v, want the frame at %d", c.withdrawn, position)
		}
	})
}

func TestResultsAfterACancelAreDroppedAndTheSlotStaysTaken(t *testing.T) {
	talk(t, core.ClientConfig{Window: 1000}, func(c *conversation) {
		exchange := c.start(c.Context(), stream("count"))
		sequence := c.wantSent("the command", core.KindCommand).Sequence
		c.says(result(sequence, "1"))
		c.wantResult(exchange, "1")
		exchange.Close()
		if canceled := c.wantSent("the caller takes no more", core.KindCancel); canceled.Sequence != sequence {
			t.Errorf("the CANCEL is for %v, want %v", canceled.Sequence, sequence)
		}
		c.wantInFlight("the server still works on it", 1)
		for range 100 { // more than the window: it is not counted any more
			c.says(result(sequence, strings.Repeat("x", 100)))
		}
		c.wantInFlight("the server still works on it", 1)
		c.wantSilence("no credit for what nobody takes")
		c.says(end(sequence))
		c.wantInFlight("the server has answered", 0)
	})
}

func TestADeadlineEndsACallAndTheServerHearsOfIt(t *testing.T) {
	talk(t, core.ClientConfig{}, func(c *conversation) {
		ctx, cancel := context.WithTimeout(c.Context(), time.Second)
		defer cancel()
		exchange := c.start(ctx, unary("slow"))
		slow := c.wantSent("the command", core.KindCommand)
		begin := time.Now()
		e := c.wantError(exchange, core.DeadlineExceeded, core.OutcomeUnknown, "deadline exceeded")
		if time.Since(begin) != time.Second || !errors.Is(e, context.DeadlineExceeded) {
			t.Errorf("got %v after %v", e, time.Since(begin))
		}
		exchange.Close()
		c.wantSent("the deadline", core.KindCancel)

		next := c.start(c.Context(), unary("next"))
		command := c.wantSent("the next", core.KindCommand)
		if command.Flags&core.FlagTimeout != 0 {
			t.Error("the next command has a timeout, which was another's")
		}
		c.says(end(slow.Sequence), lastResult(command.Sequence, "done"))
		c.wantResult(next, "done")
		next.Close()
	})
}

func TestAResultThatIsThereIsWorthMoreThanALateDeadline(t *testing.T) {
	talk(t, core.ClientConfig{}, func(c *conversation) {
		ctx, cancel := context.WithTimeout(c.Context(), time.Second)
		defer cancel()
		exchange := c.start(ctx, unary("x"))
		c.says(lastResult(c.wantSent("the command", core.KindCommand).Sequence, "in time"))
		<-ctx.Done()
		c.wantResult(exchange, "in time")
		exchange.Close()
	})
}

func TestCancelFromAnotherGoroutine(t *testing.T) {
	talk(t, core.ClientConfig{}, func(c *conversation) {
		because := fmt.Errorf("the user left: %w", context.Canceled)
		exchange := c.start(c.Context(), unary("x"))
		sequence := c.wantSent("the command", core.KindCommand).Sequence
		go func() {
			synctest.Wait() // Receive waits
			exchange.Cancel(because)
		}()
		e := c.wantError(exchange, core.Canceled, core.OutcomeUnknown, "the user left")
		if !errors.Is(e, because) {
			t.Errorf("got %v, want the cause", e)
		}
		if canceled := c.wantSent("canceled", core.KindCancel); canceled.Sequence != sequence {
			t.Errorf("the CANCEL is for %v, want %v", canceled.Sequence, sequence)
		}
		exchange.Close()
		c.says(end(sequence))
		c.wantInFlight("the server has answered", 0)
	})
}

// Most results go to their callers on a way of their own: small ones, without metadata. All end their calls alike.
func TestAnAnswerEndsItsCall(t *testing.T) {
	withMetadata := func(answer core.Frame) core.Frame {
		answer.Flags |= core.FlagMetadata
		answer.Metadata, _ = core.AppendMetadata(nil, core.Metadata{"took": {"long"}})
		return answer
	}
	for name, answer := range map[string]func(core.Sequence) core.Frame{
		"small":         func(sequence core.Sequence) core.Frame { return lastResult(sequence, "x") },
		"empty":         func(sequence core.Sequence) core.Frame { return lastResult(sequence, "") },
		"with metadata": func(sequence core.Sequence) core.Frame { return withMetadata(lastResult(sequence, "x")) },
		"large":         func(sequence core.Sequence) core.Frame { return lastResult(sequence, strings.Repeat("x", 20_000)) },
	} {
		t.Run(name, func(t *testing.T) {
			talk(t, core.ClientConfig{}, func(c *conversation) {
				for range 3 { // the later ones in the place of the first
					exchange := c.start(c.Context(), unary("x"))
					last := answer(c.wantSent("the command", core.KindCommand).Sequence)
					c.says(last)
					c.wantInFlight("it has come", 0)
					exchange.Cancel(context.Canceled) // too late
					c.wantSilence("a call that has ended needs no CANCEL")
					c.wantResult(exchange, string(last.Body))
					for range 2 {
						if _, err := exchange.Receive(); err != io.EOF {
							t.Errorf("after the result: %v, want io.EOF", err)
						}
					}
					exchange.Close()

					ctx, cancel := context.WithCancel(c.Context())
					left := c.start(ctx, unary("x"))
					last = answer(c.wantSent("the command", core.KindCommand).Sequence)
					cancel()
					c.wantError(left, core.Canceled, core.OutcomeUnknown, "canceled")
					c.wantSent("the caller has left", core.KindCancel)
					c.says(last)
					c.wantInFlight("it has come", 0)
					left.Close()

					exchange = c.start(c.Context(), unary("x"))
					c.says(answer(c.wantSent("the command", core.KindCommand).Sequence))
					c.wantInFlight("it has come", 0)
					exchange.Close() // without having looked
					c.wantSilence("a call that has ended needs no CANCEL")
				}
			})
		})
	}
}

// TestGoAwaySaysWhichCommandsWereRefused: those that begin before the position were accepted and
// run on, those from it on never will.
func TestGoAwaySaysWhichCommandsWereRefused(t *testing.T) {
	talk(t, core.ClientConfig{}, func(c *conversation) {
		var exchanges [4]core.Exchange
		var commands [4]core.Frame
		for i := range exchanges {
			exchanges[i] = c.start(c.Context(), unary(fmt.Sprint(i)))
			commands[i] = c.wantSent("a command", core.KindCommand)
		}
		c.says(goAway(commands[2].End, &core.Error{Code: core.Unavailable, Message: "closing time", RetryAfter: time.Second}))
		for _, refused := range exchanges[2:] {
			e := c.wantError(refused, core.Unavailable, core.Refused, "closing time")
			if e.RetryAfter != time.Second || !e.Remote {
				t.Errorf("got %+v", e)
			}
			refused.Close()
		}
		_, err := c.client.Start(c.Context(), unary("late"))
		if !errors.Is(err, core.Unavailable) || core.OutcomeOf(err) != core.NotSent || !strings.Contains(err.Error(), "closing time") {
			t.Errorf("Start: %v", err)
		}
		c.wantSilence("nothing more is sent")

		c.says(lastResult(commands[0].Sequence, "zero"))
		c.wantResult(exchanges[0], "zero")
		exchanges[0].Close()
		c.breaks(io.EOF) // before the end of the other
		e := c.wantError(exchanges[1], core.Unavailable, core.OutcomeUnknown, "closing time")
		if e.RetryAfter != time.Second {
			t.Errorf("got %+v", e)
		}
		exchanges[1].Close()
		c.wantEnded("the server went away: closing time")
	})
}

func TestAfterGoAwayTheLastAnswerEndsTheConnection(t *testing.T) {
	talk(t, core.ClientConfig{}, func(c *conversation) {
		exchange := c.start(c.Context(), unary("x"))
		command := c.wantSent("a command", core.KindCommand)
		c.says(goAway(command.End+100, &core.Error{Code: core.Unavailable, Message: "closing time"}))
		select {
		case <-c.client.Done():
			t.Fatal("the connection has ended with a call in flight")
		default:
		}
		c.says(lastResult(command.Sequence, "last"))
		c.wantEnded("closing time")
		c.wantResult(exchange, "last")
		exchange.Close()
	})
}

func TestGoAwayEndsAnIdleConnection(t *testing.T) {
	talk(t, core.ClientConfig{}, func(c *conversation) {
		c.says(goAway(0, &core.Error{Code: core.Unavailable, Message: "closing time", RetryAfter: time.Second}))
		if e := c.wantEnded("the server went away: closing time"); e.RetryAfter != time.Second {
			t.Errorf("got %+v", e)
		}
	})
}

func TestALostConnectionTellsWhatWasSent(t *testing.T) {
	for name, broken := range map[string]error{
		"the server closed it": io.EOF, "unexpected EOF": io.ErrUnexpectedEOF, "reset": errors.New("connection reset"),
	} {
		t.Run(name, func(t *testing.T) {
			talk(t, core.ClientConfig{}, func(c *conversation) {
				sent := c.start(c.Context(), unary("sent"))
				c.mu.Lock()
				c.hold = true
				c.mu.Unlock()
				queued := c.start(c.Context(), unary("queued"))
				c.breaks(broken)
				e := c.wantError(sent, core.Unavailable, core.OutcomeUnknown, name)
				if errors.Is(e, core.ErrClosed) || errors.Is(e, io.EOF) {
					t.Errorf("got %v: neither did this side close the connection, nor is it the end of a stream", e)
				}
				c.wantError(queued, core.Unavailable, core.NotSent, name)
				sent.Close()
				queued.Close()
				_, err := c.client.Start(c.Context(), unary("late"))
				if !errors.Is(err, core.Unavailable) || core.OutcomeOf(err) != core.NotSent {
					t.Errorf("Start: %v", err)
				}
				c.wantEnded(name)
			})
		})
	}
}

func TestCloseEndsAllCallsAtOnce(t *testing.T) {
	talk(t, core.ClientConfig{}, func(c *conversation) {
		const calls = 1000
		outcomes := make(chan error, calls)
		for i := range calls {
			c.mu.Lock()
			c.hold = i >= calls/2
			c.mu.Unlock()
			exchange := c.start(c.Context(), unary("x"))
			go func() {
				_, err := exchange.Receive()
				exchange.Close()
				outcomes <- err
			}()
		}
		begin := time.Now()
		c.client.Close()
		count := map[core.Outcome]int{}
		for range calls {
			err := <-outcomes
			if !errors.Is(err, core.ErrClosed) || !errors.Is(err, net.ErrClosed) || !errors.Is(err, core.Unavailable) {
				t.Fatalf("got %v, want ErrClosed", err)
			}
			count[core.OutcomeOf(err)]++
		}
		if time.Since(begin) != 0 || count[core.NotSent] != calls/2 || count[core.OutcomeUnknown] != calls/2 {
			t.Errorf("after %v: %v, want half NotSent, half unknown", time.Since(begin), count)
		}
	})
}

// TestStartsDuringTheEnd is for the race between a Start that fails to send and the reader that ends
// the client.
func TestStartsDuringTheEnd(t *testing.T) {
	for range 50 {
		talk(t, core.ClientConfig{}, func(c *conversation) {
			var group sync.WaitGroup
			for range 8 {
				group.Go(func() {
					for {
						exchange, err := c.client.Start(c.Context(), unary("x"))
						if err != nil {
							if core.OutcomeOf(err) != core.NotSent {
								t.Errorf("Start: %v", err)
							}
							return
						}
						exchange.Close()
					}
				})
			}
			c.client.Close()
			group.Wait()
		})
	}
}

func TestSendsOwnLimitIsTheCallers(t *testing.T) {
	talk(t, core.ClientConfig{MaxInFlight: 1}, func(c *conversation) {
		c.sendError = core.Errorf(core.ResourceExhausted, "too big")
		for range 3 { // the slot is free again each time
			_, err := c.client.Start(c.Context(), unary("x"))
			e, ok := errors.AsType[*core.Error](err)
			if !ok || e.Code != core.ResourceExhausted || e.Outcome != core.NotSent || e.Command != "Say" {
				t.Errorf("Start: %v", err)
			}
		}
		c.sendError = nil
		c.start(c.Context(), unary("small"))
	})
}

func TestAStreamsResultsComeInOrder(t *testing.T) {
	talk(t, core.ClientConfig{}, func(c *conversation) {
		exchange := c.start(c.Context(), stream("count"))
		command := c.wantSent("the command", core.KindCommand)
		if command.Flags != core.FlagStream {
			t.Errorf("the flags are %x", command.Flags)
		}
		for i := range 10 {
			c.says(result(command.Sequence, fmt.Sprint(i)))
		}
		buffer := core.GetBuffer(5)
		buffer.Bytes = append(buffer.Bytes, "large"...)
		c.says(core.Frame{Kind: core.KindResult, Sequence: command.Sequence, Body: buffer.Bytes, Buffer: buffer}, end(command.Sequence))
		for i := range 10 {
			c.wantResult(exchange, fmt.Sprint(i))
		}
		c.wantResult(exchange, "large")
		if _, err := exchange.Receive(); err != io.EOF {
			t.Errorf("at the end: %v, want io.EOF", err)
		}
		exchange.Close()
	})
}

func TestAnErrorComesAfterTheResultsBeforeIt(t *testing.T) {
	talk(t, core.ClientConfig{}, func(c *conversation) {
		exchange := c.start(c.Context(), stream("count"))
		sequence := c.wantSent("the command", core.KindCommand).Sequence
		c.says(result(sequence, "1"), failure(sequence, &core.Error{Code: core.DataLoss, Outcome: core.Executed, Message: "oh"}))
		c.wantResult(exchange, "1")
		c.wantError(exchange, core.DataLoss, core.Executed, "oh")
		exchange.Close()
	})
}

func TestCreditIsSentAtHalfAWindow(t *testing.T) {
	const window, cost = 1000, 100 // of a result
	talk(t, core.ClientConfig{Window: window}, func(c *conversation) {
		body := strings.Repeat("x", cost-core.ResultOverhead)
		exchange := c.start(c.Context(), stream("count"))
		sequence := c.wantSent("the command", core.KindCommand).Sequence
		for range window / cost {
			c.says(result(sequence, body))
		}
		c.wantSilence("nothing is taken yet")
		for round := range 4 {
			for range 4 {
				c.wantResult(exchange, body)
			}
			c.wantSilence("less than half a window is taken")
			c.wantResult(exchange, body)
			credit := c.wantSent("half a window is taken", core.KindCredit)
			if credit.Sequence != sequence || len(credit.Body) != 4 || binary.LittleEndian.Uint32(credit.Body) != window/2 {
				t.Fatalf("round %d: the CREDIT is %+v, want %d for %v", round, credit, window/2, sequence)
			}
			for range 5 {
				c.says(result(sequence, body))
			}
		}
		exchange.Close()
	})
}

func TestAServerThatOverrunsTheWindowIsCutOff(t *testing.T) {
	const window, cost = 1000, 100
	talk(t, core.ClientConfig{Window: window}, func(c *conversation) {
		body := strings.Repeat("x", cost-core.ResultOverhead)
		exchange := c.start(c.Context(), stream("count"))
		other := c.start(c.Context(), unary("other"))
		sequence := c.wantSent("the command", core.KindCommand).Sequence
		for range window/cost - 1 {
			c.says(result(sequence, body))
		}
		c.says(result(sequence, strings.Repeat("y", 100_000))) // one may overdraw, whatever its size
		select {
		case <-c.client.Done():
			t.Fatal("the connection has ended though one result may overdraw")
		default:
		}
		c.says(result(sequence, ""))
		c.wantEnded("protocol error: call " + sequence.String() + " got results beyond its window")
		c.wantError(other, core.Unavailable, core.OutcomeUnknown, "beyond its window")
		exchange.Close()
		other.Close()
	})
}

func TestEmptyResultsCostToo(t *testing.T) {
	talk(t, core.ClientConfig{Window: 10 * core.ResultOverhead}, func(c *conversation) {
		c.start(c.Context(), stream("count"))
		sequence := c.wantSent("the command", core.KindCommand).Sequence
		for range 10 {
			c.says(result(sequence, ""))
		}
		if c.client.Err() != nil {
			t.Fatal(c.client.Err())
		}
		c.says(result(sequence, ""))
		c.wantEnded("beyond its window")
	})
}

func TestAUnaryCallThatGetsTwoResultsEndsTheConnection(t *testing.T) {
	talk(t, core.ClientConfig{}, func(c *conversation) {
		c.start(c.Context(), unary("x"))
		c.says(result(c.wantSent("the command", core.KindCommand).Sequence, "not the last"))
		c.wantEnded("protocol error")
	})
}

// A violation may come in the frame that frees the call's slot, and with frames that free those of others:
// all callers hear of it.
func TestAViolationInALastFrameReachesAllCallers(t *testing.T) {
	talk(t, core.ClientConfig{Window: 1}, func(c *conversation) {
		exchange := c.start(c.Context(), stream("count"))
		sequence := c.wantSent("the command", core.KindCommand).Sequence
		other := c.start(c.Context(), unary("other"))
		first, second := result(sequence, "1"), lastResult(sequence, "2")
		first.More, second.More = true, true
		c.says(first, second, lastResult(c.wantSent("the command", core.KindCommand).Sequence, "well"))
		c.wantEnded("beyond its window")
		c.wantResult(exchange, "1")
		c.wantError(exchange, core.Unavailable, core.OutcomeUnknown, "beyond its window")
		c.wantResult(other, "well")
		exchange.Close()
		other.Close()
	})
}

func TestAnOversizeResultFailsItsCallOnly(t *testing.T) {
	talk(t, core.ClientConfig{}, func(c *conversation) {
		one := c.start(c.Context(), unary("one"))
		many := c.start(c.Context(), stream("many"))
		first := c.wantSent("one", core.KindCommand).Sequence
		second := c.wantSent("many", core.KindCommand).Sequence
		big := lastResult(first, "")
		big.Oversize = true
		c.says(big)
		c.wantError(one, core.ResourceExhausted, core.Executed, "larger than this client accepts")
		one.Close()

		big = result(second, "")
		big.Oversize = true
		c.says(result(second, "before"), big, result(second, "after"), end(second))
		c.wantResult(many, "before")
		c.wantError(many, core.ResourceExhausted, core.Executed, "larger than this client accepts")
		many.Close()
		c.wantInFlight("both have ended", 0)
		if c.client.Err() != nil {
			t.Errorf("the connection has ended: %v", c.client.Err())
		}
	})
}

func TestAPingIsAnswered(t *testing.T) {
	talk(t, core.ClientConfig{}, func(c *conversation) {
		for _, body := range []string{"", "are you there?", strings.Repeat("x", core.MaxPingBody)} {
			c.says(core.Frame{Kind: core.KindPing, Body: []byte(body)}, core.Frame{Kind: core.KindPong})
			if pong := c.wantSent("a PING", core.KindPong); string(pong.Body) != body {
				t.Errorf("the PONG says %q, want %q", pong.Body, body)
			}
		}
	})
}

func TestFramesThatEndTheConnection(t *testing.T) {
	for name, frame := range map[string]core.Frame{
		"PING frame too long":      {Kind: core.KindPing, Body: make([]byte, core.MaxPingBody+1)},
		"GOAWAY frame too short":   {Kind: core.KindGoAway, Body: make([]byte, 7)},
		"unexpected COMMAND frame": {Kind: core.KindCommand},
		"unexpected CANCEL frame":  {Kind: core.KindCancel},
		"CREDIT out of range for call 0.1": {
			Kind: core.KindCredit, Sequence: core.MakeSequence(0, 1), Body: core.CreditBody(1), // it has no inputs
		},
		"unexpected WELCOME frame": {Kind: core.KindWelcome},
		"unexpected INPUT frame":   {Kind: core.KindInput},
		"unexpected ACK frame":     {Kind: core.KindAck},
		"unexpected kind(0x77)":    {Kind: 0x77},
	} {
		t.Run(name, func(t *testing.T) {
			talk(t, core.ClientConfig{}, func(c *conversation) {
				exchange := c.start(c.Context(), unary("x"))
				c.says(frame)
				c.wantEnded("protocol error: " + name)
				c.wantError(exchange, core.Unavailable, core.OutcomeUnknown, name)
				exchange.Close()
			})
		})
	}
}

func TestAMalformedErrorStillEndsItsCall(t *testing.T) {
	talk(t, core.ClientConfig{}, func(c *conversation) {
		exchange := c.start(c.Context(), unary("x"))
		sequence := c.wantSent("the command", core.KindCommand).Sequence
		c.says(core.Frame{Kind: core.KindError, Sequence: sequence, Body: []byte{5}})
		c.wantError(exchange, core.Internal, core.OutcomeUnknown, "the peer's error is malformed")
		exchange.Close()
	})
}

func TestShutdownWaitsForTheCallsInFlight(t *testing.T) {
	talk(t, core.ClientConfig{}, func(c *conversation) {
		exchange := c.start(c.Context(), unary("x"))
		sequence := c.wantSent("the command", core.KindCommand).Sequence
		ended := make(chan error)
		go func() { ended <- c.client.Shutdown(c.Context()) }()
		synctest.Wait()
		if _, err := c.client.Start(c.Context(), unary("late")); !errors.Is(err, core.ErrClosed) || core.OutcomeOf(err) != core.NotSent {
			t.Errorf("Start: %v, want ErrClosed and NotSent", err)
		}
		select {
		case err := <-ended:
			t.Fatalf("Shutdown returned %v with a call in flight", err)
		default:
		}
		c.says(lastResult(sequence, "done"))
		if err := <-ended; err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		c.wantResult(exchange, "done")
		exchange.Close()
		if err := c.client.Shutdown(c.Context()); err != nil {
			t.Errorf("a second Shutdown: %v", err)
		}
	})
}

func TestShutdownGivesUpWithItsContext(t *testing.T) {
	talk(t, core.ClientConfig{}, func(c *conversation) {
		exchange := c.start(c.Context(), unary("x"))
		ctx, cancel := context.WithTimeout(c.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		if err := c.client.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != time.Second {
			t.Errorf("Shutdown: %v after %v, want the deadline after 1s", err, time.Since(begin))
		}
		c.wantError(exchange, core.Unavailable, core.OutcomeUnknown, "closed")
		exchange.Close()
	})
}

// TestCallsThatShareAContextAllHearOfItsEnd is for contexts that the client watches for many calls
// at once.
func TestCallsThatShareAContextAllHearOfItsEnd(t *testing.T) {
	for _, contexts := range []int{1, 2, 3} {
		talk(t, core.ClientConfig{}, func(c *conversation) {
			const each = 200
			ended := make(chan error, contexts*each)
			cancels := make([]context.CancelFunc, contexts)
			for i := range contexts {
				var ctx context.Context
				ctx, cancels[i] = context.WithCancel(c.Context())
				for n := range each {
					exchange := c.start(ctx, unary("x"))
					receive := func() {
						_, err := exchange.Receive()
						exchange.Close()
						ended <- err
					}
					switch {
					case n%10 == 0: // not received before the context ends
						defer func() {
							receive()
							if err := <-ended; !errors.Is(err, context.Canceled) {
								t.Errorf("a late Receive: %v, want Canceled", err)
							}
						}()
					default:
						go receive()
					}
				}
			}
			synctest.Wait()
			for i, cancel := range cancels {
				if len(ended) > 0 {
					t.Fatalf("a call has ended with %v before its context has", <-ended)
				}
				cancel()
				synctest.Wait()
				if len(ended) != each-each/10 {
					t.Errorf("context %d has ended, and %d calls of %d with it", i, len(ended), each-each/10)
				}
				for len(ended) > 0 {
					if err := <-ended; !errors.Is(err, context.Canceled) || core.OutcomeOf(err) != core.OutcomeUnknown {
						t.Errorf("got %v, want Canceled, outcome unknown", err)
					}
				}
			}
		})
	}
}

// TestCallsOfAWatchedContextEndWithTheConnection: the client's end is another reason to wake them.
func TestCallsOfAWatchedContextEndWithTheConnection(t *testing.T) {
	talk(t, core.ClientConfig{}, func(c *conversation) {
		ctx, cancel := context.WithCancel(c.Context())
		defer cancel()
		ended := make(chan error, 200)
		for range cap(ended) {
			exchange := c.start(ctx, unary("x"))
			go func() {
				_, err := exchange.Receive()
				exchange.Close()
				ended <- err
			}()
		}
		synctest.Wait()
		c.breaks(io.EOF)
		for range cap(ended) {
			if err := <-ended; !errors.Is(err, core.Unavailable) {
				t.Errorf("got %v", err)
			}
		}
	})
}

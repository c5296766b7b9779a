package edict_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/codec"
	"github.com/edict-go/edict/codec/json"
	"github.com/edict-go/edict/codec/msgpack"
	"github.com/edict-go/edict/core"
)

// account is what ordered commands with one key work on, without a lock: that no two of them run at
// once is for the race detector to see.
type account struct{ entries []int }

// enter adds an entry to an account. Its ordering key is the account's number.
type enter struct {
	Account, Entry int
	Text           string // makes it larger
}

func (c enter) OrderingKey() string { return strconv.Itoa(c.Account) }

func (c enter) Exec(_ context.Context, l *lab) (int, error) {
	l.executed.Add(1)
	a := &l.accounts[c.Account]
	a.entries = append(a.entries, c.Entry)
	return c.Entry, nil
}

// raise changes the entries of an account in place.
type raise struct{ Account int }

func (c *raise) OrderingKey() string { return strconv.Itoa(c.Account) }

func (c raise) Exec(_ context.Context, l *lab) (int, error) {
	for i := range l.accounts[c.Account].entries {
		l.accounts[c.Account].entries[i]++
	}
	return 0, nil
}

// statement returns the entries of an account as they are, not a copy.
type statement struct{ Account int }

func (c *statement) OrderingKey() string { return strconv.Itoa(c.Account) }

func (c *statement) Exec(_ context.Context, l *lab) ([]int, error) {
	return l.accounts[c.Account].entries, nil
}

// complain fails with an error whose text is that of the account when it is asked for.
type complain struct{ Account int }

func (c complain) OrderingKey() string { return strconv.Itoa(c.Account) }

func (c complain) Exec(_ context.Context, l *lab) (int, error) { return 0, &l.accounts[c.Account] }

func (a *account) Error() string {
	return fmt.Sprint("the last entry is ", a.entries[len(a.entries)-1])
}

// hold says that it runs, and runs until its gate is opened or its context ends.
type hold struct{ Key, Name string }

func (c hold) OrderingKey() string { return c.Key }

func (c hold) Exec(ctx context.Context, l *lab) (string, error) {
	l.executed.Add(1)
	l.started <- c.Name
	select {
	case <-l.gate(c.Name):
		return c.Name, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// holdStream and holdDuplex are hold with other shapes; they have a result before they wait.
type holdStream struct{ Key, Name string }

func (c holdStream) OrderingKey() string { return c.Key }

func (c holdStream) Exec(ctx context.Context, l *lab, results edict.Sink[string]) error {
	if err := results.Send(c.Name); err != nil {
		return err
	}
	_, err := hold(c).Exec(ctx, l)
	return err
}

type holdDuplex struct{ Key, Name string }

func (c holdDuplex) OrderingKey() string { return c.Key }

func (c holdDuplex) Exec(ctx context.Context, l *lab, inputs edict.Source[int], results edict.Sink[string]) error {
	for _, err := range inputs.All() {
		if err != nil {
			return err
		}
	}
	return holdStream(c).Exec(ctx, l, results)
}

// breakTurn misbehaves in its turn, or before: in OrderingKey.
type breakTurn struct {
	Key            string
	Goexit, Before bool
}

func (c breakTurn) OrderingKey() string {
	if c.Before {
		_, _ = misbehave{Goexit: c.Goexit}.Exec(context.Background(), nil)
	}
	return c.Key
}

func (c breakTurn) Exec(ctx context.Context, l *lab) (int, error) {
	return misbehave{Goexit: c.Goexit}.Exec(ctx, l)
}

// keep is a generic command whose key comes from an embedded struct.
type keep[V any] struct {
	of
	Value V
}

type of struct{ Key string }

func (o of) OrderingKey() string { return o.Key }

func (c keep[V]) Exec(context.Context, *lab) (V, error) { return c.Value, nil }

// gate returns the gate of the hold with this name.
func (l *lab) gate(name string) chan struct{} {
	gate, _ := l.gates.LoadOrStore(name, make(chan struct{}))
	return gate.(chan struct{})
}

func (l *lab) open(names ...string) {
	for _, name := range names {
		close(l.gate(name))
	}
}

// holding starts a hold.
func holding(t testing.TB, client *edict.Client[*lab], key, name string) *edict.Invocation[string] {
	t.Helper()
	invocation, err := edict.Start(t.Context(), client, hold{key, name})
	if err != nil {
		t.Fatal(err)
	}
	return invocation
}

// wantStarted checks which holds run by now, in any order. To be called in a bubble.
func (l *lab) wantStarted(t testing.TB, names ...string) {
	t.Helper()
	synctest.Wait()
	var started []string
	for len(l.started) > 0 {
		started = append(started, <-l.started)
	}
	slices.Sort(started)
	slices.Sort(names)
	if !slices.Equal(started, names) {
		t.Errorf("%q have started, want %q", started, names)
	}
}

func wantName(t testing.TB, invocation *edict.Invocation[string], want string) {
	t.Helper()
	if name, err := invocation.Receive(); name != want || err != nil {
		t.Errorf("got %q, %v; want %q", name, err, want)
	}
}

// unevenCodec is JSON that takes longer for some commands than for others.
type unevenCodec struct{ namedCodec }

func (unevenCodec) Decode(src []byte, target any) error {
	for range rand.IntN(20) {
		runtime.Gosched()
	}
	return json.Codec.Decode(src, target)
}

// Commands with the same key execute in the order in which they were sent, whatever their size and
// however long each takes to be decoded.
func TestOrderedCommandsKeepTheirOrder(t *testing.T) {
	run := func(t *testing.T, b *bench, options ...edict.DialOption) {
		t.Helper()
		const commands, keys = 1000, 4
		client := b.client(options...)
		var invocations []*edict.Invocation[int]
		for i := range commands {
			c := enter{Account: i % keys, Entry: i}
			switch {
			case i%97 == 0:
				c.Text = strings.Repeat("x", 200<<10)
			case i%13 == 0:
				c.Text = strings.Repeat("x", 5<<10)
			}
			invocation, err := edict.Start(t.Context(), client, c)
			if err != nil {
				t.Fatal(err)
			}
			invocations = append(invocations, invocation)
		}
		for i, invocation := range invocations {
			if entry, err := invocation.Receive(); entry != i || err != nil {
				t.Fatalf("command %d: %d, %v", i, entry, err)
			}
		}
		for key := range keys {
			entries, err := edict.Call(t.Context(), client, &statement{key})
			if err != nil || len(entries) != commands/keys {
				t.Fatalf("%d entries of key %d, %v", len(entries), key, err)
			}
			for i, entry := range entries {
				if entry != i*keys+key {
					t.Fatalf("entry %d of key %d is that of command %d", i, key, entry)
				}
			}
		}
	}
	t.Run("over", func(t *testing.T) { over(t, func(t *testing.T, b *bench) { run(t, b) }) })
	for _, c := range []edict.Codec{unevenCodec{"uneven"}, msgpack.Codec, msgpack.Map} {
		t.Run(c.Name(), func(t *testing.T) {
			with := edict.WithCodecs(c)
			run(t, serve(t, with), with)
		})
	}
}

// Across connections too only one command with a key runs at a time, and those of each connection keep
// their order.
func TestKeysBelongToTheServer(t *testing.T) {
	b := serve(t, edict.WithCodecs(unevenCodec{"uneven"}))
	const connections, commands = 4, 200
	var group sync.WaitGroup
	for number := range connections {
		client := b.client(edict.WithCodecs(unevenCodec{"uneven"}))
		group.Go(func() {
			var last *edict.Invocation[int]
			for i := range commands {
				var err error
				if last, err = edict.Start(t.Context(), client, enter{Entry: i*connections + number}); err != nil {
					t.Error(err)
					return
				}
			}
			if _, err := last.Receive(); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	entries, err := edict.Call(t.Context(), b.client(edict.WithCodecs(unevenCodec{"uneven"})), &statement{0})
	if err != nil || len(entries) != connections*commands {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	var next [connections]int
	for _, entry := range entries {
		if number := entry % connections; entry/connections != next[number] {
			t.Fatalf("command %d of connection %d came in the place of %d", entry/connections, number, next[number])
		}
		next[entry%connections]++
	}
}

// A result or an error is encoded in its command's turn: it may be part of the receiver.
func TestAResultBelongsToTheTurn(t *testing.T) {
	b := serve(t)
	client := b.client()
	for i := range 1000 {
		b.lab.accounts[0].entries = append(b.lab.accounts[0].entries, i)
	}
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 20 {
				if _, err := edict.Call(t.Context(), client, raise{}); err != nil {
					t.Error(err)
				}
				if _, err := edict.Call(t.Context(), client, complain{}); err == nil || !strings.Contains(err.Error(), "the last entry") {
					t.Error(err)
				}
				entries, err := edict.Call(t.Context(), client, &statement{})
				if err != nil {
					t.Error(err)
				}
				for i, entry := range entries {
					if entry-i != entries[0] {
						t.Errorf("entry %d is %d, the first %d", i, entry, entries[0])
						return
					}
				}
			}
		})
	}
	group.Wait()
}

// A lane that is held up holds up nothing else: no other key, no command without one, no connection.
func TestALaneHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := serve(t)
		client, another := b.client(), b.client()
		first, second := holding(t, client, "a", "first"), holding(t, client, "a", "second")
		other := holding(t, client, "b", "other key")
		none, noneToo := holding(t, client, "", "no key"), holding(t, client, "", "no key either")
		synctest.Wait()
		third := holding(t, another, "a", "other connection")
		b.lab.wantStarted(t, "first", "other key", "no key", "no key either")
		wantSum(t, client)
		wantSum(t, another)
		if value, err := edict.Call(t.Context(), another, keep[int]{of{"c"}, 7}); value != 7 || err != nil {
			t.Error(value, err)
		}
		b.lab.open("other key", "no key", "no key either")
		wantName(t, other, "other key")
		wantName(t, none, "no key")
		wantName(t, noneToo, "no key either")
		b.lab.open("first")
		wantName(t, first, "first")
		b.lab.wantStarted(t, "second")
		b.lab.open("second")
		wantName(t, second, "second")
		b.lab.wantStarted(t, "other connection")
		b.lab.open("other connection")
		wantName(t, third, "other connection")
	})
}

// A command whose context ends while it waits is Refused at once, and the others go on.
func TestAWaitingCommandEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := serve(t)
		c := b.rawClient()
		start := func(name string, slot uint32, timeout time.Duration) core.Sequence {
			frame := core.Frame{
				Kind: core.KindCommand, Command: number("hold"), Sequence: core.MakeSequence(slot, 1),
				Body: fmt.Appendf(nil, `{"Key":"a","Name":%q}`, name),
			}
			if timeout > 0 {
				frame.Flags, frame.Timeout = core.FlagTimeout, timeout
			}
			c.write(frame)
			return frame.Sequence
		}
		began := time.Now()
		first := start("first", 0, 0)
		canceled := start("canceled", 1, 0)
		middle := start("middle", 2, time.Minute)
		late := start("late", 3, time.Second)
		last := start("last", 4, 0)
		b.lab.wantStarted(t, "first")
		c.write(core.Frame{Kind: core.KindCancel, Sequence: canceled})
		c.wantRefused(canceled, core.Canceled)
		c.wantRefused(late, core.DeadlineExceeded)
		if passed := time.Since(began); passed != time.Second {
			t.Errorf("refused after %v", passed)
		}
		b.lab.wantStarted(t)
		if n := b.server.InFlight(); n != 3 {
			t.Errorf("%d commands in flight", n)
		}
		b.lab.open("first") // one after the other: results of one key may overtake each other
		c.wantResult(first, `"first"`)
		b.lab.open("middle")
		c.wantResult(middle, `"middle"`)
		b.lab.open("last")
		c.wantResult(last, `"last"`)
		b.lab.wantStarted(t, "middle", "last")
		if n := b.lab.executed.Load(); n != 3 {
			t.Errorf("%d commands were executed", n)
		}
	})
}

// The caller's own context, cancelled or past its deadline.
func TestGivingUpAWaitingCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := serve(t)
		client := b.client()
		first := holding(t, client, "a", "first")
		b.lab.wantStarted(t, "first")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := edict.Call(ctx, client, hold{"a", "late"})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		waiting := holding(t, client, "a", "canceled")
		synctest.Wait()
		waiting.Cancel()
		if _, err := waiting.Receive(); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		synctest.Wait()
		if n := b.server.InFlight(); n != 1 {
			t.Errorf("%d commands in flight", n)
		}
		b.lab.open("first")
		wantName(t, first, "first")
		b.lab.wantStarted(t)
	})
}

// Whatever a command does in its turn, the next one has its own.
func TestABrokenCommandFreesItsLane(t *testing.T) {
	for name, broken := range map[string]breakTurn{
		"panic": {Key: "0"}, "Goexit": {Key: "0", Goexit: true},
		"panic in OrderingKey": {Before: true}, "Goexit in OrderingKey": {Goexit: true, Before: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := serve(t)
				client := b.client()
				first := holding(t, client, "0", "first")
				bad, err := edict.Start(t.Context(), client, broken)
				if err != nil {
					t.Fatal(err)
				}
				second := holding(t, client, "0", "second")
				b.lab.wantStarted(t, "first")
				b.lab.open("first")
				wantName(t, first, "first")
				outcome := edict.Executed
				if broken.Before {
					outcome = edict.Refused
				}
				_, err = bad.Receive()
				wantError(t, err, edict.Internal, outcome)
				b.lab.wantStarted(t, "second")
				b.lab.open("second")
				wantName(t, second, "second")
				if err := client.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
				if err := b.server.Shutdown(t.Context()); err != nil { // all are counted out
					t.Error(err)
				}
			})
		})
	}
}

// A command that can't be decoded fails alone.
func TestAnUndecodableOrderedCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := serve(t)
		c := b.rawClient()
		c.command("hold", core.MakeSequence(0, 1), `{"Key":"a","Name":"first"}`)
		c.command("hold", core.MakeSequence(1, 1), `{"Key":`)
		c.wantRefused(core.MakeSequence(1, 1), core.InvalidArgument)
		c.command("hold", core.MakeSequence(1, 2), `{"Key":"a","Name":"second"}`)
		b.lab.wantStarted(t, "first")
		b.lab.open("first") // not both: who has left the lane has yet to send, and the next one may be quicker
		c.wantResult(core.MakeSequence(0, 1), `"first"`)
		b.lab.open("second")
		c.wantResult(core.MakeSequence(1, 2), `"second"`)
	})
}

// The commands of a connection that is lost are dropped from their lanes, those of others stay.
func TestALostConnectionLeavesItsLanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := serve(t)
		lost, client := b.client(), b.client()
		holding(t, lost, "a", "lost, running")
		b.lab.wantStarted(t, "lost, running")
		for i := range 10 {
			holding(t, lost, "a", fmt.Sprint("lost, waiting ", i))
		}
		first, second := holding(t, client, "a", "first"), holding(t, client, "a", "second")
		synctest.Wait()
		lostToo := b.client()
		holding(t, lostToo, "a", "lost, last")
		b.lab.wantStarted(t)

		lost.Close()
		b.lab.wantStarted(t, "first")
		if n := b.server.InFlight(); n != 3 {
			t.Errorf("%d commands in flight", n)
		}
		lostToo.Close() // while another connection's command runs
		synctest.Wait()
		if n, connections := b.server.InFlight(), b.server.Connections(); n != 2 || connections != 1 {
			t.Errorf("%d commands in flight on %d connections", n, connections)
		}
		b.lab.open("first", "second")
		wantName(t, first, "first")
		wantName(t, second, "second")
		b.lab.wantStarted(t, "second")
	})
}

// Shutdown waits until the lanes are empty.
func TestShutdownDrainsLanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := serve(t)
		client := b.client()
		var invocations []*edict.Invocation[string]
		names := []string{"first", "second", "third"}
		for _, name := range names {
			invocations = append(invocations, holding(t, client, "a", name))
		}
		b.lab.wantStarted(t, "first")
		ended := make(chan error, 1)
		go func() { ended <- b.server.Shutdown(t.Context()) }()
		synctest.Wait()
		_, err := edict.Call(t.Context(), client, hold{"a", "too late"})
		if edict.OutcomeOf(err).Ran() {
			t.Errorf("a command after GOAWAY: %v", err)
		}
		for i, name := range names {
			if len(ended) > 0 {
				t.Fatalf("the server has ended before %s", name)
			}
			b.lab.open(name)
			wantName(t, invocations[i], name)
		}
		client.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		b.lab.wantStarted(t, "second", "third")
	})
}

// Close ends those that wait without executing them.
func TestCloseEndsLanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := serve(t)
		client := b.client()
		holding(t, client, "a", "first")
		b.lab.wantStarted(t, "first")
		for range 100 {
			holding(t, client, "a", "waiting")
		}
		synctest.Wait()
		b.server.Close()
		if err := b.server.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		b.lab.wantStarted(t)
		if n := b.server.InFlight(); n != 0 {
			t.Errorf("%d commands in flight", n)
		}
	})
}

// A command that waits has no goroutine.
func TestWaitingCommandsHaveNoGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := serve(t, edict.ServerConfig{IdleWorkers: 4})
		client := b.client()
		first := holding(t, client, "0", "first")
		b.lab.wantStarted(t, "first")
		before := runtime.NumGoroutine()
		var last *edict.Invocation[int]
		const waiting = 10_000
		for i := range waiting {
			var err error
			if last, err = edict.Start(t.Context(), client, enter{Entry: i}); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if more := runtime.NumGoroutine() - before; more > 10 {
			t.Errorf("%d goroutines more while %d commands wait", more, waiting)
		}
		if n := b.server.InFlight(); n != waiting+1 {
			t.Errorf("%d commands in flight", n)
		}
		wantSum(t, client)
		b.lab.open("first")
		wantName(t, first, "first")
		if entry, err := last.Receive(); entry != waiting-1 || err != nil {
			t.Error(entry, err)
		}
		if n := len(b.lab.accounts[0].entries); n != waiting || !slices.IsSorted(b.lab.accounts[0].entries) {
			t.Errorf("%d entries", n)
		}
	})
}

// Commands that wait count for the limits.
func TestWaitingCommandsAreInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := serve(t, edict.ServerConfig{MaxInFlightServer: 3})
		client := b.client()
		invocations := []*edict.Invocation[string]{
			holding(t, client, "a", "first"), holding(t, client, "a", "second"), holding(t, client, "a", "third"),
		}
		b.lab.wantStarted(t, "first")
		_, err := edict.Call(t.Context(), client, hold{"b", "too many"})
		wantError(t, err, edict.ResourceExhausted, edict.Refused)
		b.lab.open("first", "second", "third")
		for i, name := range []string{"first", "second", "third"} {
			wantName(t, invocations[i], name)
		}
		synctest.Wait() // they are counted out a little later than their results come
		wantSum(t, client)
	})
}

// Streams and commands with inputs have their turn until Exec returns.
func TestOtherShapesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := serve(t)
		client := b.client()
		stream, err := edict.StartStream(t.Context(), client, holdStream{"a", "stream"})
		if err != nil {
			t.Fatal(err)
		}
		duplex, err := edict.StartDuplex(t.Context(), client, holdDuplex{"a", "duplex"})
		if err != nil {
			t.Fatal(err)
		}
		if err := duplex.Send(1); err != nil { // kept until it runs
			t.Fatal(err)
		}
		last := holding(t, client, "a", "last")
		wantName(t, stream, "stream") // one result, and Exec goes on
		b.lab.wantStarted(t, "stream")
		b.lab.open("stream")
		if _, err := stream.Receive(); err != io.EOF {
			t.Error(err)
		}
		b.lab.wantStarted(t)
		if err := duplex.CloseSend(); err != nil {
			t.Fatal(err)
		}
		if name, err := duplex.Receive(); name != "duplex" || err != nil {
			t.Error(name, err)
		}
		b.lab.wantStarted(t, "duplex")
		b.lab.open("duplex", "last")
		if _, err := duplex.Receive(); err != io.EOF {
			t.Error(err)
		}
		wantName(t, last, "last")
		b.lab.wantStarted(t, "last")
	})
}

// A client that takes no results holds up its own stream, and no command with the same key once Exec
// has returned.
func TestASlowClientDoesNotKeepTheTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := serve(t)
		slow := b.rawClient()
		big := fmt.Sprintf(`{"Key":"a","Value":%q}`, strings.Repeat("x", 300<<10))
		for slot := range uint32(10) { // more than the server queues for a client that reads nothing
			slow.command("keepText", core.MakeSequence(slot, 1), big)
			synctest.Wait()
		}
		began := time.Now()
		if value, err := edict.Call(t.Context(), b.client(), keep[int]{of{"a"}, 7}); value != 7 || err != nil {
			t.Error(value, err)
		}
		if passed := time.Since(began); passed > 0 {
			t.Errorf("it waited for %v, maybe until the slow client was given up", passed)
		}
	})
}

// Interceptors run in the turn of the command, see it decoded, and may refuse it.
func TestInterceptorsOfOrderedCommands(t *testing.T) {
	var seen []string // without a lock
	b := serve(t, edict.WithServerInterceptors(func(ctx context.Context, call *edict.ServerCall, next func(context.Context) error) error {
		c, ok := call.Command.(enter)
		if !ok {
			return next(ctx)
		}
		seen = append(seen, fmt.Sprint(call.Name, c.Entry))
		if c.Entry == 1 {
			return edict.Errorf(edict.PermissionDenied, "no")
		}
		call.OnResult(func(result any) error {
			seen = append(seen, fmt.Sprint("result ", result))
			return nil
		})
		return next(ctx)
	}))
	client := b.client()
	var invocations []*edict.Invocation[int]
	for i := range 3 {
		invocation, err := edict.Start(t.Context(), client, enter{Entry: i})
		if err != nil {
			t.Fatal(err)
		}
		invocations = append(invocations, invocation)
	}
	for i, invocation := range invocations {
		entry, err := invocation.Receive()
		if i == 1 {
			wantError(t, err, edict.PermissionDenied, edict.Refused)
		} else if entry != i || err != nil {
			t.Error(entry, err)
		}
	}
	if _, err := edict.Call(t.Context(), client, &statement{}); err != nil { // after them all
		t.Error(err)
	}
	if got := strings.Join(seen, ", "); got != "enter0, result 0, enter1, enter2, result 2" {
		t.Errorf("the interceptor has seen %s", got)
	}
}

// wrongKey has the method, but is not a command that is ordered by a string.
type wrongKey struct{}

func (wrongKey) OrderingKey() int                        { return 1 }
func (wrongKey) Exec(context.Context, *lab) (int, error) { return 0, nil }

// Which commands are ordered is known by their type.
func TestWhatIsOrdered(t *testing.T) {
	for _, test := range []struct {
		definition edict.Definition[*lab]
		ordered    bool
	}{
		{edict.Unary[enter](), true},
		{edict.Unary[raise](), true}, // the method has a pointer receiver
		{edict.Unary[*statement](), true},
		{edict.Unary[*hold](), true}, // the method has a value receiver
		{edict.Unary[keep[int]](), true},
		{edict.ServerStream[holdStream](), true},
		{edict.Duplex[holdDuplex](), true},
		{edict.Unary[add](), false},
		{edict.Unary[*add](), false},
		{edict.ServerStream[count](), false},
		{edict.Duplex[parrot](), false},
		{edict.Unary[wrongKey](), false},
	} {
		executor := codec.Definition[*lab](test.definition).Executor(json.Codec, nil)
		if _, ok := executor.(core.OrderedExecutor); ok != test.ordered {
			t.Errorf("%s is ordered: %v", test.definition.Name(), ok)
		}
		if executor.Stream() != test.definition.Stream() || executor.Inputs() != test.definition.Inputs() {
			t.Errorf("%s has another shape: %v", test.definition.Name(), reflect.TypeOf(executor))
		}
	}
}

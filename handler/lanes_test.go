package handler

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/edict-go/edict/core"
)

// inOrder is an OrderedExecutor made of two functions. A command is its key, a space, and its name.
type inOrder struct {
	decode  func(name string) error // nil does nothing
	execute func(ctx context.Context, name string) error
}

func (inOrder) Stream() bool { return false }
func (inOrder) Inputs() bool { return false }

func (inOrder) Execute(context.Context, core.Execution) error {
	panic("the command is executed without its order")
}

func (o inOrder) Prepare(execution core.Execution) (string, func(context.Context) error, error) {
	key, name, _ := strings.Cut(string(execution.Command()), " ")
	if o.decode != nil {
		if err := o.decode(name); err != nil {
			return "", nil, err
		}
	}
	return key, func(ctx context.Context) error {
		if err := execution.Begin(); err != nil {
			return err
		}
		return o.execute(ctx, name)
	}, nil
}

// ordered writes a command with a key and a name, in a slot.
func (w *wire) ordered(slot uint32, text string) {
	frame := command(slot, false)
	frame.Body = []byte(text)
	w.in <- frame
}

func (w *wire) wantEnd(t *testing.T, slot uint32) {
	t.Helper()
	if frame := <-w.out; frame.Kind != core.KindEnd || frame.Sequence.Slot() != slot {
		t.Errorf("got %v of %v %v, want END of slot %d", frame.Kind, frame.Sequence, core.DecodeError(frame.Body), slot)
	}
}

func (w *wire) wantRefused(t *testing.T, slot uint32, code core.Code) {
	t.Helper()
	frame := <-w.out
	e := core.DecodeError(frame.Body)
	if frame.Kind != core.KindError || frame.Sequence.Slot() != slot || e.Code != code || e.Outcome != core.Refused {
		t.Errorf("got %v of %v %v %v, want slot %d refused with %v", frame.Kind, frame.Sequence, e, e.Outcome, slot, code)
	}
}

// Commands are decoded at the same time, here even in the reverse order, and execute in theirs.
func TestDecodingInParallelKeepsTheOrder(t *testing.T) {
	const commands = 10
	var decoded [commands + 1]chan struct{}
	for i := range decoded {
		decoded[i] = make(chan struct{})
	}
	close(decoded[commands])
	next := 0 // without a lock
	w, _ := connect(t, newInvoker(t, Config{}), inOrder{
		decode: func(name string) error {
			i := int(name[0] - '0')
			<-decoded[i+1]
			close(decoded[i])
			return nil
		},
		execute: func(_ context.Context, name string) error {
			if want := fmt.Sprint(next); name != want {
				t.Errorf("%s was executed when %s was due", name, want)
			}
			next++
			return nil
		},
	})
	for slot := range uint32(commands) {
		w.ordered(slot, fmt.Sprintf("key %d", slot))
	}
	for range commands {
		if frame := <-w.out; frame.Kind != core.KindEnd {
			t.Errorf("got %v", frame.Kind)
		}
	}
}

// While a command is decoded, those behind it may have its key and wait. Others don't: those without a
// key, those of other connections, those whose context ends.
func TestASlowDecoder(t *testing.T) {
	for _, fails := range []bool{false, true} {
		t.Run(fmt.Sprint("fails=", fails), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				release, hold := make(chan struct{}), make(chan struct{})
				executor := inOrder{
					decode: func(name string) error {
						if name == "slow" {
							<-release
							if fails {
								return core.Errorf(core.InvalidArgument, "can't be decoded")
							}
						}
						return nil
					},
					execute: func(_ context.Context, name string) error {
						if name == "held" {
							<-hold
						}
						return nil
					},
				}
				unordered := function(func(context.Context, core.Execution) error { return nil })
				invoker := newInvoker(t, Config{})
				w, _ := connect(t, invoker, executor, unordered)
				other, _ := connect(t, invoker, executor)
				w.ordered(9, "a held")
				w.ordered(0, "a slow")
				w.ordered(1, "b next")
				w.ordered(2, "b last")
				synctest.Wait()
				if len(w.out) > 0 {
					t.Error("a command overtook the slow one")
				}
				w.ordered(3, " without a key")
				w.wantEnd(t, 3)
				another := command(4, false)
				another.Command = 1
				w.in <- another
				w.wantEnd(t, 4)
				other.ordered(0, "b of another connection")
				other.wantEnd(t, 0)
				w.in <- core.Frame{Kind: core.KindCancel, Sequence: core.MakeSequence(1, 1)}
				w.wantRefused(t, 1, core.Canceled)
				w.in <- core.Frame{Kind: core.KindCancel, Sequence: core.MakeSequence(0, 1)}
				synctest.Wait()
				if n := invoker.InFlight(); n != 3 || len(w.out) > 0 {
					t.Errorf("%d commands in flight, %d frames", n, len(w.out))
				}
				close(release)
				ends := []core.Frame{<-w.out, <-w.out} // in any order: they have different keys
				slices.SortFunc(ends, func(a, b core.Frame) int { return int(a.Sequence) - int(b.Sequence) })
				want := core.Canceled // while it was decoded
				if fails {
					want = core.InvalidArgument
				}
				if e := core.DecodeError(ends[0].Body); ends[0].Kind != core.KindError || e.Code != want || e.Outcome != core.Refused {
					t.Errorf("the slow one: %v %v", ends[0].Kind, e)
				}
				if ends[1].Kind != core.KindEnd {
					t.Errorf("the last one: %v", ends[1].Kind)
				}
				close(hold)
				w.wantEnd(t, 9)
			})
		})
	}
}

// When a connection is lost, a command that waits is not executed any more, although the one before it
// ends before the read loop has told all others.
func TestNoTurnAfterTheConnection(t *testing.T) {
	executed := 0
	w, connection := connect(t, newInvoker(t, Config{}), inOrder{
		execute: func(ctx context.Context, _ string) error {
			executed++
			<-ctx.Done()
			return ctx.Err()
		},
	})
	// The next in the lane is the last that is told.
	w.ordered(0, "a first")
	w.ordered(core.DefaultMaxInFlight-1, "a next")
	for slot := range uint32(5000) {
		w.ordered(1+slot, "a waiting")
	}
	w.in <- core.Frame{Kind: core.KindPing}
	if frame := <-w.out; frame.Kind != core.KindPong { // all have arrived
		t.Errorf("got %v", frame.Kind)
	}
	go func() {
		for range 5002 {
			<-w.out
		}
	}()
	connection.Close()
	connection.Drain(t.Context())
	if executed > 1 {
		t.Errorf("%d commands were executed", executed)
	}
}

// What comes together with GOAWAY is refused and leaves nothing in the lanes.
func TestOrderedCommandsAfterGoAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		w, connection := connect(t, newInvoker(t, Config{}), inOrder{
			execute: func(context.Context, string) error { <-release; return nil },
		})
		w.ordered(0, "a first")
		w.ordered(1, "a second")
		synctest.Wait()
		go connection.Drain(t.Context())
		if frame := <-w.out; frame.Kind != core.KindGoAway {
			t.Errorf("got %v", frame.Kind)
		}
		w.ordered(2, "a late")
		w.wantRefused(t, 2, core.Unavailable)
		close(release)
		w.wantEnd(t, 0)
		w.wantEnd(t, 1)
	})
}

// Whatever happens in whatever order, of each key one turn at most is due, the turns of a connection with
// the same key are due in the order of their arrival, and all of them are in the end.
func TestLanesAtRandom(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 0))
		l := &lanes{byKey: map[string]*turns{}}
		var arrivals [3]turns
		type state struct {
			turn                   *turn
			connection, number     int
			key                    string
			decoded, canceled, due bool
		}
		var live []*state
		find := func(t *turn) *state { return live[slices.IndexFunc(live, func(s *state) bool { return s.turn == t })] }
		last := map[string]int{} // number of the last turn that was due, by connection and key
		became := func(due []*turn) {
			for _, turn := range due {
				s := find(turn)
				if s.due {
					t.Fatalf("seed %d: %v is due twice", seed, s)
				}
				s.due = true
				if s.key == "" || s.canceled {
					continue
				}
				for _, other := range live {
					if other != s && other.due && !other.canceled && other.key == s.key {
						t.Fatalf("seed %d: %v and %v are due", seed, s, other)
					}
				}
				lane := fmt.Sprint(s.connection, s.key)
				if s.number <= last[lane] {
					t.Fatalf("seed %d: %v is due after number %d", seed, s, last[lane])
				}
				last[lane] = s.number
			}
		}
		const arriving = 60
		for number, steps := 1, 0; number <= arriving || len(live) > 0; steps++ {
			if steps == 100_000 {
				t.Fatalf("seed %d: %d turns are never due", seed, len(live))
			}
			if number <= arriving && random.IntN(3) == 0 {
				s := &state{turn: new(turn), connection: random.IntN(len(arrivals)), number: number}
				number++
				l.arrive(&arrivals[s.connection], s.turn)
				live = append(live, s)
				continue
			}
			if len(live) == 0 {
				continue
			}
			i := random.IntN(len(live))
			s := live[i]
			switch {
			case random.IntN(5) == 0 && !s.canceled && !s.due:
				s.canceled = true
				if l.interrupt(s.turn) {
					became([]*turn{s.turn})
				}
			case !s.decoded && random.IntN(5) > 0:
				s.decoded = true
				s.key = []string{"", "a", "b", "c"}[random.IntN(4)]
				became(l.enter(s.turn, s.key))
			case !s.decoded || s.due: // can't be decoded, or has ended
				due := l.leave(s.turn)
				live = slices.Delete(live, i, i+1)
				became(due)
			}
		}
		if len(l.byKey) > 0 || arrivals != [3]turns{} {
			t.Fatalf("seed %d: %d lanes and %v are left", seed, len(l.byKey), arrivals)
		}
	}
}

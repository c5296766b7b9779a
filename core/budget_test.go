package core

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestBudgetKeepsItsBounds(t *testing.T) {
	b := NewBudget(1000)
	first, second := b.NewAccount(600), b.NewAccount(0)
	for _, step := range []struct {
		account *Account
		size    int
		purpose Purpose
		want    bool
	}{
		{first, 300, ForGrowth, true}, // half of the account
		{first, 1, ForGrowth, false},
		{first, 150, ForCalls, true}, // three quarters of it
		{first, 1, ForCalls, false},
		{first, 150, ForWork, true}, // all
		{first, 1, ForWork, false},
		{second, 1, ForGrowth, false}, // the process has more than half in use
		{second, 150, ForCalls, true}, // three quarters of it
		{second, 1, ForCalls, false},
		{second, 250, ForWork, true},
		{second, 1, ForWork, false},
		{second, 0, ForWork, true},
	} {
		if got := step.account.Take(step.size, step.purpose); got != step.want {
			t.Errorf("%d for %d: %v", step.size, step.purpose, got)
		}
	}
	if b.Used() != 1000 || first.Used() != 600 || second.Used() != 400 {
		t.Errorf("%d are in use, %d and %d", b.Used(), first.Used(), second.Used())
	}
	if !first.Pressed() || first.Calm() {
		t.Error("it is full, and not pressed")
	}
	first.Close()
	first.Give(100) // what comes late does nothing
	if b.Used() != 400 || first.Take(1, ForWork) {
		t.Errorf("%d are in use after Close, or some can be taken", b.Used())
	}
	second.Give(400)
	if b.Used() != 0 || first.Pressed() || !first.Calm() {
		t.Errorf("%d are in use at the end", b.Used())
	}
	var none *Account
	if !none.Take(math.MaxInt, ForGrowth) || none.Wait(t.Context(), 1, ForWork) != nil || none.Pressed() || none.Used() != 0 {
		t.Error("a nil account has a bound")
	}
	none.Give(1)
	none.Close()
}

func TestDefaultBudget(t *testing.T) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(math.MaxInt64))
	if got := NewBudget(0).Limit(); got != 1<<30 {
		t.Errorf("without a memory limit: %d", got)
	}
	debug.SetMemoryLimit(400 << 20)
	if got := NewBudget(-1).Limit(); got != 100<<20 {
		t.Errorf("with one of 400 MiB: %d", got)
	}
}

// Who waits is served in order, and no one waits for one whose own connection is what has no room.
func TestBudgetIsGrantedInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(100)
		holder, own, other := b.NewAccount(0), b.NewAccount(10), b.NewAccount(0)
		if !own.Take(10, ForWork) || !holder.Take(90, ForWork) {
			t.Fatal("it is not empty at first")
		}
		var order []string
		var mu sync.Mutex
		wait := func(name string, account *Account, size int) {
			go func() {
				if err := account.Wait(context.Background(), size, ForWork); err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				order = append(order, name)
			}()
			synctest.Wait()
		}
		wait("full itself", own, 5)
		wait("large", other, 50)
		wait("small", other, 1)
		holder.Give(49)
		synctest.Wait()
		if len(order) != 0 {
			t.Errorf("%v have overtaken the large one", order)
		}
		holder.Give(1)
		synctest.Wait()
		holder.Give(1)
		synctest.Wait()
		own.Give(10)
		synctest.Wait()
		if want := []string{"large", "small", "full itself"}; !slices.Equal(order, want) {
			t.Errorf("the order was %v", order)
		}
	})
}

func TestWaitingForABudgetEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(100)
		a := b.NewAccount(80)
		if !a.Take(80, ForWork) {
			t.Fatal("it is not empty at first")
		}
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errors.New("enough"))
		defer cancel()
		if err := a.Wait(ctx, 1, ForWork); err == nil || err.Error() != "enough" || b.waiting.Len() != 0 {
			t.Errorf("got %v", err)
		}
		if err := a.Wait(t.Context(), 81, ForWork); CodeOf(err) != ResourceExhausted {
			t.Errorf("what never fits: %v", err)
		}
		if err := a.Wait(t.Context(), 61, ForCalls); CodeOf(err) != ResourceExhausted {
			t.Errorf("what never fits for calls: %v", err)
		}
		go func() {
			time.Sleep(time.Second)
			a.Close()
		}()
		if err := a.Wait(t.Context(), 1, ForWork); !errors.Is(err, ErrClosed) {
			t.Errorf("closed: %v", err)
		}
		if err := a.Wait(t.Context(), 1, ForWork); !errors.Is(err, ErrClosed) || b.Used() != 0 {
			t.Errorf("closed: %v, %d in use", err, b.Used())
		}
		claim := b.NewAccount(0).Claim(10, ForWork)
		<-claim.Decided()
		claim.Withdraw()
		if b.Used() != 0 {
			t.Errorf("a withdrawn claim leaves %d", b.Used())
		}
	})
}

// Whatever many goroutines do with it, the sums are right.
func TestBudgetUnderLoad(t *testing.T) {
	b := NewBudget(10_000)
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(i)))
			for range 200 {
				a := b.NewAccount(int64(2000 + random.IntN(2000)))
				held := 0
				for range 20 {
					size := random.IntN(1500)
					switch random.IntN(4) {
					case 0:
						a.Give(held)
						held = 0
					case 1:
						if a.Take(size, Purpose(random.IntN(purposes))) {
							held += size
						}
					default:
						ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
						if a.Wait(ctx, size, ForWork) == nil {
							held += size
						}
						cancel()
					}
					if used := b.Used(); used < 0 || used > b.Limit() {
						t.Errorf("%d are in use", used)
					}
				}
				if random.IntN(2) == 0 {
					a.Give(held)
				}
				a.Close()
			}
		})
	}
	group.Wait()
	if b.Used() != 0 || b.waiting.Len() != 0 {
		t.Errorf("%d are in use at the end, %d wait", b.Used(), b.waiting.Len())
	}
}

// What is charged for a buffer goes with it, through all that is done to buffers.
func TestBuffersAreCharged(t *testing.T) {
	b := NewBudget(1000)
	a := b.NewAccount(0)
	buffer := GetBuffer(10)
	if !buffer.Charge(a, 100, ForWork) || !buffer.Charge(a, 50, ForWork) || buffer.Charge(a, 2000, ForWork) || b.Used() != 100 {
		t.Errorf("%d are charged", b.Used())
	}
	next := GetBuffer(10)
	next.Bytes = append(next.Bytes, "next"...)
	next.Charge(a, 30, ForWork)
	buffer.Extend(next)
	if buffer.Charged() != 130 || string(buffer.Join()) != "next" || buffer.Charged() != 130 {
		t.Errorf("joined, %d are charged", buffer.Charged())
	}
	other := GetBuffer(10)
	buffer.MoveCharge(other)
	buffer.Release()
	if other.Charged() != 130 || b.Used() != 130 {
		t.Errorf("moved, %d are charged, %d in use", other.Charged(), b.Used())
	}
	if back := other.Uncharge(); back != 130 || b.Used() != 130 {
		t.Errorf("uncharged: %d, %d in use", back, b.Used())
	}
	other.Adopt(a, 130)
	other.Release()
	if b.Used() != 0 {
		t.Errorf("released, %d are in use", b.Used())
	}
	const size = 300 << 10
	held := BufferSize(size)
	for _, room := range []int{0, 2 * held} { // for what the pool's buffer is larger
		(&Buffer{Bytes: make([]byte, 0, held+held/2)}).Release()
		c := NewBudget(int64(held + room)).NewAccount(0)
		if !c.Take(held, ForWork) {
			t.Fatal("the budget is not free")
		}
		got := GetCharged(c, size)
		if got.Charged() != cap(got.Bytes) || got.Charged() != int(c.Used()) || cap(got.Bytes) < size {
			t.Errorf("a buffer of %d bytes is charged for %d, and %d are in use", cap(got.Bytes), got.Charged(), c.Used())
		}
		if got.Release(); c.Used() != 0 {
			t.Errorf("released, %d are in use", c.Used())
		}
	}
	large := GetBuffer(0)
	large.Charge(a, 900, ForWork)
	large.Bytes = make([]byte, 0, 400)
	large.Trim()
	if large.Charged() != 400 || b.Used() != 400 {
		t.Errorf("trimmed, %d are charged", large.Charged())
	}
	large.Release()
	for _, size := range []int{0, 1, 1 << 10, 1<<10 + slack + 1, 100_000, 4 << 20, 5 << 20} {
		got := GetBuffer(size)
		if want := BufferSize(size); cap(got.Bytes) < size || want < size || cap(got.Bytes) > 2*want {
			t.Errorf("a buffer for %d has %d, BufferSize says %d", size, cap(got.Bytes), want)
		}
	}
}

func TestFlowMeasuresTheRoundTrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f Flow
		measure := func(took time.Duration) {
			t.Helper()
			ping := f.Ping()
			if ping == nil || f.Ping() != nil {
				t.Fatal("no PING, or two at a time")
			}
			time.Sleep(took)
			for _, wrong := range [][]byte{nil, []byte("rtt\n"), append([]byte("keep"), ping[4:]...), append(slices.Clone(ping[:11]), 99)} {
				if f.Pong(wrong) {
					t.Errorf("%q is an answer", wrong)
				}
			}
			if !f.Pong(ping) || f.Pong(ping) {
				t.Error("the answer is none, or one twice")
			}
			if f.Ping() != nil {
				t.Error("the next PING follows at once")
			}
			time.Sleep(measureAgain)
		}
		if f.RoundTrip() != 0 || f.Pong([]byte("rtt\n12345678")) {
			t.Error("it knows something at first")
		}
		measure(100 * time.Millisecond)
		if got := f.RoundTrip(); got != 100*time.Millisecond {
			t.Errorf("measured %v", got)
		}
		measure(500 * time.Millisecond) // a queue on the way
		if got := f.RoundTrip(); got != 100*time.Millisecond {
			t.Errorf("after one that took longer %v", got)
		}
		measure(40 * time.Millisecond)
		if got := f.RoundTrip(); got != 40*time.Millisecond {
			t.Errorf("after a shorter one %v", got)
		}
		f.Undisturbed(0) // nothing is known
		f.Undisturbed(300 * time.Millisecond)
		if got := f.RoundTrip(); got != 300*time.Millisecond {
			t.Errorf("after one that nothing has disturbed %v", got)
		}
	})
}

// A window that is used up in each round trip grows to its limit, no further, and tells the sender of each byte; its
// account has what it has grown.
func TestWindowGrowsToItsLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var flow Flow
		ping := flow.Ping()
		time.Sleep(100 * time.Millisecond)
		flow.Pong(ping)
		account := NewBudget(1 << 20).NewAccount(0)
		w := Window{Flow: &flow, Account: account, Size: 16 << 10, Max: 100_000}
		taken, credit, growth := 0, 0, 0
		for range 100 {
			time.Sleep(25 * time.Millisecond)
			c, g := w.Take(w.Size / 2)
			taken, credit, growth = taken+w.Size/2, credit+c, growth+g
			if w.Size > w.Max {
				t.Fatalf("the window has grown to %d", w.Size)
			}
		}
		if w.Size != w.Max || growth != w.Max-16<<10 || account.Used() != int64(growth) {
			t.Errorf("the window is %d, has grown by %d, and its account has %d", w.Size, growth, account.Used())
		}
		if flow.Learned() != 100_000 || w.Ping() != nil {
			t.Errorf("learned %d", flow.Learned())
		}
		flow.learn(1 << 30)
		if flow.Learned() != ordinaryWindow {
			t.Errorf("learned %d", flow.Learned())
		}
		account.Close()
		stuck := Window{Flow: &flow, Account: account, Size: 1000, Max: 1 << 20} // there is no room
		for range 10 {
			time.Sleep(25 * time.Millisecond)
			stuck.Take(1000)
		}
		if stuck.Size != 1000 {
			t.Errorf("without room the window has grown to %d", stuck.Size)
		}
	})
}

// Who withdraws a claim that was granted meanwhile gives back what was granted, once.
func TestAGrantedClaimIsWithdrawn(t *testing.T) {
	b := NewBudget(100)
	a := b.NewAccount(0)
	first, second := a.Claim(80, ForWork), a.Claim(70, ForWork)
	first.Withdraw()
	select {
	case <-second.Decided():
	default:
		t.Fatal("what was given back was not granted to who waits")
	}
	if second.Err() != nil || b.Used() != 70 {
		t.Errorf("%v, %d are in use", second.Err(), b.Used())
	}
	for range 2 {
		if second.Withdraw(); b.Used() != 0 {
			t.Errorf("%d are in use", b.Used())
		}
	}
}

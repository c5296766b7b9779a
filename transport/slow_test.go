package transport

import (
	"bytes"
	"io"
	"testing"
	"time"

	"github.com/edict-go/edict/core"
)

// While a frame is incomplete, what is held for it is in proportion to what has come, and asked of the budget if it
// is not small.
func TestAPartialFrameHoldsLittle(t *testing.T) {
	frame := AppendFrame(nil, core.Frame{Kind: core.KindCommand, Body: make([]byte, 30_000)})
	small := AppendFrame(nil, core.Frame{Kind: core.KindCommand, Body: make([]byte, smallFrame)})
	for _, test := range []struct {
		came  []byte
		bound int
	}{
		{frame[:1], 2 * smallFrame},
		{frame[:HeaderSize], 2 * smallFrame},
		{frame[:HeaderSize+1], 2 * minBatch},
		{frame[:3000], 10_000},
		{frame[:20_000], 70_000},
		{small[:smallFrame], 2 * smallFrame},
	} {
		budget := core.NewBudget(1 << 20)
		account := budget.NewAccount(0)
		c := NewConn(&scripted{}, Config{})
		c.SetBudget(account, func(*core.Frame) int { return 0 })
		r := &c.reader
		r.running = true
		r.buffer = core.GetBuffer(readSize)
		r.data = append(r.buffer.Bytes, test.came...)
		if got, err := r.parse(); got != nil || err != nil {
			t.Fatal(got, err)
		}
		if err := r.pause(); err != nil {
			t.Fatal(err)
		}
		held := 0
		if r.buffer != nil {
			held += cap(r.buffer.Bytes)
		}
		if r.large != nil {
			held += cap(r.large.Bytes)
			if int(account.Used()) != cap(r.large.Bytes) {
				t.Errorf("%d bytes: %d are held, and %d counted", len(test.came), held, account.Used())
			}
		}
		if held > test.bound {
			t.Errorf("%d bytes: %d are held", len(test.came), held)
		}
		if r.slow.armed.IsZero() || time.Until(r.slow.armed) > time.Minute {
			t.Errorf("%d bytes: nobody looks after them", len(test.came))
		}
		r.release()
		if account.Used() != 0 {
			t.Errorf("%d bytes: %d are counted at the end", len(test.came), account.Used())
		}
	}
}

// The buffer that was counted while a frame was incomplete is given back when that is complete and the reader waits
// for another one, whatever its size: pools have all sizes.
func TestAFrameThatWasIncompleteIsNotCounted(t *testing.T) {
	frame := AppendFrame(nil, core.Frame{Kind: core.KindCommand, Body: make([]byte, 3000)})
	for _, size := range []int{5 << 10, readSize - 1, readSize, 2 * readSize} {
		budget := core.NewBudget(1 << 20)
		account := budget.NewAccount(0)
		waits := false
		c := NewConn(&scripted{source: io.MultiReader(bytes.NewReader(frame[2500:]), readerFunc(func([]byte) (int, error) {
			waits = true
			if account.Used() != 0 {
				t.Errorf("a buffer of %d bytes: %d are counted", size, account.Used())
			}
			return 0, io.EOF
		}))}, Config{})
		c.SetBudget(account, func(*core.Frame) int { return 0 })
		r := &c.reader
		r.running, r.busy = true, true
		r.buffer = &core.Buffer{Bytes: make([]byte, 0, size)}
		r.data = append(r.buffer.Bytes, frame[:2500]...)
		if got, err := r.next(); got == nil || err != nil {
			t.Fatal(got, err)
		}
		if _, err := r.next(); err != io.EOF || !waits {
			t.Fatal(err)
		}
		r.release()
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(target []byte) (int, error) { return f(target) }

package transport

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict/core"
)

// reattach gives both ends of a connection that was lost another one.
func reattach(t *testing.T, network string, a, b *Conn) {
	t.Helper()
	received := map[*Conn]core.Position{}
	for _, conn := range []*Conn{a, b} {
		position, err := conn.Suspend(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		received[conn] = position
	}
	client, server := connect(t, network)
	for _, end := range []struct {
		conn, peer *Conn
		fresh      net.Conn
	}{{a, b, client}, {b, a, server}} {
		if err := end.conn.CanResume(received[end.peer]); err != nil {
			t.Fatal(err)
		}
		if err := end.conn.Attach(t.Context(), NewConn(end.fresh, Config{}), received[end.peer]); err != nil {
			t.Fatal(err)
		}
	}
}

// Several senders on both sides, with frames of all sizes, over a connection that breaks again and again: all of
// it comes, once, and in each sender's order.
func TestNothingIsLostOrDoubled(t *testing.T) {
	const senders, frames = 4, 50
	for _, network := range networks {
		t.Run(network, func(t *testing.T) {
			client, server := connect(t, network)
			a, b := NewConn(client, Config{}), NewConn(server, Config{})
			var all sync.WaitGroup
			var receivers sync.WaitGroup
			for _, conn := range []*Conn{a, b} {
				conn.Resumable(0, func(error) {})
				next, left := map[core.Sequence]uint32{}, senders*frames
				all.Add(1)
				receivers.Go(func() {
					err := conn.Run(func(frame *core.Frame) error {
						body := frame.Body
						if frame.Buffer != nil {
							body = frame.Buffer.Join()
						}
						number := binary.LittleEndian.Uint32(body)
						if number != next[frame.Sequence] {
							t.Errorf("sender %v: frame %d came, want %d", frame.Sequence, number, next[frame.Sequence])
						}
						for i, b := range body[4:] {
							if b != byte(number)+byte(i) {
								t.Errorf("sender %v: frame %d is damaged at %d of %d", frame.Sequence, number, i, len(body))
								break
							}
						}
						next[frame.Sequence]++
						frame.Buffer.Release()
						if left--; left == 0 {
							all.Done()
						}
						return nil
					})
					if left > 0 {
						t.Errorf("%d frames have not come: %v", left, err)
						all.Done()
					}
				})
				for sender := range senders {
					go func() {
						sizes := rand.New(rand.NewPCG(uint64(sender), 1))
						for number := range uint32(frames) {
							size := sizes.IntN(300)
							switch sizes.IntN(8) {
							case 0:
								size = sizes.IntN(40 << 10)
							case 1:
								size = sizes.IntN(300 << 10)
							}
							buffer := core.GetBuffer(4 + size)
							buffer.Bytes = binary.LittleEndian.AppendUint32(buffer.Bytes, number)
							for i := range size {
								buffer.Bytes = append(buffer.Bytes, byte(number)+byte(i))
							}
							frame := core.Frame{Kind: core.KindResult, Sequence: core.Sequence(sender), Body: buffer.Bytes, Bulk: true}
							if len(buffer.Bytes) >= core.LargeBody {
								frame.Buffer = buffer
							}
							if _, err := conn.Send(context.Background(), frame); err != nil {
								t.Errorf("sender %d: %v", sender, err)
								return
							}
							if frame.Buffer == nil {
								buffer.Release()
							}
						}
					}()
				}
			}
			done := make(chan struct{})
			go func() { all.Wait(); close(done) }()
			breaks := 0
			for over := false; !over && !t.Failed(); {
				if breaks == 40 {
					<-done
				}
				select {
				case <-done:
					over = true
				default:
					for range rand.IntN(200) {
						runtime.Gosched()
					}
					a.Break(errors.New("the test breaks it"))
					reattach(t, network, a, b)
					breaks++
				}
			}
			t.Logf("broken %d times", breaks)
			a.Close(nil)
			b.Close(nil)
			receivers.Wait()
			a.Wait()
			b.Wait()
		})
	}
}

// What was acknowledged is not kept.
func TestAcknowledgedIsDropped(t *testing.T) {
	client, server := connect(t, "tcp")
	a, b := NewConn(client, Config{}), NewConn(server, Config{})
	var ends sync.WaitGroup
	defer func() {
		a.Close(nil)
		b.Close(nil)
		ends.Wait()
		closeBoth(a, b)
	}()
	a.Resumable(0, func(error) {})
	b.Resumable(0, func(error) {})
	ends.Go(func() { _ = a.Run(func(*core.Frame) error { return nil }) })
	ends.Go(func() { _ = b.Run(func(*core.Frame) error { return nil }) })
	for range 1000 { // which would wait for ever if it were not
		if _, err := a.Send(t.Context(), core.Frame{Kind: core.KindCommand, Body: make([]byte, 1000)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.writer.mu.Lock()
	defer a.writer.mu.Unlock()
	kept := 0
	for _, chunk := range a.writer.replay.kept {
		kept += chunk.batch.size
	}
	if held := a.writer.replay.held; kept > MinReplay+defaultQueueBytes || held > 2*(MinReplay+defaultQueueBytes) {
		t.Errorf("%d bytes are kept, in %d", kept, held)
	}
}

// What is kept counts for the budget, as what is queued does.
func TestWhatIsKeptCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := MemoryPipe()
		a := NewConn(near, Config{})
		account := core.NewBudget(1 << 30).NewAccount(0)
		a.SetBudget(account, func(*core.Frame) int { return 0 })
		a.Resumable(1<<20, func(error) {})
		var reader sync.WaitGroup
		reader.Go(func() { _, _ = io.Copy(io.Discard, far) }) // and acknowledges nothing
		for range 200 {
			if _, err := a.Send(t.Context(), core.Frame{Kind: core.KindCommand, Body: make([]byte, 1000)}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if used := account.Used(); used < 200*1016-queueFree-chunkSize || used > 200*1016+2*queueStep {
			t.Errorf("%d bytes are counted", used)
		}
		a.Close(nil)
		a.Wait()
		_ = far.Close()
		reader.Wait()
		account.Close()
	})
}

// A peer that is away holds up who sends, and costs a bounded amount of memory.
func TestSendWaitsWhileThePeerIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := MemoryPipe()
		a, b := NewConn(near, Config{}), NewConn(far, Config{})
		a.Resumable(MinReplay, func(error) {})
		b.Resumable(MinReplay, func(error) {})
		var ends sync.WaitGroup
		got := 0
		ends.Go(func() { _ = a.Run(func(*core.Frame) error { return nil }) })
		ends.Go(func() {
			_ = b.Run(func(*core.Frame) error {
				got++
				return nil
			})
		})
		a.Break(io.ErrUnexpectedEOF)
		if a.Attached() || a.LossCause() != io.ErrUnexpectedEOF || !isClosed(a.Lost()) {
			t.Error("it is not lost")
		}
		sent := 0
		waiting, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		var err error
		for err == nil {
			if _, err = a.Send(waiting, core.Frame{Kind: core.KindCommand, Body: make([]byte, 1000)}); err == nil {
				sent++
			}
		}
		if err != context.DeadlineExceeded || sent*1016 < defaultQueueBytes || sent*1016 > defaultQueueBytes+2*MinReplay {
			t.Errorf("%d were sent, then %v", sent, err)
		}
		if err := a.Flush(t.Context()); err != errDetached {
			t.Errorf("Flush: %v", err)
		}
		reattach(t, "memory", a, b)
		synctest.Wait()
		if got != sent {
			t.Errorf("%d of %d have come", got, sent)
		}
		later, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		// All that waited went in one batch, whose last bytes the peer has no reason to acknowledge.
		if _, err := a.Send(later, core.Frame{Kind: core.KindCommand}); err != nil {
			t.Errorf("after that: %v", err)
		}
		// What must not wait goes beyond that, to a bound.
		a.Break(io.ErrUnexpectedEOF)
		posted := 0
		for err = nil; err == nil; posted++ {
			err = a.Post(core.Frame{Kind: core.KindPong, Body: make([]byte, 64)})
		}
		if err != ErrKeptTooMuch || posted*80 < postLimit || posted*80 > 2*postLimit {
			t.Errorf("%d were posted, then %v", posted, err)
		}
		a.Close(nil)
		b.Close(nil)
		ends.Wait()
		closeBoth(a, b)
	})
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// A peer that acknowledges what it can't have got, or was not asked to, ends the connection and gets nobody's memory.
func TestHostileAcknowledgements(t *testing.T) {
	for name, frame := range map[string]core.Frame{
		"never sent": {Kind: core.KindAck, Body: binary.LittleEndian.AppendUint64(nil, 1<<40)},
		"7 bytes":    {Kind: core.KindAck, Body: make([]byte, 7)},
		"9 bytes":    {Kind: core.KindAck, Body: make([]byte, 9)},
	} {
		near, far := MemoryPipe()
		a := NewConn(near, Config{})
		a.Resumable(0, func(error) {})
		go far.Write(AppendFrame(nil, frame))
		if err := a.Run(func(*core.Frame) error { return nil }); err == nil || !strings.Contains(err.Error(), "ACK") {
			t.Errorf("%s: %v", name, err)
		}
		a.Close(nil)
		far.Close()
		a.Wait()
	}
	// Without an agreement it is for the handler to refuse.
	near, far := MemoryPipe()
	a := NewConn(near, Config{})
	go far.Write(AppendFrame(nil, core.Frame{Kind: core.KindAck, Body: make([]byte, 8)}))
	refuse := errors.New("refused")
	if err := a.Run(func(frame *core.Frame) error { return fmt.Errorf("%v: %w", frame.Kind, refuse) }); !errors.Is(err, refuse) {
		t.Error(err)
	}
	a.Close(nil)
	far.Close()
	a.Wait()
}

// What is being written is not given back to the pool, whatever the peer says that it has got: what lies in there then
// would be another connection's.
func TestAcknowledgedWhileItIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := MemoryPipe()
		a := NewConn(near, Config{})
		a.Resumable(0, func(error) {})
		var run sync.WaitGroup
		run.Go(func() { _ = a.Run(func(*core.Frame) error { return nil }) })
		size := 1 << 20 // more than the pipe takes
		buffer := core.GetBuffer(size)
		buffer.Bytes = buffer.Bytes[:size]
		for i := range buffer.Bytes {
			buffer.Bytes[i] = 7
		}
		if _, err := a.Send(t.Context(), core.Frame{Kind: core.KindCommand, Whole: true, Body: buffer.Bytes, Buffer: buffer}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		attempted := a.Attempted()
		if _, err := far.Write(AppendFrame(nil, core.Frame{Kind: core.KindAck, Body: binary.LittleEndian.AppendUint64(nil, uint64(attempted))})); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		a.writer.mu.Lock()
		kept := len(a.writer.replay.kept)
		a.writer.mu.Unlock()
		if kept == 0 {
			t.Error("it was let go")
		}
		got := make([]byte, HeaderSize+size)
		if _, err := io.ReadFull(far, got); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		a.writer.mu.Lock()
		kept = len(a.writer.replay.kept)
		a.writer.mu.Unlock()
		if kept != 0 {
			t.Errorf("%d chunks are kept of what was written and acknowledged", kept)
		}
		a.Close(nil)
		far.Close()
		run.Wait()
		a.Wait()
	})
}

// A peer need not acknowledge all that it has got. Who sends goes on all the same, whatever it keeps for that: a batch is
// kept as long as its end is not acknowledged, and can be larger than the limit.
func TestAPeerAcknowledgesInSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := MemoryPipe()
		a, b := NewConn(near, Config{}), NewConn(far, Config{})
		a.Resumable(MinReplay, func(error) {})
		b.Resumable(MinReplay, func(error) {})
		var ends sync.WaitGroup
		ends.Go(func() { _ = a.Run(func(*core.Frame) error { return nil }) })
		ends.Go(func() { _ = b.Run(func(*core.Frame) error { return nil }) })
		for size := AckEvery / 2; size < MinReplay+3*AckEvery; size += 1000 {
			// One batch: the last of its frames is not worth an ACK.
			a.writer.mu.Lock()
			a.writer.appendLocked(&core.Frame{Kind: core.KindCommand, Whole: true, Body: make([]byte, size)}, size)
			a.writer.mu.Unlock()
			for range 2 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				_, err := a.Send(ctx, core.Frame{Kind: core.KindCommand, Body: make([]byte, 1000)})
				cancel()
				if err != nil {
					t.Fatalf("behind %d bytes: %v", size, err)
				}
				synctest.Wait()
			}
		}
		a.Close(nil)
		b.Close(nil)
		ends.Wait()
		closeBoth(a, b)
	})
}

package raw

import (
	"net"
	"runtime"
	"sync"
)

// writer combines the frames of many goroutines into few writes. There is no writer goroutine: the
// goroutine that appends while nobody is writing becomes the writer and stays it until nothing is
// pending.
type writer struct {
	conn net.Conn

	mu      sync.Mutex // guards what follows; not held during I/O
	idle    sync.Cond  // signalled when writing becomes false; only writeOwned waits
	waiting int        // goroutines in idle.Wait
	writing bool       // someone is the writer: whoever appends may leave at once
	failed  bool       // a write has failed and conn is closed; appended bytes are dropped
	pending []byte     // appended, not yet taken by the writer
	spare   []byte     // the buffer that the writer is not writing; nil while it writes
}

func newWriter(conn net.Conn) *writer {
	w := &writer{conn: conn}
	w.idle.L = &w.mu
	return w
}

// send appends one frame, and writes if nobody does. A failed write closes the connection, and the
// read loop of this side reports it; that is why send returns nothing.
func (w *writer) send(kind operation, slot uint64, body []byte) {
	w.mu.Lock()
	w.pending = appendFrame(w.pending, kind, slot, body)
	w.unlockAndWrite()
}

// sendFrames is send for frames that are complete already.
func (w *writer) sendFrames(frames []byte) {
	w.mu.Lock()
	w.pending = append(w.pending, frames...)
	w.unlockAndWrite()
}

// unlockAndWrite releases mu and, if nobody writes, writes until nothing is pending.
func (w *writer) unlockAndWrite() {
	if w.writing {
		w.mu.Unlock()
		return
	}
	w.writing = true
	w.mu.Unlock()
	runtime.Gosched() // every runnable caller appends before the first write
	w.mu.Lock()
	w.drainLocked()
	w.mu.Unlock()
}

// writeOwned writes frames that the caller has laid out in a buffer of its own, without a copy,
// between the batches of others. It waits for its turn, and returns when the bytes are written. It
// reports whether the connection still works.
func (w *writer) writeOwned(frames []byte) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.writing && !w.failed {
		w.waiting++
		w.idle.Wait()
		w.waiting--
	}
	if w.failed {
		return false
	}
	w.writing = true
	w.mu.Unlock()
	_, err := w.conn.Write(frames)
	w.mu.Lock()
	if err != nil {
		w.failLocked()
	}
	w.drainLocked()
	return !w.failed
}

// drainLocked writes batches until nothing is pending and gives up the writer's role. It releases
// mu during each write.
func (w *writer) drainLocked() {
	for len(w.pending) > 0 && !w.failed {
		batch := w.pending
		w.pending, w.spare = w.spare[:0], nil
		w.mu.Unlock()
		_, err := w.conn.Write(batch)
		w.mu.Lock()
		w.spare = batch
		if err != nil {
			w.failLocked()
		}
	}
	if w.failed {
		w.pending = w.pending[:0]
	}
	w.writing = false
	if w.waiting > 0 {
		w.idle.Broadcast()
	}
}

func (w *writer) failLocked() {
	w.failed = true
	w.conn.Close() //nolint:errcheck // the write's error came first, and the read loop reports its own
}

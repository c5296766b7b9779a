package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"time"

	"github.com/edict-go/edict/core"
)

const (
	// maxBatches is how many batches a caller writes, for itself and others, before it hands the
	// role to a goroutine of the connection.
	maxBatches = 4
	// minBatch is the least capacity that a batch starts with; else it is what the last ones needed.
	minBatch = 1 << 10
	// writeStep is how much is given to a blocking write at once. WriteTimeout measures progress, not
	// the size of the batch: a write that has timed out half done is continued. TLS can't do that, so
	// there the step is what it puts into one record.
	writeStep    = 256 << 10
	writeStepTLS = 16 << 10
)

// errPeerNotReading ends a connection whose peer sends what must be answered but reads nothing.
var errPeerNotReading = errors.New("the peer does not read: too much is queued for it")

// writer is the combining writer of a Conn. See the package's documentation.
//
// The writing role: whoever sets writing to true writes batch, and nobody else touches it, until it
// sets writing to false with nothing pending, or hands the role to pump.
type writer struct {
	owner *Conn
	// Made once: a closure per write would be an allocation.
	tryWrite func(fd uintptr) bool
	runPump  func()
	pumps    sync.WaitGroup // goroutines of this writer; added to under mu, not after err is set

	// Owned by the holder of the writing role.
	batch    batch
	parts    [][]byte // what of batch is not yet written; a part of allParts
	allParts [][]byte // kept for its capacity
	tryFail  error    // what tryWrite met

	mu        sync.Mutex // held briefly, never during I/O or encoding
	pending   batch      // queued, not yet taken by the holder of the role
	lanes     lanes      // queued, and giving way to pending
	appended  core.Position
	attempted core.Position // end of the last batch taken
	underway  int           // what the last batch taken occupies; 0 if nobody writes
	reserved  int           // of the account, for what is queued
	posted    int           // bytes of pending that Post has queued
	counters  counters
	usual     int // what batches need without large bodies: the most of late, decaying
	writing   bool
	// clearDeadline: the handshake is over, and its deadline for writing must be removed.
	clearDeadline bool
	ended         bool          // Flush has ended the sending direction; what is posted later is dropped
	err           error         // why the connection is closed; owner.done is closed then
	room          chan struct{} // if not nil: closed when pending has been taken, or more is acknowledged
	drained       chan struct{} // if not nil: closed when the role is given up
	replay        *replay       // nil unless the connection can be resumed; set before it is used
}

// batch is a run of frames: bytes with gaps where large bodies go that are not copied.
type batch struct {
	buffer *core.Buffer // nil while empty
	large  []largeBody
	size   int // of both together
}

// largeBody is written before the byte at offset of the batch's buffer.
type largeBody struct {
	offset int
	body   []byte
	buffer *core.Buffer
}

func (b *batch) release() {
	b.buffer.Release()
	b.buffer = nil
	for i := range b.large {
		b.large[i].buffer.Release()
		b.large[i] = largeBody{}
	}
	b.large = b.large[:0]
	b.size = 0
}

func (w *writer) init(owner *Conn) {
	w.owner = owner
	w.tryWrite = w.writeWithoutWaiting
	w.runPump = func() {
		defer w.pumps.Done()
		w.pump()
	}
}

// Send implements core.Transport.
func (c *Conn) Send(ctx context.Context, frame core.Frame) (core.Position, error) {
	w := &c.writer
	length := payloadSize(&frame)
	w.mu.Lock()
	for w.err == nil {
		var err error
		if w.forsakenLocked() {
			break
		} else if !w.hasRoom(&frame) {
			err = w.waitForRoom(ctx)
		} else if short := w.shortLocked(&frame, length); short == 0 || length > c.config.MaxSend || w.takeLocked(short) {
			break
		} else {
			err = w.waitForBudget(ctx, short)
		}
		if err != nil {
			w.mu.Unlock()
			return 0, err
		}
	}
	return w.queue(&frame, length)
}

// hasRoom reports whether frame can be queued without passing the limit of its queue by more than
// itself.
func (w *writer) hasRoom(frame *core.Frame) bool {
	if w.keepsTooMuchLocked() {
		return false
	}
	if w.lanes.takes(frame) {
		return w.lanes.size < w.owner.config.QueueBytes
	}
	if goesInParts(frame) && w.lanes.parts >= maxParts {
		return false
	}
	return w.pending.size < w.owner.config.QueueBytes
}

// Post implements core.Transport.
func (c *Conn) Post(frame core.Frame) error {
	w := &c.writer
	length := payloadSize(&frame)
	w.mu.Lock()
	if w.ended && w.err == nil { // to write it would break the connection, and destroy what is on its way
		w.mu.Unlock()
		frame.Buffer.Release()
		return nil
	}
	if w.err == nil && !w.forsakenLocked() && !w.mayPost(&frame, length) {
		err := errPeerNotReading
		if w.detachedLocked() {
			err = ErrKeptTooMuch
		}
		w.mu.Unlock()
		w.fail(err)
		return err
	}
	w.posted += HeaderSize + length
	_, err := w.queue(&frame, length)
	return err
}

// mayPost reports whether what is queued already leaves room for a frame that must not wait.
func (w *writer) mayPost(frame *core.Frame, length int) bool {
	if w.pending.size >= w.owner.config.QueueBytes+postLimit {
		return false
	}
	short := w.shortLocked(frame, length)
	return short == 0 || w.takeLocked(short) || w.posted+HeaderSize+length <= queueFree
}

// SendPreface queues the first bytes of the connection.
func (c *Conn) SendPreface(preface [PrefaceSize]byte) {
	w := &c.writer
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return // as Post will say
	}
	w.makeRoomLocked(len(preface))
	w.pending.buffer.Bytes = append(w.pending.buffer.Bytes, preface[:]...)
	w.pending.size += len(preface)
	w.appended += core.Position(len(preface))
}

// waitForRoom waits, with mu released meanwhile, until the pending batch is taken, the connection
// fails (then it returns nil: the caller looks at err) or ctx ends.
func (w *writer) waitForRoom(ctx context.Context) error {
	room := w.roomLocked()
	w.counters.waits++
	w.mu.Unlock()
	defer w.mu.Lock()
	select {
	case <-room:
	case <-w.owner.done:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// roomLocked returns a channel that is closed when the pending batch is taken.
func (w *writer) roomLocked() chan struct{} {
	if w.room == nil {
		w.room = make(chan struct{})
	}
	return w.room
}

// madeRoomLocked wakes who waits for room.
func (w *writer) madeRoomLocked() {
	if w.room != nil {
		close(w.room)
		w.room = nil
	}
}

// queue appends frame to the pending batch, releases mu, which the caller has locked, and writes if
// nobody else does. If it returns an error nothing was queued.
func (w *writer) queue(frame *core.Frame, length int) (core.Position, error) {
	if err := w.err; err != nil {
		w.mu.Unlock()
		return 0, err
	}
	if w.forsakenLocked() {
		position := w.appended
		w.mu.Unlock()
		frame.Buffer.Release()
		return position, nil
	}
	if length > w.owner.config.MaxSend {
		w.mu.Unlock()
		return 0, core.Errorf(core.ResourceExhausted, "message of %d bytes; the peer accepts at most %d (MaxFrame)", length, w.owner.config.MaxSend)
	}
	if frame.Buffer != nil {
		w.chargeLocked(frame)
	}
	position := w.appended
	switch {
	case w.lanes.takes(frame):
		w.lanes.add(w, *frame, 0)
	case goesInParts(frame):
		w.startPartsLocked(frame, length)
	default:
		w.appendLocked(frame, length)
	}
	if w.writing || w.detachedLocked() {
		w.mu.Unlock()
		return position, nil
	}
	w.writing = true
	// A caller that sends a command has nothing to do but wait, so it writes itself. Whoever sends
	// anything else goes on: a worker to its next command, a stream to its next result. For them a
	// goroutine writes, in batches as big as they become meanwhile.
	if w.owner.raw == nil || frame.Kind != core.KindCommand {
		w.startPumpLocked()
		w.mu.Unlock()
		return position, nil
	}
	w.mu.Unlock()
	w.combine()
	return position, nil
}

// goesInParts reports whether frame is a COMMAND that is cut.
func goesInParts(frame *core.Frame) bool {
	return frame.Kind == core.KindCommand && len(frame.Body) > maxFragment && !frame.Whole
}

// startPartsLocked appends the first part of a large COMMAND, which so has its position, and leaves the
// rest to a lane.
func (w *writer) startPartsLocked(frame *core.Frame, length int) {
	takeOver(w, frame)
	first := *frame
	first.Flags |= core.FlagMore
	first.Body, first.Buffer = frame.Body[:maxFragment], nil
	w.appendLocked(&first, length-len(frame.Body)+maxFragment)
	w.lanes.parts++
	w.lanes.add(w, *frame, maxFragment)
}

// makeRoomLocked sees to it that so many bytes can be appended to the pending batch. A batch that outgrows its buffer gets a
// larger one of the pool: append would make one and leave the other to the garbage collector.
func (w *writer) makeRoomLocked(size int) {
	p := &w.pending
	if p.buffer == nil {
		usual := w.usual
		if !w.owner.account.Calm() {
			usual = min(usual, queueFree+w.reserved)
		}
		p.buffer = core.GetBuffer(max(minBatch, usual, size))
		return
	}
	if have := len(p.buffer.Bytes); have+size > cap(p.buffer.Bytes) {
		larger := core.GetBuffer(max(have+size, cap(p.buffer.Bytes)+cap(p.buffer.Bytes)/4))
		larger.Bytes = append(larger.Bytes, p.buffer.Bytes...)
		p.buffer.Release()
		p.buffer = larger
	}
}

func (w *writer) appendLocked(frame *core.Frame, length int) {
	size := HeaderSize + length
	apart := frame.Buffer != nil || frame.Flags&core.FlagMore != 0
	if apart {
		w.makeRoomLocked(size - len(frame.Body))
	} else {
		w.makeRoomLocked(size)
	}
	p := &w.pending
	p.buffer.Bytes = appendHeader(p.buffer.Bytes, frame, length)
	if apart {
		p.large = append(p.large, largeBody{len(p.buffer.Bytes), frame.Body, frame.Buffer})
	} else {
		p.buffer.Bytes = append(p.buffer.Bytes, frame.Body...)
	}
	p.size += size
	w.appended += core.Position(size)
	w.counters.frames++
}

// combine writes what is pending, in the caller's goroutine, without ever waiting for the network.
// It holds the writing role and has given it up or handed it on when it returns.
func (w *writer) combine() {
	runtime.Gosched() // every goroutine that is ready appends its frame first
	for range maxBatches {
		if !w.takeBatch() {
			return
		}
		done, err := w.tryBatch()
		if err != nil {
			w.broke(err)
			return
		}
		if !done {
			break
		}
		w.batch.release()
	}
	w.mu.Lock()
	if w.err != nil || w.detachedLocked() {
		w.mu.Unlock()
		w.leave()
		return
	}
	w.startPumpLocked()
	w.mu.Unlock()
}

// takeBatch makes the pending frames the batch of the role's holder. If there are none, or if the
// connection has failed, it gives up the role and returns false.
func (w *writer) takeBatch() bool {
	w.mu.Lock()
	if w.clearDeadline {
		w.clearDeadline = false
		_ = w.owner.conn.SetWriteDeadline(time.Time{}) // an error is that of the next write
	}
	if w.replay != nil && !w.replay.detached {
		w.replay.written = w.attempted
		w.dropKeptLocked()
	}
	if w.err == nil && !w.detachedLocked() && len(w.lanes.turns) > 0 {
		w.lanes.fill(w)
	}
	if w.pending.size == 0 || w.err != nil || w.detachedLocked() {
		w.leaveLocked()
		w.mu.Unlock()
		return false
	}
	start := w.attempted
	w.batch, w.pending = w.pending, w.batch
	w.underway, w.posted = w.batch.copied(), 0
	w.attempted = w.appended
	w.counters.batches++
	w.usual = max(len(w.batch.buffer.Bytes), w.usual-w.usual/16)
	if w.replay != nil {
		w.allParts = w.keepLocked(start, w.allParts[:0])
	}
	w.trimLocked()
	w.madeRoomLocked()
	w.mu.Unlock()
	if w.replay == nil {
		written := chunk{start, w.batch}
		w.allParts = written.parts(w.allParts[:0], 0)
	}
	w.parts = w.allParts
	return true
}

// broke deals with a failed write, and gives up the writing role.
func (w *writer) broke(err error) {
	if !w.owner.lose(err) {
		w.fail(err)
	}
	w.leave()
}

// leave gives up the writing role after a failure.
func (w *writer) leave() {
	w.batch.release()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.leaveLocked()
}

func (w *writer) leaveLocked() {
	w.writing, w.underway = false, 0
	if w.replay != nil {
		w.underway = w.replay.held
	}
	w.parts = nil
	clear(w.allParts) // what they refer to was given back
	if w.err != nil {
		w.clearLocked()
	}
	w.trimLocked()
	if w.drained != nil {
		close(w.drained)
		w.drained = nil
	}
}

// tryBatch writes as much of parts as the socket takes and reports whether that was all.
func (w *writer) tryBatch() (done bool, err error) {
	w.tryFail = nil
	if err := w.owner.raw.Write(w.tryWrite); err != nil {
		return false, err
	}
	return len(w.parts) == 0, w.tryFail
}

// advance drops the first n bytes of parts.
func (w *writer) advance(n int) {
	for len(w.parts) > 0 && n >= len(w.parts[0]) {
		n -= len(w.parts[0])
		w.parts = w.parts[1:]
	}
	if n > 0 {
		w.parts[0] = w.parts[0][n:]
	}
}

// startPumpLocked hands the writing role to a goroutine that may wait for the network.
func (w *writer) startPumpLocked() {
	w.pumps.Add(1)
	go w.runPump()
}

// pump writes, waiting for the network, until nothing is pending. It has the writing role.
//
// Started by a sender that has more to do than to write, or by combine when it can't go on; ends when
// there is nothing to write or the connection has failed; Conn.Wait waits for it.
func (w *writer) pump() {
	for {
		if err := w.writeWaiting(); err != nil {
			w.broke(err)
			return
		}
		w.batch.release()
		runtime.Gosched()
		if !w.takeBatch() {
			return
		}
	}
}

// writeWaiting writes all of parts: what it can without waiting, the rest with a deadline.
func (w *writer) writeWaiting() error {
	if w.owner.raw != nil && len(w.parts) > 0 {
		if done, err := w.tryBatch(); done || err != nil {
			return err
		}
	}
	for len(w.parts) > 0 {
		if err := w.writePart(); err != nil {
			return err
		}
	}
	return nil
}

// writePart writes some of parts[0], waiting until the peer takes it or WriteTimeout has passed.
func (w *writer) writePart() error {
	part := w.parts[0]
	if len(part) == 0 {
		w.advance(0)
		return nil
	}
	c := w.owner
	if err := c.conn.SetWriteDeadline(time.Now().Add(c.config.WriteTimeout)); err != nil {
		return err
	}
	step := writeStep
	if _, secure := c.conn.(*tls.Conn); secure {
		step = writeStepTLS
	}
	n, err := c.conn.Write(part[:min(len(part), step)])
	w.advance(n)
	if err != nil {
		if IsTimeout(err) {
			if n > 0 {
				return nil // slow, but alive
			}
			return fmt.Errorf("the peer took nothing for %v: %w", c.config.WriteTimeout, err)
		}
		return err
	}
	return c.conn.SetWriteDeadline(time.Time{})
}

// fail closes the connection; the first cause stays.
func (w *writer) fail(cause error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failLocked(cause)
}

// failUnheard is fail if nothing was ever to be written. It reports whether the connection has failed.
func (w *writer) failUnheard(cause error) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.appended == 0 {
		w.failLocked(cause)
	}
	return w.err != nil
}

func (w *writer) failLocked(cause error) {
	if w.err != nil {
		return
	}
	w.err = cause
	leave := w.replay != nil && !w.replay.detached && !w.writing
	if !w.writing {
		w.clearLocked()
		w.trimLocked()
	}
	// done is closed before the connection is, so that readers find the cause, and after the goroutine is
	// counted, so that who has seen it may Wait.
	w.pumps.Add(1)
	close(w.owner.done)
	go w.closeConn(w.owner.conn, leave) // not here: closing waits for the reader, which may be the one that calls
}

// clearLocked drops what is queued and kept, when the connection has failed and nobody writes any more.
func (w *writer) clearLocked() {
	w.pending.release()
	w.lanes.clear()
	w.replay.clear()
	w.underway = 0
}

// closeConn closes a connection underneath. If leave is true the peer is told that it is not to be resumed.
//
// Started by fail and Conn.lose; ends at once, or after leaveTimeout; Conn.Wait waits for it.
func (w *writer) closeConn(conn net.Conn, leave bool) {
	defer w.pumps.Done()
	if leave && conn.SetWriteDeadline(time.Now().Add(leaveTimeout)) == nil {
		_, _ = conn.Write(leaving()) // as far as it goes
	}
	// A TLS close would wait for a peer that doesn't read to take the alert; frames tell the peer
	// all that matters, and a graceful end has sent the alert in Flush.
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	_ = conn.Close() // the cause is the error that counts
}

// Withdraw implements core.Transport.
func (c *Conn) Withdraw(sequence core.Sequence, position core.Position) bool {
	w := &c.writer
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return position >= w.attempted // what was not taken when the connection failed never will be
	}
	if position < w.attempted {
		return w.dropLocked(sequence)
	}
	// The frame is pending. Large bodies before it are not in the buffer.
	offset := int(position - w.attempted)
	skipped := 0
	for _, large := range w.pending.large {
		if large.offset+skipped > offset {
			break
		}
		skipped += len(large.body)
	}
	w.pending.buffer.Bytes[offset-skipped+4] = byte(core.KindPadding)
	w.withdrawRestLocked(sequence)
	return true
}

// withdrawRestLocked drops what else is queued of a call whose COMMAND has become PADDING.
func (w *writer) withdrawRestLocked(sequence core.Sequence) {
	own := w.lanes.bySequence[sequence]
	if own == nil {
		return
	}
	if own.started() { // the first part is the PADDING; the buffer goes when that is written
		w.lanes.parts--
		w.pending.large = append(w.pending.large, largeBody{len(w.pending.buffer.Bytes), nil, own.frames[0].Buffer})
		w.lanes.size += own.sent
		w.lanes.uncharged -= uncharged(&own.frames[0])
		own.frames[0].Buffer, own.sent = nil, 0
		w.lanes.uncharged += uncharged(&own.frames[0])
	}
	w.lanes.drop(w, sequence)
}

// Drop implements core.Transport.
func (c *Conn) Drop(sequence core.Sequence) {
	c.writer.mu.Lock()
	defer c.writer.mu.Unlock()
	c.writer.dropLocked(sequence)
}

// dropLocked drops what a call has in its lane. It reports whether that was the rest of its COMMAND. The
// writing role is taken already: a lane that is not empty has a writer.
func (w *writer) dropLocked(sequence core.Sequence) bool {
	if w.err != nil {
		return false
	}
	return w.lanes.drop(w, sequence)
}

// Attempted implements core.Transport.
func (c *Conn) Attempted() core.Position {
	c.writer.mu.Lock()
	defer c.writer.mu.Unlock()
	return c.writer.attempted
}

// drain waits until nothing is queued or being written.
func (w *writer) drain(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.writing && w.err == nil {
		if err := w.waitForLeave(ctx); err != nil {
			return err
		}
	}
	if w.err == nil && w.detachedLocked() {
		return errDetached
	}
	w.ended = true
	return w.err
}

// errDetached is the error of a Flush while there is no connection to write to.
var errDetached = errors.New("the connection is lost, and not resumed yet")

// waitForLeave waits, with mu released meanwhile, until the writing role is given up, the connection fails or
// ctx ends.
func (w *writer) waitForLeave(ctx context.Context) error {
	if w.drained == nil {
		w.drained = make(chan struct{})
	}
	drained := w.drained
	w.mu.Unlock()
	defer w.mu.Lock()
	select {
	case <-drained:
	case <-w.owner.done:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

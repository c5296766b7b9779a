package transport

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"time"

	"github.com/edict-go/edict/core"
)

// AckEvery is after how many received bytes, at the latest, a side of a connection that can be resumed says how
// much it has got. It is part of the protocol.
const AckEvery = 32 << 10

// MinReplay is the least that Resumable keeps: what is not acknowledged yet when the peer acknowledges as
// seldom as it may, with some more under way.
const MinReplay = 4 * AckEvery

const (
	// chunkSize is how large the buffers are that small batches are collected in, up to smallBatch each.
	chunkSize  = 16 << 10
	smallBatch = chunkSize / 4
	// leaveTimeout bounds how long the last word to a peer may take.
	leaveTimeout = time.Second
)

// errReplaced is why a connection underneath is given up when its peer has come with another one.
var errReplaced = errors.New("the peer has connected again")

// ErrKeptTooMuch ends a connection that was lost, and for whose peer more is kept than may be.
var ErrKeptTooMuch = errors.New("the peer is away and too much is kept for it")

// replay is what lets a Conn survive the loss of the net.Conn underneath: it keeps what was written until the
// peer has acknowledged it, and writes again what the peer has not got. Guarded by writer.mu, but for what is
// constant.
type replay struct {
	limit int               // bytes that may be written and not acknowledged before Send waits; constant
	lost  func(cause error) // constant

	kept      []chunk       // what was taken to be written, oldest first
	held      int           // what it occupies beside the buffers of large bodies
	confirmed core.Position // what the peer has got, the handshake included; chunks before it go when they are written
	written   core.Position // what was written, to this net.Conn or an earlier one, and is not being written again

	detached bool
	cause    error         // why
	final    bool          // the next loss ends the Conn
	forsaken bool          // after the next loss what is sent goes nowhere
	away     chan struct{} // closed when the net.Conn is lost; another one after Attach
	attached chan struct{} // closed by Attach; made when the net.Conn is lost, like
	parked   chan struct{} // closed by the reader, which waits for attached then
	heardAt  uint64        // how many bytes had come when it was last suspended, or made Resumable
}

// chunk is a row of whole frames.
type chunk struct {
	start core.Position
	batch batch
}

func (k *chunk) end() core.Position { return k.start + core.Position(k.batch.size) }

// Resumable lets the Conn survive the loss of the net.Conn underneath, after a handshake in which both sides
// have agreed on that; nobody else uses the Conn yet. It waits until the handshake's last word is written.
//
// The Conn then keeps what it writes until the peer has acknowledged it: up to limit bytes (MinReplay at least), beyond
// which Send waits. When the net.Conn fails, lost is called, in any goroutine, and must not wait; the Conn goes on as
// if the network were slow, until Attach or Close.
func (c *Conn) Resumable(limit int, lost func(cause error)) {
	c.writer.mu.Lock()
	defer c.writer.mu.Unlock()
	for c.writer.writing && c.writer.err == nil {
		_ = c.writer.waitForLeave(context.Background()) // which the write timeout bounds
	}
	if c.writer.err != nil { // whoever writes may be about to find out
		return
	}
	c.writer.replay = &replay{
		limit: max(limit, MinReplay), lost: lost, written: c.writer.attempted, confirmed: c.writer.attempted, away: make(chan struct{}),
		heardAt: c.reader.received.Load(),
	}
	c.reader.acknowledged = c.reader.position
}

// Attached implements core.Resumable. It is true of a Conn that is not Resumable, too.
func (c *Conn) Attached() bool {
	c.writer.mu.Lock()
	defer c.writer.mu.Unlock()
	return !c.writer.detachedLocked()
}

// Lost returns a channel that is closed when the net.Conn underneath is lost, and another one after Attach; nil if
// the Conn is not Resumable.
func (c *Conn) Lost() <-chan struct{} {
	c.writer.mu.Lock()
	defer c.writer.mu.Unlock()
	if c.writer.replay == nil {
		return nil
	}
	return c.writer.replay.away
}

// Forgo makes the loss of the net.Conn final: if it is lost now the Conn is closed with cause.
func (c *Conn) Forgo(cause error) {
	w := &c.writer
	w.mu.Lock()
	if w.replay != nil {
		w.replay.final = true
	}
	detached := w.detachedLocked()
	w.mu.Unlock()
	if detached {
		c.Close(cause)
	}
}

// Forsake says that the peer can't come back once the net.Conn is lost, or if it is lost already. What is sent then
// goes nowhere and does not wait; the Conn goes on, so that those who send come to their end. A Conn that is not Resumable
// it leaves alone.
func (c *Conn) Forsake() {
	c.writer.mu.Lock()
	defer c.writer.mu.Unlock()
	if c.writer.replay != nil {
		c.writer.replay.forsaken = true
		c.writer.madeRoomLocked()
	}
}

// forsakenLocked reports whether what is sent goes nowhere.
func (w *writer) forsakenLocked() bool {
	return w.replay != nil && w.replay.forsaken && w.replay.detached
}

// Heard reports whether anything has come since Resumable, or the last Suspend: then the peer knows what the handshake's
// last word was.
func (c *Conn) Heard() bool {
	c.writer.mu.Lock()
	defer c.writer.mu.Unlock()
	return c.writer.replay != nil && c.reader.received.Load() > c.writer.replay.heardAt
}

// Break implements core.Resumable: it gives up the net.Conn underneath. A Conn that is not Resumable it closes.
func (c *Conn) Break(cause error) {
	if !c.lose(cause) {
		c.Close(cause)
	}
}

// lose notes that the net.Conn has failed, or is given up. It reports false if the Conn ends with it.
func (c *Conn) lose(cause error) bool {
	w := &c.writer
	w.mu.Lock()
	if w.replay == nil || w.err != nil || w.replay.final {
		w.mu.Unlock()
		return false
	}
	if w.replay.detached {
		w.mu.Unlock()
		return true
	}
	w.replay.detached, w.replay.cause = true, cause
	close(w.replay.away)
	w.madeRoomLocked() // see Forsake
	w.replay.attached, w.replay.parked = make(chan struct{}), make(chan struct{})
	w.pumps.Add(1)
	go w.closeConn(c.conn, false)
	w.mu.Unlock()
	w.replay.lost(cause)
	return true
}

// Suspend waits until nobody uses the net.Conn any more, which it gives up if it is there still, and returns how
// much of what the peer has sent was received. Until Attach, or Close, the Conn does nothing. Only one goroutine
// at a time may suspend and attach.
func (c *Conn) Suspend(ctx context.Context) (received core.Position, err error) {
	if !c.lose(errReplaced) {
		return 0, c.closedCause()
	}
	w := &c.writer
	w.mu.Lock()
	parked := w.replay.parked
	w.mu.Unlock()
	select {
	case <-parked:
	case <-c.done:
		return 0, c.cause()
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.writing { // whoever writes finds the net.Conn closed
		if err := w.waitForLeave(ctx); err != nil {
			return 0, err
		}
	}
	w.replay.heardAt = c.reader.received.Load()
	return c.reader.boundary(), nil
}

// CanResume returns an error if a Conn that is suspended can't go on with a peer that has received up to a position.
func (c *Conn) CanResume(received core.Position) error {
	c.writer.mu.Lock()
	defer c.writer.mu.Unlock()
	return c.writer.canResumeLocked(received)
}

func (w *writer) canResumeLocked(received core.Position) error {
	k := w.replay
	if received > w.attempted || received < k.confirmed || len(k.kept) > 0 && k.kept[0].start > received {
		return protocolErrorf("the peer wants to go on from %d, which it has acknowledged or was never sent", received)
	}
	return nil
}

func (c *Conn) closedCause() error {
	if err := c.cause(); err != nil {
		return err
	}
	return errors.New("the connection can't be resumed")
}

// Attach goes on with the net.Conn of another Conn, with which the handshake was made and which is of no use
// afterwards, and writes again what the peer has not got: it has received up to a position. The Conn must be
// suspended. After an error the caller closes both.
func (c *Conn) Attach(ctx context.Context, from *Conn, received core.Position) error {
	if err := from.writer.drain(ctx); err != nil { // the handshake's last word
		return err
	}
	w := &c.writer
	w.mu.Lock()
	if w.err != nil {
		defer w.mu.Unlock()
		return w.err
	}
	if err := w.canResumeLocked(received); err != nil {
		w.mu.Unlock()
		return err
	}
	w.confirmLocked(received)
	_ = from.conn.SetDeadline(time.Time{}) // that of the handshake; an error is that of the next read or write
	if err := from.handOver(); err != nil {
		w.mu.Unlock()
		return err
	}
	c.conn, c.raw = from.conn, from.raw
	c.reader.restart(&from.reader)
	w.replay.detached, w.replay.away = false, make(chan struct{})
	w.replay.written = received
	w.parts = w.replay.after(received, w.allParts[:0])
	w.allParts = w.parts
	// There is something to say at once, so that the peer knows that its answer has come.
	acknowledgement := c.reader.acknowledgement()
	w.appendLocked(&acknowledgement, len(acknowledgement.Body))
	w.writing = true
	w.startPumpLocked()
	attached := w.replay.attached
	w.mu.Unlock()
	close(attached)
	return nil
}

// handOver ends a Conn whose net.Conn belongs to another one now.
func (c *Conn) handOver() error {
	c.writer.mu.Lock()
	defer c.writer.mu.Unlock()
	if c.writer.err != nil {
		return c.writer.err
	}
	c.writer.err = errHandedOver
	close(c.done)
	return nil
}

var errHandedOver = errors.New("the connection was resumed by another one")

// LossCause returns why the net.Conn was lost last, nil while there is one.
func (c *Conn) LossCause() error {
	c.writer.mu.Lock()
	defer c.writer.mu.Unlock()
	if !c.writer.detachedLocked() {
		return nil
	}
	return c.writer.replay.cause
}

// park waits for Attach. Called by the reader, whose net.Conn is lost. It returns false when the Conn is closed.
func (c *Conn) park() bool {
	c.writer.mu.Lock()
	attached, parked := c.writer.replay.attached, c.writer.replay.parked
	c.writer.mu.Unlock()
	close(parked)
	select {
	case <-attached:
		return true
	case <-c.done:
		return false
	}
}

// handleOwn deals with the frames that are for the Conn itself, and reports whether it was one. Called by the
// reader. io.EOF is the peer's orderly end.
func (c *Conn) handleOwn(frame *core.Frame) (own bool, err error) {
	switch {
	case frame.Kind == core.KindAck && c.writer.replay != nil:
		if len(frame.Body) != 8 {
			return true, protocolErrorf("ACK frame of %d bytes", len(frame.Body))
		}
		position := core.Position(binary.LittleEndian.Uint64(frame.Body))
		c.writer.mu.Lock()
		fits := c.writer.confirmLocked(position)
		c.writer.mu.Unlock()
		if !fits {
			return true, protocolErrorf("ACK of %d, which was never sent", position)
		}
		return true, nil
	case frame.Kind == core.KindGoAway && frame.Flags&core.FlagLast != 0 && c.writer.replay != nil:
		return true, io.EOF
	}
	return false, nil
}

// detachedLocked reports whether there is no net.Conn at present.
func (w *writer) detachedLocked() bool { return w.replay != nil && w.replay.detached }

// confirmLocked drops what the peer has got. It reports whether that can be.
func (w *writer) confirmLocked(position core.Position) bool {
	if position > w.attempted {
		return false
	}
	if position > w.replay.confirmed {
		w.replay.confirmed = position
		w.dropKeptLocked()
		w.madeRoomLocked()
	}
	return true
}

// keepsTooMuchLocked reports whether so much was written that the peer has not acknowledged that no more is to be taken.
// What it has acknowledged of a chunk is not counted, although the chunk is still there: it would acknowledge the rest
// only when more comes.
func (w *writer) keepsTooMuchLocked() bool {
	return w.replay != nil && w.attempted-w.replay.confirmed >= core.Position(w.replay.limit)
}

// dropKeptLocked drops what the peer has got and nobody is writing.
func (w *writer) dropKeptLocked() {
	k := w.replay
	dropped := 0
	for ; dropped < len(k.kept) && k.kept[dropped].end() <= min(k.confirmed, k.written); dropped++ {
		oldest := &k.kept[dropped]
		k.held -= oldest.batch.copied()
		oldest.batch.release()
	}
	if dropped == 0 {
		return
	}
	rest := copy(k.kept, k.kept[dropped:])
	clear(k.kept[rest:])
	k.kept = k.kept[:rest]
	w.underway = k.held
	w.trimLocked()
}

// keepLocked takes over the writer's batch, which begins at start, and returns what is to be written of it.
func (w *writer) keepLocked(start core.Position, parts [][]byte) [][]byte {
	k, b := w.replay, &w.batch
	size := b.size
	defer func() { w.underway = k.held }()
	if len(b.large) > 0 || size > smallBatch {
		k.held += b.copied()
		k.kept = append(k.kept, chunk{start, *b})
		*b = batch{}
		return k.kept[len(k.kept)-1].parts(parts, 0)
	}
	if !k.lastHasRoom(size) {
		buffer := core.GetBuffer(chunkSize)
		k.held += cap(buffer.Bytes)
		k.kept = append(k.kept, chunk{start, batch{buffer: buffer}})
	}
	last := &k.kept[len(k.kept)-1].batch
	last.buffer.Bytes = append(last.buffer.Bytes, b.buffer.Bytes...)
	last.size += size
	b.release()
	return append(parts, last.buffer.Bytes[len(last.buffer.Bytes)-size:])
}

// lastHasRoom reports whether a small batch of size fits behind the last chunk.
func (k *replay) lastHasRoom(size int) bool {
	if len(k.kept) == 0 {
		return false
	}
	last := &k.kept[len(k.kept)-1].batch
	return len(last.large) == 0 && cap(last.buffer.Bytes)-len(last.buffer.Bytes) >= size
}

// after appends what is kept from a position on to parts.
func (k *replay) after(position core.Position, parts [][]byte) [][]byte {
	for i := range k.kept {
		if c := &k.kept[i]; c.end() > position {
			skip := 0
			if position > c.start {
				skip = int(position - c.start)
			}
			parts = c.parts(parts, skip)
		}
	}
	return parts
}

// parts appends the bytes of a chunk, but for the first skip of them, to parts.
func (k *chunk) parts(parts [][]byte, skip int) [][]byte {
	add := func(part []byte) {
		n := min(skip, len(part))
		skip -= n
		if part = part[n:]; len(part) > 0 {
			parts = append(parts, part)
		}
	}
	start := 0
	for _, large := range k.batch.large {
		add(k.batch.buffer.Bytes[start:large.offset])
		add(large.body)
		start = large.offset
	}
	add(k.batch.buffer.Bytes[start:])
	return parts
}

// clear drops everything, when the connection has failed and nobody writes any more.
func (k *replay) clear() {
	if k == nil {
		return
	}
	for i := range k.kept {
		k.kept[i].batch.release()
	}
	k.kept, k.held = nil, 0
}

// leaving is the last frame that a peer gets of a connection that is closed and not to be resumed.
func leaving() []byte {
	return appendHeader(nil, &core.Frame{Kind: core.KindGoAway, Flags: core.FlagLast}, 0)
}

// boundary returns the position after the last frame that has come whole.
func (r *reader) boundary() core.Position {
	if r.large != nil || r.skip > 0 {
		return r.frameStart
	}
	return r.position
}

// acknowledge tells the peer how much has come, if it is much since the last time. All of it was handled.
func (r *reader) acknowledge() {
	if r.owner.writer.replay == nil || r.boundary()-r.acknowledged < AckEvery {
		return
	}
	// An error means that the connection has ended.
	_ = r.owner.Post(r.acknowledgement())
}

// acknowledgement returns the frame that tells the peer how much has come.
func (r *reader) acknowledgement() core.Frame {
	r.acknowledged = r.boundary()
	return core.Frame{Kind: core.KindAck, Body: binary.LittleEndian.AppendUint64(nil, uint64(r.acknowledged))}
}

// restart forgets what has come of a frame that is not complete: it comes again, behind what another reader has
// read of the new connection.
func (r *reader) restart(from *reader) {
	boundary := r.boundary()
	if r.part != nil { // a part was coming
		message := r.part
		message.size -= message.coming
		switch {
		case r.large == nil:
		case r.large == message.last():
			r.large.Bytes = r.large.Bytes[:message.before]
		default:
			r.large.Release()
		}
		if message.first {
			message.drop()
			delete(r.partials, r.frame.Sequence)
		}
	} else if r.large != nil {
		r.large.Release()
	}
	r.large, r.part, r.skip, r.again = nil, nil, 0, false
	r.buffer.Release()
	r.buffer, r.data, from.buffer, from.data = from.buffer, from.data, nil, nil
	r.position = boundary
	r.afterLarge, r.busy, r.readFailed, r.broken = false, false, nil, false
	r.slow = nil
	for _, message := range r.partials {
		message.since = time.Time{}
	}
}

package edicttest

import (
	"bytes"
	"math"
	"time"
)

// pipe is one direction of a connection: bytes in three parts.
//
//	| read | ready: delivered, not read | pending: written, not delivered |
//	       0                            ready                             data.Len()
//
// All fields are guarded by Connection.mu.
type pipe struct {
	connection *Connection
	direction  Direction

	data  bytes.Buffer // ready, then pending; Link.Buffer at most
	ready int
	read  int64 // bytes that were read, or dropped because the reader has closed

	// The link. What segments end where is decided twice, with the same result: for the time at which
	// they come, and for what a Read returns.
	chunks       []chunk       // of the pending bytes, in order; none if Manual
	lineFree     time.Duration // when the bytes before have passed (Link.Bandwidth)
	timer        *time.Timer   // runs pump; nil until it is needed
	writeSegment int64         // where the current one ends
	readSegment  int64

	// The faults.
	faults      []armed
	counter     frameCounter  // of the delivered bytes
	tear        int64         // where a Read ends (Faults.Tear)
	stalled     bool          // until Resume
	pausedUntil time.Duration // a stall of Faults
	held        bool          // the stall has held something back, which is recorded
	vanished    bool
	lost        bool // something has vanished, which is recorded

	// The ends.
	readers, writers signal // raised at each change that may end their waiting
	readDeadline     deadline
	writeDeadline    deadline
	writing          bool          // a Write is under way; others wait
	finished         bool          // the writer has ended the direction
	endDue           time.Duration // or later, when all bytes are delivered
	endDelivered     bool
	readerClosed     bool
	broken           bool // the writer has been told that the reader is closed
}

// chunk is bytes that are delivered at the same time: those up to offset end.
type chunk struct {
	end int64
	due time.Duration
}

func (p *pipe) init(c *Connection, d Direction) {
	p.connection, p.direction = c, d
	for _, kind := range drawnKinds {
		p.drawFault(kind, 0)
	}
}

func (p *pipe) network() *Network { return p.connection.network }

func (p *pipe) pending() int { return p.data.Len() - p.ready }

func (p *pipe) endPending() bool { return p.finished && !p.endDelivered && !p.vanished }

// accept takes as much of source as the buffer has room for.
func (p *pipe) accept(source []byte) int {
	if p.vanished {
		p.lose()
		return len(source)
	}
	link := p.network().link.Load()
	size := min(len(source), link.buffer()-p.data.Len())
	if size <= 0 {
		return 0
	}
	p.data.Write(source[:size])
	if !p.network().config.Manual {
		p.schedule(link, int64(size))
	}
	p.pump()
	return size
}

// schedule decides when the last size bytes are delivered.
func (p *pipe) schedule(link *Link, size int64) {
	p.lineFree = max(p.lineFree, p.network().now())
	end := p.read + int64(p.data.Len())
	for at := end - size; at < end; {
		step := end - at
		if link.Jitter > 0 || link.Bandwidth > 0 {
			step = min(step, p.segmentLeft(&p.writeSegment, at, link.Segment))
		}
		if link.Bandwidth > 0 {
			step = min(step, packet(link.Bandwidth))
			p.lineFree += time.Duration(step) * time.Second / time.Duration(link.Bandwidth)
		}
		due := p.lineFree + max(0, link.Latency)
		if link.Jitter > 0 {
			due += time.Duration(p.draw(drawJitter, at).Int64N(int64(link.Jitter)))
		}
		at += step
		if last := len(p.chunks) - 1; last >= 0 && p.chunks[last].due >= due {
			p.chunks[last].end = at // not before what was written earlier
		} else {
			p.chunks = append(p.chunks, chunk{at, due})
		}
	}
}

// packet returns how many bytes a link of some bandwidth delivers together: what passes in 10 ms,
// but no more than fits in a packet of an Ethernet.
func packet(bandwidth int) int64 { return int64(min(max(bandwidth/100, 1), 1460)) }

// segmentLeft returns how many bytes from offset on are in the same segment. Where that ends is kept
// in end; it is drawn by where the segment begins.
func (p *pipe) segmentLeft(end *int64, offset int64, segment int) int64 {
	if segment <= 0 {
		return math.MaxInt64
	}
	if *end <= offset {
		*end = offset + 1 + p.draw(drawSegment, offset).Int64N(int64(segment))
	}
	return *end - offset
}

// pump delivers what is due and sets the timer for what is not. Whoever has changed something calls
// it, and the timer.
func (p *pipe) pump() {
	p.deliver(0) // what has been armed may be due without another byte
	if p.network().config.Manual || p.connection.ended {
		return
	}
	now := p.network().now()
	for len(p.chunks) > 0 && p.chunks[0].due <= now && !p.blocked() {
		p.deliver(int(p.chunks[0].end - p.counter.position))
		if p.connection.ended {
			return
		}
		p.dropChunks()
	}
	if p.endDue <= now {
		p.deliverEnd()
	}
	switch {
	case p.stalled:
	case p.pausedUntil > now:
		p.setTimer(p.pausedUntil - now)
	case len(p.chunks) > 0:
		p.setTimer(p.chunks[0].due - now)
	case p.endPending():
		p.setTimer(p.endDue - now)
	}
}

// dropChunks forgets the times of bytes that are delivered.
func (p *pipe) dropChunks() {
	gone := 0
	for gone < len(p.chunks) && p.chunks[gone].end <= p.counter.position {
		gone++
	}
	if gone == len(p.chunks) {
		p.chunks = p.chunks[:0] // and its memory is used again
	} else {
		p.chunks = p.chunks[gone:]
	}
}

func (p *pipe) setTimer(after time.Duration) {
	if p.timer != nil {
		p.timer.Reset(after)
		return
	}
	p.timer = time.AfterFunc(after, func() {
		p.connection.mu.Lock()
		defer p.connection.mu.Unlock()
		if !p.connection.ended {
			p.pump()
		}
	})
}

// deliver moves up to n of the pending bytes to the reader, and lets the faults happen that are
// before, between and right behind them. It returns how many it moved.
func (p *pipe) deliver(n int) (moved int) {
	for {
		next := p.fire()
		if p.connection.ended {
			break
		}
		if p.blocked() {
			p.hold()
			break
		}
		// Up to the next fault, and to the next place where the frames may tell that there is one.
		step := int(min(int64(n-moved), int64(p.pending()), next, p.counter.step()))
		if step <= 0 {
			break
		}
		data, offset := p.data.Bytes()[p.ready:p.ready+step], p.counter.position
		p.counter.add(data) // as they were written
		p.corrupt(data, offset)
		p.ready += step
		moved += step
	}
	switch {
	case moved == 0:
	case p.readerClosed:
		p.refuse()
	default:
		p.readers.raise()
	}
	return moved
}

// refuse drops the ready bytes, because the reader has closed. The writer fails from now on, unless
// the news can't reach it.
func (p *pipe) refuse() {
	p.take(p.ready)
	p.broken = p.broken || !p.connection.pipes[p.direction.opposite()].vanished
}

// take drops the first n of the ready bytes.
func (p *pipe) take(n int) {
	p.data.Next(n)
	p.ready -= n
	p.read += int64(n)
	p.writers.raise()
}

// readable returns how many of the ready bytes one Read may take that wants n at most.
func (p *pipe) readable(n int) int {
	left := p.segmentLeft(&p.readSegment, p.read, p.network().link.Load().Segment)
	return p.tearRead(int(min(int64(n), int64(p.ready), left)))
}

// finish ends the direction: the reader gets io.EOF after the rest.
func (p *pipe) finish() {
	if p.finished {
		return
	}
	p.finished = true
	p.writers.raise()
	if p.vanished {
		p.lose()
		return
	}
	p.endDue = p.network().now() + max(0, p.network().link.Load().Latency)
	p.pump()
}

// deliverEnd tells the reader of the end, if that is all that is pending.
func (p *pipe) deliverEnd() {
	if !p.endPending() || p.pending() > 0 || p.connection.ended {
		return
	}
	if p.blocked() {
		p.hold()
		return
	}
	p.endDelivered = true
	p.readers.raise()
}

// closeReader drops what the reader has not read.
func (p *pipe) closeReader() {
	p.readerClosed = true
	p.readers.raise()
	if p.ready > 0 {
		p.refuse()
	}
}

// drop is the end of the connection: only what is ready can still be read.
func (p *pipe) drop() {
	p.data.Truncate(p.ready)
	p.chunks, p.faults = nil, nil
	if p.timer != nil {
		p.timer.Stop()
	}
	p.readers.raise()
	p.writers.raise()
}

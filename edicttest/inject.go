package edicttest

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// armed is a fault that waits for its point.
type armed struct {
	kind  FaultKind
	point Point
	drawn bool // by Faults: behind it there will be another
}

// What is drawn.
const (
	drawRefusal = iota // whether a dial is refused; by the number of the dial
	drawJitter         // of bytes that are under way together
	drawSegment        // how long one is
	drawStall          // how long one lasts
	drawBit            // which one of a byte is flipped
	drawFault          // how far the next one is; plus its FaultKind
)

// drawnKinds are the faults of a connection that Faults can draw.
var drawnKinds = []FaultKind{FaultCut, FaultStall, FaultTear, FaultCorrupt, FaultVanish}

// draw returns a generator for one purpose at one place of a connection. There are as many as there
// are places: if they shared one, what it gives to whom would depend on how goroutines run.
func (n *Network) draw(purpose, connection int, d Direction, offset int64) *rand.Rand {
	place := rand.NewPCG(n.config.Seed, uint64(connection)<<16|uint64(d)<<8|uint64(purpose)).Uint64()
	return rand.New(rand.NewPCG(place, uint64(offset)))
}

func (p *pipe) draw(purpose int, offset int64) *rand.Rand {
	return p.network().draw(purpose, p.connection.id, p.direction, offset)
}

// drawFault decides where the next fault of a kind is behind the one at offset.
func (p *pipe) drawFault(kind FaultKind, offset int64) {
	next := int64(math.MaxInt64)
	if rate := p.network().config.Faults.rate(kind); rate > 0 {
		away := p.draw(drawFault+int(kind), offset).ExpFloat64() * 1024 / rate
		next = offset + 1 + int64(min(away, 1<<60))
	}
	switch {
	case kind == FaultTear: // of reading, not of delivering
		p.tear = next
	case next < math.MaxInt64:
		p.faults = append(p.faults, armed{kind, Bytes(next), true})
	}
}

// fire lets the faults happen whose point is here, but for those that change the next byte, and
// returns how many bytes may be delivered before it must look again.
func (p *pipe) fire() (next int64) {
	next = math.MaxInt64
	for i := 0; i < len(p.faults); {
		fault := p.faults[i]
		offset, known := p.counter.find(fault.point)
		if !known {
			i++
			continue
		}
		away := offset - p.counter.position
		if away > 0 || away == 0 && fault.kind == FaultCorrupt {
			p.faults[i].point = Bytes(offset) // of a point in a frame: now it is known
			next = min(next, max(1, away))
			i++
			continue
		}
		p.faults = slices.Delete(p.faults, i, i+1)
		switch fault.kind {
		case FaultCut:
			p.connection.recordLocked(FaultCut, p.direction, p.counter.position)
			p.connection.resetLocked()
			return 0
		case FaultVanish:
			p.vanish()
		case FaultStall:
			p.stall(fault.drawn)
		}
	}
	return next
}

// corrupt changes the first byte of data, which is at offset, if a fault is there.
func (p *pipe) corrupt(data []byte, offset int64) {
	for i := 0; i < len(p.faults); {
		fault := p.faults[i]
		if fault.kind != FaultCorrupt || fault.point != Bytes(offset) {
			i++
			continue
		}
		p.faults = slices.Delete(p.faults, i, i+1)
		bit := 0
		if fault.drawn {
			bit = p.draw(drawBit, offset).IntN(8)
			p.drawFault(FaultCorrupt, offset)
		}
		data[0] ^= 1 << bit
		p.connection.recordLocked(FaultCorrupt, p.direction, offset)
	}
}

// tearRead returns how many of n bytes that could be read a Read returns.
func (p *pipe) tearRead(n int) int {
	for p.tear <= p.read {
		p.drawFault(FaultTear, p.tear)
	}
	left := p.tear - p.read
	if left >= int64(n) {
		return n
	}
	p.connection.recordLocked(FaultTear, p.direction, p.tear)
	return int(left)
}

// stall begins a stall: until resume, or if it was drawn for a time.
func (p *pipe) stall(drawn bool) {
	if !p.blocked() {
		p.held = false
	}
	if !drawn {
		p.stalled = true
		return
	}
	offset, longest := p.counter.position, p.network().config.Faults.stallFor()
	p.pausedUntil = p.network().now() + 1 + time.Duration(p.draw(drawStall, offset).Int64N(int64(longest)))
	p.drawFault(FaultStall, offset)
}

// blocked reports whether a stall is going on.
func (p *pipe) blocked() bool { return p.stalled || p.pausedUntil > p.network().now() }

// hold takes note that a stall holds something back.
func (p *pipe) hold() {
	if !p.held && (p.pending() > 0 || p.endPending()) {
		p.held = true
		p.connection.recordLocked(FaultStall, p.direction, p.counter.position)
	}
}

func (p *pipe) resume() {
	p.stalled, p.pausedUntil, p.held = false, 0, false
	p.pump()
}

// vanish loses what is pending and what will be written.
func (p *pipe) vanish() {
	if p.pending() > 0 || p.endPending() {
		p.lose()
	}
	p.vanished = true
	p.data.Truncate(p.ready)
	p.chunks = nil
	p.writers.raise()
}

// lose takes note that something has vanished.
func (p *pipe) lose() {
	if !p.lost {
		p.lost = true
		p.connection.recordLocked(FaultVanish, p.direction, p.counter.position)
	}
}

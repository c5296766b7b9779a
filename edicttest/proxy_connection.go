package edicttest

import (
	"bytes"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// ProxyConnection is a client's connection through a Proxy, with its faults. Its methods return at
// once and may be called at any time, from any goroutine; after the connection's end they do nothing.
type ProxyConnection struct {
	proxy    *Proxy
	id       int
	toServer *proxyFlow
	toClient *proxyFlow

	ending atomic.Bool   // someone closes the sockets, or has
	done   chan struct{} // closed after them
}

func newProxyConnection(proxy *Proxy, id int, client, server net.Conn) *ProxyConnection {
	c := &ProxyConnection{proxy: proxy, id: id, done: make(chan struct{})}
	c.toServer = newProxyFlow(c, ToServer, client, server)
	c.toClient = newProxyFlow(c, ToClient, server, client)
	return c
}

// ID returns how many connections the proxy had taken care of before this one.
func (c *ProxyConnection) ID() int { return c.id }

// Done returns a channel that is closed when the connection has ended: cut, or closed by both sides.
func (c *ProxyConnection) Done() <-chan struct{} { return c.done }

// Delivered returns how many bytes of a direction have been passed on.
func (c *ProxyConnection) Delivered(direction Direction) int64 {
	return c.flow(direction).delivered()
}

// Cut resets the connection: both sides get ECONNRESET, and what is under way is lost.
func (c *ProxyConnection) Cut() { c.cut(ToServer) }

// CutAfter resets the connection when all bytes of a direction up to point have been passed on, at
// once if they have. The receiver is given these and no more. A reset may overtake them as far as the
// receiver's system has no room for them: between processes of one machine they arrive, unless the
// receiver has not read for long.
func (c *ProxyConnection) CutAfter(direction Direction, point Point) {
	c.flow(direction).arm(FaultCut, point)
}

// Stall holds back all that is not yet passed on in a direction, until Resume. The sender can go on
// until the proxy's buffer and its own system's are full.
func (c *ProxyConnection) Stall(direction Direction) { c.flow(direction).setStalled(true) }

// StallAfter stalls a direction as soon as all bytes up to point have been passed on, at once if they
// have.
func (c *ProxyConnection) StallAfter(direction Direction, point Point) {
	c.flow(direction).arm(FaultStall, point)
}

// Resume ends a stall.
func (c *ProxyConnection) Resume(direction Direction) { c.flow(direction).setStalled(false) }

// Vanish loses all that is not yet passed on in a direction, for ever, and the end of the connection
// too: the sender's writes succeed, and nobody sees them. Where both directions vanish, each side is
// left with a half-open connection, until it gives up or Cut resets it.
//
// The systems at both ends acknowledge what the proxy has taken, so TCP's own keepalive notices
// nothing: it takes a deadline, or a keepalive of the service.
func (c *ProxyConnection) Vanish(direction Direction) { c.flow(direction).vanish() }

// Corrupt flips the lowest bit of the byte behind point in a direction, when it is passed on. If it
// was passed on already, nothing happens.
func (c *ProxyConnection) Corrupt(direction Direction, point Point) {
	c.flow(direction).arm(FaultCorrupt, point)
}

func (c *ProxyConnection) flow(direction Direction) *proxyFlow {
	if direction == ToServer {
		return c.toServer
	}
	return c.toClient
}

func (c *ProxyConnection) setLink(link Link) {
	c.toServer.setLink(link)
	c.toClient.setLink(link)
}

// run passes on both directions, with two goroutines each, and returns when all have ended.
func (c *ProxyConnection) run() {
	var group sync.WaitGroup
	for _, flow := range []*proxyFlow{c.toServer, c.toClient} {
		group.Go(flow.runReader)
		group.Go(flow.runWriter)
	}
	group.Wait()
	c.end(false)
}

// ended reports whether the sockets are closed, or about to be.
func (c *ProxyConnection) ended() bool { return c.ending.Load() }

// cut is the fault of that name. It is on record when the first side sees it.
func (c *ProxyConnection) cut(direction Direction) {
	offset := c.Delivered(direction)
	c.endAfter(true, func() {
		c.proxy.record(Fault{Kind: FaultCut, Connection: c.id, Direction: direction, Offset: offset})
	})
}

// end closes both sockets, with a reset if the connection is broken.
func (c *ProxyConnection) end(broken bool) { c.endAfter(broken, func() {}) }

// endAfter ends the connection after note, if it has not ended. No lock is held, so note may call any
// method.
func (c *ProxyConnection) endAfter(broken bool, note func()) {
	if c.ending.Swap(true) {
		return
	}
	note()
	for _, conn := range []net.Conn{c.toServer.source, c.toServer.target} {
		if broken {
			resetConn(conn)
		} else {
			_ = conn.Close() // both directions have ended
		}
	}
	close(c.done)
}

const (
	// maxParcels bounds how many reads a flow holds, beside their bytes: each may be of one byte.
	maxParcels = 4096
	// readStep is how much is read at once.
	readStep = 32 << 10
	// bandwidthSteps is in how many steps a second is passed on what the bandwidth allows.
	bandwidthSteps = 100
)

// proxyFlow is one direction of a connection: a line of parcels between a goroutine that reads them
// from one socket and one that writes each to the other when it is due. So latency costs no bandwidth,
// and a receiver that does not read slows its sender down when the line is full.
type proxyFlow struct {
	connection     *ProxyConnection
	direction      Direction
	source, target net.Conn
	room, work     chan struct{} // capacity 1: the reader, the writer should look again

	mu       sync.Mutex // guards the following; not held during I/O or while a hook runs
	random   *rand.Rand
	link     Link
	line     []parcel
	held     int       // bytes in line
	due      time.Time // of the last parcel
	free     time.Time // when the bandwidth allows the next byte
	stalled  bool
	vanished bool
	deaf     bool                  // the target takes no more: what is read is dropped
	read     bool                  // the reader has ended
	written  bool                  // the writer has ended, or is about to
	counter  frameCounter          // of what was passed on
	faults   []armedFault          // those that wait for their point
	noted    [FaultVanish + 1]bool // of the faults that last: this one is recorded
	happened []Fault               // to be recorded when mu is released
}

// armedFault is a fault that waits for its point.
type armedFault struct {
	kind  FaultKind
	point Point
}

// parcel is what one read has brought.
type parcel struct {
	due  time.Time
	data []byte
	end  sourceEnd // if there is no data
}

// sourceEnd says how the source of a flow has ended.
type sourceEnd int

const (
	orderly sourceEnd = iota + 1 // with a FIN
	abrupt                       // with a reset
)

func newProxyFlow(connection *ProxyConnection, direction Direction, source, target net.Conn) *proxyFlow {
	seed := rand.NewPCG(connection.proxy.config.Seed, uint64(connection.id)<<1|uint64(direction))
	return &proxyFlow{
		connection: connection, direction: direction, source: source, target: target,
		random: rand.New(seed), room: make(chan struct{}, 1), work: make(chan struct{}, 1),
	}
}

// unlock releases mu and records what has happened while it was held.
func (f *proxyFlow) unlock() {
	happened := f.happened
	f.happened = nil
	f.mu.Unlock()
	for _, fault := range happened {
		f.connection.proxy.record(fault)
	}
}

// happenedLocked takes note of a fault.
func (f *proxyFlow) happenedLocked(kind FaultKind) {
	f.happened = append(f.happened, Fault{
		Kind: kind, Connection: f.connection.id, Direction: f.direction, Offset: f.counter.position,
	})
}

// lastsLocked takes note of a fault that lasts, once.
func (f *proxyFlow) lastsLocked(kind FaultKind) {
	if !f.noted[kind] {
		f.noted[kind] = true
		f.happenedLocked(kind)
	}
}

// change changes what mu guards and lets both goroutines look at it.
func (f *proxyFlow) change(change func()) {
	f.mu.Lock()
	change()
	f.unlock()
	look(f.room)
	look(f.work)
}

// look lets a goroutine look again.
func look(goroutine chan struct{}) {
	select {
	case goroutine <- struct{}{}:
	default:
	}
}

func (f *proxyFlow) setLink(link Link) {
	f.change(func() { f.link, f.noted[FaultTear] = link, false })
}

func (f *proxyFlow) arm(kind FaultKind, point Point) {
	f.change(func() { f.faults = append(f.faults, armedFault{kind, point}) })
}

func (f *proxyFlow) setStalled(stalled bool) {
	f.change(func() { f.setStalledLocked(stalled) })
}

func (f *proxyFlow) setStalledLocked(stalled bool) {
	if stalled != f.stalled {
		f.stalled, f.noted[FaultStall] = stalled, false
	}
}

func (f *proxyFlow) vanish() {
	f.change(func() {
		if len(f.line) > 0 && !f.connection.ended() {
			f.lastsLocked(FaultVanish)
		}
		f.vanished, f.line, f.held = true, nil, 0
	})
}

func (f *proxyFlow) delivered() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counter.position
}

// runReader puts what the source sends into the line.
//
// Started by ProxyConnection.run; ends when the source does or the connection is cut; run waits for
// it.
func (f *proxyFlow) runReader() {
	buffer := make([]byte, readStep)
	for {
		room := f.waitForRoom()
		if room == 0 {
			return
		}
		n, err := f.source.Read(buffer[:room])
		if n > 0 {
			f.add(parcel{data: bytes.Clone(buffer[:n])})
		}
		if err == io.EOF {
			f.add(parcel{end: orderly})
			return
		}
		if err != nil {
			f.add(parcel{end: abrupt})
			return
		}
	}
}

// waitForRoom returns how many bytes may be read, 0 if the connection has ended.
func (f *proxyFlow) waitForRoom() int {
	for {
		f.mu.Lock()
		room := f.link.buffer() - f.held
		if len(f.line) >= maxParcels {
			room = 0
		}
		if f.vanished || f.deaf {
			room = readStep
		}
		f.mu.Unlock()
		if room > 0 {
			return min(room, readStep)
		}
		select {
		case <-f.room:
		case <-f.connection.done:
			return 0
		}
	}
}

// add puts a parcel at the end of the line, or drops it if nobody takes it any more.
func (f *proxyFlow) add(p parcel) {
	f.mu.Lock()
	switch {
	case f.connection.ended(), f.deaf:
	case f.vanished:
		f.lastsLocked(FaultVanish)
	default:
		due := time.Now().Add(max(0, f.link.Latency))
		if f.link.Jitter > 0 {
			due = due.Add(time.Duration(f.random.Int64N(int64(f.link.Jitter))))
		}
		if due.After(f.due) { // nothing overtakes
			f.due = due
		}
		p.due = f.due
		f.line = append(f.line, p)
		f.held += len(p.data)
	}
	f.read = f.read || p.end != 0
	f.unlock()
	look(f.work)
}

// runWriter passes the line on.
//
// Started by ProxyConnection.run; ends after the source's end, when the target takes no more, or when
// the connection is cut; run waits for it.
func (f *proxyFlow) runWriter() {
	defer f.change(func() { f.written = true })
	for {
		p := f.next()
		switch {
		case p.data != nil:
			n, err := f.target.Write(p.data)
			f.passed(p.data[:n])
			if err != nil {
				f.fail()
				return
			}
		case p.end == orderly:
			if half, ok := f.target.(interface{ CloseWrite() error }); ok {
				_ = half.CloseWrite() // an error means that the target is gone, as the other flow sees
			}
			if f.connection.flow(f.direction.opposite()).isDeaf() {
				f.connection.end(true) // see fail
			}
			return
		case p.end == abrupt:
			f.connection.end(true)
			return
		default:
			return
		}
	}
}

// next waits until something is due and returns it; the zero parcel if nothing will come any more.
func (f *proxyFlow) next() parcel {
	for {
		f.mu.Lock()
		p, wait, cut := f.takeLocked(time.Now())
		f.unlock()
		switch {
		case cut:
			f.connection.cut(f.direction)
			return parcel{}
		case wait == 0:
			look(f.room)
			return p
		case !f.pause(wait):
			return parcel{}
		}
	}
}

// pause waits for as long as wait, if that is not negative, or until something has changed. It reports
// whether the connection is still there.
func (f *proxyFlow) pause(wait time.Duration) bool {
	var due <-chan time.Time
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-f.work:
	case <-due:
	case <-f.connection.done:
		return false
	}
	return true
}

// forever is a wait that only a change ends.
const forever time.Duration = -1

// takeLocked takes from the line what is to be passed on now. If that is nothing, wait says how long
// it takes; if the connection is to be cut here, cut is true.
func (f *proxyFlow) takeLocked(now time.Time) (p parcel, wait time.Duration, cut bool) {
	var data []byte // of the first parcel
	if len(f.line) > 0 {
		data = f.line[0].data
	}
	room, cut := f.fireLocked(data)
	switch {
	case cut:
		return parcel{}, 0, true
	case f.vanished && f.read:
		return parcel{}, 0, false
	case len(f.line) == 0:
		return parcel{}, forever, false
	case f.stalled:
		f.lastsLocked(FaultStall)
		return parcel{}, forever, false
	}
	first := &f.line[0]
	if wait := max(first.due.Sub(now), f.free.Sub(now)); wait > 0 {
		return parcel{}, wait, false
	}
	if first.end != 0 {
		f.written = true
		return *first, 0, false
	}
	if f.corruptLocked() {
		data[0] ^= 1
	}
	size := min(f.pieceLocked(len(data)), room)
	f.held -= size
	if first.data = data[size:]; len(first.data) == 0 {
		f.line = f.line[1:]
	}
	return parcel{data: data[:size:size]}, 0, false
}

// fireLocked lets the faults happen whose point is here, but for those that change the next byte. It
// returns how many bytes there are to the next point that data, the bytes to come, tell of.
func (f *proxyFlow) fireLocked(data []byte) (room int, cut bool) {
	room = math.MaxInt
	f.faults = slices.DeleteFunc(f.faults, func(fault armedFault) bool {
		distance, known := f.distanceLocked(fault.point, data)
		switch {
		case !known:
			return false
		case distance > 0:
			room = min(room, distance)
			return false
		case fault.kind == FaultCorrupt && distance == 0:
			room = 1
			return false
		case fault.kind == FaultCut:
			cut = true
		case fault.kind == FaultStall:
			f.setStalledLocked(true)
		}
		return true
	})
	return room, cut
}

// corruptLocked reports whether the next byte is to be changed.
func (f *proxyFlow) corruptLocked() (corrupt bool) {
	f.faults = slices.DeleteFunc(f.faults, func(fault armedFault) bool {
		distance, known := f.distanceLocked(fault.point, nil)
		here := fault.kind == FaultCorrupt && known && distance == 0
		corrupt = corrupt || here
		return here
	})
	if corrupt {
		f.happenedLocked(FaultCorrupt)
	}
	return corrupt
}

// distanceLocked returns how many bytes are to be passed on before point is reached, -1 if it has been
// passed. Of a point in a frame that is known only if it lies in data, the bytes to come.
func (f *proxyFlow) distanceLocked(point Point, data []byte) (distance int, known bool) {
	ahead := f.counter
	for {
		if offset, known := ahead.find(point); known {
			return int(max(-1, offset-f.counter.position)), true
		}
		if len(data) == 0 {
			return 0, false
		}
		step := min(ahead.step(), int64(len(data)))
		ahead.add(data[:step])
		data = data[step:]
	}
}

// pieceLocked returns how many of size bytes the link passes on together.
func (f *proxyFlow) pieceLocked(size int) int {
	if f.link.Bandwidth > 0 {
		size = min(size, max(1, f.link.Bandwidth/bandwidthSteps))
	}
	if f.link.Segment > 0 {
		if segment := 1 + f.random.IntN(f.link.Segment); segment < size {
			f.lastsLocked(FaultTear)
			size = segment
		}
	}
	return size
}

// passed counts what has been passed on.
func (f *proxyFlow) passed(data []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.link.Bandwidth > 0 {
		if now := time.Now(); now.After(f.free) {
			f.free = now
		}
		f.free = f.free.Add(time.Duration(len(data)) * time.Second / time.Duration(f.link.Bandwidth))
	}
	for len(data) > 0 {
		step := min(f.counter.step(), int64(len(data)))
		f.counter.add(data[:step])
		data = data[step:]
	}
}

// fail ends the flow because its target takes no more. The source learns of it from the other direction,
// after what the target has sent before: its reset, or, if that direction has ended in order, one that
// the proxy makes.
func (f *proxyFlow) fail() {
	f.change(func() { f.deaf, f.line, f.held = true, nil, 0 })
	opposite := f.connection.flow(f.direction.opposite())
	opposite.mu.Lock()
	over := opposite.written && !opposite.vanished
	opposite.mu.Unlock()
	if over {
		f.connection.end(true)
	}
}

// isDeaf reports whether the target takes no more.
func (f *proxyFlow) isDeaf() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.deaf
}

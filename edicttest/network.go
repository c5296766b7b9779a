package edicttest

import (
	"context"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Config says how a Network behaves. The zero Config is a network without delay or fault.
type Config struct {
	// Link is how each connection is in each direction, until SetLink changes it.
	Link Link
	// Manual leaves every movement of bytes to Connection.Deliver: nothing is delivered by itself, and
	// of Link only Segment and Buffer count. It is for a test that makes all choices itself.
	Manual bool
	// Seed is what all that is drawn is drawn from: jitter, segments and Faults. See the package's
	// documentation on what it makes repeatable.
	Seed uint64
	// Faults happen at places that the seed gives; none by default.
	Faults Faults
}

// Link is how a connection is, in each direction. A byte arrives
//
//	when it was written + the time for those that have to pass first (Bandwidth) + Latency + some of Jitter
//
// but not before one that was written earlier. The zero Link has no delay: a byte has arrived when
// Write returns.
type Link struct {
	// Latency is how long a byte is under way. Dial takes twice as long, like the handshake of TCP.
	Latency time.Duration
	// Jitter is how much longer a byte is under way, at most: it is drawn anew for each Write, and
	// within one for each Segment.
	Jitter time.Duration
	// Bandwidth is how many bytes pass in a second; 0 is no limit. They come in packets: of what
	// passes in 10 ms, of 1460 bytes at most.
	Bandwidth int
	// Segment tears the stream in pieces of 1 to Segment bytes. No Read returns bytes of two pieces.
	// 0 is no tearing: a Read returns all that is there.
	Segment int
	// Buffer is how many bytes may have been written and not been read, wherever they are, before a
	// write waits; 0 is 256 KiB.
	Buffer int
}

const (
	defaultBuffer = 256 << 10
	// backlog is how many connections may wait for Accept before Dial waits, as in Linux by default.
	backlog = 4096
	// firedLimit bounds the list of faults.
	firedLimit = 10_000
)

func (l *Link) buffer() int {
	if l.Buffer <= 0 {
		return defaultBuffer
	}
	return l.Buffer
}

// Network is a network in memory: listeners, connections to them, and faults. All methods may be
// called from any goroutine.
type Network struct {
	config Config
	start  time.Time
	link   atomic.Pointer[Link]

	mu     sync.Mutex // a leaf: no other lock is taken while it is held
	places map[string]*place
	dials  int           // attempts to dial so far
	nextID int           // of a connection
	open   []*Connection // by ID
	hooks  []func(*Connection)
	fired  []Fault
}

// place is what the network knows of an address. Guarded by Network.mu.
type place struct {
	listener *listener // nil while nobody listens
	refuse   bool
	delay    time.Duration
}

// New returns a network. It starts no goroutine, so there is nothing to close but what is made on
// it. In a test with a fake clock it must be made within synctest.Test.
func New(config Config) *Network {
	n := &Network{config: config, start: time.Now(), places: make(map[string]*place)}
	n.link.Store(&config.Link)
	return n
}

// Listen returns a listener at address, which may be any text. It fails, with an error that matches
// syscall.EADDRINUSE, if there is one. Dial reaches the listener from now on, also while no Accept runs.
func (n *Network) Listen(address string) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.placeLocked(address)
	if p.listener != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Addr: Addr(address), Err: os.NewSyscallError("bind", syscall.EADDRINUSE)}
	}
	p.listener = &listener{network: n, place: p, address: Addr(address)}
	return p.listener, nil
}

// Dial connects to address. If nobody listens there, or if it is made to refuse, the error matches
// syscall.ECONNREFUSED. Dial does not wait for Accept, but it waits for the way there and back
// (twice Link.Latency), and while 4096 connections wait for Accept. If ctx ends first, the error
// wraps its cause.
func (n *Network) Dial(ctx context.Context, address string) (net.Conn, error) {
	conn, err := n.dial(ctx, address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: Addr(address), Err: err}
	}
	return conn, nil
}

// Dialer returns Dial for one address, as edict.WithDialer wants it.
func (n *Network) Dialer(address string) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) { return n.Dial(ctx, address) }
}

func (n *Network) dial(ctx context.Context, address string) (net.Conn, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if latency := n.link.Load().Latency; latency > 0 && !n.config.Manual {
		arrived := time.NewTimer(2 * latency)
		defer arrived.Stop()
		select {
		case <-arrived.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	n.mu.Lock()
	l, err := n.reserveLocked(ctx, address)
	if err != nil {
		n.mu.Unlock()
		return nil, err
	}
	c := newConnection(n, n.nextID, l.address)
	n.nextID++
	n.open = append(n.open, c)
	hooks := slices.Clone(n.hooks)
	n.mu.Unlock()

	for _, hook := range hooks {
		hook(c)
	}
	if !l.add(c) {
		c.Cut()
		return nil, errRefused
	}
	return c.client, nil
}

var errRefused = os.NewSyscallError("connect", syscall.ECONNREFUSED)

// reserveLocked finds the listener at address and takes a place in its backlog. It releases n.mu
// while it waits for one.
func (n *Network) reserveLocked(ctx context.Context, address string) (*listener, error) {
	p := n.placeLocked(address)
	n.dials++
	if p.refuse || n.draw(drawRefusal, n.dials, 0, 0).Float64() < n.config.Faults.Refuse {
		n.recordLocked(Fault{Kind: FaultRefuse, Address: address, Connection: -1})
		return nil, errRefused
	}
	for {
		l := p.listener
		if l == nil {
			return nil, errRefused
		}
		if l.taken < backlog {
			l.taken++
			return l, nil
		}
		room := l.room.wait()
		n.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
		}
		n.mu.Lock()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
}

func (n *Network) placeLocked(address string) *place {
	p := n.places[address]
	if p == nil {
		p = &place{}
		n.places[address] = p
	}
	return p
}

// SetLink changes the link of all connections, also of those that exist. Bytes under way stay as
// they are: a latency or bandwidth is that of the time of the write.
func (n *Network) SetLink(link Link) {
	n.link.Store(&link)
	for _, c := range n.Connections() {
		c.linkChanged()
	}
}

// RefuseDials lets every dial to address fail with ECONNREFUSED, or ends that. Connections and the
// listener stay as they are.
func (n *Network) RefuseDials(address string, refuse bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.placeLocked(address).refuse = refuse
}

// DelayAccepts lets Accept at address return each connection only delay after it was dialled. The
// dialler notices nothing of it but the silence. It applies to the dials to come; 0 ends it.
func (n *Network) DelayAccepts(address string, delay time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.placeLocked(address).delay = delay
}

// OnConnect lets Dial call hook with each new connection before either side has it: what hook
// installs is there before the first byte. There may be more than one; they run in the goroutine
// of Dial, one after the other.
func (n *Network) OnConnect(hook func(*Connection)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hooks = append(n.hooks, hook)
}

// Connections returns the open connections, in the order of dialling. A connection is open until both
// ends are closed, or it is cut.
func (n *Network) Connections() []*Connection {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.open)
}

// remove takes a connection off the list.
func (n *Network) remove(c *Connection) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if i := slices.Index(n.open, c); i >= 0 {
		n.open = slices.Delete(n.open, i, i+1)
	}
}

// now is the time of the network, which begins with New.
func (n *Network) now() time.Duration { return time.Since(n.start) }

// network is what Addr calls its network.
const network = "edicttest"

// Addr is the address of a listener, or of an end of a connection: "server", "client:0".
type Addr string

// Network returns "edicttest".
func (Addr) Network() string { return network }

// String returns the address.
func (a Addr) String() string { return string(a) }

// listener is what Listen returns.
type listener struct {
	network *Network
	place   *place
	address Addr

	// Guarded by network.mu.
	closed bool
	queue  []waiting
	taken  int    // places of the backlog: those in queue and those about to be
	room   signal // raised when a place is free or the listener closed
	ready  signal // raised when queue may have become ready, or the listener closed
}

// waiting is a connection that waits for Accept.
type waiting struct {
	connection *Connection
	from       time.Duration // when Accept may have it
}

// add puts c in the backlog, where a place is reserved for it, unless the listener is closed.
func (l *listener) add(c *Connection) bool {
	n := l.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if l.closed {
		return false
	}
	delay := l.place.delay
	l.queue = append(l.queue, waiting{c, n.now() + delay})
	l.ready.raise()
	if delay > 0 {
		n.recordLocked(Fault{Kind: FaultDelay, Address: string(l.address), Connection: c.id})
		time.AfterFunc(delay, func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			l.ready.raise()
		})
	}
	return true
}

// Accept returns the next connection; after Close its error matches net.ErrClosed.
func (l *listener) Accept() (net.Conn, error) {
	n := l.network
	n.mu.Lock()
	for {
		if l.closed {
			n.mu.Unlock()
			return nil, &net.OpError{Op: "accept", Net: network, Addr: l.address, Err: net.ErrClosed}
		}
		now := n.now()
		if i := slices.IndexFunc(l.queue, func(w waiting) bool { return w.from <= now }); i >= 0 {
			c := l.queue[i].connection
			l.queue = slices.Delete(l.queue, i, i+1)
			l.taken--
			l.room.raise()
			n.mu.Unlock()
			return c.server, nil
		}
		ready := l.ready.wait()
		n.mu.Unlock()
		<-ready
		n.mu.Lock()
	}
}

// Close ends listening and resets the connections that nobody has accepted.
func (l *listener) Close() error {
	n := l.network
	n.mu.Lock()
	if l.closed {
		n.mu.Unlock()
		return &net.OpError{Op: "close", Net: network, Addr: l.address, Err: net.ErrClosed}
	}
	l.closed = true
	l.place.listener = nil
	queue := l.queue
	l.queue = nil
	l.ready.raise()
	l.room.raise()
	n.mu.Unlock()
	for _, w := range queue {
		w.connection.reset()
	}
	return nil
}

// Addr returns the address as an Addr.
func (l *listener) Addr() net.Addr { return l.address }

// signal wakes all who wait for a change of something that a mutex guards, which also guards the
// signal. Who waits takes a channel with the mutex held, waits without it, and looks again.
type signal struct{ changed chan struct{} }

func (s *signal) wait() <-chan struct{} {
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.changed
}

func (s *signal) raise() {
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

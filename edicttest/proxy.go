package edicttest

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/edict-go/edict/transport"
)

// ProxyConfig says how a Proxy behaves. The zero ProxyConfig passes everything on as it comes.
type ProxyConfig struct {
	// Link is how each connection is in each direction, beside what the real network does, until
	// SetLink changes it.
	Link Link
	// Seed is what Jitter and Segment are drawn from. How the bytes arrive is up to the real network,
	// so the same seed makes runs alike, not equal.
	Seed uint64
}

// dialTimeout bounds how long the proxy waits for the target to accept.
const dialTimeout = 5 * time.Second

// Proxy stands between clients and a server on real sockets, passes on what they say, and makes
// faults: for tests across processes, and for trying by hand how a service takes them. It knows
// nothing of the protocol, except that a Point may count its frames, so any service can be behind it.
// All methods may be called from any goroutine.
type Proxy struct {
	config   ProxyConfig
	start    time.Time
	listener net.Listener
	address  string
	target   string

	// Ended by Close: nothing is accepted or dialled any more.
	ctx    context.Context
	cancel context.CancelFunc
	group  sync.WaitGroup // the goroutines of the proxy and of its connections

	mu        sync.Mutex // guards the following; not held during I/O or while a hook runs
	link      Link
	refuse    bool
	delay     time.Duration // before a connection is taken care of
	nextID    int
	open      []*ProxyConnection // by ID
	onConnect []func(*ProxyConnection)
	onFault   []func(Fault)
	fired     []Fault
}

// NewProxy returns a proxy that listens at one address and passes connections on to another: each
// tcp://host:port, with port 0 to listen where the system chooses, or unix:///path. tls:// means tcp://
// here, the bytes pass as they are. The proxy serves until Close. The server need not be there yet:
// it is dialled anew for each client, and a client whose dial fails there is reset.
func NewProxy(listen, target string, config ProxyConfig) (*Proxy, error) {
	p := &Proxy{config: config, link: config.Link, start: time.Now()}
	scheme, listen, err := plain(listen)
	if err != nil {
		return nil, err
	}
	if _, p.target, err = plain(target); err != nil {
		return nil, err
	}
	if p.listener, err = transport.Listen(context.Background(), listen, nil); err != nil {
		return nil, err
	}
	p.address = scheme + "://" + p.listener.Addr().String()
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.group.Go(p.accept)
	return p, nil
}

// plain returns an address at which bytes pass as they are: that of TCP for one of TLS.
func plain(address string) (scheme, plain string, err error) {
	scheme, rest, err := transport.SplitAddress(address)
	if scheme == "tls" {
		return scheme, "tcp://" + rest, err
	}
	return scheme, address, err
}

// Address returns where the proxy listens, as edict.Dial takes it.
func (p *Proxy) Address() string { return p.address }

// SetLink changes the link of all connections, also of those that exist. Bytes under way keep the
// delay that they have.
func (p *Proxy) SetLink(link Link) {
	p.mu.Lock()
	p.link = link
	p.mu.Unlock()
	for _, c := range p.Connections() {
		c.setLink(link)
	}
}

// RefuseDials lets the proxy reset each client as soon as it has connected, or ends that. Connections
// that exist stay as they are.
func (p *Proxy) RefuseDials(refuse bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = refuse
}

// DelayAccepts lets the proxy turn to each client only delay after it has connected, like a server
// that is slow to accept. It applies to the clients to come; 0 ends it.
func (p *Proxy) DelayAccepts(delay time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = delay
}

// OnConnect lets the proxy call hook with each new connection before any byte of it passes: what hook
// installs is there before the first byte. There may be more than one; they run in a goroutine of the
// connection, one after the other, and hold up no other connection.
func (p *Proxy) OnConnect(hook func(*ProxyConnection)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.onConnect = append(p.onConnect, hook)
}

// OnFault lets the proxy call hook with each fault that has happened, once Fired has it too. There
// may be more than one; they run in the goroutine that made the fault, which waits for them, so a
// hook must not call Close.
func (p *Proxy) OnFault(hook func(Fault)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.onFault = append(p.onFault, hook)
}

// Connections returns the open connections, in the order of accepting. A connection is open until both
// sides have closed it, or it is cut.
func (p *Proxy) Connections() []*ProxyConnection {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.open)
}

// Fired returns the faults that have happened, in that order: those of the kinds named, or all. After
// 10,000 of them no more are kept. A test asserts with it that its fault has happened at all.
func (p *Proxy) Fired(kinds ...FaultKind) []Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	var fired []Fault
	for _, fault := range p.fired {
		if len(kinds) == 0 || slices.Contains(kinds, fault.Kind) {
			fired = append(fired, fault)
		}
	}
	return fired
}

// Close stops listening, resets the connections and waits until all goroutines of the proxy have
// ended, with the hooks that run. It may be called again.
func (p *Proxy) Close() error {
	p.cancel()
	err := p.listener.Close()
	for _, c := range p.Connections() {
		c.end(true)
	}
	p.group.Wait()
	if errors.Is(err, net.ErrClosed) { // closed before
		return nil
	}
	return err
}

// record keeps a fault that has happened and tells the hooks.
func (p *Proxy) record(fault Fault) {
	fault.At, fault.Address = time.Since(p.start), p.address
	p.mu.Lock()
	if len(p.fired) < firedLimit {
		p.fired = append(p.fired, fault)
	}
	hooks := slices.Clone(p.onFault)
	p.mu.Unlock()
	for _, hook := range hooks {
		hook(fault)
	}
}

// acceptPause is how long the proxy waits after an error of Accept, too many open files for example.
const acceptPause = 50 * time.Millisecond

// accept takes in clients.
//
// Started by NewProxy; ends when Close has closed the listener; Close waits for it.
func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err == nil {
			p.group.Go(func() { p.serve(client) })
		} else if p.ctx.Err() != nil || !p.pause(acceptPause) {
			return
		}
	}
}

// pause waits, and reports whether the proxy is still open then.
func (p *Proxy) pause(wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-p.ctx.Done():
		return false
	}
}

// serve leads one client's connection from its beginning to its end.
//
// Started by accept; ends with the connection, whose goroutines it waits for; Close ends it and waits
// for it.
func (p *Proxy) serve(client net.Conn) {
	p.mu.Lock()
	id, refuse, delay := p.nextID, p.refuse, p.delay
	if !refuse {
		p.nextID++
	}
	p.mu.Unlock()
	if refuse {
		resetConn(client)
		p.record(Fault{Kind: FaultRefuse, Connection: -1})
		return
	}
	if delay > 0 {
		p.record(Fault{Kind: FaultDelay, Connection: id})
		if !p.pause(delay) {
			resetConn(client)
			return
		}
	}
	ctx, cancel := context.WithTimeout(p.ctx, dialTimeout)
	defer cancel()
	server, err := transport.Dial(ctx, p.target, nil)
	if err != nil {
		resetConn(client)
		return
	}
	c := newProxyConnection(p, id, client, server)
	hooks, ok := p.enter(c)
	if !ok {
		c.end(true)
		return
	}
	defer p.leave(c)
	for _, hook := range hooks {
		hook(c)
	}
	c.run()
}

// enter adds a connection to the open ones and returns the hooks to call with it, or reports that the
// proxy is closed.
func (p *Proxy) enter(c *ProxyConnection) (hooks []func(*ProxyConnection), ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() != nil {
		return nil, false
	}
	c.setLink(p.link)
	p.open = append(p.open, c)
	slices.SortFunc(p.open, func(a, b *ProxyConnection) int { return a.id - b.id })
	return slices.Clone(p.onConnect), true
}

// leave takes a connection off the open ones.
func (p *Proxy) leave(c *ProxyConnection) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.open, c); i >= 0 {
		p.open = slices.Delete(p.open, i, i+1)
	}
}

// resetConn closes conn so that the peer sees it reset. A Unix socket knows no reset: there the peer
// sees the end, or a reset if not all that it sent was read.
func resetConn(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // an error means that it is broken already
	}
	_ = conn.Close()
}

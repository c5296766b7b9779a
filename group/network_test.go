package group_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	randv2 "math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/delegate"
	"github.com/edict-go/edict/edicttest"
	"github.com/edict-go/edict/group"
	"github.com/edict-go/edict/transport"
)

// cluster is a number of servers, with real clients of them.
type cluster struct {
	t       testing.TB
	network *edicttest.Network // nil: TCP
	tls     *tls.Config
	marks   marks // of the commands mark, of all servers
	quiet   *slog.Logger

	mu      sync.Mutex // guards the following
	servers map[string]*server
}

// server is one of them.
type server struct {
	*edict.Server
	lab     *lab
	address string
	served  chan error
}

// startAt starts a server at an address; at an empty one on TCP the system chooses.
func (c *cluster) startAt(address string) *server {
	c.t.Helper()
	var listener net.Listener
	var err error
	if c.network != nil {
		listener, err = c.network.Listen(address)
	} else {
		if address == "" {
			address = "tcp://127.0.0.1:0"
		}
		listener, err = transport.Listen(context.Background(), address, c.tls)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	if c.network == nil {
		scheme, _, _ := strings.Cut(address, "://")
		address = scheme + "://" + listener.Addr().String()
	}
	s := &server{lab: newLab(address), address: address, served: make(chan error, 1)}
	s.lab.marks = &c.marks
	s.Server = edict.NewServer(s.lab, labCommands, edict.WithLogger(c.quiet))
	go func() { s.served <- s.Serve(listener) }()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.servers[address] = s
	return s
}

// kill ends a server at once.
func (s *server) kill() {
	_ = s.Close()
	_ = s.Shutdown(context.Background())
	<-s.served
}

// drain ends a server as it should.
func (s *server) drain(t testing.TB) {
	if err := s.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	<-s.served
}

// connect makes clients, which come back quickly.
func (c *cluster) connect(address string) (group.Member[*lab], error) {
	options := []edict.DialOption{
		edict.WithReconnect(edict.Reconnect{Initial: 10 * time.Millisecond, Max: 50 * time.Millisecond}), edict.WithLogger(c.quiet),
	}
	if c.network != nil {
		options = append(options, edict.WithDialer(c.network.Dialer(address)))
	}
	return group.Clients(labCommands, options...)(address)
}

func (c *cluster) group(config group.Config, addresses ...string) *group.Group[*lab] {
	c.t.Helper()
	if config.Endpoints == nil {
		config.Endpoints = group.Static(addresses...)
	}
	config.Logger = c.quiet
	g, err := group.New(c.connect, config)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = g.Close() })
	want := len(addresses) * max(config.Min, 1)
	for countReady(g) < want { // all of them
		<-time.After(time.Millisecond)
	}
	return g
}

func countReady(g *group.Group[*lab]) int {
	n := 0
	for _, e := range g.Stats().Endpoints {
		for _, connection := range e.Connections {
			if connection.State == delegate.Ready {
				n++
			}
		}
	}
	return n
}

func newCluster(t testing.TB, network *edicttest.Network) *cluster {
	c := &cluster{t: t, network: network, servers: map[string]*server{}, quiet: slog.New(slog.DiscardHandler)}
	t.Cleanup(func() {
		for _, s := range c.servers {
			_ = s.Close()
			_ = s.Shutdown(context.Background())
		}
	})
	return c
}

// overBoth runs a test over TCP, and over a network in memory with a fake clock.
func overBoth(t *testing.T, test func(t *testing.T, c *cluster, addresses []string)) {
	t.Run("tcp", func(t *testing.T) {
		c := newCluster(t, nil)
		var addresses []string
		for range 4 {
			addresses = append(addresses, c.startAt("").address)
		}
		test(t, c, addresses)
	})
	t.Run("memory", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t, edicttest.New(edicttest.Config{}))
			addresses := []string{"one", "two", "three", "four"}
			for _, address := range addresses {
				c.startAt(address)
			}
			test(t, c, addresses)
		})
	})
}

// until waits for something that is about to come about.
func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain until " + what)
		}
	}
}

// A dead server is passed over: no send fails because of it. It gets its part when it is back.
func TestNoSendFailsForADeadServer(t *testing.T) {
	overBoth(t, func(t *testing.T, c *cluster, addresses []string) {
		g := c.group(group.Config{}, addresses...)
		c.servers[addresses[1]].kill()
		until(t, "the group has noticed", func() bool { return countReady(g) == 3 })
		for n := range 100 {
			if _, err := edict.Call(t.Context(), g, who{}); err != nil {
				t.Errorf("send %d: %v", n, err)
			}
		}
		back := c.startAt(addresses[1])
		until(t, "the server is back", func() bool { return countReady(g) == 4 })
		for range 100 {
			if _, err := edict.Call(t.Context(), g, who{}); err != nil {
				t.Error(err)
			}
		}
		if n := back.lab.executed.Load(); n < 15 || n > 25 { // the group may have noticed a little later
			t.Errorf("the server that is back has served %d of 100", n)
		}
	})
}

// While servers die, what is idempotent fails for none of them, even if it was under way.
func TestNoIdempotentSendFailsWhileServersDie(t *testing.T) {
	overBoth(t, func(t *testing.T, c *cluster, addresses []string) {
		g := c.group(group.Config{}, addresses...)
		underLoad(t, func() error {
			_, err := edict.Call(t.Context(), g, read{})
			return err
		}, func() {
			for _, address := range addresses[:3] {
				c.servers[address].kill()
				<-time.After(20 * time.Millisecond)
				c.startAt(address)
				until(t, "the server is back", func() bool { return countReady(g) == 4 })
			}
		})
	})
}

// While servers drain no send fails at all: what they have accepted ends, what they refuse goes elsewhere.
func TestNoSendFailsWhileServersDrain(t *testing.T) {
	overBoth(t, func(t *testing.T, c *cluster, addresses []string) {
		g := c.group(group.Config{Min: 2}, addresses...)
		underLoad(t, func() error {
			_, err := edict.Call(t.Context(), g, who{})
			return err
		}, func() {
			for _, address := range addresses {
				c.servers[address].drain(t)
				c.startAt(address)
				until(t, "the server is back", func() bool { return countReady(g) == 8 })
			}
		})
	})
}

// underLoad makes calls in some goroutines while meanwhile runs. None may fail.
func underLoad(t *testing.T, call func() error, meanwhile func()) {
	t.Helper()
	var stop atomic.Bool
	var calls atomic.Int64
	var running sync.WaitGroup
	for range 16 {
		running.Go(func() {
			for !stop.Load() {
				if err := call(); err != nil {
					t.Error(err)
					return
				}
				calls.Add(1)
				<-time.After(100 * time.Microsecond) // the fake clock goes on only if all wait
			}
		})
	}
	meanwhile()
	until(t, "there were enough calls", func() bool { return calls.Load() >= 100 || t.Failed() })
	stop.Store(true)
	running.Wait()
}

// A rolling restart of a service behind one address, with one connection: calls wait, and none fails.
func TestARestartOfTheOnlyServer(t *testing.T) {
	overBoth(t, func(t *testing.T, c *cluster, addresses []string) {
		g := c.group(group.Config{}, addresses[0])
		underLoad(t, func() error {
			_, err := edict.Call(t.Context(), g, who{})
			return err
		}, func() {
			for range 3 {
				c.servers[addresses[0]].drain(t)
				c.startAt(addresses[0])
				until(t, "the server is back", func() bool { return countReady(g) == 1 })
				<-time.After(10 * time.Millisecond)
			}
		})
	})
}

// Connections that are too old are replaced under load, and no call fails for it.
func TestMaxAgeUnderLoad(t *testing.T) {
	overBoth(t, func(t *testing.T, c *cluster, addresses []string) {
		g := c.group(group.Config{MaxAge: 50 * time.Millisecond}, addresses...)
		first := map[time.Time]bool{}
		since := func() (all []time.Time) {
			for _, e := range g.Stats().Endpoints {
				for _, connection := range e.Connections {
					all = append(all, connection.Since)
				}
			}
			return all
		}
		for _, at := range since() {
			first[at] = true
		}
		underLoad(t, func() error {
			_, err := edict.Call(t.Context(), g, who{})
			return err
		}, func() {
			until(t, "all connections are others", func() bool {
				for _, at := range since() {
					if first[at] {
						return false
					}
				}
				return true
			})
		})
	})
}

// A call on a connection that hangs is answered by another endpoint.
func TestAHedgeAroundAStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := edicttest.New(edicttest.Config{Link: edicttest.Link{Latency: time.Millisecond}})
		c := newCluster(t, network)
		c.startAt("one")
		c.startAt("two")
		g := c.group(group.Config{Hedge: group.Hedge{Quantile: 0.9}}, "one", "two")
		for range 100 {
			if _, err := edict.Call(t.Context(), g, read{}); err != nil {
				t.Fatal(err)
			}
		}
		for _, connection := range network.Connections() {
			if connection.Address() == "one" {
				connection.Stall(edicttest.ToServer)
			}
		}
		for range 4 {
			began := time.Now()
			name, err := edict.Call(t.Context(), g, read{})
			if took := time.Since(began); err != nil || name != "two" || took > 6*time.Millisecond {
				t.Errorf("%s, %v, after %v", name, err, took)
			}
		}
		if stats := g.Stats(); stats.HedgesWon != 2 {
			t.Errorf("%d hedges have won", stats.HedgesWon)
		}
	})
}

// marks counts how many times each mark was executed.
type marks struct {
	mu     sync.Mutex
	counts map[int]int
}

func (m *marks) add(id int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.counts == nil {
		m.counts = map[int]int{}
	}
	m.counts[id]++
}

// While connections are cut at random bytes and servers come and go, every call ends, nothing runs twice that
// must not, and what an error says of that is true.
func TestOutcomesAreTrue(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { outcomesAreTrue(t, seed) })
		})
	}
}

func outcomesAreTrue(t *testing.T, seed uint64) {
	random := randv2.New(randv2.NewPCG(seed, 1))
	network := edicttest.New(edicttest.Config{Seed: seed, Link: edicttest.Link{Latency: time.Millisecond, Jitter: time.Millisecond}})
	c := newCluster(t, network)
	addresses := []string{"one", "two", "three"}
	for _, address := range addresses {
		c.startAt(address)
	}
	g := c.group(group.Config{
		Min: 2, Max: 4, GrowAt: 4, MaxAge: 5 * time.Second, Hedge: group.Hedge{Quantile: 0.9},
		Breaker: group.Breaker{OpenFor: 100 * time.Millisecond},
	}, addresses...)

	type end struct {
		id         int
		idempotent bool
		err        error
	}
	const calls = 1200
	ends := make(chan end, calls)
	var running sync.WaitGroup
	ids := make(chan int)
	for range 20 {
		running.Go(func() {
			for id := range ids {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(id%50+2)*10*time.Millisecond)
				var err error
				if id%2 == 0 {
					_, err = edict.Call(ctx, g, mark{ID: id})
				} else {
					_, err = edict.Call(ctx, g, markAgain{mark{ID: id}})
				}
				cancel()
				ends <- end{id, id%2 == 1, err}
				if e, ok := errors.AsType[*core.Error](err); ok && e.RetryAfter > 0 {
					<-time.After(e.RetryAfter) // all breakers are open
				}
			}
		})
	}
	for id := range calls {
		ids <- id
		if id%10 == 0 {
			if open := network.Connections(); len(open) > 0 {
				connection := open[random.IntN(len(open))]
				direction := edicttest.Direction(random.IntN(2))
				connection.CutAfter(direction, edicttest.Bytes(random.Int64N(2000)))
			}
		}
		if id%200 == 100 {
			address := addresses[random.IntN(3)]
			c.servers[address].kill()
			c.startAt(address)
		}
	}
	close(ids)
	running.Wait()
	close(ends)
	until(t, "no call is in flight", func() bool {
		for _, e := range g.Stats().Endpoints {
			if e.InFlight > 0 {
				return false
			}
		}
		return true
	})
	_ = g.Close()
	for _, s := range c.servers {
		s.drain(t)
		s.served <- nil
	}
	succeeded := 0
	failures := map[string]int{}
	for e := range ends {
		ran := c.marks.counts[e.id]
		outcome := edict.OutcomeOf(e.err)
		switch {
		case ran > 1 && !e.idempotent:
			t.Errorf("%d was executed %d times", e.id, ran)
		case ran == 0 && outcome == core.Executed:
			t.Errorf("%d was not executed: %v", e.id, e.err)
		case ran > 0 && !outcome.Ran():
			t.Errorf("%d was executed: %v", e.id, e.err)
		}
		if e.err == nil {
			succeeded++
			continue
		}
		failures[fmt.Sprint(edict.CodeOf(e.err), ", ", outcome)]++
		if _, ok := errors.AsType[*core.Error](e.err); !ok {
			t.Errorf("%d: %v", e.id, e.err)
		}
	}
	stats := g.Stats()
	t.Logf("%d of %d calls succeeded, %d retries, %d hedges, %d faults", succeeded, calls, stats.Retries, stats.Hedges, len(network.Fired()))
	if succeeded < calls/2 || stats.Retries == 0 || len(network.Fired()) < 15 {
		t.Errorf("%d of %d calls succeeded with %d retries and %d faults; the others: %v", succeeded, calls, stats.Retries, len(network.Fired()), failures)
	}
}

// DNS finds servers, those that are added and those that go, with TLS that verifies the name looked up.
func TestDNSWithServers(t *testing.T) {
	serverTLS, clientTLS := certificates(t, "calc.example")
	c := newCluster(t, nil)
	c.tls = serverTLS
	first := c.startAt("tls://127.0.0.1:0")
	_, port, err := net.SplitHostPort(strings.TrimPrefix(first.address, "tls://"))
	if err != nil {
		t.Fatal(err)
	}
	var both atomic.Bool
	resolver := serveDNS(t, func() []net.IP {
		if both.Load() {
			return []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(127, 0, 0, 2)}
		}
		return []net.IP{net.IPv4(127, 0, 0, 1)}
	})
	clientTLS.ServerName = "calc.example"
	g, err := group.Dial(t.Context(), labCommands, group.Config{
		Endpoints: group.DNS{Address: "tls://calc.example:" + port, Refresh: 20 * time.Millisecond, Lookup: resolver},
	}, edict.WithTLS(clientTLS))
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	call := func() string {
		name, err := edict.Call(t.Context(), g, who{})
		if err != nil {
			t.Fatal(err)
		}
		return name
	}
	if name := call(); name != first.address {
		t.Errorf("served by %s", name)
	}
	second := c.startAt("tls://127.0.0.2:" + port)
	both.Store(true)
	until(t, "the second server is found", func() bool { return call() == second.address })
	both.Store(false)
	until(t, "the second server is forgotten", func() bool {
		one, other := call(), call() // in turn, if there are two
		return one == first.address && other == first.address
	})
}

// certificates makes a certificate for a host name, which the client trusts.
func certificates(t *testing.T, name string) (server, client *tls.Config) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "edict test"}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, &tls.Config{RootCAs: pool}
}

// Dial fails, and leaves nothing behind, if no endpoint answers in time, or if all refuse for good.
func TestDialFails(t *testing.T) {
	c := newCluster(t, nil)
	address := c.startAt("").address
	t.Run("in time", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := group.Dial(ctx, labCommands, group.Config{Endpoints: group.Static("tcp://127.0.0.1:1")})
		wantError(t, err, core.DeadlineExceeded, core.NotSent)
		if !strings.Contains(err.Error(), "refused") {
			t.Errorf("%v does not say why", err)
		}
	})
	t.Run("for good", func(t *testing.T) {
		other := edict.Commands(edict.Unary[mark]().Named("who"))
		_, err := group.Dial(t.Context(), other, group.Config{Endpoints: group.Static(address), Logger: c.quiet})
		wantError(t, err, core.FailedPrecondition, core.NotSent)
	})
	t.Run("address", func(t *testing.T) {
		_, err := group.Dial(t.Context(), labCommands, group.Config{Endpoints: group.Static("127.0.0.1:9000"), Logger: c.quiet})
		if err == nil || !strings.Contains(err.Error(), "tcp://") {
			t.Errorf("%v", err)
		}
	})
}

// Calls with several shapes go through a group as through a client.
func TestAllShapes(t *testing.T) {
	overBoth(t, func(t *testing.T, c *cluster, addresses []string) {
		g := c.group(group.Config{}, addresses...)
		var got []int
		for n, err := range edict.Stream(t.Context(), g, count{To: 5}) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, n)
		}
		if fmt.Sprint(got) != "[0 1 2 3 4]" {
			t.Errorf("streamed %v", got)
		}
		for n := range edict.Stream(t.Context(), g, count{To: 1000}) {
			if n == 3 {
				break
			}
		}
		sum, err := edict.Upload(t.Context(), g, sumUp{}, func(yield func(int, error) bool) {
			for n := range 10 {
				if !yield(n, nil) {
					return
				}
			}
		})
		if sum != 45 || err != nil {
			t.Errorf("the sum is %d, %v", sum, err)
		}
		until(t, "nothing is in flight", func() bool {
			n := 0
			for _, e := range g.Stats().Endpoints {
				n += e.InFlight
			}
			return n == 0
		})
	})
}

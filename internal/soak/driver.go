package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/edict-go/edict/edicttest"
)

// options are the flags of the driver.
type options struct {
	length  time.Duration
	only    string // which kinds of faults happen, with commas between; "" is all
	seed    uint64
	clients int           // client processes that are killed and drained, beside the steady one
	callers int           // of each client process
	pause   time.Duration // of each caller, on average
	folder  string        // for logs; "" is one that is removed if all is well
	local   bool          // no namespaces and no wire
}

const (
	// drainPatience is how long a process may take to drain and to report, before it is said to hang.
	drainPatience = 3*drainLimit + settleTime
	// recoveryLimit is how long a connection may take to work again after everything is healed.
	recoveryLimit = 30 * time.Second
	// minTraffic is how many calls must have ended before the first fault.
	minTraffic = 200
	// A server at the far end of the wire, in a namespace where nothing else is.
	nearAddress, farAddress = "10.77.0.1", "10.77.0.2"
)

// driver runs a soak.
type driver struct {
	options
	start  time.Time
	saying sync.Mutex // guards output
	output io.Writer
	events *os.File // the journal: what happens, in more detail

	steadyServer, steadyClient   *slot
	mortalServers, mortalClients []*slot
	durableServers               []*slot            // the mortal ones that have a journal
	servers                      map[string]*slot   // by route
	proxies                      []*edicttest.Proxy // secureProxy among them
	secureProxy                  *edicttest.Proxy
	resumedProxies               []*edicttest.Proxy // by which there are connections that are resumed
	spaces                       []*namespace
	wire                         *wire // nil without namespaces

	mu        sync.Mutex // guards the following
	number    int        // of the last process
	processes []*process // all, in the order of their start
	planned   map[string]int
	fired     map[string]int
	watches   map[*watch]struct{}
	problems  []string // of the run itself
}

// slot is a place for a server or client, which is started again when it has ended.
type slot struct {
	role  string
	name  string
	base  childConfig
	place func(func() error) error

	mu        sync.Mutex // held while something happens to the process
	current   *process
	disturbed []interval // when it was killed or drained, and until the next one was ready
}

// interval is a time, in microseconds.
type interval struct{ from, to int64 }

func (i interval) overlaps(from, to int64) bool { return from <= i.to && i.from <= to }

func here(f func() error) error { return f() }

// soak runs one soak and reports whether all that must be 0 is. An error means that it could not run, or
// that ctx has ended.
func soak(ctx context.Context, o options, output io.Writer) (passed bool, err error) {
	d := &driver{
		options: o, output: output, start: time.Now(),
		planned: map[string]int{}, fired: map[string]int{}, watches: map[*watch]struct{}{},
	}
	if d.folder == "" {
		if d.folder, err = os.MkdirTemp("", "edict-soak-"); err != nil {
			return false, err
		}
	} else if err = os.MkdirAll(d.folder, 0o700); err != nil {
		return false, err
	}
	if d.events, err = os.Create(filepath.Join(d.folder, "events.log")); err != nil {
		return false, err
	}
	d.say("seed %d, %v, logs in %s", d.seed, d.length, d.folder)
	defer func() {
		d.close()
		err = errors.Join(err, d.events.Close())
		if passed && o.folder == "" {
			err = errors.Join(err, os.RemoveAll(d.folder))
		}
	}()
	if err := d.open(); err != nil {
		return false, err
	}
	if err := d.awaitTraffic(); err != nil {
		return false, err
	}
	faults, err := d.faults()
	if err != nil {
		return false, err
	}
	d.follow(ctx, drawPlan(d.seed, faults, d.length))
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	d.heal()
	unrecovered := d.recover()
	d.say("draining")
	d.drain()
	return d.conclude(unrecovered)
}

// say prints a line with the time since the start.
func (d *driver) say(format string, arguments ...any) {
	line := d.line(format, arguments...)
	d.saying.Lock()
	defer d.saying.Unlock()
	_, _ = io.WriteString(d.output, line) // as with any output: there is no one to tell
	_, _ = d.events.WriteString(line)
}

// note writes a line to the journal only.
func (d *driver) note(format string, arguments ...any) {
	_, _ = d.events.WriteString(d.line(format, arguments...))
}

func (d *driver) line(format string, arguments ...any) string {
	return fmt.Sprintf("%8.2fs  %s\n", time.Since(d.start).Seconds(), fmt.Sprintf(format, arguments...))
}

// problem notes something that went wrong with the run itself, which fails it.
func (d *driver) problem(format string, arguments ...any) {
	text := fmt.Sprintf(format, arguments...)
	d.mu.Lock()
	d.problems = append(d.problems, text)
	d.mu.Unlock()
	d.say("PROBLEM: %s", text)
}

// open starts everything.
func (d *driver) open() error {
	certificate := filepath.Join(d.folder, "certificate.pem")
	if err := writeCertificate(certificate); err != nil {
		return err
	}
	server := func(name string, place func(func() error) error, base childConfig, listen ...string) (*slot, []string, error) {
		base.Certificate, base.Listen = certificate, listen
		s := &slot{role: "server", name: name, base: base, place: place}
		addresses, err := s.start(d)
		return s, addresses, err
	}
	journal := func(name string) string { return filepath.Join(d.folder, name+".journal") }
	client := func(name string, place func(func() error) error, routes ...route) (*slot, error) {
		s := &slot{role: "client", name: name, place: place, base: childConfig{
			Routes: routes, Certificate: certificate, Callers: d.callers, Pause: d.pause, Seed: d.seed,
		}}
		_, err := s.start(d)
		return s, err
	}

	steady, steadyAddresses, err := server("steady", here, childConfig{Journal: journal("steady"), NoSync: true}, freeAddress("tcp"))
	if err != nil {
		return err
	}
	mortal, addresses, err := server("mortal", here, childConfig{Resumable: true}, freeAddress("tcp"), freeAddress("tls"),
		"unix://"+filepath.Join(d.folder, "server.sock"))
	if err != nil {
		return err
	}
	durable, durableAddresses, err := server("durable", here, childConfig{Journal: journal("durable")}, freeAddress("tcp"))
	if err != nil {
		return err
	}
	d.steadyServer, d.mortalServers, d.durableServers = steady, []*slot{mortal, durable}, []*slot{durable}
	routes := []route{
		{"steady", steadyAddresses[0], false},
		{"steady-durable", steadyAddresses[0], true},
		{"tcp", addresses[0], false},
		{"tls", addresses[1], false},
		{"unix", addresses[2], false},
		{"durable", durableAddresses[0], true},
	}
	for _, proxied := range []struct {
		name, listen, target string
		resumes              bool
	}{
		{"proxied tcp", "tcp://127.0.0.1:0", addresses[0], false},
		{"proxied tls", "tls://127.0.0.1:0", addresses[1], false},
		{"proxied unix", "unix://" + filepath.Join(d.folder, "proxy.sock"), addresses[2], false},
		{"proxied durable", "tcp://127.0.0.1:0", durableAddresses[0], true},
	} {
		proxy, err := edicttest.NewProxy(proxied.listen, proxied.target, edicttest.ProxyConfig{Seed: d.seed})
		if err != nil {
			return err
		}
		proxy.OnFault(func(fault edicttest.Fault) { d.see(proxy, fault) })
		d.proxies = append(d.proxies, proxy)
		routes = append(routes, route{strings.ReplaceAll(proxied.name, " ", "-"), proxy.Address(), proxied.resumes})
	}
	d.secureProxy, d.resumedProxies = d.proxies[1], []*edicttest.Proxy{d.proxies[1], d.proxies[3]}
	routes = append(routes, route{"resumed-tls", d.secureProxy.Address(), true})
	d.servers = map[string]*slot{"steady-durable": steady, "durable": durable, "proxied-durable": durable, "resumed-tls": mortal}
	if d.steadyClient, err = client("steady", here, routes...); err != nil {
		return err
	}
	for i := range d.clients {
		c, err := client(fmt.Sprintf("mortal-%d", i+1), here, routes...)
		if err != nil {
			return err
		}
		d.mortalClients = append(d.mortalClients, c)
	}

	if d.local {
		return nil
	}
	if err := d.openWire(); err != nil {
		d.say("SKIPPED: the two namespaces and the wire between them: %v", err)
		d.closeWire()
		return nil
	}
	far, farAddresses, err := server("far", d.spaces[1].do, childConfig{Journal: journal("far"), NoSync: true}, "tcp://"+farAddress+":7000")
	if err != nil {
		return err
	}
	d.mortalServers, d.durableServers = append(d.mortalServers, far), append(d.durableServers, far)
	d.servers["wire-durable"] = far
	near, err := client("near", d.spaces[0].do, route{"wire", farAddresses[0], false}, route{"wire-durable", farAddresses[0], true})
	if err != nil {
		return err
	}
	d.mortalClients = append(d.mortalClients, near)
	return nil
}

// freeAddress returns an address that is free now, with a port below those that the system chooses for
// those who dial: they would take it while the server is away. It does not depend on the seed: two soaks with the same one may
// run at the same time.
func freeAddress(scheme string) string {
	for {
		address := fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(20_000))
		if listener, err := net.Listen("tcp", address); err == nil {
			_ = listener.Close()
			return scheme + "://" + address
		}
	}
}

// openWire makes two namespaces and joins them.
func (d *driver) openWire() error {
	var devices []io.ReadWriteCloser
	for _, address := range []string{nearAddress, farAddress} {
		space, err := newNamespace()
		if err != nil {
			return err
		}
		d.spaces = append(d.spaces, space)
		device, err := space.openDevice("edict0", address)
		if err != nil {
			return err
		}
		devices = append(devices, device)
	}
	d.wire = newWire(devices[0], devices[1], d.seed)
	d.wire.set(mild)
	return nil
}

func (d *driver) closeWire() {
	if d.wire != nil {
		d.wire.close()
	}
	for _, space := range d.spaces {
		space.close()
	}
	d.wire, d.spaces = nil, nil
}

// close ends what still runs.
func (d *driver) close() {
	d.mu.Lock()
	processes := slices.Clone(d.processes)
	d.mu.Unlock()
	for _, p := range processes {
		p.kill()
	}
	for _, proxy := range d.proxies {
		_ = proxy.Close() // its goroutines have ended, which is what matters
	}
	d.closeWire()
}

// start starts a process in the slot and waits until it is ready. The caller holds s.mu, or is the only
// one who knows s.
func (s *slot) start(d *driver) ([]string, error) {
	d.mu.Lock()
	d.number++
	config := s.base
	config.Number, config.Name = d.number, s.name
	config.Log = logPath(d.folder, s.role, d.number)
	d.mu.Unlock()
	p, err := startProcess(s.role, config, s.place)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	d.processes = append(d.processes, p)
	d.mu.Unlock()
	s.current = p
	addresses, err := p.waitReady()
	if err == nil {
		d.note("%v is ready", p)
	}
	return addresses, err
}

// restart ends the slot's process with end and starts another one after a moment.
func (s *slot) restart(d *driver, e event, end func(*process)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, from := s.current, time.Now().UnixMicro()
	defer func() { s.disturbed = append(s.disturbed, interval{from, time.Now().UnixMicro()}) }()
	end(before)
	state, _, _ := before.state()
	d.note("%v has %s", before, state)
	<-time.After(e.length / 5)
	if _, err := s.start(d); err != nil {
		d.problem("%s %s: %v", s.role, s.name, err)
	}
	return state != crashed
}

// freeze stops the slot's process for a while.
func (s *slot) freeze(e event) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current.freeze()
	defer s.current.thaw()
	<-time.After(e.length)
	return true
}

// progress adds up what the clients report.
func (d *driver) progress() (begun, ended int64) {
	d.mu.Lock()
	processes := slices.Clone(d.processes)
	d.mu.Unlock()
	for _, p := range processes {
		_, _, progress := p.state()
		begun += progress.Begun
		ended += progress.Ended
	}
	return begun, ended
}

// awaitTraffic waits until there are calls to disturb.
func (d *driver) awaitTraffic() error {
	for deadline := time.Now().Add(readyLimit); time.Now().Before(deadline); <-time.After(20 * time.Millisecond) {
		if _, ended := d.progress(); ended >= minTraffic {
			return nil
		}
	}
	return errors.New("there is no traffic")
}

// follow lets the events of the plan happen, each in a goroutine of its own, until the last one or until
// ctx ends, and returns when all that have begun are over.
func (d *driver) follow(ctx context.Context, plan []event) {
	for _, e := range plan {
		d.planned[e.fault.name]++
	}
	d.say("%d faults are planned", len(plan))
	start := time.Now()
	reports := time.NewTicker(5 * time.Second)
	defer reports.Stop()
	var events sync.WaitGroup
	defer events.Wait()
	for len(plan) > 0 {
		select {
		case <-time.After(plan[0].at - time.Since(start)):
			e := plan[0]
			plan = plan[1:]
			events.Go(func() { d.inject(e) })
		case <-reports.C:
			d.sayProgress()
		case <-ctx.Done():
			return
		}
	}
}

// inject lets a fault happen. One whose connection was lost to another fault first is tried again.
func (d *driver) inject(e event) {
	for range 3 {
		d.note("%s begins", e.fault.name)
		happened := e.fault.inject(d, e)
		d.note("%s is over", e.fault.name)
		if happened {
			d.mu.Lock()
			d.fired[e.fault.name]++
			d.mu.Unlock()
			return
		}
	}
	d.say("%s has not happened", e.fault.name)
}

func (d *driver) sayProgress() {
	begun, ended := d.progress()
	d.mu.Lock()
	injected, processes := 0, len(d.processes)
	for _, n := range d.fired {
		injected += n
	}
	d.mu.Unlock()
	d.say("%d calls begun, %d ended; %d faults have happened; %d processes so far", begun, ended, injected, processes)
}

// heal undoes what faults may have left behind.
func (d *driver) heal() {
	for _, proxy := range d.proxies {
		proxy.SetLink(edicttest.Link{})
		proxy.RefuseDials(false)
		proxy.DelayAccepts(0)
	}
	if d.wire != nil {
		d.wire.set(weather{Delay: time.Millisecond})
	}
}

// recover waits until each client that runs makes calls by each of its routes, and returns those that
// don't.
func (d *driver) recover() (unrecovered []string) {
	clients := append([]*slot{d.steadyClient}, d.mortalClients...)
	before := make([]map[string]int64, len(clients))
	for i, s := range clients {
		before[i] = s.good()
	}
	start := time.Now()
	for ; time.Since(start) < recoveryLimit; <-time.After(20 * time.Millisecond) {
		unrecovered = nil
		for i, s := range clients {
			good := s.good()
			for _, route := range s.base.Routes {
				if good[route.Name] < before[i][route.Name]+3 {
					unrecovered = append(unrecovered, s.name+" by "+route.Name)
				}
			}
		}
		if len(unrecovered) == 0 {
			d.say("all routes work again, %.1f s after the last fault", time.Since(start).Seconds())
			return nil
		}
	}
	d.say("routes that don't work again: %s", strings.Join(unrecovered, ", "))
	return unrecovered
}

// good returns how many calls have succeeded by each route.
func (s *slot) good() map[string]int64 {
	_, _, progress := s.current.state()
	return maps.Clone(progress.Good)
}

// drain drains the clients, then the servers.
func (d *driver) drain() {
	for _, slots := range [][]*slot{
		append([]*slot{d.steadyClient}, d.mortalClients...),
		append([]*slot{d.steadyServer}, d.mortalServers...),
	} {
		var group sync.WaitGroup
		for _, s := range slots {
			group.Go(func() { s.current.drain(drainPatience) })
		}
		group.Wait()
		for _, s := range slots {
			if state, _, _ := s.current.state(); state != drained {
				d.problem("%v has %s instead of draining, with everything healed: %s", s.current, state, s.current.errorText())
			}
		}
	}
}

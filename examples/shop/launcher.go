package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"slices"
	"strings"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/examples/shop/commands"
)

// How long the disks of the warehouses take for a record of the audit. The second one's is what is wrong here.
const (
	fastDisk = time.Millisecond
	slowDisk = 300 * time.Millisecond
)

// runLauncher starts the servers and keeps them going, is the customers, and collects the spans of all.
func runLauncher(ctx context.Context, s *settings, out *log.Logger) (err error) {
	if s.length > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.length)
		defer cancel()
	}
	kept := newTraces()
	collector, err := kept.collect("127.0.0.1:0")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, collector.close()) }()
	t, err := setUp(ctx, "customers", collector.address)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	t.mux.Handle("GET /traces", kept)
	web, err := t.serve(s.address(0))
	if err != nil {
		return fmt.Errorf("%w (-port chooses other ports)", err)
	}

	k := &keeper{out: out}
	defer func() { err = errors.Join(err, k.close()) }()
	child := func(p *process, offset int, more ...string) []string {
		listen, web := p.address, p.web
		if listen == "" {
			listen, web = s.address(offset), s.address(offset+10)
		}
		return append([]string{"-child", p.name, "-listen", listen, "-web", web, "-collector", collector.address}, more...)
	}
	warehouse := func(offset int, disk time.Duration) func(*process) []string {
		return func(p *process) []string {
			return child(p, offset, "-audit", disk.String(), fmt.Sprintf("-fixed=%v", s.fixed))
		}
	}
	first, err := k.open("stock-a", warehouse(2, fastDisk))
	if err != nil {
		return err
	}
	second, err := k.open("stock-b", warehouse(3, slowDisk))
	if err != nil {
		return err
	}
	front, err := k.open("front", func(p *process) []string {
		return child(p, 1, "-warehouses", "tcp://"+first.address+",tcp://"+second.address)
	})
	if err != nil {
		return err
	}

	client, err := edict.Dial(ctx, "tcp://"+front.address, commands.ShopCommands, edict.ClientConfig{Name: "customers"},
		edict.WithReconnect(edict.Reconnect{}), t.edict.ClientOption())
	if err != nil {
		return err
	}
	defer client.Close()
	defer t.edict.ObserveClient("customers", client)()

	table := []string{front.String(), first.String(), second.String()}
	out.Printf("The shop is open, until Ctrl-C.\n\n%s\n\nThe slowest traces: http://%v/traces\n", strings.Join(table, "\n"), web)
	k.keep()
	return (&customers{out: out, client: client}).call(ctx)
}

// keeper keeps processes going.
type keeper struct {
	out       *log.Logger
	processes []*process
}

// open starts a process.
func (k *keeper) open(name string, command func(*process) []string) (*process, error) {
	p := &process{name: name, out: k.out, command: command, deadFor: deadFor}
	if err := p.start(); err != nil {
		return nil, err
	}
	k.processes = append(k.processes, p)
	return p, nil
}

// keep keeps the processes going until close.
func (k *keeper) keep() {
	for _, p := range k.processes {
		ctx, cancel := context.WithCancel(context.Background())
		p.stop = cancel
		p.kept = make(chan error, 1)
		go func() { p.kept <- p.keep(ctx) }() // ends with close, which waits for it
	}
}

// close ends the processes, the last one first.
func (k *keeper) close() error {
	var wrong []error
	for _, p := range slices.Backward(k.processes) {
		if p.stop == nil {
			wrong = append(wrong, p.end())
			continue
		}
		p.stop()
		wrong = append(wrong, <-p.kept)
	}
	return errors.Join(wrong...)
}

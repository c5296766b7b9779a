package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/edict-go/edict/edicttest"
	"github.com/edict-go/edict/examples/exactly-once/commands"
)

// tour is a bank whose server is killed again and again.
type tour struct {
	*settings
	out     *log.Logger
	server  *process
	replays atomic.Int64 // calls that were answered from the journal
	kills   int
	cuts    int
}

// runTour kills the server and cuts connections while clients call, and then looks at the books.
func runTour(ctx context.Context, s *settings, out *log.Logger) (err error) {
	t := &tour{settings: s, out: out}
	if t.folder == "" {
		if t.folder, err = os.MkdirTemp("", "exactly-once-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(t.folder)) }()
	}
	if t.serve == "" {
		t.serve = "unix://" + filepath.Join(t.folder, "bank.sock")
	}
	before, _, err := t.books()
	if err != nil {
		return err
	}
	if err := t.open(); err != nil {
		return err
	}
	defer t.server.kill() // if it has not ended by then
	network, err := edicttest.NewProxy("tcp://127.0.0.1:0", t.serve, edicttest.ProxyConfig{})
	if err != nil {
		return err
	}
	defer network.Close()

	out.Printf("%d callers of %d clients transfer money for %v.", s.clients*s.callers, s.clients, s.length)
	began := time.Now()
	stop, known := make(chan struct{}), make(chan *knowledge, 1)
	called := make(chan error, 1)
	go func() {
		k, err := call(stop, network.Address(), s)
		known <- k
		called <- err
	}()
	disturbed := t.disturb(ctx, network)
	close(stop)
	if disturbed != nil {
		return disturbed // the callers may wait for a server, and end with the program
	}
	k := <-known
	if err := <-called; err != nil {
		return err
	}
	if err := t.server.end(); err != nil {
		return fmt.Errorf("the server, at its end: %w", err)
	}
	out.Printf("\nIn %.1f s the server was killed %d times, and %d connections were cut.", time.Since(began).Seconds(), t.kills, t.cuts)
	k.report(out)
	out.Printf("%d transfers were answered from the journal.", t.replays.Load())
	after, ledger, err := t.books()
	if err != nil {
		return err
	}
	out.Printf("There was %d in all accounts before, and there is %d now.", sum(before), sum(after))
	return t.audit(k, before, after, ledger)
}

// disturb kills the server and cuts connections, each at random, until the time is over.
func (t *tour) disturb(ctx context.Context, network *edicttest.Proxy) error {
	over := time.After(t.length)
	kill, cut := time.NewTimer(about(t.kill)), time.NewTimer(about(t.cut))
	for {
		select {
		case <-kill.C:
			began := time.Now()
			t.server.kill()
			t.kills++
			if err := t.open(); err != nil {
				return err
			}
			t.out.Printf("The server was killed. Another one is there, after %d ms.", time.Since(began).Milliseconds())
			kill.Reset(about(t.kill))
		case <-cut.C:
			if open := network.Connections(); len(open) > 0 {
				open[rand.IntN(len(open))].Cut()
				t.cuts++
			}
			cut.Reset(about(t.cut))
		case <-over:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// about returns a time between half of pause and one and a half.
func about(pause time.Duration) time.Duration { return pause/2 + rand.N(pause+1) }

// books returns the balances and the ledger, which nobody else may have open.
func (t *tour) books() (balances []int64, ledger map[string]commands.Entry, err error) {
	bank, err := commands.Open(filepath.Join(t.folder, bankFile), t.accounts, balance)
	if err != nil {
		return nil, nil, err
	}
	defer bank.Close()
	if balances, err = bank.Balances(); err != nil {
		return nil, nil, err
	}
	ledger, err = bank.Ledger()
	return balances, ledger, err
}

func sum(balances []int64) (sum int64) {
	for _, balance := range balances {
		sum += balance
	}
	return sum
}

// audit compares what the clients know with the books.
func (t *tour) audit(k *knowledge, before, after []int64, ledger map[string]commands.Entry) error {
	var wrong []error
	complain := func(format string, arguments ...any) { wrong = append(wrong, fmt.Errorf(format, arguments...)) }
	if sum(before) != sum(after) {
		complain("the sum has changed")
	}
	for account := range after {
		if want := before[account] + k.change[account]; after[account] != want {
			complain("account %d has %d, and should have %d", account, after[account], want)
		}
	}
	done := 0
	for id, entry := range ledger {
		if entry.Done > 1 || entry.Done == 1 && entry.Void {
			complain("%s was done %d times, void: %t", id, entry.Done, entry.Void)
		}
		done += entry.Done
	}
	for _, id := range append(k.acknowledged, k.settled...) {
		if ledger[id.String()].Done == 0 {
			complain("%v was not done, and its client was told that it was", id)
		}
	}
	for _, id := range k.void {
		if !ledger[id.String()].Void {
			complain("%v was not settled, and its client was told that it was", id)
		}
	}
	if told := len(k.acknowledged) + len(k.settled); told != done {
		complain("the clients were told of %d transfers, and %d were done", told, done)
	}
	if len(k.failed) > 0 {
		complain("%d calls have failed", len(k.failed))
	}
	if len(wrong) == 0 {
		t.out.Printf("All is well: each of the %d transfers that the clients know of was done once, and no other one.", done)
	}
	return errors.Join(wrong...)
}

// process is a server as a process of its own.
type process struct {
	*exec.Cmd
	stdin io.Closer     // closed, it ends in order
	read  chan struct{} // closed when all is read that it prints
}

// open starts a server and waits until it serves.
func (t *tour) open() error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	p := &process{read: make(chan struct{}), Cmd: exec.Command(program, "-child", "-serve", t.serve, "-folder", t.folder,
		"-accounts", fmt.Sprint(t.accounts), "-work", t.work.String())}
	p.Stderr = os.Stderr
	if p.stdin, err = p.StdinPipe(); err != nil {
		return err
	}
	output, err := p.StdoutPipe()
	if err != nil {
		return err
	}
	if err := p.Start(); err != nil {
		return err
	}
	lines := bufio.NewScanner(output)
	if !lines.Scan() { // it serves, or has ended
		return fmt.Errorf("the server did not start: %w", errors.Join(lines.Err(), p.Wait()))
	}
	go func() { // ends with the process; kill and end wait for it
		defer close(p.read)
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), answered) {
				t.replays.Add(1)
			}
		}
	}()
	t.server = p
	return nil
}

// kill ends the server where it stands.
func (p *process) kill() {
	_ = p.Process.Kill() // an error means that it has ended
	_ = p.end()          // which says that it was killed
}

// end ends the server in order.
func (p *process) end() error {
	_ = p.stdin.Close() // an error means that it has ended
	<-p.read
	return p.Wait()
}

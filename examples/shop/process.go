package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"strings"
	"time"
)

// How long a server may take to be ready, and how long it is left dead.
const (
	readyLimit = 30 * time.Second
	deadFor    = 2 * time.Second
)

// process is a server in a process of its own, which is started again when it ends.
type process struct {
	name    string
	out     *log.Logger
	command func(p *process) []string // its flags
	deadFor time.Duration             // from its end until there is another one

	// Static once start has returned nil: the next process has the same, and others may ask.
	address, web string

	// Static after keeper.keep; nil before.
	stop context.CancelFunc
	kept chan error // how keep has ended

	// Owned by start, and then by keep.
	running *exec.Cmd
	stdin   io.Closer // closed, the process ends in order; the system closes it if this program is killed
	ended   chan error
}

// String returns where the process is to be found. It is for the time before keep.
func (p *process) String() string {
	return fmt.Sprintf("    %-8s %s   http://%s/debug/edict/   process %d", p.name, p.address, p.web, p.running.Process.Pid)
}

// start starts the process and waits until it serves.
func (p *process) start() error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(program, p.command(p)...)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	lines := bufio.NewReader(output)
	first := make(chan string, 1)
	ended := make(chan error, 1)
	go func() { // ends with the process
		line, _ := lines.ReadString('\n')
		first <- line
		_, _ = io.Copy(io.Discard, lines)
		ended <- cmd.Wait()
	}()
	p.running, p.stdin, p.ended = cmd, stdin, ended
	var line string
	select {
	case line = <-first:
	case <-time.After(readyLimit):
	}
	words := strings.Fields(line)
	if len(words) != 3 || words[0] != ready {
		_ = cmd.Process.Kill() // an error means that it has ended
		return fmt.Errorf("%s did not start: %s", p.name, reason(<-ended))
	}
	if p.address == "" {
		p.address, p.web = words[1], words[2]
	}
	return nil
}

// keep starts the process again whenever it ends, until ctx does; then it ends the process.
func (p *process) keep(ctx context.Context) error {
	for {
		select {
		case err := <-p.ended:
			p.out.Printf("%s  %s (process %d) has ended: %s; in %v there is another one", now(), p.name, p.running.Process.Pid, reason(err), p.deadFor)
		case <-ctx.Done():
			return p.end()
		}
		select {
		case <-time.After(p.deadFor):
		case <-ctx.Done():
			return nil
		}
		if err := p.start(); err != nil {
			p.ended = make(chan error, 1)
			p.ended <- err // so it is tried again
		} else {
			p.out.Printf("%s  %s is there again (process %d)", now(), p.name, p.running.Process.Pid)
		}
	}
}

// end ends the process in order, or at once if that takes too long.
func (p *process) end() error {
	_ = p.stdin.Close() // an error means that it has ended
	select {
	case err := <-p.ended:
		return err
	case <-time.After(endLimit + time.Second):
		_ = p.running.Process.Kill()
		return fmt.Errorf("%s did not end by itself: %w", p.name, <-p.ended)
	}
}

func reason(err error) string {
	if err == nil {
		return "in order"
	}
	return err.Error()
}

// now is what the lines of output begin with.
func now() string { return time.Now().Format(time.TimeOnly) }

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// ending is how a process has ended.
type ending string

const (
	running ending = "running"
	killed  ending = "killed"  // by the driver
	drained ending = "drained" // orderly
	forced  ending = "forced"  // its drain was cut short by its deadline
	crashed ending = "crashed" // anything else
)

// process is a server or a client in a process of its own, as the driver sees it.
type process struct {
	role   string
	config childConfig
	errors string // the file of its standard error
	cmd    *exec.Cmd
	stdin  io.Closer     // closed: the process ends itself
	ready  chan []string // capacity 1
	done   chan struct{} // closed when it has ended

	mu       sync.Mutex // guards the following
	ending   ending
	final    *final
	progress progress
}

// startProcess starts this program again with a role, within place (see namespace.do). It does not
// wait until the process is ready.
func startProcess(role string, config childConfig, place func(func() error) error) (*process, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	encoded, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	p := &process{
		role: role, config: config, errors: config.Log + ".stderr",
		cmd:   exec.Command(program, "-role", role, "-config", string(encoded)),
		ready: make(chan []string, 1), done: make(chan struct{}), ending: running,
	}
	errorFile, err := os.Create(p.errors)
	if err != nil {
		return nil, err
	}
	defer func() { _ = errorFile.Close() }() // the process has it
	p.cmd.Stderr = errorFile
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	p.stdin = stdin
	output, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := place(p.cmd.Start); err != nil {
		return nil, err
	}
	go p.follow(output)
	return p, nil
}

// String returns the process in a few words.
func (p *process) String() string {
	return fmt.Sprintf("%s %s (process %d)", p.role, p.config.Name, p.config.Number)
}

// follow takes the process's reports, and its end.
//
// Started by startProcess; ends with the process, and closes done for those who wait.
func (p *process) follow(output io.Reader) {
	defer close(p.done)
	lines := bufio.NewScanner(output)
	for lines.Scan() {
		var r report
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			fmt.Fprintf(os.Stderr, "%v says %q\n", p, lines.Text())
			continue
		}
		p.take(r)
	}
	err := p.cmd.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.ending == killed:
	case err != nil || p.final == nil:
		p.ending = crashed
	case p.final.Forced:
		p.ending = forced
	default:
		p.ending = drained
	}
}

func (p *process) take(r report) {
	if r.Ready != nil {
		p.ready <- r.Ready
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.Progress != nil {
		p.progress = *r.Progress
	}
	if r.Final != nil {
		p.final = r.Final
	}
}

// readyLimit is how long a process may take to start, on a machine with other things to do.
const readyLimit = 30 * time.Second

// waitReady waits until the process serves or calls, and returns its addresses.
func (p *process) waitReady() ([]string, error) {
	select {
	case addresses := <-p.ready:
		return addresses, nil
	case <-p.done:
		return nil, fmt.Errorf("%v has ended before it was ready: %s", p, p.errorText())
	case <-time.After(readyLimit):
		return nil, fmt.Errorf("%v is not ready after %v", p, readyLimit)
	}
}

// kill ends the process at once and waits for its end.
func (p *process) kill() {
	p.mu.Lock()
	if p.ending == running {
		p.ending = killed
	}
	p.mu.Unlock()
	_ = p.cmd.Process.Kill() // an error means that it has ended
	<-p.done
}

// drain tells the process to end orderly, and waits until it has, no longer than limit; then it counts
// as crashed.
func (p *process) drain(limit time.Duration) {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // an error means that it has ended
	select {
	case <-p.done:
	case <-time.After(limit):
		_ = p.cmd.Process.Signal(syscall.SIGQUIT) // it writes its stacks
		select {
		case <-p.done:
		case <-time.After(5 * time.Second):
			_ = p.cmd.Process.Kill()
			<-p.done
		}
	}
}

// state returns how the process has ended, what it said last, and how far it had come.
func (p *process) state() (ending, *final, progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ending, p.final, p.progress
}

// errorText returns the end of what the process wrote to its standard error.
func (p *process) errorText() string {
	text, err := os.ReadFile(p.errors)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err.Error()
	}
	return string(text[max(0, len(text)-4000):])
}

// logPath is where a process writes its executions or records.
func logPath(folder, role string, number int) string {
	return filepath.Join(folder, fmt.Sprintf("%s-%d.log", role, number))
}

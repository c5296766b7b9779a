package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// asProgram makes the test binary be another program: this one, or one that the guide uses and this machine may not have.
const asProgram = "SHOP_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	switch os.Getenv(asProgram) {
	case "shop":
		main()
		return
	case "curl":
		standIn(curl(os.Args[1:]))
		return
	case "nc":
		standIn(netcat(os.Args[1:]))
		return
	}
	for name, value := range map[string]string{
		asProgram: "shop",                          // for the servers that the launcher starts
		"GORACE":  "atexit_sleep_ms=0 exitcode=66", // each of them would take a second to end, with the race detector
	} {
		if err := os.Setenv(name, value); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

func standIn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// curl is curl -s URL.
func curl(arguments []string) error {
	response, err := http.Get(arguments[1])
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = io.Copy(os.Stdout, response.Body)
	return err
}

// netcat is nc -N HOST PORT.
func netcat(arguments []string) error {
	conn, err := net.Dial("tcp", net.JoinHostPort(arguments[1], arguments[2]))
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := io.Copy(conn, os.Stdin); err != nil {
		return err
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	_, err = io.Copy(os.Stdout, conn)
	return err
}

// program is a program that runs.
type program struct {
	*exec.Cmd
	t        *testing.T
	problems bytes.Buffer  // to be read when it has ended
	read     chan struct{} // closed when all output is

	mu      sync.Mutex // guards output
	output  strings.Builder
	arrived chan struct{} // capacity 1: there is a line more
}

// launch starts a program. It is killed when the test ends.
func launch(t *testing.T, name string, arguments ...string) *program {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	p := &program{Cmd: exec.CommandContext(ctx, name, arguments...), t: t, read: make(chan struct{}), arrived: make(chan struct{}, 1)}
	p.Stderr = &p.problems
	p.WaitDelay = 30 * time.Second // after which something that it has started lives still, and has its standard error
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { // ends with the program; end waits for it
		defer close(p.read)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			p.mu.Lock()
			p.output.WriteString(lines.Text() + "\n")
			p.mu.Unlock()
			select {
			case p.arrived <- struct{}{}:
			default:
			}
		}
	}()
	return p
}

// said returns the output so far.
func (p *program) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.String()
}

// wait waits until the output so far is as wanted, and returns it.
func (p *program) wait(why string, wanted func(output string) bool) string {
	p.t.Helper()
	late := time.After(time.Minute)
	for {
		if output := p.said(); wanted(output) {
			return output
		}
		select {
		case <-p.arrived:
		case <-p.read:
			if output := p.said(); wanted(output) {
				return output
			}
			p.t.Fatalf("%s: the program has ended: %v\n%s", why, p.Wait(), &p.problems)
		case <-late:
			p.t.Fatalf("%s: not after a minute of\n%s", why, p.said())
		}
	}
}

// end waits for the end of the program, and of all that it has started and not waited for.
func (p *program) end() error {
	<-p.read
	if err := p.Wait(); err != nil {
		return fmt.Errorf("%w: %s", err, &p.problems)
	}
	return nil
}

// interrupt is Ctrl-C.
func (p *program) interrupt() {
	p.t.Helper()
	if err := p.Process.Signal(os.Interrupt); err != nil {
		p.t.Fatal(err)
	}
}

// shop is the program in a process of its own.
type shop struct {
	*program
	edict, web map[string]string // addresses, by the names of the servers
	traces     string            // the address of the page
}

// open starts the program, at ports that the system chooses, and waits until it is open.
func open(t *testing.T, arguments ...string) *shop {
	t.Helper()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &shop{program: launch(t, executable, append(arguments, "-port", "0")...), edict: map[string]string{}, web: map[string]string{}}
	page := regexp.MustCompile(`traces: http://(\S+)/traces\n`)
	said := s.wait("it opens", page.MatchString)
	for _, match := range regexp.MustCompile(`(?m)^    (\S+) +(127\.0\.0\.1:\d+) +http://(127\.0\.0\.1:\d+)/debug/edict/ +process \d+$`).FindAllStringSubmatch(said, -1) {
		s.edict[match[1]], s.web[match[1]] = match[2], match[3]
	}
	s.traces = page.FindStringSubmatch(said)[1]
	if len(s.edict) != 3 {
		t.Fatalf("not three servers:\n%s", said)
	}
	return s
}

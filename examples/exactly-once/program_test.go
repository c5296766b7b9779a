package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// asProgram makes the test binary be the program itself.
const asProgram = "EXACTLY_ONCE_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	if err := os.Setenv(asProgram, "1"); err != nil { // for the servers that the tour starts
		panic(err)
	}
	os.Exit(m.Run())
}

// program is the program in a process of its own.
type program struct {
	*exec.Cmd
	t        *testing.T
	in       io.WriteCloser
	out      *bufio.Reader
	problems bytes.Buffer
}

// start starts the program. It is killed when the test ends, or hangs.
func start(t *testing.T, arguments ...string) *program {
	t.Helper()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	p := &program{Cmd: exec.CommandContext(ctx, executable, arguments...), t: t}
	p.Stderr = &p.problems
	in, err := p.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.in, p.out = in, bufio.NewReader(out)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

// startServer starts a server of the bank in a folder and waits until it serves, at the address that is returned.
func startServer(t *testing.T, folder string) (server *program, address string) {
	t.Helper()
	address = "unix://" + filepath.Join(folder, "bank.sock")
	server = start(t, "-serve", address, "-folder", folder)
	if line := server.line(); !strings.Contains(line, "open at "+address) {
		t.Fatal(line)
	}
	return server, address
}

// line returns the next line of output.
func (p *program) line() string {
	p.t.Helper()
	line, err := p.out.ReadString('\n')
	if err != nil {
		ended := p.Wait() // then problems are complete
		p.t.Fatalf("after %q: %v, %v; %s", line, err, ended, &p.problems)
	}
	return strings.TrimSuffix(line, "\n")
}

// rest returns the output that is still to come, and how the program ended.
func (p *program) rest() (string, error) {
	p.t.Helper()
	rest, err := io.ReadAll(p.out)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.Wait(); err != nil {
		return string(rest), errors.New(err.Error() + ": " + p.problems.String())
	}
	return string(rest), nil
}

// interrupt is Ctrl-C.
func (p *program) interrupt() {
	p.t.Helper()
	if err := p.Process.Signal(os.Interrupt); err != nil {
		p.t.Fatal(err)
	}
}

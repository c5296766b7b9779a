// Package program lets the tests of an example run it in processes of its own: the test binary is the program, too.
//
//	func TestMain(m *testing.M) { program.Main(m, main) }
//
//	server, address := program.StartServer(t)
//	client := program.Start(t, "-connect", address)
package program

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

// asProgram in the environment makes the test binary the program.
const asProgram = "EDICT_EXAMPLE_AS_PROGRAM"

// Main is for TestMain: it runs the tests, or main in a process that Start has started, or that main itself has.
func Main(m *testing.M, main func()) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	if err := os.Setenv(asProgram, "1"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// Program is the program in a process of its own. It belongs to one goroutine.
type Program struct {
	*exec.Cmd
	In io.WriteCloser // its standard input

	t        *testing.T
	out      *bufio.Reader
	problems bytes.Buffer // its standard error; to be read when it has ended
}

// Start starts the program. It is killed when the test ends, or hangs.
func Start(t *testing.T, arguments ...string) *Program {
	t.Helper()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	p := &Program{Cmd: exec.CommandContext(ctx, executable, arguments...), t: t}
	p.Stderr = &p.problems
	if p.In, err = p.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewReader(out)
	if err := p.Cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

// StartServer starts the program with -serve, at an address that the system chooses, and returns that too: it is in the
// first line of the output.
func StartServer(t *testing.T, arguments ...string) (server *Program, address string) {
	t.Helper()
	server = Start(t, append([]string{"-serve", "tcp://127.0.0.1:0"}, arguments...)...)
	address = regexp.MustCompile(`tcp://127\.0\.0\.1:\d+`).FindString(server.Line())
	return server, address
}

// Line returns the next line of output, without its end. If there is none the test fails.
func (p *Program) Line() string {
	p.t.Helper()
	line, err := p.out.ReadString('\n')
	if err != nil {
		ended := p.Wait() // then problems are complete
		p.t.Fatalf("after %q: %v, %v; %s", line, err, ended, &p.problems)
	}
	return strings.TrimSuffix(line, "\n")
}

// Rest waits for the end of the program, and returns the output that was still to come and how it has ended.
func (p *Program) Rest() (string, error) {
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

// Interrupt is Ctrl-C.
func (p *Program) Interrupt() {
	p.t.Helper()
	if err := p.Process.Signal(os.Interrupt); err != nil {
		p.t.Fatal(err)
	}
}

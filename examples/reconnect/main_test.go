package main

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"

	"github.com/edict-go/edict/examples/internal/program"
)

func TestMain(m *testing.M) { program.Main(m, main) }

// ended is what a client prints at its end.
var ended = regexp.MustCompile(`(\d+) connections, in (\d+) attempts\.
(\d+) reads and (\d+) increases have succeeded; (\d+) calls were sent again for that\.
(\d+) increases may have run or not, (\d+) calls have failed in another way\.
`)

// account is that in numbers.
type account struct{ connections, attempts, reads, increases, resent, unknown, failed int }

func accountOf(t *testing.T, output string) (a account) {
	t.Helper()
	match := ended.FindStringSubmatch(output)
	if match == nil {
		t.Fatalf("no account in:\n%s", output)
	}
	_, err := fmt.Sscan(strings.Join(match[1:], " "), &a.connections, &a.attempts, &a.reads, &a.increases, &a.resent, &a.unknown, &a.failed)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestTour(t *testing.T) {
	var buffer bytes.Buffer
	if err := run(t.Context(), []string{"-pause", "300ms"}, &buffer); err != nil {
		t.Fatalf("%v after:\n%s", err, &buffer)
	}
	output := buffer.String()
	a := accountOf(t, output)
	var value, reads int
	_, last, _ := strings.Cut(output, "\nThe counter is at ")
	if _, err := fmt.Sscanf(last, "%d, and was read %d times.", &value, &reads); err != nil {
		t.Fatal(err)
	}
	if a.failed != 0 || value < a.increases || value > a.increases+a.unknown || reads < a.reads || reads > a.reads+a.resent {
		t.Errorf("%+v, and the counter is at %d, read %d times", a, value, reads)
	}
	// Two crashes with a call of each of the 8 callers under way; all of them would mean that nothing is sent again.
	if a.connections != 5 || a.resent == 0 || a.unknown == 0 || a.unknown > 16 || a.increases < 100 {
		t.Errorf("%+v", a)
	}
	for _, line := range []string{
		"ready -> draining: edict: unavailable: the server is shutting down",
		"ready -> reconnecting: edict: unavailable: connection lost",
		"handshaking -> ready", "draining -> closed",
	} {
		if !strings.Contains(output, line) {
			t.Errorf("%q is not in:\n%s", line, output)
		}
	}
}

// A server that is killed and started again, as processes: the client goes on.
func TestServerAndClientAsProcesses(t *testing.T) {
	server, address := program.StartServer(t)
	client := program.Start(t, "-connect", address, "-callers", "4")
	waitFor := func(text string) {
		t.Helper()
		for !strings.Contains(client.Line(), text) {
		}
	}
	waitFor("-> ready")
	if err := server.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	waitFor("ready -> reconnecting")
	_, _ = server.Rest()
	next := program.Start(t, "-serve", address)
	waitFor("-> ready")
	next.Interrupt()
	waitFor("ready -> ") // draining, unless the server had not noticed yet that the handshake is over
	if rest, err := next.Rest(); err != nil || !strings.Contains(rest, "The server has stopped.") {
		t.Errorf("the server: %q, %v", rest, err)
	}
	client.Interrupt()
	rest, err := client.Rest()
	if a := accountOf(t, rest); err != nil || a.connections != 2 || a.failed != 0 {
		t.Errorf("the client: %v, %+v", err, a)
	}
}

func TestErrorsTellWhatToDo(t *testing.T) {
	for name, test := range map[string]struct {
		arguments []string
		want      string
	}{
		"both modes":     {[]string{"-serve", "tcp://127.0.0.1:0", "-connect", "tcp://127.0.0.1:9"}, "choose one of -serve and -connect"},
		"no port":        {[]string{"-connect", "tcp://127.0.0.1:0"}, "give the one that the server printed"},
		"unknown scheme": {[]string{"-connect", "udp://127.0.0.1:1"}, "unknown scheme"},
		"argument":       {[]string{"x"}, `unexpected argument "x"`},
		"no callers":     {[]string{"-callers", "0"}, "there must be one at least"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := run(t.Context(), test.arguments, io.Discard); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%q is not in: %v", test.want, err)
			}
		})
	}
	var help bytes.Buffer
	if err := run(t.Context(), []string{"-help"}, &help); err != nil || !strings.Contains(help.String(), "-callers") {
		t.Errorf("-help: %v, %s", err, &help)
	}
}

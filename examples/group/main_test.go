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

// served are the lines of the tour with who has served, and how many calls each must have.
var served = regexp.MustCompile(`(?m)^200 calls.*: +(.*), failed 0$`)

func TestTour(t *testing.T) {
	for strategy := range strategies {
		t.Run(strategy, func(t *testing.T) {
			var buffer bytes.Buffer
			if err := run(t.Context(), []string{"-strategy", strategy}, &buffer); err != nil {
				t.Fatalf("%v after:\n%s", err, &buffer)
			}
			output := buffer.String()
			lines := served.FindAllStringSubmatch(output, -1)
			if len(lines) != 5 {
				t.Fatalf("%d lines without a failed call, want 5:\n%s", len(lines), output)
			}
			for _, line := range lines {
				total := 0
				for part := range strings.SplitSeq(line[1], ", ") {
					var name string
					var calls int
					if _, err := fmt.Sscan(part, &name, &calls); err != nil {
						t.Errorf("%q: %v", part, err)
					}
					total += calls
				}
				if total != calls {
					t.Errorf("%d calls in %q", total, line[0])
				}
			}
			if strings.Contains(lines[2][1], "west") || !strings.Contains(lines[3][1], "south") {
				t.Errorf("who has served without west, and with south:\n%s", output)
			}
			if !regexp.MustCompile(`(?s)What the branches have done:\n  centre .*\n  north .*\n  south [^\n]*\n$`).MatchString(output) {
				t.Errorf("the report at the end is not of three branches:\n%s", output)
			}
		})
	}
}

func TestRoundRobinIsFair(t *testing.T) {
	var buffer bytes.Buffer
	if err := run(t.Context(), nil, &buffer); err != nil {
		t.Fatal(err)
	}
	if want := "centre 50, east 50, north 50, south 50, failed 0\n"; !strings.Contains(buffer.String(), want) {
		t.Errorf("%q is not in:\n%s", want, &buffer)
	}
}

// Servers and a client as processes: one server is killed, and comes back, and no call fails.
func TestServersAndClientAsProcesses(t *testing.T) {
	east, eastAddress := program.StartServer(t, "-name", "east")
	_, westAddress := program.StartServer(t, "-name", "west")
	client := program.Start(t, "-connect", eastAddress+","+westAddress, "-every", "100ms")
	until := func(pattern string) {
		t.Helper()
		for {
			line := client.Line()
			if !strings.Contains(line, "failed 0 ") {
				t.Fatalf("the client says %q", line)
			}
			if regexp.MustCompile(pattern).MatchString(line) {
				return
			}
		}
	}
	until(`^east \d+, west \d+, failed 0 \(connections: ready, ready\)$`)
	if err := east.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	until(`^west \d+, failed 0 \(connections: (connecting|reconnecting), ready\)$`)
	back := program.Start(t, "-serve", eastAddress, "-name", "the new east")
	if line := back.Line(); !strings.Contains(line, eastAddress) {
		t.Fatalf("the server says %q", line)
	}
	until(`^the new east \d+, west \d+, failed 0 \(connections: ready, ready\)$`)

	back.Interrupt()
	if rest, err := back.Rest(); rest != "the new east is closed.\n" || err != nil {
		t.Errorf("server: %q, %v", rest, err)
	}
	until(`^west \d+, failed 0 `)
	client.Interrupt()
	if rest, err := client.Rest(); err != nil || strings.Contains(rest, "failed 1") {
		t.Errorf("client: %q, %v", rest, err)
	}
}

func TestErrorsTellWhatToDo(t *testing.T) {
	for name, test := range map[string]struct {
		arguments []string
		want      string
	}{
		"unknown strategy": {[]string{"-strategy", "random"}, `unknown strategy "random": choose round-robin`},
		"both modes":       {[]string{"-serve", "tcp://127.0.0.1:0", "-connect", "tcp://127.0.0.1:9"}, "choose one of -serve and -connect"},
		"no port":          {[]string{"-connect", "tcp://127.0.0.1:9,tcp://127.0.0.1:0"}, "give those that the servers printed"},
		"unknown scheme":   {[]string{"-serve", "udp://127.0.0.1:0"}, "unknown scheme"},
		"address":          {[]string{"-connect", "127.0.0.1:9"}, "has no scheme"},
		"argument":         {[]string{"east"}, `unexpected argument "east"`},
		"no time":          {[]string{"-every", "0s"}, "-every 0s"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := run(t.Context(), test.arguments, io.Discard); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%q is not in: %v", test.want, err)
			}
		})
	}
	var help bytes.Buffer
	if err := run(t.Context(), []string{"-help"}, &help); err != nil || !strings.Contains(help.String(), "-strategy") {
		t.Errorf("-help: %v, %s", err, &help)
	}
}

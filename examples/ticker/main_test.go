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

// wantComparison checks the output of a client, up to the fast reader's end.
func wantComparison(t *testing.T, output string) {
	t.Helper()
	rows := regexp.MustCompile(`(?m)^ +(\d+) +(\d+) +(\d+) +(\d+) +(\d+) +(\d+)$`).FindAllString(output, -1)
	if len(rows) != fastReads/each {
		t.Fatalf("%d rows in:\n%s", len(rows), output)
	}
	var fastRead, fastAt, fastMerged, slowRead, slowAt, slowMerged int
	if _, err := fmt.Sscan(rows[len(rows)-1], &fastRead, &fastAt, &fastMerged, &slowRead, &slowAt, &slowMerged); err != nil {
		t.Fatal(err)
	}
	if fastRead != fastReads || slowRead != fastReads/each*slowReads {
		t.Errorf("the readers have read %d and %d", fastRead, slowRead)
	}
	if slowMerged <= fastMerged || slowAt > fastAt {
		t.Errorf("the slow reader is at tick %d of %d, with %d merged; %d are for the fast one", slowAt, fastAt, slowMerged, fastMerged)
	}
	if want := "The fast reader has left its loop. A call beside the slow stream: ABC "; !strings.Contains(output, want) {
		t.Errorf("%q is not in:\n%s", want, output)
	}
}

// What the server says when a stream ends, by reader: because of a break, because of a shutdown.
var (
	fastEnds = regexp.MustCompile(`(?m)^server: fast was sent \d+ ticks; its command ends: context canceled$`)
	slowEnds = regexp.MustCompile(`(?m)^server: slow was sent \d+ ticks; its stream ends because the server shuts down$`)
	atTheEnd = regexp.MustCompile(`(?m)^The slow stream has come to its end: \d+ ticks more, \d+ merged, the last is tick \d+: (ABC|DEF|GHI) \d+\.\d\d\.$`)
)

func TestTour(t *testing.T) {
	for codec := range codecs {
		t.Run(codec, func(t *testing.T) {
			var buffer bytes.Buffer
			if err := run(t.Context(), []string{"-codec", codec, "-every", "100us"}, &buffer); err != nil {
				t.Fatalf("%v after:\n%s", err, &buffer)
			}
			output := buffer.String()
			wantComparison(t, output)
			for _, pattern := range []*regexp.Regexp{fastEnds, slowEnds, atTheEnd} {
				if !pattern.MatchString(output) {
					t.Errorf("nothing matches %s in:\n%s", pattern, output)
				}
			}
			if !strings.HasSuffix(output, "\nThe server has stopped.\n") {
				t.Errorf("the server did not stop:\n%s", output)
			}
		})
	}
}

func TestServerAndClientAsProcesses(t *testing.T) {
	server, address := program.StartServer(t, "-codec", "mus", "-every", "100us")
	client := program.Start(t, "-connect", address, "-codec", "mus")
	var output strings.Builder
	for !strings.Contains(output.String(), "The slow reader reads quickly now") {
		output.WriteString(client.Line() + "\n")
	}
	wantComparison(t, output.String())

	// Another client is there until it is interrupted.
	other := program.Start(t, "-connect", address, "-codec", "mus")
	for !strings.HasPrefix(other.Line(), "The slow reader reads quickly now") {
	}
	other.Interrupt()
	if rest, err := other.Rest(); rest != "" || err != nil {
		t.Errorf("the client that is interrupted: %q, %v", rest, err)
	}

	server.Interrupt()
	if rest, err := client.Rest(); !atTheEnd.MatchString(rest) || err != nil {
		t.Errorf("client: %q, %v", rest, err)
	}
	rest, err := server.Rest()
	if err != nil || len(fastEnds.FindAllString(rest, -1)) != 2 || len(slowEnds.FindAllString(rest, -1)) != 1 ||
		!strings.HasSuffix(rest, "\nThe server has stopped.\n") {
		t.Errorf("server: %q, %v", rest, err)
	}
}

func TestErrorsTellWhatToDo(t *testing.T) {
	for name, test := range map[string]struct {
		arguments []string
		want      string
	}{
		"unknown codec":  {[]string{"-codec", "xml"}, `unknown codec "xml": choose json or mus`},
		"both modes":     {[]string{"-serve", "tcp://127.0.0.1:0", "-connect", "tcp://127.0.0.1:9"}, "choose one of -serve and -connect"},
		"no port":        {[]string{"-connect", "tcp://127.0.0.1:0"}, "give the one that the server printed"},
		"unknown scheme": {[]string{"-serve", "udp://127.0.0.1:0"}, "unknown scheme"},
		"argument":       {[]string{"ABC"}, `unexpected argument "ABC"`},
		"no time":        {[]string{"-every", "0s"}, "-every 0s"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := run(t.Context(), test.arguments, io.Discard); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%q is not in: %v", test.want, err)
			}
		})
	}
	var help bytes.Buffer
	if err := run(t.Context(), []string{"-help"}, &help); err != nil || !strings.Contains(help.String(), "-every") {
		t.Errorf("-help: %v, %s", err, &help)
	}
}

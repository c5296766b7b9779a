package main

import (
	"bytes"
	"io"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/edict-go/edict/examples/internal/program"
)

func TestMain(m *testing.M) { program.Main(m, main) }

func TestTour(t *testing.T) {
	for codec := range codecs {
		t.Run(codec, func(t *testing.T) {
			var buffer bytes.Buffer
			if err := run(t.Context(), []string{"-codec", codec}, nil, &buffer); err != nil {
				t.Fatalf("%v after:\n%s", err, &buffer)
			}
			output := buffer.String()
			for _, want := range []string{
				"with the codec " + codec,
				"  ada  | * ada has joined (in the room: 1)\n  ada  | * bob has joined (in the room: 2)\n",
				"  ada  | ada: Hello! Who is there?\n  bob  | ada: Hello! Who is there?\n",
				"  ada  | bob: Me. Cleo is busy.\n  bob  | bob: Me. Cleo is busy.\n",
				"A second bob can't join: edict: Join: already exists: somebody called bob is in the room already (executed)\n",
				"Bob has said 500 lines, and Ada has read each,",
				"  ada  | cleo: Sorry, I was away.\n  bob  | cleo: Sorry, I was away.\n  cleo | cleo: Sorry, I was away.\n",
				"  ada  | * bob has left (in the room: 2)\n  cleo | * bob has left (in the room: 2)\n",
				"  ada  | * the room closes\n  cleo | * the room closes\n",
			} {
				if !strings.Contains(output, want) {
					t.Errorf("%q is not in:\n%s", want, output)
				}
			}
			if !strings.HasSuffix(output, "\nThe server has stopped.\n") {
				t.Errorf("the server did not stop:\n%s", output)
			}
			// What Cleo has read and what she has missed is all that happened since she joined.
			counts := regexp.MustCompile(`(?s)Cleo reads (\d+) lines, and then:\n\n  cleo \| \* you missed (\d+) lines`).FindStringSubmatch(output)
			if counts == nil {
				t.Fatalf("Cleo missed nothing:\n%s", output)
			}
			read, _ := strconv.Atoi(counts[1])
			missed, _ := strconv.Atoi(counts[2])
			if want := 1 + 2 + manyLines; read+missed != want {
				t.Errorf("Cleo has read %d lines and missed %d, of %d", read, missed, want)
			}
		})
	}
}

func TestServerAndMembersAsProcesses(t *testing.T) {
	server, address := program.StartServer(t, "-codec", "mus")
	join := func(name string) *program.Program {
		return program.Start(t, "-connect", address, "-codec", "mus", "-name", name)
	}
	type screen struct {
		of   *program.Program
		want string
	}
	expect := func(screens ...screen) {
		t.Helper()
		for _, s := range screens {
			if line := s.of.Line(); line != s.want {
				t.Fatalf("%q is on the screen, not %q", line, s.want)
			}
		}
	}
	ada := join("ada")
	expect(screen{ada, "* ada has joined (in the room: 1)"})
	bob := join("bob")
	expect(screen{ada, "* bob has joined (in the room: 2)"}, screen{bob, "* bob has joined (in the room: 2)"})

	// Lines, without what is not for a terminal. The speaker does not see them again.
	if _, err := io.WriteString(ada.In, "Hi\x1b[31m Bob\n"); err != nil {
		t.Fatal(err)
	}
	expect(screen{bob, "ada: Hi[31m Bob"})
	if _, err := io.WriteString(bob.In, "Hello\n"); err != nil {
		t.Fatal(err)
	}
	expect(screen{ada, "bob: Hello"})

	// The end of the input leaves the room, as does Ctrl-C. What was said before still arrives.
	if _, err := io.WriteString(bob.In, "Bye\n"); err != nil {
		t.Fatal(err)
	}
	if err := bob.In.Close(); err != nil {
		t.Fatal(err)
	}
	if rest, err := bob.Rest(); rest != "" || err != nil {
		t.Errorf("bob: %q, %v", rest, err)
	}
	expect(screen{ada, "bob: Bye"}, screen{ada, "* bob has left (in the room: 1)"})
	cleo := join("cleo")
	expect(screen{ada, "* cleo has joined (in the room: 2)"}, screen{cleo, "* cleo has joined (in the room: 2)"})
	cleo.Interrupt()
	if rest, err := cleo.Rest(); rest != "" || err != nil {
		t.Errorf("cleo: %q, %v", rest, err)
	}
	expect(screen{ada, "* cleo has left (in the room: 1)"})

	// Who can't join is told why.
	for name, want := range map[string]string{
		"ada":     "somebody called ada is in the room already",
		"the Man": `a name has 1 to 20 letters, digits, - and _: "the Man" has not`,
	} {
		err := run(t.Context(), []string{"-connect", address, "-codec", "mus", "-name", name}, strings.NewReader(""), io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("joining as %q: %v", name, err)
		}
	}

	// The server waits for those who are there.
	server.Interrupt()
	if rest, err := ada.Rest(); rest != "* the room closes\n" || err != nil {
		t.Errorf("ada: %q, %v", rest, err)
	}
	if rest, err := server.Rest(); !strings.HasSuffix(rest, "The server has stopped.\n") || err != nil {
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
		"argument":       {[]string{"hello"}, `unexpected argument "hello"`},
	} {
		t.Run(name, func(t *testing.T) {
			if err := run(t.Context(), test.arguments, nil, io.Discard); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%q is not in: %v", test.want, err)
			}
		})
	}
	var help bytes.Buffer
	if err := run(t.Context(), []string{"-help"}, nil, &help); err != nil || !strings.Contains(help.String(), "-connect") {
		t.Errorf("-help: %v, %s", err, &help)
	}
}

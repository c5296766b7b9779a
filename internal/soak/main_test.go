package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/edict-go/edict/internal/leak"
)

// TestMain is the program itself where the driver of a test has started it with a role.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "-role" {
		os.Exit(run(os.Args[1:]))
	}
	leak.Main(m)
}

// Short soaks, so that the program works. The long one is a step of .ci/run.
func TestSoak(t *testing.T) {
	for name, test := range map[string]struct{ faults, happens string }{
		"all faults": {"", `lost: never ended +0  ok`},
		"resuming":   {"cut again and again,kill again and again", `connections resumed +[1-9]`},
		"killing":    {"kill again and again", `calls sent to a server again +[1-9]`},
	} {
		t.Run(name, func(t *testing.T) {
			var output strings.Builder
			passed, err := soak(t.Context(), options{
				length: 4 * time.Second, only: test.faults, seed: 1, clients: 1, callers: 11, pause: 20 * time.Millisecond, folder: t.TempDir(),
			}, &output)
			if err != nil || !passed {
				t.Errorf("passed: %t, %v", passed, err)
			}
			if !regexp.MustCompile(test.happens).MatchString(output.String()) {
				t.Errorf("%q is not in the table", test.happens)
			}
			if t.Failed() {
				t.Log(output.String())
			}
		})
	}
}

func TestArgumentsThatAreWrong(t *testing.T) {
	for _, arguments := range [][]string{
		{"-no-such-flag"},
		{"more"},
		{"-role", "server", "-config", "not JSON"},
		{"-role", "other", "-config", "{}"},
	} {
		if code := run(arguments); code != 2 {
			t.Errorf("%q: exit code %d, want 2", arguments, code)
		}
	}
}

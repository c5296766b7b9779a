package main

import (
	"os"
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

// A short soak, so that the program works. The long one is a step of .ci/run.
func TestSoak(t *testing.T) {
	var output strings.Builder
	passed, err := soak(t.Context(), options{
		length: 4 * time.Second, seed: 1, clients: 1, callers: 11, pause: 20 * time.Millisecond, folder: t.TempDir(),
	}, &output)
	if err != nil || !passed {
		t.Errorf("passed: %t, %v\n%s", passed, err, output.String())
	}
	if !strings.Contains(output.String(), "lost: never ended ") {
		t.Errorf("there is no table:\n%s", output.String())
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

package edicttest_test

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/edict-go/edict/edicttest"
)

// childMode tells a test in a child process what to do; without it such a test is skipped.
const childMode = "EDICTTEST_CHILD"

// child runs one test of this binary in a process of its own, and returns what it prints.
func child(t *testing.T, mode, test string, flags ...string) (output string, failed bool) {
	t.Helper()
	command := exec.CommandContext(t.Context(), os.Args[0], append([]string{"-test.run", test, "-test.v"}, flags...)...)
	command.Env = append(os.Environ(), childMode+"="+mode, "GORACE=atexit_sleep_ms=0")
	text, err := command.CombinedOutput()
	return string(text), err != nil
}

func TestChildSeeds(t *testing.T) {
	mode := os.Getenv(childMode)
	if mode == "" {
		t.Skip("runs in the process of another test")
	}
	ran := 0
	defer func() { t.Logf("ran %d", ran) }()
	edicttest.Seeds(t, 100, func(t *testing.T, seed uint64) {
		ran++
		t.Cleanup(func() {
			if seed == 3 {
				t.Logf("cleaned up seed 3 when %d had run", ran)
			}
		})
		if seed != 42 {
			return
		}
		switch mode {
		case "error":
			t.Error("bad luck")
		case "fatal":
			t.Fatal("bad luck")
		case "panic":
			panic("bad luck")
		case "hang":
			<-make(chan int)
		case "leak":
			go func() { <-make(chan int) }()
		}
	})
}

func TestSeedsRunsAllSeeds(t *testing.T) {
	for _, row := range []struct {
		flags []string
		want  string
	}{
		{nil, "ran 100"},
		{[]string{"-edict.seeds=250"}, "ran 250"},
		{[]string{"-edict.seed=7"}, "ran 1\n"},
		{[]string{"-edict.seed=7", "-edict.seeds=10"}, "ran 1\n"},
		{[]string{"-edict.seed=18446744073709551615"}, "ran 1\n"},
	} {
		output, failed := child(t, "pass", "^TestChildSeeds$", row.flags...)
		if failed || !strings.Contains(output, row.want) || strings.Contains(output, "to run only that") {
			t.Errorf("%v: want %q in\n%s", row.flags, row.want, output)
		}
		if len(row.flags) == 0 && !strings.Contains(output, "cleaned up seed 3 when 3 had run") {
			t.Errorf("the cleanup of a seed has to run at its end:\n%s", output)
		}
	}
}

// However a seed fails, the command that runs it again is printed, and it does.
func TestSeedsTellsHowToRunAFailure(t *testing.T) {
	for _, mode := range []string{"error", "fatal", "panic", "hang", "leak"} {
		output, failed := child(t, mode, "^TestChildSeeds$")
		const command = "seed 42 failed; to run only that: go test -run '^TestChildSeeds$' -edict.seed=42\n"
		if !failed || strings.Count(output, command) != 1 {
			t.Errorf("%s: want %q in\n%s", mode, command, output)
		}
		if !strings.Contains(output, "ran 42") && mode != "panic" {
			t.Errorf("%s: the first failure should be the end:\n%s", mode, output)
		}
		if output, failed = child(t, mode, "^TestChildSeeds$", "-edict.seed=42"); !failed {
			t.Errorf("%s: seed 42 does not fail again:\n%s", mode, output)
		}
		if output, failed = child(t, mode, "^TestChildSeeds$", "-edict.seed=41"); failed {
			t.Errorf("%s: seed 41 fails too:\n%s", mode, output)
		}
	}
}

func TestChildSeed(t *testing.T) {
	mode := os.Getenv(childMode)
	if mode == "" {
		t.Skip("runs in the process of another test")
	}
	fallback, err := strconv.ParseUint(mode, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("odd (name)", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			t.Errorf("the seed is %d", edicttest.Seed(t, fallback))
		})
	})
}

func TestSeed(t *testing.T) {
	for _, row := range []struct {
		fallback string
		flags    []string
		want     string
	}{
		{"5", nil, "the seed is 5"},
		{"5", []string{"-edict.seed=0x11"}, "the seed is 17"},
		{"0", []string{"-edict.seed=0"}, "the seed is 0"},
		{"5", nil, `go test -run '^TestChildSeed$/^odd_\(name\)$' -edict.seed=5`},
	} {
		if output, _ := child(t, row.fallback, "^TestChildSeed$", row.flags...); !strings.Contains(output, row.want) {
			t.Errorf("want %q in\n%s", row.want, output)
		}
	}
	drawn := map[uint64]bool{}
	for range 10 {
		drawn[edicttest.Seed(t, 0)] = true
	}
	if len(drawn) < 9 || drawn[0] {
		t.Errorf("without a fallback the seeds are %v", drawn)
	}
}

// Package leak lets the TestMain of a package fail when its tests leave goroutines behind.
//
//	func TestMain(m *testing.M) { leak.Main(m) }
//
// Every goroutine has an owner that stops it and waits for it (DESIGN.md, guarantee 10), so there is
// nothing that a test could not bring to an end.
package leak

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// grace is how long goroutines may take to end after the last test: some have been told to and are
// not scheduled yet.
const grace = 5 * time.Second

// Main runs the tests, looks for goroutines that they left behind, and exits.
func Main(m *testing.M) {
	code := m.Run()
	if left := Wait(grace); code == 0 && len(left) > 0 {
		fmt.Fprintf(os.Stderr, "%d goroutines are left behind by the tests:\n\n%s\n", len(left), strings.Join(left, "\n\n"))
		code = 1
	}
	os.Exit(code)
}

// Wait waits until there are no goroutines but the caller's and those of the Go runtime and its
// packages for testing, for as long as limit. It returns the stacks of those that are left.
func Wait(limit time.Duration) []string {
	deadline := time.Now().Add(limit)
	for pause := 50 * time.Microsecond; ; pause = min(2*pause, 20*time.Millisecond) {
		left := goroutines()
		if len(left) == 0 || time.Now().After(deadline) {
			return left
		}
		runtime.Gosched()
		<-time.After(pause)
	}
}

// goroutines returns the stacks of the goroutines that somebody should have ended.
func goroutines() []string {
	stacks := make([]byte, 64<<10)
	for {
		n := runtime.Stack(stacks, true)
		if n < len(stacks) {
			stacks = stacks[:n]
			break
		}
		stacks = make([]byte, 2*len(stacks))
	}
	var left []string
	for i, stack := range strings.Split(string(stacks), "\n\n") {
		if i > 0 && !expected(stack) { // the first is the caller's
			left = append(left, strings.TrimSpace(stack))
		}
	}
	return left
}

// expected reports whether a goroutine is of those that any test binary may have.
func expected(stack string) bool {
	for _, known := range []string{
		"testing.(*M).", "testing.Main(", "testing.tRunner(", "testing.runFuzzing(", "testing.runFuzzTests(",
		"os/signal.signal_recv(", "os/signal.loop(", "created by os/signal.", "created by runtime", "runtime.ReadTrace",
		"runtime/pprof.", "internal/fuzz.",
	} {
		if strings.Contains(stack, known) {
			return true
		}
	}
	return false
}

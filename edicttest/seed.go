package edicttest

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
)

// The flags of a test binary that uses this package.
var (
	seedFlag  *uint64 // nil if not given
	seedsFlag int     // 0 if not given
)

// A program that imports the package and is no test keeps its flags to itself.
func init() {
	if !testing.Testing() {
		return
	}
	flag.Func("edict.seed", "run tests that draw a seed with this one only", func(text string) error {
		seed, err := strconv.ParseUint(text, 0, 64)
		seedFlag = &seed
		return err
	})
	flag.IntVar(&seedsFlag, "edict.seeds", 0, "how many seeds a test runs that runs many; 0 is the test's own number")
}

// Seed returns the seed of a test: the one of the flag -edict.seed=N, else fallback, and if that is 0
// one that is new in each run. If the test fails it logs the command that runs it with this seed.
func Seed(t testing.TB, fallback uint64) uint64 {
	t.Helper()
	seed := fallback
	switch {
	case seedFlag != nil:
		seed = *seedFlag
	case fallback == 0:
		seed = 1 + rand.Uint64N(1<<32) // short enough to be typed
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(replay(t.Name(), seed))
		}
	})
	return seed
}

// Seeds runs a test with the seeds 1 to count, one after the other, each with a clock and a T of its
// own, as synctest.Test does: what run registers with t.Cleanup runs at the seed's end, and a
// goroutine that is left fails the test. At the first seed that fails, Seeds logs the command that
// runs only this one, and ends the test. The flag -edict.seed=N runs the seed N only, -edict.seeds=N
// another number of them.
//
// A seed costs little more than its run: there is no subtest. Seeds must not be called within
// synctest.Test, nor run call it. A goroutine that panics, other than run's own, ends the process
// before Seeds can tell which seed it was.
func Seeds(t *testing.T, count int, run func(t *testing.T, seed uint64)) {
	t.Helper()
	first, last := uint64(1), uint64(max(0, count))
	switch {
	case seedFlag != nil:
		first, last = *seedFlag, *seedFlag
	case seedsFlag > 0:
		last = uint64(seedsFlag)
	}
	seed, passed := first, false
	// Deferred, because a seed that fails ends this goroutine, and one that deadlocks panics.
	defer func() {
		if !passed {
			t.Log(replay(t.Name(), seed))
		}
	}()
	for ; seed <= last; seed++ {
		synctest.Test(t, func(t *testing.T) {
			defer func() {
				if problem := recover(); problem != nil {
					fmt.Fprintln(os.Stderr, replay(t.Name(), seed)) // the log would be lost
					panic(problem)
				}
			}()
			run(t, seed)
		})
		if seed == last {
			break // there may be no larger number
		}
	}
	passed = true
}

// replay is the command that runs a test with one seed.
func replay(test string, seed uint64) string {
	parts := strings.Split(test, "/")
	for i, part := range parts {
		parts[i] = "^" + regexp.QuoteMeta(part) + "$"
	}
	return fmt.Sprintf("seed %d failed; to run only that: go test -run '%s' -edict.seed=%d", seed, strings.Join(parts, "/"), seed)
}

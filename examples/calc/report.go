package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/edict-go/edict"
)

// How many calls the burst makes, and how many goroutines make them.
const (
	burstCalls   = 20_000
	burstCallers = 200
)

// report prints what was sent, in what time the answer came, and the answer.
func report(out io.Writer, sent string, begin time.Time, format string, answer ...any) {
	fmt.Fprintf(out, "%-24s %9s   %s\n", sent, rounded(time.Since(begin)), fmt.Sprintf(format, answer...))
}

// reportError prints an error and what a program can tell from it.
func reportError(out io.Writer, sent string, begin time.Time, err error) {
	e, _ := errors.AsType[*edict.Error](err) // all errors of calls have one in their chain
	report(out, sent, begin, "error: %s", e.Message)
	fmt.Fprintf(out, "%34s   code: %v, outcome: %v\n", "", e.Code, e.Outcome)
}

// reportBurst prints how fast the burst was.
func reportBurst(out io.Writer, sent string, begin time.Time) {
	taken := time.Since(begin)
	perSecond := int(burstCalls / taken.Seconds())
	report(out, sent+" x "+thousands(burstCalls), begin, "%s calls per second, by %d goroutines on one connection",
		thousands(perSecond), burstCallers)
}

// rounded returns d in three digits.
func rounded(d time.Duration) time.Duration {
	unit := time.Duration(1)
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit)
}

// thousands returns n with a comma before each group of three digits.
func thousands(n int) string {
	digits := strconv.Itoa(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

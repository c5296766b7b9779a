package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/edict-go/edict"
)

// progress tells how far an upload is: a bar with the time left on a terminal, a line per quarter
// elsewhere.
type progress struct {
	out       io.Writer
	bar       *progressbar.ProgressBar // nil without a terminal
	all, sent int64
	quarters  int64 // that have been told
}

func newProgress(out io.Writer, all int64) *progress {
	p := &progress{out: out, all: all}
	if file, ok := out.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		p.bar = progressbar.NewOptions64(all,
			progressbar.OptionSetWriter(out),
			progressbar.OptionShowBytes(true),
			progressbar.OptionUseIECUnits(true),
			progressbar.OptionThrottle(50*time.Millisecond),
			progressbar.OptionFullWidth(),
		)
	}
	return p
}

// add counts bytes that are sent.
func (p *progress) add(bytes int) {
	p.sent += int64(bytes)
	if p.bar != nil {
		p.bar.Add(bytes) //nolint:errcheck // it is only a display
		return
	}
	if p.all > 0 && p.sent*4/p.all > p.quarters {
		p.quarters = p.sent * 4 / p.all
		fmt.Fprintf(p.out, "  %3d %%, %s\n", p.sent*100/p.all, size(p.sent))
	}
}

// stop leaves the bar as it is: full, or about where the upload has failed.
func (p *progress) stop() {
	if p.bar != nil {
		p.bar.Exit() //nolint:errcheck // it is only a display
		fmt.Fprintln(p.out)
	}
}

// reportError prints an error and what a program can tell from it.
func reportError(out io.Writer, err error) {
	e, _ := errors.AsType[*edict.Error](err) // all errors of calls have one in their chain
	fmt.Fprintf(out, "  error:   %s\n  code:    %v, reason: %s, outcome: %v\n", e.Message, e.Code, e.Reason, e.Outcome)
}

// size returns a number of bytes for people.
func size(n int64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

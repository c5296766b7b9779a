package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/edict-go/edict/benchmarks/report"
)

// progress tells how far a run is: a bar with the time left on a terminal, a line per measurement
// elsewhere.
type progress struct {
	out  io.Writer
	bar  *progressbar.ProgressBar // nil without a terminal
	all  estimate
	done int
}

func newProgress(out io.Writer, all estimate) *progress {
	p := &progress{out: out, all: all}
	if file, ok := out.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		p.bar = progressbar.NewOptions(all.trials,
			progressbar.OptionSetWriter(out),
			progressbar.OptionSetPredictTime(true),
			progressbar.OptionShowCount(),
			progressbar.OptionFullWidth(),
			progressbar.OptionClearOnFinish(),
		)
	} else {
		fmt.Fprintf(out, "%d measurements, about %v\n", all.trials, p.left())
	}
	return p
}

func (p *progress) left() time.Duration {
	return (time.Duration(p.all.trials-p.done) * p.all.each).Round(time.Second)
}

func (p *progress) begin(round, rounds int, name string, cell report.Cell) {
	description := fmt.Sprintf("round %d/%d: %s: %v", round, rounds, name, cell)
	if p.bar != nil {
		p.bar.Describe(description)
	} else {
		fmt.Fprint(p.out, description)
	}
}

func (p *progress) end(value float64, figure report.Figure, err error) {
	p.done++
	switch {
	case p.bar != nil:
		p.bar.Add(1) //nolint:errcheck // it is only a display
	case err != nil:
		fmt.Fprintf(p.out, ": %v (%v left)\n", err, p.left())
	default:
		fmt.Fprintf(p.out, ": %s %s (%v left)\n", report.Number(value), figure, p.left())
	}
}

func (p *progress) finish() {
	if p.bar != nil {
		p.bar.Finish() //nolint:errcheck // it is only a display
	}
}

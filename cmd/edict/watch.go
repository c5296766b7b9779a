package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/edict-go/edict"
)

func (a *application) watchCommand() *cobra.Command {
	var number, rows int
	var interval, older time.Duration
	command := &cobra.Command{
		Use:   "watch ADDRESS",
		Short: "Show what a server does, live",
		Long: `watch shows connections, calls in flight, failures and latencies of a server, again and again until it is
interrupted: in place on a terminal, else one below the other. The server needs edict.WithReflection() and
edict.WithRemoteStats(), and edict.WithLatencies() for latencies.

With --older it shows only those looks in which a call has been in flight for longer than that: what is slow at times is
caught in the act. Let the interval be shorter than that, too.`,
		Example: `  edict watch 127.0.0.1:9000
  edict watch -n 1 127.0.0.1:9000
  edict watch -n 1 -i 50ms --older 200ms 127.0.0.1:9000
  edict watch --json -i 10s 127.0.0.1:9000 >> shop.log`,
		Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, arguments []string) error {
			return a.watch(command.Context(), arguments[0], watching{number, rows, interval, older})
		},
	}
	command.Flags().IntVarP(&number, "number", "n", 0, "how many looks; 0 is until it is interrupted")
	command.Flags().IntVar(&rows, "rows", 10, "how many rows of each table")
	command.Flags().DurationVarP(&interval, "interval", "i", time.Second, "the time from one look to the next")
	command.Flags().DurationVar(&older, "older", 0, "show only looks in which a call is older than this; look until there is one")
	return command
}

// watching is how watch looks: its flags.
type watching struct {
	number, rows    int
	interval, older time.Duration
}

// shows reports whether a look is to be shown.
func (w *watching) shows(s *edict.Snapshot) bool {
	return w.older == 0 || slices.ContainsFunc(s.Calls, func(call edict.CallSnapshot) bool {
		return call.Age > w.older && call.Command != edict.StatsName
	})
}

// clear puts the cursor to the top left corner and clears what is below.
const clear = "\x1b[H\x1b[J"

func (a *application) watch(ctx context.Context, address string, w watching) error {
	switch {
	case w.interval < 10*time.Millisecond:
		return usagef("--interval: at least 10ms")
	case w.older < 0:
		return usagef("--older: not less than nothing")
	}
	client, err := a.dialDynamic(ctx, address)
	if err != nil {
		return err
	}
	defer client.Close()
	var last edict.Snapshot
	for looked, shown := 0, 0; ctx.Err() == nil && (w.number == 0 || shown < w.number); looked++ {
		if looked > 0 {
			sleep(ctx, w.interval)
		}
		within, cancel := a.within(ctx)
		snapshot, err := client.Stats(within)
		cancel()
		switch {
		case err != nil && ctx.Err() != nil:
			return nil
		case err != nil:
			return failed(exitCall, err)
		case !w.shows(&snapshot):
			last = snapshot
			continue
		case a.asJSON:
			err = a.write(snapshot)
		default:
			var screen bytes.Buffer
			if isTerminal(a.out) {
				screen.WriteString(clear)
			} else if shown > 0 {
				screen.WriteString("\n")
			}
			show(&screen, snapshot, last, w.rows)
			_, err = a.out.Write(screen.Bytes())
		}
		if err != nil {
			return failed(exitOther, err)
		}
		last = snapshot
		shown++
	}
	return nil
}

// show writes what a snapshot has. last is the one before, the zero Snapshot if there is none.
func show(screen *bytes.Buffer, s, last edict.Snapshot, rows int) {
	rate := "–"
	if took := s.Now.Sub(last.Now); !last.Now.IsZero() && took > 0 {
		rate = fmt.Sprintf("%.0f", float64(s.Total.Commands-last.Total.Commands)/took.Seconds())
	}
	state := ""
	if s.Draining {
		state = ", shutting down"
	}
	name := s.Name
	if name == "" {
		name = "server"
	}
	fmt.Fprintf(screen, "%s, up %v%s\n", printable(name), short(s.Uptime), state)
	fmt.Fprintf(screen, "%d connections, %d in flight, %d commands, %s a second, %d refused, budget %s of %s MiB\n",
		len(s.Connections)+s.MoreConnections, s.InFlight, s.Total.Commands, rate, s.Total.Refused,
		mebibytes(s.BudgetUsed), mebibytes(s.BudgetLimit))
	if s.Away > 0 {
		fmt.Fprintf(screen, "%d clients away, %s MiB kept for them\n", s.Away, mebibytes(s.AwayBytes))
	}
	if journal := s.Journal; journal != nil {
		fmt.Fprintf(screen, "%d commands in the journal, %s of %s MiB\n", journal.Records, mebibytes(journal.Bytes), mebibytes(journal.Limit))
	}

	table(screen, "CALLS\tSTATE\tAGE\tDEADLINE IN\tPEER", len(s.Calls), s.MoreCalls, rows, func(i int) string {
		c := s.Calls[i]
		left := "none"
		if c.Left != nil {
			left = short(*c.Left).String()
		}
		return fmt.Sprintf("%s\t%s\t%v\t%s\t%s", printable(c.Command), printable(string(c.State)), short(c.Age), left, printable(c.Peer))
	})
	names := slices.SortedFunc(maps.Keys(s.Latencies), func(a, b string) int {
		return int(int64(s.Latencies[b].Count) - int64(s.Latencies[a].Count))
	})
	table(screen, "LATENCIES\tCOUNT\tP50\tP90\tP99\tMOST", len(names), 0, rows, func(i int) string {
		l := s.Latencies[names[i]]
		return fmt.Sprintf("%s\t%d\t%v\t%v\t%v\t%v", printable(names[i]), l.Count, short(l.P50), short(l.P90), short(l.P99), short(l.Max))
	})
	table(screen, "FAILURES\tAGO\tCOMMAND\tTEXT", len(s.Failures), s.MoreFailures, rows, func(i int) string {
		f := s.Failures[i]
		return fmt.Sprintf("%s\t%v\t%s\t%s", printable(string(f.Code)), short(s.Now.Sub(f.At)), printable(f.Command), printable(f.Text))
	})
	table(screen, "CONNECTIONS\tSTATE\tNAME\tPRINCIPAL\tCODEC\tIN FLIGHT\tCOMMANDS\tAGE", len(s.Connections), s.MoreConnections, rows, func(i int) string {
		c := s.Connections[i]
		return fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%d\t%d\t%v", printable(c.Address), printable(c.State), printable(c.Name), printable(c.Principal),
			printable(c.Codec), c.InFlight, c.Commands, short(c.Age))
	})
}

// mebibytes returns a number of bytes in MiB, with three digits at least as far as there are any.
func mebibytes(bytes int64) string {
	size := float64(bytes) / (1 << 20)
	if size >= 100 {
		return fmt.Sprintf("%.0f", size)
	}
	return fmt.Sprintf("%.3g", size)
}

// table writes some rows of many, if there are any.
func table(screen *bytes.Buffer, head string, number, more, rows int, row func(int) string) {
	if number == 0 {
		return
	}
	screen.WriteString("\n")
	w := tabwriter.NewWriter(screen, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, head)
	shown := min(number, max(rows, 1))
	for i := range shown {
		fmt.Fprintln(w, row(i))
	}
	_ = w.Flush() // to memory
	if more += number - shown; more > 0 {
		fmt.Fprintf(screen, "and %d more\n", more)
	}
}

// maxCell bounds a text in a table, in characters.
const maxCell = 72

// clean returns a text of others in one line, without what a terminal would obey.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '·'
	}, text)
}

// printable returns a clean text that fits into a table.
func printable(text string) string {
	text = clean(text)
	if characters := []rune(text); len(characters) > maxCell {
		text = string(characters[:maxCell-1]) + "…"
	}
	return text
}

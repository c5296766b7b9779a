package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/dynamic"
)

// load says what bench does.
type load struct {
	callers, connections int
	duration             time.Duration
	number               int64
}

// measured is what bench tells. Durations are in nanoseconds in JSON.
type measured struct {
	Command     string            `json:"command"`
	Callers     int               `json:"callers"`
	Connections int               `json:"connections"`
	Took        time.Duration     `json:"took_ns"`
	Calls       uint64            `json:"calls"`
	Rate        float64           `json:"calls_per_second"`
	Failed      map[string]uint64 `json:"failed"`
	Latency     edict.Latency     `json:"latency"`
}

func (a *application) benchCommand() *cobra.Command {
	var l load
	command := &cobra.Command{
		Use:   "bench ADDRESS COMMAND [JSON]",
		Short: "Measure how many calls a second a server takes",
		Long: `bench calls a command with one result again and again, from some callers at once, and tells how many calls there were
a second and how long they took. Each caller waits for its result before it calls again; JSON is encoded and
decoded by the server for each. Don't point it at what others are using.`,
		Example: `  edict bench 127.0.0.1:9000 Add '{"A":2,"B":3}' -c 64 -d 10s
  edict bench 127.0.0.1:9000 Add -c 1 -n 10000 --json`,
		Args:              cobra.RangeArgs(2, 3),
		ValidArgsFunction: a.completeNames,
		RunE: func(command *cobra.Command, arguments []string) error {
			body := "{}"
			if len(arguments) == 3 {
				body = arguments[2]
			}
			return a.bench(command.Context(), arguments[0], arguments[1], body, l)
		},
	}
	command.Flags().IntVarP(&l.callers, "callers", "c", 16, "how many call at once")
	command.Flags().IntVar(&l.connections, "connections", 1, "how many connections they share")
	command.Flags().DurationVarP(&l.duration, "duration", "d", 5*time.Second, "for how long")
	command.Flags().Int64VarP(&l.number, "number", "n", 0, "how many calls at most; 0 is as many as there is time for")
	return command
}

func (a *application) bench(ctx context.Context, address, name, body string, l load) error {
	switch {
	case l.callers < 1 || l.callers > 65_536, l.connections < 1 || l.connections > 1024, l.duration <= 0, l.number < 0:
		return usagef("--callers is 1 to 65536, --connections 1 to 1024, --duration and --number are more than nothing")
	case !json.Valid([]byte(body)):
		return usagef("the command is not JSON: %s", body)
	}
	var clients []*dynamic.Client
	defer func() {
		for _, client := range clients {
			_ = client.Close()
		}
	}()
	for range l.connections {
		client, err := a.dialDynamic(ctx, address)
		if err != nil {
			return err
		}
		clients = append(clients, client)
	}
	description, ok := clients[0].Command(name)
	if !ok {
		return usagef("the server has no command %q: see edict commands %s", name, address)
	}
	if description.Kind != "unary" {
		return usagef("%s is a %s command; bench calls those with one result", name, description.Kind)
	}
	m, err := a.measure(ctx, clients, name, body, l)
	if err != nil {
		return err
	}
	if a.asJSON {
		return failed(exitOther, a.write(m))
	}
	m.tell(a.out)
	if m.Calls == 0 || uint64(len(m.Failed)) > 0 && m.Latency.Count == 0 {
		return failed(exitCall, fmt.Errorf("no call succeeded"))
	}
	return nil
}

// measure lets the callers call until the time is over.
func (a *application) measure(ctx context.Context, clients []*dynamic.Client, name, body string, l load) (measured, error) {
	// One call first: if that fails, so would all.
	first, cancel := a.within(ctx)
	_, err := clients[0].Call(first, name, body)
	cancel()
	if err != nil {
		return measured{}, failed(exitCall, err)
	}
	var (
		histogram core.Histogram
		done      atomic.Int64
		callers   sync.WaitGroup
		mu        sync.Mutex
		failures  = map[string]uint64{}
	)
	if a.timeout > 0 { // for the last calls
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, l.duration+a.timeout)
		defer cancel()
	}
	finished := make(chan struct{})
	var showing sync.WaitGroup
	showing.Go(func() { a.progress(finished, l, &done) })
	began := time.Now()
	for i := range l.callers {
		client := clients[i%len(clients)]
		callers.Go(func() {
			for ctx.Err() == nil && time.Since(began) < l.duration {
				if n := done.Add(1); l.number > 0 && n > l.number {
					done.Add(-1)
					return
				}
				sent := time.Now()
				_, err := client.Call(ctx, name, body)
				switch {
				case err == nil:
					histogram.Add(time.Since(sent))
				case ctx.Err() != nil:
					done.Add(-1) // it was interrupted
				default:
					mu.Lock()
					failures[edict.CodeOf(err).String()]++
					mu.Unlock()
				}
			}
		})
	}
	callers.Wait()
	took := time.Since(began)
	close(finished)
	showing.Wait()
	m := measured{
		Command: name, Callers: l.callers, Connections: len(clients), Took: took, Calls: uint64(done.Load()),
		Failed: failures, Latency: histogram.Snapshot(),
	}
	m.Rate = float64(m.Latency.Count) / took.Seconds()
	return m, nil
}

// progress shows how far it is, on a terminal, until finished is closed. Started by measure, which waits for it.
func (a *application) progress(finished <-chan struct{}, l load, done *atomic.Int64) {
	if a.asJSON || !isTerminal(a.err) {
		return
	}
	bar := progressbar.NewOptions64(1000, progressbar.OptionSetWriter(a.err), progressbar.OptionClearOnFinish(),
		progressbar.OptionSetPredictTime(false), progressbar.OptionSetElapsedTime(false), progressbar.OptionSetWidth(40))
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	began := time.Now()
	for {
		select {
		case <-ticker.C:
			share := float64(time.Since(began)) / float64(l.duration)
			if l.number > 0 {
				share = max(share, float64(done.Load())/float64(l.number))
			}
			bar.Describe(fmt.Sprintf("%d calls", done.Load()))
			_ = bar.Set64(int64(1000 * min(share, 1))) // to a terminal
		case <-finished:
			_ = bar.Finish()
			return
		}
	}
}

// tell writes what was measured, for people.
func (m *measured) tell(w io.Writer) {
	fmt.Fprintf(w, "%d calls of %s in %v, by %d callers on %d connections: %.0f a second\n",
		m.Latency.Count, m.Command, short(m.Took), m.Callers, m.Connections, m.Rate)
	for _, code := range slices.Sorted(maps.Keys(m.Failed)) {
		fmt.Fprintf(w, "%d failed: %s\n", m.Failed[code], code)
	}
	l := m.Latency
	if l.Count == 0 {
		return
	}
	fmt.Fprintf(w, "\nlatency: mean %v, p50 %v, p90 %v, p99 %v, at most %v\n\n", short(l.Mean), short(l.P50), short(l.P90), short(l.P99), short(l.Max))
	var most uint64
	for _, bucket := range l.Buckets {
		most = max(most, bucket.Count)
	}
	for _, bucket := range l.Buckets {
		bar := strings.Repeat("█", int(50*bucket.Count/most))
		fmt.Fprintf(w, "%9v %8d %s\n", short(bucket.Below), bucket.Count, bar)
	}
}

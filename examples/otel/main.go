package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/examples/otel/commands"
	"github.com/edict-go/edict/group"
	edictotel "github.com/edict-go/edict/otel"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "otel:", err)
		os.Exit(1)
	}
}

// run is the program.
func run(ctx context.Context, arguments []string, out io.Writer) (err error) {
	flags := flag.NewFlagSet("otel", flag.ContinueOnError)
	flags.SetOutput(out)
	collector := flags.String("otlp", "", "send everything to the collector at this `address` too, as in 127.0.0.1:4317")
	listen := flags.String("listen", "", "go on until interrupted, with metrics for Prometheus at this `address`, as in 127.0.0.1:9464")
	if err := flags.Parse(arguments); errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q: all settings are flags, see -help", flags.Arg(0))
	}
	address := *listen
	if address == "" {
		address = "127.0.0.1:0"
	}
	t, err := setUp(ctx, address, *collector, *listen == "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.close()) }()

	var full atomic.Bool // the first shop is
	first, err := open("first", t, full.Load)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, first.close()) }()
	second, err := open("second", t, func() bool { return false })
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, second.close()) }()

	shops, err := group.Dial(ctx, commands.All, group.Config{
		Endpoints: group.Static(first.address, second.address), Strategy: firstIfPossible{},
	}, t.edict.ClientOption())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, shops.Close()) }()
	t.edict.ObserveGroup("shops", shops)
	if err := bothConnected(ctx, shops); err != nil {
		return err
	}
	traced := edictotel.Sender(t.edict, commands.All, shops)
	if *listen != "" {
		fmt.Fprintf(out, "Metrics are at %s until Ctrl-C.\n", t.url())
		return goOn(ctx, traced)
	}
	if err := tour(ctx, traced, &full, out); err != nil {
		return err
	}
	fmt.Fprintf(out, "The spans:\n%s\n", trees(t.spans.GetSpans()))
	return scrape(ctx, t.url(), out)
}

// tour makes calls.
func tour(ctx context.Context, shops edict.Sender[*commands.Shop], full *atomic.Bool, out io.Writer) error {
	n, err := edict.Call(ctx, shops, commands.Stock{Item: "apples"})
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "Apples:", n)
	_, err = edict.Call(ctx, shops, commands.Stock{Item: "moons"})
	fmt.Fprintln(out, "Moons:", err)

	full.Store(true)
	if n, err = edict.Call(ctx, shops, commands.Stock{Item: "pears"}); err != nil {
		return err
	}
	full.Store(false)
	fmt.Fprintln(out, "Pears, while the first shop is full:", n)

	items := 0
	for _, err := range edict.Stream(ctx, shops, commands.List{}) {
		if err != nil {
			return err
		}
		items++
	}
	fmt.Fprintf(out, "Items: %d\n\n", items)
	return nil
}

// goOn makes a hundred calls a second until ctx ends.
func goOn(ctx context.Context, shops edict.Sender[*commands.Shop]) error {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		if _, err := edict.Call(ctx, shops, commands.Stock{Item: "apples"}); err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// bothConnected waits until the group has a connection to each shop.
func bothConnected(ctx context.Context, shops *group.Group[*commands.Shop]) error {
	for {
		ready := 0
		for _, endpoint := range shops.Stats().Endpoints {
			for _, connection := range endpoint.Connections {
				if connection.State == edict.StateReady {
					ready++
				}
			}
		}
		if ready == 2 {
			return nil
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// firstIfPossible is a group.Strategy: it takes the first shop unless that has just failed.
type firstIfPossible struct{}

// Pick implements group.Strategy.
func (firstIfPossible) Pick(any, []*group.Endpoint) int { return 0 }

// scrape prints some of what Prometheus gets.
func scrape(ctx context.Context, url string, out io.Writer) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	all, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "Some of what Prometheus gets:\n")
	for line := range strings.Lines(string(all)) {
		for _, name := range []string{"rpc_client_call_duration_seconds_count", "edict_group_endpoints", "edict_server_commands_total", "edict_client_reconnects_total"} {
			if strings.HasPrefix(line, name) {
				fmt.Fprint(out, "    ", withoutScope(line))
			}
		}
	}
	return nil
}

// withoutScope shortens a line: the name of the instrumentation is always the same.
func withoutScope(line string) string {
	before, labels, ok := strings.Cut(line, "{")
	if !ok {
		return line
	}
	labels, after, _ := strings.Cut(labels, "}")
	var kept []string
	for label := range strings.SplitSeq(labels, ",") {
		if !strings.HasPrefix(label, "otel_scope_") && !strings.HasPrefix(label, "rpc_system_name") {
			kept = append(kept, label)
		}
	}
	return before + "{" + strings.Join(kept, ",") + "}" + after
}

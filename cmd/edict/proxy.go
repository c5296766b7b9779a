package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/edict-go/edict/edicttest"
)

func (a *application) proxyCommand() *cobra.Command {
	var link edicttest.Link
	var bandwidth, cutAfter, stallAfter string
	command := &cobra.Command{
		Use:   "proxy LISTEN ADDRESS",
		Short: "Stand between clients and a server, with delays and faults",
		Long: `proxy listens at LISTEN, passes connections on to ADDRESS, and makes the network worse, until it is interrupted: to see how
a service takes it. Sizes are bytes, or have a unit: 64KB, 1MB (of 1000), 1MiB (of 1024). A tls:// address passes as it is.
A connection that is cut is reset when that many bytes have passed in one of the directions.`,
		Example: `  edict proxy --latency 50ms 127.0.0.1:9001 127.0.0.1:9000
  edict proxy --latency 50ms --cut-after 1MB :9001 shop.example:9000
  edict proxy --bandwidth 1MB --jitter 20ms :9001 127.0.0.1:9000`,
		Args: cobra.ExactArgs(2),
		RunE: func(command *cobra.Command, arguments []string) error {
			faults := map[string]int64{}
			for flag, text := range map[string]string{"bandwidth": bandwidth, "cut-after": cutAfter, "stall-after": stallAfter} {
				if text == "" {
					continue
				}
				size, err := sizeOf(text)
				if err != nil {
					return usagef("--%s: %w", flag, err)
				}
				faults[flag] = size
			}
			link.Bandwidth = int(faults["bandwidth"])
			return a.proxy(command.Context(), arguments[0], arguments[1], link, faults["cut-after"], faults["stall-after"])
		},
	}
	flags := command.Flags()
	flags.DurationVar(&link.Latency, "latency", 0, "how long bytes are under way, in each direction")
	flags.DurationVar(&link.Jitter, "jitter", 0, "how much longer, at most, at random")
	flags.StringVar(&bandwidth, "bandwidth", "", "how many bytes pass in a second, in each direction")
	flags.StringVar(&cutAfter, "cut-after", "", "cut each connection after so many bytes")
	flags.StringVar(&stallAfter, "stall-after", "", "let nothing pass any more after so many bytes")
	return command
}

// units are those of sizes, the longest first.
var units = []struct {
	name string
	size int64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1}, {"", 1},
}

// sizeOf parses a number of bytes, as in "1MB".
func sizeOf(text string) (int64, error) {
	for _, unit := range units {
		number, ok := strings.CutSuffix(strings.ToLower(text), strings.ToLower(unit.name))
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
		if err != nil || n <= 0 || n > 1<<50/unit.size {
			return 0, fmt.Errorf("%q is no size: 64KB is one, or 1MiB", text)
		}
		return n * unit.size, nil
	}
	return 0, fmt.Errorf("%q is no size", text)
}

func (a *application) proxy(ctx context.Context, listen, target string, link edicttest.Link, cutAfter, stallAfter int64) error {
	if strings.HasPrefix(listen, ":") {
		listen = "tcp://" + listen
	}
	listen, err := addressOf(listen)
	if err != nil {
		return err
	}
	if target, err = addressOf(target); err != nil {
		return err
	}
	proxy, err := edicttest.NewProxy(listen, target, edicttest.ProxyConfig{Link: link, Seed: uint64(time.Now().UnixNano())})
	if err != nil {
		return failed(exitConnect, err)
	}
	var mu sync.Mutex // guards the output
	tell := func(event map[string]any, format string, arguments ...any) {
		mu.Lock()
		defer mu.Unlock()
		if a.asJSON {
			_ = a.write(event) // for whoever looks
		} else {
			fmt.Fprintf(a.out, format+"\n", arguments...)
		}
	}
	proxy.OnConnect(func(c *edicttest.ProxyConnection) {
		for _, direction := range []edicttest.Direction{edicttest.ToServer, edicttest.ToClient} {
			if cutAfter > 0 {
				c.CutAfter(direction, edicttest.Bytes(cutAfter))
			}
			if stallAfter > 0 {
				c.StallAfter(direction, edicttest.Bytes(stallAfter))
			}
		}
		tell(map[string]any{"event": "connected", "connection": c.ID()}, "connection %d", c.ID())
	})
	proxy.OnFault(func(f edicttest.Fault) {
		tell(map[string]any{"event": "fault", "connection": f.Connection, "kind": fmt.Sprint(f.Kind)}, "connection %d: %v", f.Connection, f.Kind)
	})
	tell(map[string]any{"event": "listening", "address": proxy.Address(), "target": target}, "%s -> %s", proxy.Address(), target)
	<-ctx.Done()
	return failed(exitOther, proxy.Close())
}

package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/edict-go/edict/examples/grpc/stockpb"
	"github.com/edict-go/edict/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// A service under load goes over from gRPC to Edict, and no call fails.
func TestMigrationWithoutAFailedCall(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-stage", "50ms"}, &out); err != nil {
		t.Fatalf("%v after:\n%s", err, &out)
	}
	found := regexp.MustCompile(`\nDone\. Rounds of calls: (\d+) over gRPC, (\d+) over Edict, 0 failed\.\n$`).FindStringSubmatch(out.String())
	if found == nil {
		t.Fatalf("no sum in:\n%s", &out)
	}
	for i, over := range []string{"gRPC", "Edict"} {
		if n, err := strconv.Atoi(found[i+1]); err != nil || n < 20 {
			t.Errorf("only %d rounds over %s", n, over)
		}
	}
}

// forgetful is a warehouse that now and then fails. Without it there would be no telling whether failures count.
type forgetful struct {
	*warehouse
	mu    sync.Mutex
	calls int
}

func (f *forgetful) Take(ctx context.Context, item *stockpb.Item) (*stockpb.Level, error) {
	f.mu.Lock()
	f.calls++
	fails := f.calls%50 == 0
	f.mu.Unlock()
	if fails {
		return nil, status.Error(codes.Aborted, "forgot")
	}
	return f.warehouse.Take(ctx, item)
}

func TestFailedCallsAreCounted(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	running := serve(listener, &forgetful{warehouse: newWarehouse()})
	err = migrate(t.Context(), settings{clients: 2, stage: 50 * time.Millisecond}, listener.Addr().String(), running, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "calls failed; the first:") {
		t.Errorf("got %v", err)
	}
	if err := running.stop(t.Context()); err != nil {
		t.Error(err)
	}
}

// announced is a writer that tells when a pattern was written.
type announced struct {
	pattern *regexp.Regexp
	found   chan string

	mu   sync.Mutex
	text bytes.Buffer
}

func announce(pattern string) *announced {
	return &announced{pattern: regexp.MustCompile(pattern), found: make(chan string, 1)}
}

func (a *announced) Write(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.text.Write(p)
	if found := a.pattern.FindStringSubmatch(a.text.String()); found != nil {
		select {
		case a.found <- found[1]:
		default:
		}
	}
	return len(p), nil
}

func TestServerAndClients(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	server := announce(`at (\S+)\.`)
	served := make(chan error, 1)
	go func() { served <- run(ctx, []string{"-serve", "127.0.0.1:0"}, server) }()
	address := <-server.found
	for _, over := range []string{"grpc", "edict"} {
		ctx, stop := context.WithCancel(t.Context())
		clients := announce(`clients call over (\S+)\.`)
		ended := make(chan error, 1)
		go func() { ended <- run(ctx, []string{"-connect", address, "-over", over, "-clients", "2"}, clients) }()
		<-clients.found
		stop()
		if err := <-ended; err != nil || !strings.Contains(clients.text.String(), "failed: 0.") {
			t.Errorf("over %s: %v after:\n%s", over, err, clients.text.String())
		}
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestWrongFlags(t *testing.T) {
	for want, arguments := range map[string]string{
		"unexpected argument":  "x",
		"choose grpc or edict": "-over http",
		"choose one of":        "-serve a:1 -connect a:1",
		"at least one client":  "-clients 0",
		"not defined":          "-x",
		"missing port":         "-serve nowhere",
		"connection refused":   "-connect 127.0.0.1:1",
		"":                     "-help",
	} {
		err := run(t.Context(), strings.Fields(arguments), io.Discard)
		if arguments == "-help" {
			if err != nil {
				t.Error(err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", arguments, err, want)
		}
	}
}

func TestTheService(t *testing.T) {
	var taken [2]*stockpb.Level
	for i, over := range []string{"grpc", "edict"} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		running := serve(listener, newWarehouse())
		connection, err := dial(t.Context(), over, listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		var conn grpc.ClientConnInterface = connection
		stock := stockpb.NewStockClient(conn)
		if taken[i], err = stock.Take(t.Context(), &stockpb.Item{Name: "needles", Count: 7}); err != nil || taken[i].GetLeft() != 493 {
			t.Errorf("over %s: %v, %v", over, taken[i], err)
		}
		if _, err := stock.Take(t.Context(), &stockpb.Item{Name: "saws"}); status.Code(err) != codes.NotFound || status.Convert(err).Message() != `no item is called "saws"` {
			t.Errorf("over %s: %v", over, err)
		}
		if err := errors.Join(connection.Close(), running.stop(t.Context())); err != nil {
			t.Error(err)
		}
	}
}

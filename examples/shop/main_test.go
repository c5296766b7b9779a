package main

import (
	"bytes"
	"context"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
)

// A short run: it ends by itself, no order has failed, and the spans of all four processes reach a collector that the
// environment names.
func TestRun(t *testing.T) {
	other := newTraces()
	c, err := other.collect("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.close(); err != nil {
			t.Error(err)
		}
	}()
	t.Setenv(collectorVariable, "http://"+c.address)
	var buffer bytes.Buffer
	if err := run(t.Context(), []string{"-port", "0", "-fixed", "-for", "2s"}, &buffer); err != nil {
		t.Fatalf("%v after:\n%s", err, &buffer)
	}
	if !regexp.MustCompile(`orders: \d\d.*, failed 0 \| looks: \d\d.*, failed 0\n`).MatchString(buffer.String()) {
		t.Errorf("no line in:\n%s", &buffer)
	}
	other.mu.Lock()
	defer other.mu.Unlock()
	processes := map[string]bool{}
	for _, trace := range other.byID {
		for _, span := range trace.spans {
			processes[span.process] = true
		}
	}
	if got := slices.Sorted(maps.Keys(processes)); !slices.Equal(got, []string{"customers", "front", "stock-a", "stock-b"}) {
		t.Errorf("spans of %v", got)
	}
}

// The servers end when the launcher is killed, which can't tell them.
func TestServersEndWithTheLauncher(t *testing.T) {
	s := open(t)
	if err := s.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := s.end(); err == nil || !strings.HasPrefix(err.Error(), "signal: killed") {
		t.Errorf("%v", err) // exec.ErrWaitDelay: a server has the standard error still
	}
	for _, addresses := range []map[string]string{s.edict, s.web} {
		for name, address := range addresses {
			if conn, err := net.Dial("tcp", address); err == nil {
				_ = conn.Close()
				t.Errorf("%s lives on at %s", name, address)
			}
		}
	}
}

// A server that has ended is started again at the same addresses, until that succeeds.
func TestServersAreStartedAgain(t *testing.T) {
	var said bytes.Buffer // of keep, until it has returned
	starts := 0
	again := make(chan string, 1)
	p := &process{name: "stock-a", out: log.New(&said, "", 0), deadFor: time.Millisecond}
	p.command = func(p *process) []string {
		starts++
		switch starts {
		case 1:
			return []string{"-child", "stock-a", "-listen", "127.0.0.1:0", "-web", "127.0.0.1:0", "-collector", "127.0.0.1:1"}
		case 2:
			return []string{"-port", "-1"}
		}
		again <- p.address
		return []string{"-child", "stock-a", "-listen", p.address, "-web", p.web, "-collector", "127.0.0.1:1"}
	}
	if err := p.start(); err != nil {
		t.Fatal(err)
	}
	address := p.address
	if err := p.running.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	kept := make(chan error, 1)
	go func() { kept <- p.keep(ctx) }()
	if got := <-again; got != address {
		t.Errorf("at %s, and was at %s", got, address)
	}
	cancel()
	if err := <-kept; err != nil {
		t.Error(err)
	}
	pattern := `^\S+  stock-a \(process \d+\) has ended: signal: killed; in 1ms there is another one
\S+  stock-a \(process \d+\) has ended: stock-a did not start: exit status 1; in 1ms there is another one
\S+  stock-a is there again \(process \d+\)
$`
	if !regexp.MustCompile(pattern).MatchString(said.String()) {
		t.Errorf("it says\n%s", &said)
	}
}

// What each server has to be looked at, beside what the guide shows.
func TestPages(t *testing.T) {
	s := open(t, "-fixed")
	for name, address := range s.web {
		for path, want := range map[string]string{
			"/debug/edict/": "<title>", "/debug/edict/json": `"name": "` + name + `"`, "/metrics": "rpc_server_call_duration_seconds_count",
			"/debug/pprof/": "goroutine",
		} {
			found := false
			s.wait(name+path, func(string) bool { // the metrics begin with the first call
				response, err := http.Get("http://" + address + path)
				if err != nil {
					t.Fatal(err)
				}
				defer response.Body.Close()
				body, err := io.ReadAll(response.Body)
				found = err == nil && strings.Contains(string(body), want)
				return found
			})
		}
	}
	s.interrupt()
	if err := s.end(); err != nil {
		t.Error(err)
	}
}

func TestErrorsTellWhatToDo(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	taken := strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
	page := httptest.NewServer(newTraces())
	defer page.Close()
	at := strings.TrimPrefix(page.URL, "http://")
	for name, test := range map[string]struct {
		arguments []string
		want      string
	}{
		"argument":         {[]string{"x"}, `unexpected argument "x"`},
		"port":             {[]string{"-port", "70000"}, "between 0 and 65522"},
		"port in use":      {[]string{"-port", taken}, "-port chooses other ports"},
		"no time":          {[]string{"-for", "-1s"}, "times must be positive"},
		"a lonely child":   {[]string{"-child", "front"}, "-child needs -listen"},
		"no warehouses":    {[]string{"-child", "front", "-listen", "x", "-web", "x", "-collector", "x"}, "needs -warehouses"},
		"no such child":    {[]string{"-child", "back", "-listen", "x", "-web", "x", "-collector", "x"}, "-child back"},
		"too many traces":  {[]string{"traces", "-at", at, "-n", "101"}, "between 1 and 100"},
		"traces of none":   {[]string{"traces", "-at", "127.0.0.1:1"}, "does the shop run?"},
		"a flag of traces": {[]string{"traces", "-x"}, "not defined: -x"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := run(t.Context(), test.arguments, io.Discard); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%q is not in: %v", test.want, err)
			}
		})
	}
	for _, arguments := range [][]string{{"-help"}, {"traces", "-help"}} {
		var help bytes.Buffer
		if err := run(t.Context(), arguments, &help); err != nil || !strings.Contains(help.String(), "Usage") {
			t.Errorf("%v: %v, %s", arguments, err, &help)
		}
	}
}

// export gives spans of a process to a traces.
func export(t *testing.T, k *traces, process string, spans ...*tracepb.Span) {
	t.Helper()
	text := func(value string) *commonpb.AnyValue {
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: value}}
	}
	_, err := k.Export(t.Context(), &coltrace.ExportTraceServiceRequest{ResourceSpans: []*tracepb.ResourceSpans{{
		Resource:   &resourcepb.Resource{Attributes: []*commonpb.KeyValue{{Key: "service.name", Value: text(process)}}},
		ScopeSpans: []*tracepb.ScopeSpans{{Spans: spans}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
}

// spanOf returns a span that begins at a time in milliseconds, and takes some.
func spanOf(trace, id, parent byte, name string, began, took uint64, attributes ...*commonpb.KeyValue) *tracepb.Span {
	s := &tracepb.Span{
		TraceId: bytes.Repeat([]byte{trace}, 16), SpanId: bytes.Repeat([]byte{id}, 8), Name: name, Kind: tracepb.Span_SPAN_KIND_CLIENT,
		StartTimeUnixNano: began * 1e6, EndTimeUnixNano: (began + took) * 1e6, Attributes: attributes,
	}
	if parent != 0 {
		s.ParentSpanId = bytes.Repeat([]byte{parent}, 8)
	}
	return s
}

// The spans come in any order, from several processes, and are shown as trees, the slowest first.
func TestTraces(t *testing.T) {
	k := newTraces()
	number := func(key string, n int64) *commonpb.KeyValue {
		return &commonpb.KeyValue{Key: key, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: n}}}
	}
	word := func(key, value string) *commonpb.KeyValue {
		return &commonpb.KeyValue{Key: key, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: value}}}
	}
	truth := &commonpb.KeyValue{Key: "edict.hedge", Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_BoolValue{BoolValue: true}}}
	export(t, k, "b", spanOf(1, 3, 2, "Reserve", 1002, 5, word("edict.outcome", "executed"), word("rpc.response.status_code", "OK")))
	export(t, k, "c", spanOf(1, 4, 2, "Reserve", 1001, 1, number("edict.attempt", 2), truth, word("edict.outcome", "refused"), word("rpc.response.status_code", "UNAVAILABLE")))
	export(t, k, "a", spanOf(1, 2, 1, "Order", 1001, 8), spanOf(1, 1, 0, "Order", 1000, 10, number("edict.attempts", 1)))
	export(t, k, "a", spanOf(2, 1, 0, "Look", 1000, 7), spanOf(3, 2, 1, "an orphan", 1000, 50), &tracepb.Span{Name: "without an id"})
	const order = `Order took 10ms at TIME, trace 01010101010101010101010101010101
    AFTER  TOOK  PROCESS  SPAN
    0s     10ms  a        client Order
    1ms    8ms   a          client Order
    1ms    1ms   c            client Reserve  UNAVAILABLE  refused  attempt=2  hedge=true
    2ms    5ms   b            client Reserve
`
	const look = `Look took 7ms at TIME, trace 02020202020202020202020202020202
    AFTER  TOOK  PROCESS  SPAN
    0s     7ms   a        client Look
`
	page := httptest.NewServer(k)
	defer page.Close()
	for flags, want := range map[string]string{
		"": order + "\n" + look, "-n 1": order, "-of Look": look, "-under 10ms": look, "-of Sell": "There is no such trace yet.\n",
	} {
		var out bytes.Buffer
		err := run(t.Context(), append([]string{"traces", "-at", strings.TrimPrefix(page.URL, "http://")}, strings.Fields(flags)...), &out)
		if got := regexp.MustCompile(`\d\d:\d\d:\d\d\.\d\d\d`).ReplaceAllString(out.String(), "TIME"); got != want || err != nil {
			t.Errorf("%s: %v\n%s\nwant\n%s", flags, err, got, want)
		}
	}
}

// However much comes, what is kept is bounded: the latest traces, and some spans of each.
func TestTracesAreBounded(t *testing.T) {
	k := newTraces()
	for n := range maxTraces + 10 {
		s := spanOf(0, 1, 0, "Order", 1000, 1)
		s.TraceId = []byte("trace " + strconv.Itoa(1_000_000_000+n))
		export(t, k, "a", s)
	}
	if _, first := k.byID[[16]byte([]byte("trace 1000000009"))]; first || len(k.byID) != maxTraces || len(k.ids) != maxTraces {
		t.Errorf("%d and %d, with the oldest: %v", len(k.byID), len(k.ids), first)
	}
	for range 2 * maxSpans {
		export(t, k, "a", spanOf(7, 1, 1, "its own parent", 1000, 1))
	}
	export(t, k, "a", spanOf(7, 1, 0, "too late", 1000, 1))
	if got := len(k.byID[[16]byte(bytes.Repeat([]byte{7}, 16))].spans); got != maxSpans {
		t.Errorf("%d spans", got)
	}
}

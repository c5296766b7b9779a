package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
)

// How many traces are kept, the latest ones, which are those of some fifteen seconds; and how many spans of each.
const (
	maxTraces = 3_000
	maxSpans  = 64
)

// traces keeps the latest traces of all processes. It is an OTLP collector, and an http.Handler that shows the slowest of
// them. A service has a real collector instead, such as Jaeger or Tempo.
type traces struct {
	coltrace.UnimplementedTraceServiceServer

	mu   sync.Mutex // guards the following
	byID map[[16]byte]*trace
	ids  [][16]byte // in the order in which the traces came
}

// trace is what has come of a trace so far.
type trace struct {
	spans []span
}

// span is a span and the process that it is of.
type span struct {
	*tracepb.Span
	process string
}

func newTraces() *traces { return &traces{byID: map[[16]byte]*trace{}} }

// collector is where a traces gets its spans.
type collector struct {
	address string
	server  *grpc.Server
	served  chan error
}

// collect begins to take spans at an address. The collector must be closed.
func (k *traces) collect(address string) (*collector, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	c := &collector{address: listener.Addr().String(), server: grpc.NewServer(), served: make(chan error, 1)}
	coltrace.RegisterTraceServiceServer(c.server, k)
	go func() { c.served <- c.server.Serve(listener) }() // ends with close, which waits for it
	return c, nil
}

func (c *collector) close() error {
	c.server.Stop()
	return <-c.served
}

// Export implements coltrace.TraceServiceServer.
func (k *traces) Export(_ context.Context, request *coltrace.ExportTraceServiceRequest) (*coltrace.ExportTraceServiceResponse, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, resource := range request.ResourceSpans {
		process := attribute(resource.GetResource().GetAttributes(), "service.name")
		for _, scope := range resource.ScopeSpans {
			for _, s := range scope.Spans {
				k.addLocked(span{s, process})
			}
		}
	}
	return &coltrace.ExportTraceServiceResponse{}, nil
}

func (k *traces) addLocked(s span) {
	if len(s.TraceId) != 16 {
		return
	}
	id := [16]byte(s.TraceId)
	t := k.byID[id]
	if t == nil {
		if len(k.ids) == maxTraces {
			delete(k.byID, k.ids[0])
			k.ids = k.ids[1:]
		}
		t = &trace{}
		k.byID[id] = t
		k.ids = append(k.ids, id)
	}
	if len(t.spans) < maxSpans {
		t.spans = append(t.spans, s)
	}
}

// query says which traces are wanted.
type query struct {
	number int
	of     string        // the name of the first span; empty: any
	under  time.Duration // only those that took less; 0: any
}

// ServeHTTP implements http.Handler.
func (k *traces) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q, err := parseQuery(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	text := k.slowest(q)
	if text == "" {
		text = "There is no such trace yet.\n"
	}
	_, _ = io.WriteString(w, text) // an error means that nobody looks any more
}

func parseQuery(values url.Values) (q query, err error) {
	q = query{number: 3, of: values.Get("of")}
	if text := values.Get("n"); text != "" {
		if q.number, err = strconv.Atoi(text); err != nil || q.number < 1 || q.number > 100 {
			return q, fmt.Errorf("n is %q: between 1 and 100 is possible", text)
		}
	}
	if text := values.Get("under"); text != "" {
		if q.under, err = time.ParseDuration(text); err != nil {
			return q, err
		}
	}
	return q, nil
}

// slowest returns the slowest traces as text. Those whose first span has not come yet are left out.
func (k *traces) slowest(q query) string {
	type candidate struct {
		root  span
		spans []span
	}
	var candidates []candidate
	k.mu.Lock()
	for _, t := range k.byID {
		root := slices.IndexFunc(t.spans, func(s span) bool { return len(s.ParentSpanId) == 0 })
		if root < 0 || q.of != "" && t.spans[root].Name != q.of || q.under > 0 && t.spans[root].took() >= q.under {
			continue
		}
		candidates = append(candidates, candidate{t.spans[root], t.spans})
	}
	slices.SortFunc(candidates, func(a, b candidate) int { return cmp.Compare(b.root.took(), a.root.took()) })
	candidates = candidates[:min(q.number, len(candidates))]
	for i := range candidates {
		candidates[i].spans = slices.Clone(candidates[i].spans)
	}
	k.mu.Unlock()
	var text strings.Builder
	for i, c := range candidates {
		if i > 0 {
			text.WriteString("\n")
		}
		fmt.Fprintf(&text, "%s took %s at %s, trace %x\n", c.root.Name, short(c.root.took()), c.root.began().Format("15:04:05.000"), c.root.TraceId)
		tree(&text, c.root, c.spans)
	}
	return text.String()
}

// tree writes the spans of a trace, each below its parent, with the time from the beginning of the trace until its own, and
// how long it took.
func tree(text *strings.Builder, root span, spans []span) {
	slices.SortStableFunc(spans, func(a, b span) int { return cmp.Compare(a.StartTimeUnixNano, b.StartTimeUnixNano) })
	w := tabwriter.NewWriter(text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "    AFTER\tTOOK\tPROCESS\tSPAN")
	var below func(parent []byte, depth int)
	below = func(parent []byte, depth int) {
		for _, s := range spans {
			if string(s.ParentSpanId) != string(parent) || depth > maxSpans {
				continue
			}
			fmt.Fprintf(w, "    %s\t%s\t%s\t%s%s %s%s\n", short(s.began().Sub(root.began())), short(s.took()), s.process,
				strings.Repeat("  ", depth), kind(s.Kind), s.Name, remarks(s))
			below(s.SpanId, depth+1)
		}
	}
	below(root.ParentSpanId, 0)
	_ = w.Flush() // to memory
}

func kind(k tracepb.Span_SpanKind) string {
	return strings.ToLower(strings.TrimPrefix(k.String(), "SPAN_KIND_"))
}

// remarks returns what is not as usual.
func remarks(s span) string {
	var text strings.Builder
	for _, pair := range [][2]string{{"rpc.response.status_code", "OK"}, {"edict.outcome", "executed"}} {
		if value := attribute(s.Attributes, pair[0]); value != "" && value != pair[1] {
			fmt.Fprintf(&text, "  %s", value)
		}
	}
	for _, key := range []string{"edict.attempt", "edict.attempts", "edict.hedge", "edict.resent"} {
		if value := attribute(s.Attributes, key); value != "" && (key != "edict.attempts" || value != "1") {
			fmt.Fprintf(&text, "  %s=%s", strings.TrimPrefix(key, "edict."), value)
		}
	}
	return text.String()
}

// attribute returns the value of an attribute, "" if there is none.
func attribute(attributes []*commonpb.KeyValue, key string) string {
	for _, kv := range attributes {
		if kv.Key != key {
			continue
		}
		switch value := kv.Value.GetValue().(type) {
		case *commonpb.AnyValue_StringValue:
			return value.StringValue
		case *commonpb.AnyValue_IntValue:
			return strconv.FormatInt(value.IntValue, 10)
		case *commonpb.AnyValue_BoolValue:
			return strconv.FormatBool(value.BoolValue)
		}
	}
	return ""
}

func (s span) began() time.Time { return time.Unix(0, int64(s.StartTimeUnixNano)) }

func (s span) took() time.Duration {
	return time.Duration(s.EndTimeUnixNano) - time.Duration(s.StartTimeUnixNano)
}

// showTraces is the program's other form: it prints the slowest traces of one that runs.
func showTraces(ctx context.Context, arguments []string, out io.Writer) error {
	flags := flag.NewFlagSet("shop traces", flag.ContinueOnError)
	flags.SetOutput(out)
	at := flags.String("at", fmt.Sprint("127.0.0.1:", defaultPort), "the `address` of the page with the traces")
	number := flags.Int("n", 3, "how many")
	of := flags.String("of", "", "only those that begin with this `command`")
	under := flags.Duration("under", 0, "only those that took less")
	if err := flags.Parse(arguments); errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	values := url.Values{"n": {strconv.Itoa(*number)}, "of": {*of}}
	if *under > 0 {
		values.Set("under", under.String())
	}
	page := url.URL{Scheme: "http", Host: *at, Path: "/traces", RawQuery: values.Encode()}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, page.String(), nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("%w (does the shop run?)", err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 10<<20))
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return errors.New(strings.TrimSpace(string(text)))
	}
	_, err = out.Write(text)
	return err
}

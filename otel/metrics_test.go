package edictotel_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/trace"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/group"
	edictotel "github.com/edict-go/edict/otel"
)

func TestMetricsOfCalls(t *testing.T) {
	c := collect(t, nil, edictotel.WithMessageSizes())
	b := serve(t, c.telemetry.ServerOption())
	client := b.client(c.telemetry.ClientOption())
	const calls = 5
	for range calls {
		if _, err := edict.Call(t.Context(), client, add{2, 3}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := edict.Call(t.Context(), client, fail{Code: edict.NotFound}); err == nil {
		t.Fatal("no error")
	}
	for _, err := range edict.Stream(t.Context(), client, count{To: 10}) {
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	waiting, err := edict.Start(ctx, client, wait{})
	if err != nil {
		t.Fatal(err)
	}
	<-b.lab.started
	metrics := c.metrics()
	for side, failed := range map[string]string{"client": "error.type=NOT_FOUND,", "server": ""} {
		duration := "rpc." + side + ".call.duration"
		if m := metrics[duration]; m.Unit != "s" {
			t.Errorf("%s is in %q", duration, m.Unit)
		}
		ok := at(t, metrics, duration, "edict.outcome=executed,rpc.method=add,rpc.response.status_code=OK,rpc.system.name=edict")
		if ok.count != calls || ok.value <= 0 || ok.value > 60 {
			t.Errorf("%s of add: %+v", duration, ok)
		}
		notFound := "edict.outcome=executed," + failed + "rpc.method=fail,rpc.response.status_code=NOT_FOUND,rpc.system.name=edict"
		if p := at(t, metrics, duration, notFound); p.count != 1 {
			t.Errorf("%s of fail: %+v", duration, p)
		}
		const ofAdd, ofCount = "rpc.method=add,rpc.system.name=edict", "rpc.method=count,rpc.system.name=edict"
		for name, want := range map[string]point{
			"rpc." + side + ".request.size " + ofAdd:    {value: calls * float64(len(`{"A":2,"B":3}`)), count: calls},
			"rpc." + side + ".response.size " + ofAdd:   {value: calls, count: calls},
			"rpc." + side + ".response.size " + ofCount: {value: 10, count: 1},
			"edict." + side + ".request.io " + ofAdd:    {value: calls * float64(len(`{"A":2,"B":3}`))},
			"edict." + side + ".response.io " + ofAdd:   {value: calls},
			"edict." + side + ".response.io " + ofCount: {value: 10},
		} {
			name, attributes, _ := strings.Cut(name, " ")
			if p := at(t, metrics, name, attributes); p.value != want.value || p.count != want.count {
				t.Errorf("%s{%s} is %v in %d, want %v in %d", name, attributes, p.value, p.count, want.value, want.count)
			}
		}
	}
	if p := at(t, metrics, "edict.server.active_requests", "rpc.method=wait,rpc.system.name=edict"); p.value != 1 {
		t.Errorf("%v commands run", p.value)
	}
	cancel()
	if _, err := waiting.Receive(); err == nil {
		t.Fatal("no error")
	}
	b.end()
	if p := at(t, c.metrics(), "edict.server.active_requests", "rpc.method=wait,rpc.system.name=edict"); p.value != 0 {
		t.Errorf("%v commands run after the end", p.value)
	}
}

// Inputs count for the request's size, on both sides.
func TestSizesOfInputs(t *testing.T) {
	c := collect(t, nil)
	client := serve(t, c.telemetry.ServerOption()).client(c.telemetry.ClientOption())
	sum, err := edict.Upload(t.Context(), client, total{}, func(yield func(int, error) bool) {
		for range 1000 {
			if !yield(7, nil) {
				return
			}
		}
	})
	if sum != 7000 || err != nil {
		t.Fatal(sum, err)
	}
	metrics := c.metrics()
	for _, side := range []string{"client", "server"} {
		const attributes = "rpc.method=total,rpc.system.name=edict"
		if p := at(t, metrics, "edict."+side+".request.io", attributes); p.value != 1000+float64(len("{}")) {
			t.Errorf("%s: %v bytes of inputs", side, p.value)
		}
		if p := at(t, metrics, "edict."+side+".response.io", attributes); p.value != 4 {
			t.Errorf("%s: %v bytes of results", side, p.value)
		}
	}
}

func TestConnectionMetrics(t *testing.T) {
	c := collect(t, nil)
	b := serve(t)
	client := b.client()
	stopClient := c.telemetry.ObserveClient("calc", client)
	stopServer := c.telemetry.ObserveServer("calc", b.server)
	for range 10 {
		if _, err := edict.Call(t.Context(), client, add{2, 3}); err != nil {
			t.Fatal(err)
		}
	}
	invocation, err := edict.Start(t.Context(), client, wait{})
	if err != nil {
		t.Fatal(err)
	}
	<-b.lab.started
	waitFor(t, func() bool { return b.server.InFlight() == 1 }) // a result is sent a moment before its command is counted out
	metrics := c.metrics()
	for name, want := range map[string]float64{
		"edict.client.connections edict.connection.state=ready,edict.name=calc":        1,
		"edict.client.connections edict.connection.state=closed,edict.name=calc":       0,
		"edict.client.connections edict.connection.state=reconnecting,edict.name=calc": 0,
		"edict.client.connects edict.name=calc":                                        1,
		"edict.client.connect.attempts edict.name=calc":                                1,
		"edict.client.reconnects edict.name=calc":                                      0,
		"edict.client.resends edict.name=calc":                                         0,
		"edict.client.in_flight edict.name=calc":                                       1,
		"edict.client.waits edict.name=calc,edict.wait.reason=slot":                    0,
		"edict.client.waits edict.name=calc,edict.wait.reason=credit":                  0,
		"edict.client.waits edict.name=calc,edict.wait.reason=queue":                   0,
		"edict.server.connections edict.name=calc":                                     1,
		"edict.server.in_flight edict.name=calc":                                       1,
		"edict.server.commands edict.command.status=accepted,edict.name=calc":          11,
		"edict.server.commands edict.command.status=refused,edict.name=calc":           0,
	} {
		name, attributes, _ := strings.Cut(name, " ")
		if p := at(t, metrics, name, attributes); p.value != want {
			t.Errorf("%s{%s} is %v, want %v", name, attributes, p.value, want)
		}
	}
	// What one side has sent the other one has received, but for what it has not counted yet.
	sent := at(t, metrics, "edict.client.frames", "edict.name=calc,network.io.direction=transmit").value
	got := at(t, metrics, "edict.server.frames", "edict.name=calc,network.io.direction=receive").value
	if sent != 12 || got < sent-1 || got > sent { // HELLO and 11 commands
		t.Errorf("the client has sent %v frames, the server received %v", sent, got)
	}
	sent = at(t, metrics, "edict.client.io", "edict.name=calc,network.io.direction=transmit").value
	got = at(t, metrics, "edict.server.io", "edict.name=calc,network.io.direction=receive").value
	if sent < 12*16 || sent != got {
		t.Errorf("the client has sent %v bytes, the server received %v", sent, got)
	}
	if p := at(t, metrics, "edict.client.round_trip_time", "edict.name=calc"); p.value <= 0 || p.value > 10 {
		t.Errorf("the round-trip time is %v s", p.value)
	}
	if p := at(t, metrics, "edict.server.budget.limit", "edict.name=calc"); p.value < 1<<20 {
		t.Errorf("the budget is %v bytes", p.value)
	}
	invocation.Cancel()
	if _, err := invocation.Receive(); err == nil {
		t.Fatal("no error")
	}
	client.Close()
	b.end()
	// What was counted stays, also when nothing is observed any more.
	for range 2 {
		metrics = c.metrics()
		if p := at(t, metrics, "edict.server.commands", "edict.command.status=accepted,edict.name=calc"); p.value != 11 {
			t.Errorf("%v commands after the end", p.value)
		}
		if p := at(t, metrics, "edict.client.connects", "edict.name=calc"); p.value != 1 {
			t.Errorf("%v connections were made after the end", p.value)
		}
		if p := at(t, metrics, "edict.client.io", "edict.name=calc,network.io.direction=transmit"); p.value < sent {
			t.Errorf("%v bytes after the end, %v before", p.value, sent)
		}
		if p := at(t, metrics, "edict.server.connections", "edict.name=calc"); p.value != 0 {
			t.Errorf("%v connections after the end", p.value)
		}
		stopClient()
		stopServer()
		stopClient() // once more does nothing
	}
}

// Clients with one name are added up.
func TestClientsWithOneName(t *testing.T) {
	c := collect(t, nil)
	b := serve(t)
	for range 3 {
		defer c.telemetry.ObserveClient("pool", b.client())()
	}
	defer c.telemetry.ObserveClient("other", b.client())()
	metrics := c.metrics()
	for name, want := range map[string]float64{"pool": 3, "other": 1} {
		if p := at(t, metrics, "edict.client.connections", "edict.connection.state=ready,edict.name="+name); p.value != want {
			t.Errorf("%v connections of %s", p.value, name)
		}
	}
}

// A stream whose reader is slow, and inputs that are not taken, are waits for credit.
func TestWaits(t *testing.T) {
	c := collect(t, nil)
	b := serve(t)
	client := b.client(edict.ClientConfig{MaxInFlight: 1})
	defer c.telemetry.ObserveClient("calc", client)()
	defer c.telemetry.ObserveServer("calc", b.server)()
	stream, err := edict.StartStream(t.Context(), client, count{To: -1})
	if err != nil {
		t.Fatal(err)
	}
	const credit, slot = "edict.name=calc,edict.wait.reason=credit", "edict.name=calc,edict.wait.reason=slot"
	waitFor(t, func() bool { return at(t, c.metrics(), "edict.server.waits", credit).value > 0 })
	second := make(chan error, 1)
	go func() {
		_, err := edict.Call(t.Context(), client, add{})
		second <- err
	}()
	waitFor(t, func() bool { return at(t, c.metrics(), "edict.client.waits", slot).value == 1 })
	stream.Cancel()
	if _, err := stream.Receive(); err == nil { // what has come before the cancel may be taken first
		for _, err := range stream.Results() {
			_ = err
		}
	}
	if err := <-second; err != nil {
		t.Fatal(err)
	}
}

func TestGroupMetrics(t *testing.T) {
	for _, endpoints := range []bool{false, true} {
		t.Run(fmt.Sprintf("endpoints=%v", endpoints), func(t *testing.T) {
			var options []edictotel.Option
			if endpoints {
				options = append(options, edictotel.WithEndpoints())
			}
			c := collect(t, nil, options...)
			east, west := serve(t), serve(t)
			g := groupOf(t, group.Config{
				Breaker: group.Breaker{Requests: 5}, Retry: group.Retry{MaxAttempts: 2, Initial: time.Millisecond},
				Strategy: firstOf("east"),
			}, map[string]*bench{"east": east, "west": west})
			defer c.telemetry.ObserveGroup("desks", g)()
			waitFor(t, func() bool {
				return at(t, c.metrics(), "edict.client.connections", "edict.connection.state=ready,edict.name=desks").value == 2
			})
			for range 6 { // Internal is a failure of the endpoint, and after five it is left alone
				_, _ = edict.Call(t.Context(), g, fail{Code: edict.Internal})
			}
			metrics := c.metrics()
			east1, west1 := ",edict.endpoint=east", ",edict.endpoint=west"
			if !endpoints {
				east1, west1 = "", ""
			}
			for name, want := range map[string]float64{
				"edict.group.endpoints edict.breaker.state=open" + east1 + ",edict.name=desks":   1,
				"edict.group.endpoints edict.breaker.state=closed" + west1 + ",edict.name=desks": 1,
				"edict.group.endpoints edict.breaker.state=none" + west1 + ",edict.name=desks":   0,
				"edict.group.retries edict.name=desks":                                           0,
				"edict.group.hedges edict.name=desks":                                            0,
				"edict.client.connects edict.name=desks":                                         2,
				"edict.client.in_flight edict.name=desks":                                        0,
			} {
				name, attributes, _ := strings.Cut(name, " ")
				if p := at(t, metrics, name, attributes); p.value != want {
					t.Errorf("%s{%s} is %v, want %v", name, attributes, p.value, want)
				}
			}
			if p := at(t, metrics, "edict.group.retry_budget", "edict.name=desks"); p.value < 99 {
				t.Errorf("the budget of retries is %v", p.value)
			}
			if _, ok := metrics["edict.group.endpoint.latency"]; ok != endpoints {
				t.Errorf("latencies of endpoints: %v", ok)
			}
			frames := at(t, metrics, "edict.client.frames", "edict.name=desks,network.io.direction=transmit").value
			if frames < 2+5 || frames > 2+6 { // the group may not have heard yet that west is ready, and refuse the sixth
				t.Errorf("%v frames", frames)
			}
		})
	}
}

// firstOf is a strategy that prefers an address.
type firstOf string

func (f firstOf) Pick(_ any, endpoints []*group.Endpoint) int {
	return max(0, slices.IndexFunc(endpoints, func(e *group.Endpoint) bool { return e.Address() == string(f) }))
}

// A connection that leaves a group takes nothing of what was counted with it.
func TestWhatLeavesStaysCounted(t *testing.T) {
	c := collect(t, nil)
	b := serve(t)
	g := groupOf(t, group.Config{}, map[string]*bench{"east": b})
	defer c.telemetry.ObserveGroup("desks", g)()
	if _, err := edict.Call(t.Context(), g, add{}); err != nil {
		t.Fatal(err)
	}
	before := at(t, c.metrics(), "edict.client.io", "edict.name=desks,network.io.direction=transmit").value
	g.Close()
	after := at(t, c.metrics(), "edict.client.io", "edict.name=desks,network.io.direction=transmit").value
	if before == 0 || after < before {
		t.Errorf("%v bytes with the connection, %v without", before, after)
	}
}

// Nothing that comes from outside is in an attribute, a name or a status: no payload, no message, no metadata, no
// address or port of a peer.
func TestAttributesAreBounded(t *testing.T) {
	const secret = "xyzzy-4711"
	c := collect(t, nil, edictotel.WithMessageSizes())
	server := edict.NewServer(newLab(), labCommands, c.telemetry.ServerOption(), edict.WithLogger(slog.New(slog.DiscardHandler)))
	listener, err := server.Listen("tcp://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	client, err := edict.Dial(t.Context(), "tcp://"+listener.Addr().String(), labCommands, c.telemetry.ClientOption(), edict.ClientConfig{Name: secret})
	if err != nil {
		t.Fatal(err)
	}
	defer c.telemetry.ObserveClient("calc", client)()
	defer c.telemetry.ObserveServer("calc", server)()
	for i := range 50 {
		metadata := edict.WithMetadata(edict.Metadata{secret: {fmt.Sprint(secret, i)}})
		_, _ = edict.Call(t.Context(), client, fail{Code: edict.Code(i), Message: fmt.Sprint(secret, i)}, metadata)
		_, _ = edict.Call(t.Context(), client, boom{fmt.Sprint(secret, i)}, metadata)
	}
	metrics := c.metrics()
	client.Close()
	_ = server.Close()
	if err := server.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	<-served

	port := regexp.MustCompile(`127\.0\.0\.1|:\d{4,5}`)
	looked := 0
	look := func(where, text string) {
		looked++
		if strings.Contains(text, "xyzzy") || port.MatchString(text) {
			t.Errorf("%s has %q", where, text)
		}
	}
	for _, span := range c.spans.GetSpans() {
		look("a span's name", span.Name)
		look("a status", span.Status.Description)
		if len(span.Events) > 0 {
			t.Errorf("events: %v", span.Events)
		}
		for _, kv := range span.Attributes {
			look("a span", string(kv.Key)+"="+kv.Value.String())
		}
	}
	for name, m := range metrics {
		series := points(m)
		if len(series) == 0 {
			t.Errorf("%s has no points that the test knows: %T", name, m.Data)
		}
		if most := 2 * (16 + 2); len(series) > most {
			t.Errorf("%s has %d series", name, len(series))
		}
		for _, p := range series {
			look(name, p.attributes)
		}
	}
	if looked < 1000 {
		t.Errorf("only %d texts were looked at", looked)
	}
}

// statsOnly is a server that tells what it was told.
type statsOnly edict.ServerStats

func (s statsOnly) Stats() edict.ServerStats { return edict.ServerStats(s) }

// What is kept for clients is told; of a journal that several servers share once.
func TestMetricsOfWhatIsKept(t *testing.T) {
	c := collect(t, nil)
	stats := statsOnly{Away: 2, AwayBytes: 500, Journal: &edict.JournalSize{Bytes: 1000, Limit: 4000, Records: 7}}
	defer c.telemetry.ObserveServer("till", stats)()
	defer c.telemetry.ObserveServer("till", stats)()
	defer c.telemetry.ObserveServer("desk", statsOnly{})()
	metrics := c.metrics()
	for name, want := range map[string]float64{
		"edict.server.away edict.name=till":            4,
		"edict.server.away.usage edict.name=till":      1000,
		"edict.server.journal.usage edict.name=till":   1000,
		"edict.server.journal.limit edict.name=till":   4000,
		"edict.server.journal.records edict.name=till": 7,
		"edict.server.away edict.name=desk":            0,
	} {
		name, attributes, _ := strings.Cut(name, " ")
		if p := at(t, metrics, name, attributes); p.value != want {
			t.Errorf("%s{%s} is %v, want %v", name, attributes, p.value, want)
		}
	}
	if points := points(metrics["edict.server.journal.usage"]); len(points) != 1 {
		t.Errorf("servers without a journal tell of one: %v", points)
	}
}

// The exemplars of both histograms are of sampled calls: on each side its own span.
func TestExemplars(t *testing.T) {
	c := collect(t, nil)
	b := serve(t, c.telemetry.ServerOption())
	if _, err := edict.Call(t.Context(), b.client(c.telemetry.ClientOption()), add{2, 3}); err != nil {
		t.Fatal(err)
	}
	b.end()
	metrics := c.metrics()
	for name, kind := range map[string]trace.SpanKind{
		"rpc.client.call.duration": trace.SpanKindClient, "rpc.server.call.duration": trace.SpanKindServer,
	} {
		exemplars := metrics[name].Data.(metricdata.Histogram[float64]).DataPoints[0].Exemplars
		if of := c.one(kind).SpanContext.SpanID(); len(exemplars) != 1 || !bytes.Equal(exemplars[0].SpanID, of[:]) {
			t.Errorf("%s: %+v", name, exemplars)
		}
	}
}

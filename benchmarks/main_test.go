package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/edict-go/edict/benchmarks/peer"
)

// TestMain lets the test binary be the server's process, as the program is.
func TestMain(m *testing.M) {
	if os.Getenv(serveVariable) != "" {
		if err := serveOrders(os.Stdin, os.NewFile(answersDescriptor, "answers")); err != nil {
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

type row struct {
	Peer        string
	Workload    string
	InFlight    int
	Conns       int
	TLS         bool
	Separate    bool
	Rounds      int
	OpsPerS     *float64 `json:"ops_per_s"`
	RatioToRaw  *float64 `json:"ratio_to_raw"`
	RatioToCopy *float64 `json:"ratio_to_copy"`
	ServerBytes *float64 `json:"server_bytes_per_conn"`
}

// measure runs the program with brief measurements and returns its rows and messages.
func measure(t *testing.T, arguments string) ([]row, string) {
	t.Helper()
	var out, messages bytes.Buffer
	// Long enough for calls of 30 ms, the delayed ones, to end within it on a busy machine too: a round
	// in which none does has no figure.
	arguments += " -duration 200ms -warmup 1ms -format json"
	if err := run(t.Context(), strings.Fields(arguments), &out, &messages); err != nil {
		t.Fatalf("%v\n%s", err, messages.String())
	}
	var rows []row
	if err := json.Unmarshal(out.Bytes(), &rows); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	return rows, messages.String()
}

func TestEveryWorkload(t *testing.T) {
	rows, messages := measure(t, "-workload all -peers raw,copy,netrpc -inflight 1,8 -conns 1,2 -count 2"+
		" -rate 500 -outstanding 64 -dialers 2 -mixed-inflight 4 -idle-conns 5 -streams 100x64,4x65536")
	count := make(map[string]int)
	for _, r := range rows {
		count[r.Workload+" "+r.Peer]++
		if r.Rounds != 2 {
			t.Errorf("%+v: not both rounds", r)
		}
		if r.Workload == "idle" {
			if r.ServerBytes == nil || !r.Separate {
				t.Errorf("%+v: not measured in two processes", r)
			}
			continue
		}
		if r.OpsPerS == nil || *r.OpsPerS <= 0 || r.RatioToRaw == nil {
			t.Errorf("%+v: figures are missing", r)
		}
		if r.Workload == "stream" && r.RatioToCopy == nil {
			t.Errorf("%+v: no ratio to copy", r)
		}
	}
	for name, want := range map[string]int{
		// Two connections and one caller make no cell.
		"closed raw": 3, "closed netrpc": 3, "closed copy": 0,
		"delayed raw": 2, "open netrpc": 2, "connect raw": 1, "idle netrpc": 1,
		"stream raw": 4, "stream copy": 4, "stream netrpc": 0,
		"mixed raw": 1, "mixed netrpc": 0,
	} {
		if count[name] != want {
			t.Errorf("%s has %d rows, not %d", name, count[name], want)
		}
	}
	if !strings.Contains(messages, "left out: netrpc in stream: no server streams: net/rpc has one reply per call") {
		t.Errorf("who is left out isn't named:\n%s", messages)
	}
}

func TestTwoProcessesAndTLS(t *testing.T) {
	rows, messages := measure(t, "-peers raw,kitex -inflight 2 -count 1 -separate -tls both")
	if len(rows) != 3 {
		t.Fatalf("%d rows\n%s", len(rows), messages)
	}
	for _, r := range rows {
		if !r.Separate || r.TLS && r.Peer == "kitex" {
			t.Errorf("%+v", r)
		}
	}
	if !strings.Contains(messages, "left out: kitex in closed with TLS: no TLS") {
		t.Errorf("who is left out isn't named:\n%s", messages)
	}
}

// wrongServer and wrongClient are a peer that answers with something else.
type wrongServer struct{}

func (wrongServer) Address() string { return "nowhere" }
func (wrongServer) Close() error    { return nil }

type wrongClient struct{}

func (wrongClient) Echo(_ context.Context, request peer.Message) (peer.Message, error) {
	request.Number++
	return request, nil
}

func (c wrongClient) Delayed(ctx context.Context, request peer.Message) (peer.Message, error) {
	return c.Echo(ctx, request)
}
func (wrongClient) Close() error { return nil }

func TestWrongRepliesAreNoticed(t *testing.T) {
	wrong := peer.Peer{
		Name:  "wrong",
		Serve: func(peer.ServeOptions) (peer.Server, error) { return wrongServer{}, nil },
		Dial:  func(context.Context, peer.DialOptions) (peer.Client, error) { return wrongClient{}, nil },
	}
	for _, load := range []workload{closed, delayed, open, connect} {
		s := settings{
			duration: time.Minute, inFlight: []int{2}, conns: []int{1}, payloads: []int{8}, rates: []int{1000},
			outstanding: []int{4}, dialers: []int{1},
		}
		cell := load.cells(s)[0]
		_, err := runTrial(t.Context(), load, &trial{settings: s, peer: wrong, cell: cell})
		if err == nil || !strings.Contains(err.Error(), peer.ErrWrongReply.Error()) {
			t.Errorf("%s: error %v", load.name, err)
		}
	}
}

func TestArguments(t *testing.T) {
	for _, wrong := range []string{
		"-inflight 0", "-inflight 1,x", "-streams 10", "-streams 10x", "-tls maybe", "-workload none", "-peers none",
		"-format none", "-count 0", "-duration 0s", "more",
	} {
		if _, err := parse(strings.Fields(wrong), new(bytes.Buffer)); err == nil {
			t.Errorf("%q was accepted", wrong)
		}
	}
	s, err := parse(strings.Fields("-peers raw,grpc,raw -workload stream,closed -tls on -streams 3x4 -conns 1,4"), new(bytes.Buffer))
	if err != nil {
		t.Fatal(err)
	}
	if len(s.peers) != 2 || s.peers[0].Name != "raw" || len(s.workloads) != 2 || len(s.tls) != 1 || !s.tls[0] ||
		s.streams[0] != (shape{3, 4}) || len(s.conns) != 2 {
		t.Errorf("%+v", s)
	}
}

func TestCallersDiffer(t *testing.T) {
	seen := make(map[peer.Message]bool)
	for number := range 20 {
		c := newCaller(number, 9)
		for range 20 {
			message := c.next()
			if seen[message] || len(message.Text) != 9 {
				t.Fatalf("%+v came twice or has another size", message)
			}
			seen[message] = true
		}
	}
}

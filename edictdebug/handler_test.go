package edictdebug_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/auth"
	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/edictdebug"
	"github.com/edict-go/edict/internal/leak"
	"github.com/edict-go/edict/transport"
)

func TestMain(m *testing.M) { leak.Main(m) }

// fake is a server that tells what the test wants.
type fake struct {
	stats edict.ServerStats
	calls []edict.CallSnapshot
	more  int
}

func (f fake) Stats() edict.ServerStats                    { return f.stats }
func (f fake) Calls(limit int) ([]edict.CallSnapshot, int) { return f.calls, f.more }

func get(t *testing.T, server edictdebug.Server, method, target string) *httptest.ResponseRecorder {
	t.Helper()
	recorder := httptest.NewRecorder()
	edictdebug.Handler(server).ServeHTTP(recorder, httptest.NewRequest(method, target, nil))
	return recorder
}

func TestOnlyToBeLookedAt(t *testing.T) {
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW"} {
		if answer := get(t, fake{}, method, "/"); answer.Code != http.StatusMethodNotAllowed || answer.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: %d", method, answer.Code)
		}
	}
	for _, method := range []string{"GET", "HEAD"} {
		for target, contentType := range map[string]string{
			"/": "text/html; charset=utf-8", "/debug/edict/?format=tables": "text/html; charset=utf-8",
			"/?format=json": "application/json", "/debug/edict/json": "application/json",
		} {
			answer := get(t, fake{}, method, target)
			if answer.Code != http.StatusOK || answer.Header().Get("Content-Type") != contentType || answer.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("%s %s: %d %v", method, target, answer.Code, answer.Header())
			}
		}
	}
	if answer := get(t, fake{}, "GET", "/?format=xml"); answer.Code != http.StatusNotFound {
		t.Errorf("%d", answer.Code)
	}
}

// The page needs nothing from elsewhere, and its policy allows nothing but what it has itself.
func TestNothingFromElsewhere(t *testing.T) {
	server := fake{
		stats: edict.ServerStats{
			ServerDetails: edict.ServerDetails{
				Failures:  []edict.Failure{{Code: core.FailureDial}},
				Latencies: map[string]edict.Latency{"a": {Count: 1, Buckets: []core.HistogramBucket{{Below: time.Millisecond, Count: 1}}}},
			},
			Connections: []edict.ConnectionStats{{}},
		},
		calls: []edict.CallSnapshot{{Command: "a"}}, more: 1,
	}
	answer := get(t, server, "GET", "/")
	page, policy := answer.Body.String(), answer.Header().Get("Content-Security-Policy")
	if found := regexp.MustCompile(`(?i)https?:|//[a-z]|@import|url\(|\ssrc=|<link|<iframe| style=| on[a-z]+=`).FindString(page); found != "" {
		t.Errorf("the page has %q", found)
	}
	nonce := regexp.MustCompile(`script-src 'nonce-([A-Z0-9]{20,})'`).FindStringSubmatch(policy)
	if nonce == nil || !strings.HasPrefix(policy, "default-src 'none'") || strings.Count(page, `nonce="`+nonce[1]+`"`) != 2 {
		t.Errorf("policy %q", policy)
	}
	if again := get(t, fake{}, "GET", "/").Header().Get("Content-Security-Policy"); again == policy {
		t.Error("the nonce is the same again")
	}
}

// Names and texts that come from peers and applications are no markup.
func TestEverythingIsEscaped(t *testing.T) {
	const evil = `"'><script>alert(1)</script><img src=x onerror=alert(2)>{{.}}`
	server := fake{
		stats: edict.ServerStats{
			ServerDetails: edict.ServerDetails{
				Name: evil, Now: time.Now(),
				Failures:      []edict.Failure{{Code: evil, Text: evil, Peer: evil, Command: evil}},
				FailureCounts: map[core.FailureCode]uint64{evil: 1},
				Latencies:     map[string]edict.Latency{evil: {Count: 1, Buckets: []core.HistogramBucket{{Below: time.Millisecond, Count: 1}}}},
			},
			Connections: []edict.ConnectionStats{{ServerConnectionDetails: edict.ServerConnectionDetails{ConnectionDetails: edict.ConnectionDetails{
				Address: evil, Name: evil, Scheme: evil, Principal: evil, TLS: evil, Codec: evil, Compression: evil, State: evil,
				LastFailure: &edict.Failure{Code: evil, Text: evil},
			}}}},
		},
		calls: []edict.CallSnapshot{{Command: evil, State: evil, Peer: evil, Sequence: evil}},
	}
	for _, target := range []string{"/", "/?format=tables"} {
		body := get(t, server, "GET", target).Body.String()
		if strings.Contains(body, "<script>") || strings.Contains(body, "<img") || !strings.Contains(body, "&lt;script&gt;") {
			t.Errorf("%s has it as it is", target)
		}
	}
	answer := get(t, server, "GET", "/?format=json")
	if !json.Valid(answer.Body.Bytes()) || strings.Contains(answer.Body.String(), "<script>") {
		t.Error("the JSON has it as it is")
	}
}

// However much there is, the page stays small, and says what it leaves out.
func TestThePageIsBounded(t *testing.T) {
	server := fake{more: 99_900, stats: edict.ServerStats{Away: 4_321, Journal: &edict.JournalSize{Bytes: 3 << 20, Limit: 5 << 20, Records: 1_234}}, calls: make([]edict.CallSnapshot, edict.SnapshotCalls)}
	for n := range 5000 {
		connection := edict.ConnectionStats{InFlight: n}
		connection.Address = fmt.Sprintf("peer-%d.", n)
		server.stats.Connections = append(server.stats.Connections, connection)
		server.stats.Failures = append(server.stats.Failures, edict.Failure{Text: strings.Repeat("f", 500)})
	}
	for target, more := range map[string][]string{
		"/":             {"and 99\u202f900 more", "and 4\u202f900 more", "and 4\u202f950 more", ">5\u202f000<", "peer-4999.", "peer-4900.", ">4\u202f321<", ">3 MiB<", "of 5 MiB", ">1\u202f234<"},
		"/?format=json": {`"more_calls": 99900`, `"more_connections": 4900`, `"more_failures": 4950`, "peer-4999.", "peer-4900."},
	} {
		body := get(t, server, "GET", target).Body.String()
		if len(body) > 300<<10 || strings.Contains(body, "peer-4899.") {
			t.Errorf("%s has %d bytes", target, len(body))
		}
		for _, text := range more {
			if !strings.Contains(body, text) {
				t.Errorf("%s does not have %q", target, text)
			}
		}
	}
}

// receiver is that of the commands of a real server.
type receiver struct{ release chan struct{} }

type hang struct{ Secret string }

func (h hang) Exec(ctx context.Context, r *receiver) (int, error) {
	select {
	case <-r.release:
	case <-ctx.Done():
	}
	return 0, ctx.Err()
}

type refuse struct{ Secret string }

func (refuse) Exec(context.Context, *receiver) (int, error) {
	return 0, edict.Errorf(edict.FailedPrecondition, "the till is locked")
}

// A real server's page shows what it does, and no token nor what commands have in them.
func TestAServersPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		commands := edict.Commands(edict.Unary[hang](), edict.Unary[refuse]())
		tokens, err := auth.StaticTokens(map[string]edict.Principal{"sesame-open": {Name: "alice", Value: "of-value"}})
		if err != nil {
			t.Fatal(err)
		}
		listener := transport.NewMemory()
		server := edict.NewServer(&receiver{release: make(chan struct{})}, commands, edict.WithAuthenticator(tokens),
			edict.WithLatencies(), edict.ServerConfig{Name: "till 7"}, edict.WithLogger(slog.New(slog.DiscardHandler)))
		served := make(chan error, 1)
		go func() { served <- server.Serve(listener) }()
		dial := func(token string) (*edict.Client[*receiver], error) {
			return edict.Dial(t.Context(), "test", commands, edict.WithDialer(listener.Dial), edict.WithToken(token), edict.ClientConfig{Name: "desk"})
		}
		if _, err := dial("wrong-token"); err == nil {
			t.Error("let in with a wrong token")
		}
		client, err := dial("sesame-open")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		if _, err := edict.Start(ctx, client, hang{Secret: "in-a-command"}); err != nil {
			t.Fatal(err)
		}
		_, _ = edict.Call(t.Context(), client, refuse{Secret: "in-a-command"})
		time.Sleep(90 * time.Second) // of the bubble's clock
		for target, texts := range map[string][]string{
			"/": {
				"<title>till 7 · Edict</title>", ">hang<", ">running<", ">1m30s<", ">58m30s<", ">desk<", ">alice <", ">command.failed<",
				"failed precondition: the till is locked", ">auth.refused<", `aria-label="the latencies of refuse"`,
			},
			"/json": {`"command": "hang"`, `"state": "running"`, `"age_ns": 90000000000`, `"principal": "alice"`, `"code": "auth.refused"`},
		} {
			body := get(t, server, "GET", target).Body.String()
			for _, text := range texts {
				if !strings.Contains(body, text) {
					t.Errorf("%s does not have %q", target, text)
				}
			}
			for _, secret := range []string{"sesame-open", "wrong-token", "of-value", "in-a-command"} {
				if strings.Contains(body, secret) {
					t.Errorf("%s has %q", target, secret)
				}
			}
		}
		cancel()
		_ = client.Close()
		if err := server.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		<-served
		if body := get(t, server, "GET", "/").Body.String(); !strings.Contains(body, "shutting down") {
			t.Error("the page does not say that the server shuts down")
		}
	})
}

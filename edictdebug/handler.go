package edictdebug

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/edict-go/edict"
)

const (
	// MaxConnections is how many connections are shown at most, the busiest ones.
	MaxConnections = 100
	// MaxCalls is how many calls in flight are shown at most, the oldest ones.
	MaxCalls = 100
	// MaxFailures is how many failures are shown at most, the last ones.
	MaxFailures = 50
)

// Server is what is looked at: an *edict.Server, or a fake in a test.
type Server interface {
	Stats() edict.ServerStats
	Calls(limit int) (calls []edict.CallStats, more int)
}

// Snapshot is what the page shows, and what it has as JSON.
type Snapshot struct {
	edict.ServerStats
	// MoreConnections, MoreCalls and MoreFailures say how many there are besides those in the lists.
	MoreConnections int               `json:"more_connections"`
	Calls           []edict.CallStats `json:"calls"`
	MoreCalls       int               `json:"more_calls"`
	MoreFailures    int               `json:"more_failures"`
}

// Look returns a snapshot of server whose lists are not too long.
func Look(server Server) Snapshot {
	s := Snapshot{ServerStats: server.Stats()}
	s.Calls, s.MoreCalls = server.Calls(MaxCalls)
	if s.Calls == nil {
		s.Calls = []edict.CallStats{}
	}
	slices.SortStableFunc(s.Connections, func(a, b edict.ConnectionStats) int { return b.InFlight - a.InFlight })
	s.Connections, s.MoreConnections = atMost(s.Connections, MaxConnections)
	s.Failures, s.MoreFailures = atMost(s.Failures, MaxFailures)
	return s
}

func atMost[E any](list []E, limit int) ([]E, int) {
	if len(list) <= limit {
		return list, 0
	}
	return list[:limit], len(list) - limit
}

// Handler returns the page about server, at whatever path it is served. It answers GET and HEAD. Safe for concurrent
// use.
func Handler(server Server) http.Handler { return &page{server} }

type page struct{ server Server }

// ServeHTTP implements http.Handler.
func (p *page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		header.Set("Allow", "GET, HEAD")
		http.Error(w, "this page is to be looked at: GET and HEAD only", http.StatusMethodNotAllowed)
		return
	}
	snapshot := Look(p.server)
	var body bytes.Buffer // so that an error is one, and no half of a page
	var err error
	switch format := r.URL.Query().Get("format"); {
	case format == "json", format == "" && strings.HasSuffix(r.URL.Path, "/json"):
		header.Set("Content-Type", "application/json")
		encoder := json.NewEncoder(&body)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(snapshot)
	case format == "tables":
		header.Set("Content-Type", "text/html; charset=utf-8")
		header.Set("Content-Security-Policy", "default-src 'none'")
		err = templates.ExecuteTemplate(&body, "tables", viewOf(snapshot, ""))
	case format == "":
		nonce := rand.Text()
		header.Set("Content-Type", "text/html; charset=utf-8")
		header.Set("Content-Security-Policy", "default-src 'none'; script-src 'nonce-"+nonce+"'; style-src 'nonce-"+nonce+
			"'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		err = templates.ExecuteTemplate(&body, "page", viewOf(snapshot, nonce))
	default:
		http.Error(w, "no such format: json, or none for the page", http.StatusNotFound)
		return
	}
	if err != nil {
		http.Error(w, "the page could not be made", http.StatusInternalServerError)
		return
	}
	_, _ = w.Write(body.Bytes()) // an error means that nobody looks any more
}

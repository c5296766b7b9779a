package edictdebug

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/edict-go/edict"
)

// Server is what is looked at: an *edict.Server, or a fake in a test.
type Server = edict.Observable

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
	snapshot := edict.Look(p.server)
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

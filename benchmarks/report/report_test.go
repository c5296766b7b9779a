package report

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"flag"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files")

// example is a run of two rounds with a limit, two peers, and one peer that is left out.
func example() Run {
	closed := Cell{Workload: "closed", InFlight: 16, Conns: 1, Payload: 128, Primary: OpsPerSecond}
	wide := closed
	wide.InFlight = 256
	idle := Cell{Workload: "idle", Conns: 1000, Separate: true, Primary: ServerBytesPerConn}
	run := Run{
		Environment: Environment{
			Command: "go run ./benchmarks -count 2", Started: time.Date(2026, 11, 20, 16, 0, 0, 0, time.UTC),
			Go: "go1.26", System: "linux/amd64", Processor: "a processor", Processors: 2, GOMAXPROCS: 2,
			Warmup: "500ms", Duration: "2s", Rounds: 2,
		},
		Peers: []Peer{
			{Name: "raw", About: "the limit", Limit: true},
			{Name: "edict-mus", About: "Edict with MUS"},
			{Name: "grpc", About: "gRPC", Version: "v1.85.0"},
		},
		LeftOut: []LeftOut{{Peer: "netrpc", Where: "stream", Reason: "no <streams>"}},
	}
	for _, cell := range []Cell{closed, wide} {
		for round, values := range [][3]float64{{1000, 800, 100}, {2000, 1200, 100}} {
			for i, p := range run.Peers {
				run.Samples = append(run.Samples, Sample{Peer: p.Name, Cell: cell, Round: round, Figures: map[Figure]float64{
					OpsPerSecond: values[i], P50: 1e6 / values[i], P99: 2e6 / values[i], Max: 9e6 / values[i],
					BytesPerOp: float64(128 * i), AllocsPerOp: float64(i),
				}})
			}
		}
	}
	run.Samples = append(run.Samples, Sample{
		Peer: "grpc", Cell: idle, Figures: map[Figure]float64{ServerBytesPerConn: 20480, ClientBytesPerConn: 30720},
	})
	return run
}

func TestFormats(t *testing.T) {
	for _, format := range []Format{Table, JSON, CSV, Markdown, Benchstat} {
		t.Run(string(format), func(t *testing.T) {
			var out bytes.Buffer
			if err := format.Write(&out, example()); err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", string(format)+".golden")
			if *update {
				if err := os.WriteFile(golden, out.Bytes(), 0o666); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(out.Bytes(), want) {
				t.Errorf("differs from %s, which -update rewrites:\n%s", golden, out.String())
			}
		})
	}
}

func TestJSONRowsHaveWhatReadersCountOn(t *testing.T) {
	var out bytes.Buffer
	if err := JSON.Write(&out, example()); err != nil {
		t.Fatal(err)
	}
	var rows []map[string]any
	if err := json.Unmarshal(out.Bytes(), &rows); err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		for _, key := range []string{
			"peer", "workload", "inflight", "conns", "payload", "ops_per_s", "p50_us", "p99_us", "bytes_per_op",
			"allocs_per_op", "ratio_to_raw",
		} {
			if _, found := row[key]; !found {
				t.Errorf("%v/%v has no %s", row["peer"], row["workload"], key)
			}
		}
	}
	// Two rounds: 800 of 1000 and 1200 of 2000.
	if ratio := rows[1]["ratio_to_raw"]; rows[1]["peer"] != "edict-mus" || ratio != 0.7 {
		t.Errorf("ratio of %v is %v, not 0.7", rows[1]["peer"], ratio)
	}
}

func TestCSVIsRectangular(t *testing.T) {
	var out bytes.Buffer
	if err := CSV.Write(&out, example()); err != nil {
		t.Fatal(err)
	}
	if _, err := csv.NewReader(&out).ReadAll(); err != nil {
		t.Fatal(err) // the reader wants the same number of fields everywhere
	}
}

func TestDirectory(t *testing.T) {
	directory := filepath.Join(t.TempDir(), "report")
	run := example()
	if err := WriteDirectory(directory, run); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(directory, "index.html"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(content)
	for _, wanted := range []string{"<svg", "edict-mus", "v1.85.0", "no &lt;streams&gt;", run.Environment.Command} {
		if !strings.Contains(text, wanted) {
			t.Errorf("the page doesn't contain %q", wanted)
		}
	}
	for _, outside := range []string{"<script", "<link", " src=", "@import", "url(http"} {
		if strings.Contains(text, outside) {
			t.Errorf("the page contains %q", outside)
		}
	}
	pictures, err := filepath.Glob(filepath.Join(directory, "pictures", "*.png"))
	if err != nil || len(pictures) == 0 {
		t.Fatalf("no pictures, error %v", err)
	}
	for _, name := range pictures {
		file, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := png.Decode(file); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		file.Close()
	}
	var data struct {
		Environment Environment
		Rows        []map[string]any
		LeftOut     []LeftOut `json:"left_out"`
	}
	encoded, err := os.ReadFile(filepath.Join(directory, "results.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(encoded, &data); err != nil {
		t.Fatal(err)
	}
	if data.Environment != run.Environment || len(data.Rows) != 7 || len(data.LeftOut) != 1 {
		t.Errorf("data has environment %+v, %d rows, left out %v", data.Environment, len(data.Rows), data.LeftOut)
	}
}

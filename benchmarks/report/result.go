package report

import (
	"fmt"
	"strings"
	"time"
)

// Cell is one point of a run: a workload and its parameters. A parameter that a workload doesn't
// have is zero.
type Cell struct {
	Workload string
	InFlight int
	Conns    int
	Payload  int // bytes of the message's text, or of one result of a stream
	Rate     int // arrivals per second
	Results  int // of one stream
	TLS      bool
	Separate bool

	// Primary is the figure that the cell is about.
	Primary Figure
}

// String is the cell as a heading.
func (c Cell) String() string {
	parts := []string{c.Workload}
	add := func(value int, format string) {
		if value > 0 {
			parts = append(parts, fmt.Sprintf(format, value))
		}
	}
	add(c.InFlight, "%d in flight")
	add(c.Rate, "%d arrivals/s")
	add(c.Conns, "%d conns")
	add(c.Results, "%d results")
	add(c.Payload, "%d bytes")
	if c.Conns == 1 {
		for i := range parts {
			parts[i] = strings.Replace(parts[i], "1 conns", "1 conn", 1)
		}
	}
	if c.TLS {
		parts = append(parts, "TLS")
	}
	if c.Separate {
		parts = append(parts, "two processes")
	}
	return strings.Join(parts, ", ")
}

// Sample is one peer in one cell in one round.
type Sample struct {
	Peer    string
	Cell    Cell
	Round   int
	Figures map[Figure]float64
}

// LeftOut is a peer that isn't in a workload, or failed in a cell, and why.
type LeftOut struct {
	Peer   string `json:"peer"`
	Where  string `json:"where"`
	Reason string `json:"reason"`
}

// Peer is what a report says about a peer.
type Peer struct {
	Name    string `json:"name"`
	About   string `json:"about"`
	Version string `json:"version,omitempty"`
	Limit   bool   `json:"limit,omitempty"`
}

// Environment is where and how a run was made.
type Environment struct {
	Command    string    `json:"command"`
	Started    time.Time `json:"started"`
	Go         string    `json:"go"`
	System     string    `json:"system"`
	Processor  string    `json:"processor"`
	Processors int       `json:"processors"`
	GOMAXPROCS int       `json:"gomaxprocs"`
	Warmup     string    `json:"warmup"`
	Duration   string    `json:"duration"`
	Rounds     int       `json:"rounds"`
}

// Run is everything a run has found out.
type Run struct {
	Environment Environment `json:"environment"`
	Peers       []Peer      `json:"peers"`
	Samples     []Sample    `json:"-"`
	LeftOut     []LeftOut   `json:"left_out"`
}

// Baseline is what ratios are to.
type Baseline string

// A row has ratios to the baselines that its cell has. Best is the peer with the best median of the
// figure in question, limits aside.
const (
	Raw  Baseline = "raw"
	Copy Baseline = "copy"
	Best Baseline = "best"
)

// Baselines lists every baseline in the order of columns.
var Baselines = []Baseline{Raw, Copy, Best}

// Row is one peer in one cell over all rounds.
type Row struct {
	Peer    Peer
	Cell    Cell
	Rounds  int
	Figures map[Figure]Spread
	Ratios  map[Baseline]map[Figure]Spread
	Samples map[Figure][]float64 // by round
}

// Rows summarizes the samples, in the order in which cells and peers first appear.
func (r Run) Rows() []Row {
	type key struct {
		peer string
		cell Cell
	}
	limits := make(map[string]bool)
	peers := make(map[string]Peer)
	for _, p := range r.Peers {
		peers[p.Name], limits[p.Name] = p, p.Limit
	}
	byRound := make(map[key]map[Figure]map[int]float64)
	var order []key
	inCell := make(map[Cell][]string)
	var cells []Cell
	for _, sample := range r.Samples {
		at := key{sample.Peer, sample.Cell}
		if byRound[at] == nil {
			byRound[at] = make(map[Figure]map[int]float64)
			if inCell[sample.Cell] == nil {
				cells = append(cells, sample.Cell)
			}
			inCell[sample.Cell] = append(inCell[sample.Cell], sample.Peer)
		}
		for figure, value := range sample.Figures {
			if byRound[at][figure] == nil {
				byRound[at][figure] = make(map[int]float64)
			}
			byRound[at][figure][sample.Round] = value
		}
	}
	for _, cell := range cells {
		for _, p := range r.Peers {
			if byRound[key{p.Name, cell}] != nil {
				order = append(order, key{p.Name, cell})
			}
		}
	}

	rows := make([]Row, 0, len(order))
	for _, at := range order {
		row := Row{
			Peer: peers[at.peer], Cell: at.cell,
			Figures: make(map[Figure]Spread),
			Ratios:  make(map[Baseline]map[Figure]Spread),
			Samples: make(map[Figure][]float64),
		}
		for figure, values := range byRound[at] {
			row.Samples[figure] = inOrder(values)
			row.Figures[figure] = Summarize(row.Samples[figure])
			row.Rounds = max(row.Rounds, len(values))
			for _, baseline := range Baselines {
				divisor := string(baseline)
				if baseline == Best {
					divisor = best(figure, inCell[at.cell], limits, func(name string) map[int]float64 {
						return byRound[key{name, at.cell}][figure]
					})
				}
				if quotients := ratios(values, byRound[key{divisor, at.cell}][figure]); len(quotients) > 0 {
					if row.Ratios[baseline] == nil {
						row.Ratios[baseline] = make(map[Figure]Spread)
					}
					row.Ratios[baseline][figure] = Summarize(quotients)
				}
			}
		}
		rows = append(rows, row)
	}
	return rows
}

func inOrder(values map[int]float64) []float64 {
	ones := make(map[int]float64, len(values))
	for round := range values {
		ones[round] = 1
	}
	return ratios(values, ones)
}

// best returns the name of the peer with the best median of figure; empty if there is none.
func best(figure Figure, names []string, limits map[string]bool, values func(string) map[int]float64) string {
	name, median := "", 0.0
	for _, candidate := range names {
		measured := values(candidate)
		if limits[candidate] || len(measured) == 0 {
			continue
		}
		found := Summarize(inOrder(measured)).Median
		if name == "" || found > median == info(figure).Higher && found != median {
			name, median = candidate, found
		}
	}
	return name
}

// Ratio returns the ratio of the cell's primary figure to a baseline, if there is one.
func (r Row) Ratio(baseline Baseline) (Spread, bool) {
	spread, found := r.Ratios[baseline][r.Cell.Primary]
	return spread, found
}

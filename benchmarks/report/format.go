package report

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"golang.org/x/perf/benchfmt"
	"golang.org/x/perf/benchunit"
)

// Format is how a run is written.
type Format string

// The formats.
const (
	Table     Format = "table"
	JSON      Format = "json"
	CSV       Format = "csv"
	Markdown  Format = "markdown"
	Benchstat Format = "benchstat"
)

// UnmarshalText accepts the names of formats.
func (f *Format) UnmarshalText(text []byte) error {
	known := []Format{Table, JSON, CSV, Markdown, Benchstat}
	if !slices.Contains(known, Format(text)) {
		return fmt.Errorf("%q is none of %v", text, known)
	}
	*f = Format(text)
	return nil
}

// MarshalText is the format's name.
func (f Format) MarshalText() ([]byte, error) { return []byte(f), nil }

// Write writes run to out.
func (f Format) Write(out io.Writer, run Run) error {
	switch f {
	case JSON:
		return writeJSON(out, run.Rows())
	case CSV:
		return writeCSV(out, run.Rows())
	case Markdown:
		return writeMarkdown(out, run)
	case Benchstat:
		return writeBenchstat(out, run)
	default:
		return writeTable(out, run)
	}
}

// Number formats a value for people: three digits that count, thousands apart.
func Number(value float64) string {
	switch size := math.Abs(value); {
	case math.IsNaN(value) || math.IsInf(value, 0):
		return "-"
	case size == 0:
		return "0"
	case size < 1:
		return strconv.FormatFloat(value, 'f', 3, 64)
	case size < 10:
		return strconv.FormatFloat(value, 'f', 2, 64)
	case size < 100:
		return strconv.FormatFloat(value, 'f', 1, 64)
	}
	digits := strconv.FormatFloat(math.Abs(value), 'f', 0, 64)
	var parts []string
	for len(digits) > 3 {
		parts = append([]string{digits[len(digits)-3:]}, parts...)
		digits = digits[:len(digits)-3]
	}
	result := strings.Join(append([]string{digits}, parts...), ",")
	if value < 0 {
		return "-" + result
	}
	return result
}

// ratioText is a median with its spread, if rounds differ.
func ratioText(spread Spread) string {
	text := fmt.Sprintf("%.2f", spread.Median)
	if spread.Min != spread.Max {
		text += fmt.Sprintf(" (%.2f to %.2f)", spread.Min, spread.Max)
	}
	return text
}

// section is a cell with its rows, the best first.
type section struct {
	Cell Cell
	Rows []Row
}

func sections(rows []Row) []section {
	var all []section
	for _, row := range rows {
		if len(all) == 0 || all[len(all)-1].Cell != row.Cell {
			all = append(all, section{Cell: row.Cell})
		}
		last := &all[len(all)-1]
		last.Rows = append(last.Rows, row)
	}
	for _, s := range all {
		slices.SortStableFunc(s.Rows, func(a, b Row) int {
			first, second := a.Figures[s.Cell.Primary].Median, b.Figures[s.Cell.Primary].Median
			if info(s.Cell.Primary).Higher {
				first, second = second, first
			}
			switch {
			case first < second:
				return -1
			case first > second:
				return 1
			}
			return 0
		})
	}
	return all
}

// columns is a section as text: a head and a line per row. Figures and baselines that no row has are
// left out.
func (s section) columns() (head []string, lines [][]string) {
	head = []string{"peer"}
	var figures []FigureInfo
	for _, figure := range Figures {
		if slices.ContainsFunc(s.Rows, func(row Row) bool { _, found := row.Figures[figure.Figure]; return found }) {
			figures = append(figures, figure)
		}
	}
	var baselines []Baseline
	for _, baseline := range Baselines {
		if slices.ContainsFunc(s.Rows, func(row Row) bool { _, found := row.Ratio(baseline); return found }) {
			baselines = append(baselines, baseline)
		}
	}
	for _, baseline := range baselines {
		head = append(head, "to "+string(baseline))
	}
	for _, figure := range figures {
		head = append(head, figure.Title)
	}
	for _, row := range s.Rows {
		line := []string{row.Peer.Name}
		for _, baseline := range baselines {
			if ratio, found := row.Ratio(baseline); found {
				line = append(line, ratioText(ratio))
			} else {
				line = append(line, "-")
			}
		}
		for _, figure := range figures {
			if spread, found := row.Figures[figure.Figure]; found {
				line = append(line, Number(spread.Median))
			} else {
				line = append(line, "-")
			}
		}
		lines = append(lines, line)
	}
	return head, lines
}

// caption says what a section's ratios are of.
func (s section) caption() string {
	return fmt.Sprintf("%v (ratios are of %s)", s.Cell, info(s.Cell.Primary).Title)
}

func writeTable(out io.Writer, run Run) error {
	var buffer bytes.Buffer
	for i, s := range sections(run.Rows()) {
		if i > 0 {
			buffer.WriteByte('\n')
		}
		fmt.Fprintln(&buffer, s.caption())
		aligned := tabwriter.NewWriter(&buffer, 0, 0, 2, ' ', tabwriter.AlignRight)
		head, lines := s.columns()
		for _, line := range append([][]string{head}, lines...) {
			fmt.Fprintln(aligned, strings.Join(line, "\t")+"\t")
		}
		if err := aligned.Flush(); err != nil {
			return err
		}
	}
	_, err := buffer.WriteTo(out)
	return err
}

func writeMarkdown(out io.Writer, run Run) error {
	var buffer bytes.Buffer
	for i, s := range sections(run.Rows()) {
		if i > 0 {
			buffer.WriteByte('\n')
		}
		fmt.Fprintf(&buffer, "### %s\n\n", s.caption())
		head, lines := s.columns()
		fmt.Fprintf(&buffer, "| %s |\n|---%s|\n", strings.Join(head, " | "), strings.Repeat("|---:", len(head)-1))
		for _, line := range lines {
			fmt.Fprintf(&buffer, "| %s |\n", strings.Join(line, " | "))
		}
	}
	if len(run.LeftOut) > 0 {
		fmt.Fprint(&buffer, "\nLeft out:\n\n")
		for _, left := range run.LeftOut {
			fmt.Fprintf(&buffer, "- %s in %s: %s\n", left.Peer, left.Where, left.Reason)
		}
	}
	_, err := buffer.WriteTo(out)
	return err
}

// MarshalJSON is the row as one flat object: what it is about, every figure's median, the ratios of
// the primary figure, and below them spreads, all ratios, and the rounds.
func (r Row) MarshalJSON() ([]byte, error) {
	var object objectWriter
	object.add("peer", r.Peer.Name)
	object.add("version", r.Peer.Version)
	object.add("workload", r.Cell.Workload)
	object.add("inflight", r.Cell.InFlight)
	object.add("conns", r.Cell.Conns)
	object.add("payload", r.Cell.Payload)
	object.add("rate", r.Cell.Rate)
	object.add("results", r.Cell.Results)
	object.add("tls", r.Cell.TLS)
	object.add("separate", r.Cell.Separate)
	object.add("rounds", r.Rounds)
	for _, figure := range Figures {
		spread, found := r.Figures[figure.Figure]
		switch {
		case found:
			object.add(string(figure.Figure), spread.Median)
		case slices.Contains(alwaysPresent, figure.Figure):
			object.add(string(figure.Figure), nil)
		}
	}
	object.add("primary", r.Cell.Primary)
	for _, baseline := range Baselines {
		if ratio, found := r.Ratio(baseline); found {
			object.add("ratio_to_"+string(baseline), ratio.Median)
		} else {
			object.add("ratio_to_"+string(baseline), nil)
		}
	}
	object.add("spread", r.Figures)
	object.add("ratios", r.Ratios)
	object.add("samples", r.Samples)
	return object.finish()
}

// alwaysPresent are null where they weren't measured, so that every row can be read alike.
var alwaysPresent = []Figure{OpsPerSecond, P50, P99, BytesPerOp, AllocsPerOp}

// objectWriter builds a JSON object whose fields keep their order.
type objectWriter struct {
	buffer bytes.Buffer
	err    error
}

func (w *objectWriter) add(name string, value any) {
	encoded, err := json.Marshal(value)
	if err != nil && w.err == nil {
		w.err = fmt.Errorf("%s: %w", name, err)
	}
	separator := ","
	if w.buffer.Len() == 0 {
		separator = "{"
	}
	fmt.Fprintf(&w.buffer, "%s%q:%s", separator, name, encoded)
}

func (w *objectWriter) finish() ([]byte, error) {
	w.buffer.WriteByte('}')
	return w.buffer.Bytes(), w.err
}

func writeJSON(out io.Writer, rows []Row) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(rows)
}

func writeCSV(out io.Writer, rows []Row) error {
	writer := csv.NewWriter(out)
	head := []string{"peer", "version", "workload", "inflight", "conns", "payload", "rate", "results", "tls", "separate", "rounds"}
	for _, figure := range Figures {
		head = append(head, string(figure.Figure), string(figure.Figure)+"_min", string(figure.Figure)+"_max")
	}
	head = append(head, "primary")
	for _, baseline := range Baselines {
		name := "ratio_to_" + string(baseline)
		head = append(head, name, name+"_min", name+"_max")
	}
	if err := writer.Write(head); err != nil {
		return err
	}
	for _, row := range rows {
		cell := row.Cell
		line := []string{row.Peer.Name, row.Peer.Version, cell.Workload}
		for _, value := range []int{cell.InFlight, cell.Conns, cell.Payload, cell.Rate, cell.Results} {
			line = append(line, strconv.Itoa(value))
		}
		line = append(line, strconv.FormatBool(cell.TLS), strconv.FormatBool(cell.Separate), strconv.Itoa(row.Rounds))
		for _, figure := range Figures {
			line = appendSpread(line, row.Figures, figure.Figure)
		}
		line = append(line, string(cell.Primary))
		for _, baseline := range Baselines {
			line = appendSpread(line, row.Ratios[baseline], cell.Primary)
		}
		if err := writer.Write(line); err != nil {
			return err
		}
	}
	writer.Flush()
	return writer.Error()
}

func appendSpread(line []string, spreads map[Figure]Spread, figure Figure) []string {
	spread, found := spreads[figure]
	if !found {
		return append(line, "", "", "")
	}
	for _, value := range []float64{spread.Median, spread.Min, spread.Max} {
		line = append(line, strconv.FormatFloat(value, 'g', -1, 64))
	}
	return line
}

// writeBenchstat writes a line per sample in the format of the testing package, so that benchstat can
// compare runs, or peers with -col /peer.
func writeBenchstat(out io.Writer, run Run) error {
	writer := benchfmt.NewWriter(out)
	for _, sample := range run.Samples {
		cell := sample.Cell
		name := strings.ToUpper(cell.Workload[:1]) + cell.Workload[1:]
		parameter := func(key string, value int) {
			if value > 0 {
				name += fmt.Sprintf("/%s=%d", key, value)
			}
		}
		parameter("inflight", cell.InFlight)
		parameter("rate", cell.Rate)
		parameter("conns", cell.Conns)
		parameter("results", cell.Results)
		parameter("payload", cell.Payload)
		name += fmt.Sprintf("/tls=%t/separate=%t/peer=%s", cell.TLS, cell.Separate, sample.Peer)
		result := &benchfmt.Result{Name: benchfmt.Name(name), Iters: 1}
		if rate, found := sample.Figures[OpsPerSecond]; found {
			result.Values = append(result.Values, benchfmt.Value{Value: 1e9 / rate, Unit: "ns/op"})
		}
		for _, figure := range Figures {
			if value, found := sample.Figures[figure.Figure]; found {
				result.Values = append(result.Values, benchfmt.Value{Value: value, Unit: benchstatUnit(figure.Figure)})
			}
		}
		for i := range result.Values {
			// benchfmt keeps values in base units and wants to know what they were.
			value := &result.Values[i]
			tidied, unit := benchunit.Tidy(value.Value, value.Unit)
			value.OrigValue, value.OrigUnit = value.Value, value.Unit
			value.Value, value.Unit = tidied, unit
		}
		if err := writer.Write(result); err != nil {
			return err
		}
	}
	return nil
}

func benchstatUnit(figure Figure) string {
	switch figure {
	case OpsPerSecond:
		return "ops/s"
	case BytesPerOp:
		return "B/op"
	case AllocsPerOp:
		return "allocs/op"
	case MegabytesPerSecond:
		return "MB/s"
	}
	return strings.ReplaceAll(string(figure), "_", "-")
}

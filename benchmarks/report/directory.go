package report

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

//go:embed page.html
var pageSource string

var pageTemplate = template.Must(template.New("page").Parse(pageSource))

// page is what page.html shows.
type page struct {
	Run       Run
	Overviews []template.HTML
	Sections  []pageSection
}

type pageSection struct {
	ID, Title string
	Charts    []template.HTML
	Head      []string
	Lines     [][]string
}

// WriteDirectory writes a report into directory, which it makes: index.html, which needs nothing
// else, the same charts as pictures/*.svg and *.png, and the data as results.json, results.csv and
// benchstat.txt. It overwrites what has these names, and leaves everything else.
func WriteDirectory(directory string, run Run) error {
	pictures := filepath.Join(directory, "pictures")
	if err := os.MkdirAll(pictures, 0o777); err != nil {
		return err
	}
	rows := run.Rows()
	colours := newPalette(run.Peers)
	content := page{Run: run}
	include := func(c chart, err error) (template.HTML, error) {
		if err != nil {
			return "", err
		}
		drawing, err := save(c, pictures)
		if err != nil {
			return "", fmt.Errorf("%s: %w", c.name, err)
		}
		return drawing, nil
	}

	for _, group := range overviewGroups(rows) {
		drawing, err := include(overview(group.name, group.title, group.rows, colours))
		if err != nil {
			return err
		}
		content.Overviews = append(content.Overviews, drawing)
	}
	for _, s := range sections(rows) {
		name := fileName(s.Cell.String())
		shown := pageSection{ID: name, Title: s.Cell.String()}
		shown.Head, shown.Lines = s.columns()
		for _, figure := range chartFigures(s) {
			title := fmt.Sprintf("%v: %s", s.Cell, info(figure).Title)
			drawing, err := include(bars(name+"-"+fileName(string(figure)), title, figure, s.Rows, colours))
			if err != nil {
				return err
			}
			shown.Charts = append(shown.Charts, drawing)
		}
		if s.has(P50) {
			drawing, err := include(latencies(name+"-latency", s.Cell.String()+": latency", s.Rows, colours))
			if err != nil {
				return err
			}
			shown.Charts = append(shown.Charts, drawing)
		}
		content.Sections = append(content.Sections, shown)
	}
	return writeFiles(directory, run, rows, content)
}

func writeFiles(directory string, run Run, rows []Row, content page) error {
	write := func(name string, fill func(*os.File) error) error {
		file, err := os.Create(filepath.Join(directory, name))
		if err != nil {
			return err
		}
		if err := fill(file); err != nil {
			file.Close() //nolint:errcheck // the first error counts
			return fmt.Errorf("%s: %w", name, err)
		}
		return file.Close()
	}
	if err := write("index.html", func(file *os.File) error { return pageTemplate.Execute(file, content) }); err != nil {
		return err
	}
	if err := write("results.json", func(file *os.File) error {
		encoder := json.NewEncoder(file)
		encoder.SetIndent("", "  ")
		return encoder.Encode(struct {
			Run
			Rows []Row `json:"rows"`
		}{run, rows})
	}); err != nil {
		return err
	}
	for name, format := range map[string]Format{"results.csv": CSV, "benchstat.txt": Benchstat, "results.md": Markdown} {
		if err := write(name, func(file *os.File) error { return format.Write(file, run) }); err != nil {
			return err
		}
	}
	return nil
}

// save writes a chart's two pictures and returns it for the page.
func save(c chart, directory string) (template.HTML, error) {
	var drawing []byte
	for _, format := range []string{"png", "svg"} {
		picture, err := c.render(format)
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(directory, c.name+"."+format), picture, 0o666); err != nil {
			return "", err
		}
		drawing = picture
	}
	// Within a page, a drawing begins with its svg element. It is ours, so it needs no escaping.
	text := string(drawing)
	if start := strings.Index(text, "<svg"); start >= 0 {
		text = text[start:]
	}
	return template.HTML(text), nil
}

// fileName makes a name of small letters, digits and dashes.
func fileName(text string) string {
	words := strings.FieldsFunc(strings.ToLower(text), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
	return strings.Join(words, "-")
}

func (s section) has(figure Figure) bool {
	return slices.ContainsFunc(s.Rows, func(row Row) bool { _, found := row.Figures[figure]; return found })
}

// chartFigures are the figures of a section that get a chart of bars.
func chartFigures(s section) []Figure {
	figures := []Figure{s.Cell.Primary}
	for _, figure := range []Figure{OpsPerSecond, MegabytesPerSecond, ClientBytesPerConn, CPUSecondsPerMillion, AllocsPerOp} {
		if !slices.Contains(figures, figure) && s.has(figure) {
			figures = append(figures, figure)
		}
	}
	return figures
}

type overviewGroup struct {
	name, title string
	rows        []Row
}

// overviewGroups are the rows whose cells differ in calls in flight only, where there are several.
func overviewGroups(rows []Row) []overviewGroup {
	var keys []Cell
	groups := make(map[Cell][]Row)
	for _, row := range rows {
		key := row.Cell
		key.InFlight = 0
		if row.Cell.InFlight == 0 || key.Primary != OpsPerSecond {
			continue
		}
		if groups[key] == nil {
			keys = append(keys, key)
		}
		groups[key] = append(groups[key], row)
	}
	var result []overviewGroup
	for _, key := range keys {
		first := groups[key][0].Cell.InFlight
		if slices.ContainsFunc(groups[key], func(row Row) bool { return row.Cell.InFlight != first }) {
			title := key.String() + ": throughput"
			result = append(result, overviewGroup{"overview-" + fileName(key.String()), title, groups[key]})
		}
	}
	return result
}

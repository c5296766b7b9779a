package report

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// chart is a picture and its size.
type chart struct {
	name          string // of its file
	title         string
	plot          *plot.Plot
	width, height vg.Length
}

// render returns the chart in a format that gonum knows: svg or png.
func (c chart) render(format string) ([]byte, error) {
	canvas, err := draw.NewFormattedCanvas(c.width, c.height, format)
	if err != nil {
		return nil, err
	}
	whole := draw.New(canvas)
	whole.SetColor(color.White)
	whole.Fill(whole.Rectangle.Path())
	margin := vg.Points(8)
	c.plot.Draw(draw.Crop(whole, margin, -margin, margin, -margin))
	var buffer bytes.Buffer
	_, err = canvas.WriteTo(&buffer)
	return buffer.Bytes(), err
}

const (
	chartWidth = 640
	rowHeight  = 24
	headHeight = 88
	textSize   = 11
)

var (
	ink      = color.RGBA{R: 0x1f, G: 0x29, B: 0x37, A: 0xff}
	paleInk  = color.RGBA{R: 0x6b, G: 0x72, B: 0x80, A: 0xff}
	gridInk  = color.RGBA{R: 0xe5, G: 0xe7, B: 0xeb, A: 0xff}
	limitInk = color.RGBA{R: 0x9c, G: 0xa3, B: 0xaf, A: 0xff}

	// ours is for this repository's peers, others for the rest, in the order of the run.
	ours = []color.RGBA{
		{R: 0x0f, G: 0x76, B: 0x6e, A: 0xff},
		{R: 0x14, G: 0xb8, B: 0xa6, A: 0xff},
		{R: 0x22, G: 0xc5, B: 0x5e, A: 0xff},
		{R: 0x65, G: 0xa3, B: 0x0d, A: 0xff},
	}
	others = []color.RGBA{
		{R: 0x63, G: 0x66, B: 0xf1, A: 0xff},
		{R: 0xf9, G: 0x73, B: 0x16, A: 0xff},
		{R: 0xec, G: 0x48, B: 0x99, A: 0xff},
		{R: 0xea, G: 0xb3, B: 0x08, A: 0xff},
		{R: 0x8b, G: 0x5c, B: 0xf6, A: 0xff},
		{R: 0x0e, G: 0xa5, B: 0xe9, A: 0xff},
		{R: 0xdc, G: 0x26, B: 0x26, A: 0xff},
		{R: 0xa1, G: 0x62, B: 0x07, A: 0xff},
		{R: 0xc0, G: 0x26, B: 0xd3, A: 0xff},
		{R: 0x47, G: 0x55, B: 0x69, A: 0xff},
	}
)

// palette gives every peer of a run one colour for all charts.
type palette map[string]color.RGBA

func newPalette(peers []Peer) palette {
	colours := make(palette)
	ourCount, otherCount := 0, 0
	for _, p := range peers {
		switch {
		case p.Limit:
			colours[p.Name] = limitInk
		case strings.HasPrefix(p.Name, "edict"):
			colours[p.Name] = ours[ourCount%len(ours)]
			ourCount++
		default:
			colours[p.Name] = others[otherCount%len(others)]
			otherCount++
		}
	}
	return colours
}

func newPlot(title, axis string) *plot.Plot {
	p := plot.New()
	p.Title.Text = title
	p.Title.Padding = vg.Points(8)
	p.Title.TextStyle.Font = sans(13)
	p.Title.TextStyle.Color = ink
	p.X.Label.Text = axis
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Label.TextStyle.Font = sans(textSize)
		a.Label.TextStyle.Color = paleInk
		a.Label.Padding = vg.Points(4)
		a.Tick.Label.Font = sans(textSize)
		a.Tick.Label.Color = ink
		a.Tick.LineStyle.Color = gridInk
		a.LineStyle.Color = gridInk
	}
	p.X.Tick.Marker = plot.TickerFunc(func(low, high float64) []plot.Tick {
		return readable(plot.DefaultTicks{}.Ticks(low, high))
	})
	return p
}

// sans is a face that comes with the chart library.
func sans(size vg.Length) font.Font {
	return font.From(font.Font{Typeface: "Liberation", Variant: "Sans"}, size)
}

// readable writes numbers as people do: 250k rather than 250000.
func readable(ticks []plot.Tick) []plot.Tick {
	for i := range ticks {
		if ticks[i].Label != "" {
			ticks[i].Label = short(ticks[i].Value)
		}
	}
	return ticks
}

func short(value float64) string {
	for _, unit := range []struct {
		size float64
		name string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if value >= unit.size {
			return strings.TrimSuffix(fmt.Sprintf("%.3g", value/unit.size), ".0") + unit.name
		}
	}
	return fmt.Sprintf("%.3g", value)
}

// named puts the rows' peers on the Y axis, the first row on top.
func named(p *plot.Plot, rows []Row) {
	ticks := make(plot.ConstantTicks, len(rows))
	for i, row := range rows {
		ticks[i] = plot.Tick{Value: position(rows, i), Label: row.Peer.Name}
	}
	p.Y.Tick.Marker = ticks
	p.Y.Tick.Length = 0
	p.Y.LineStyle.Width = 0
	p.Y.Padding = vg.Points(4)
	p.Y.Min, p.Y.Max = -0.6, float64(len(rows))-0.4
}

func position(rows []Row, i int) float64 { return float64(len(rows) - 1 - i) }

func height(rows []Row) vg.Length { return vg.Points(float64(headHeight + rowHeight*len(rows))) }

// bars is a bar per row with the spread over the rounds, the value, and the ratio to a baseline.
func bars(name, title string, figure Figure, rows []Row, colours palette) (chart, error) {
	p := newPlot(title, info(figure).Long)
	grid := plotter.NewGrid()
	grid.Horizontal.Width = 0
	grid.Vertical.Color = gridInk
	p.Add(grid)
	largest := 0.0
	var labels plotter.XYLabels
	for i, row := range rows {
		spread, found := row.Figures[figure]
		if !found {
			continue
		}
		bar, err := plotter.NewBarChart(plotter.Values{spread.Median}, vg.Points(rowHeight*0.66))
		if err != nil {
			return chart{}, err
		}
		bar.Horizontal = true
		bar.XMin = position(rows, i)
		bar.Color = colours[row.Peer.Name]
		bar.LineStyle.Width = 0
		whisker, err := plotter.NewXErrorBars(rangeAt{spread, position(rows, i)})
		if err != nil {
			return chart{}, err
		}
		whisker.LineStyle.Color = ink
		whisker.CapWidth = vg.Points(5)
		p.Add(bar, whisker)
		largest = max(largest, spread.Max)
		labels.XYs = append(labels.XYs, plotter.XY{X: spread.Max, Y: position(rows, i)})
		labels.Labels = append(labels.Labels, barText(row, figure, spread))
	}
	text, err := plotter.NewLabels(labels)
	if err != nil {
		return chart{}, err
	}
	for i := range text.TextStyle {
		text.TextStyle[i].Font = sans(textSize)
		text.TextStyle[i].Color = ink
		text.TextStyle[i].YAlign = draw.YCenter
	}
	text.Offset = vg.Point{X: vg.Points(6), Y: vg.Points(1)}
	p.Add(text)
	named(p, rows)
	// Room for the longest bar's text.
	p.X.Min, p.X.Max = 0, max(largest*1.3, 1e-9)
	return chart{name, title, p, vg.Points(chartWidth), height(rows)}, nil
}

func barText(row Row, figure Figure, spread Spread) string {
	text := short(spread.Median)
	for _, baseline := range []Baseline{Raw, Copy} {
		ratio, found := row.Ratios[baseline][figure]
		if found && row.Peer.Name != string(baseline) {
			if ratio.Median < 2 {
				text += fmt.Sprintf("  (%.2f of %s)", ratio.Median, baseline)
			} else {
				text += fmt.Sprintf("  (%s times %s)", short(ratio.Median), baseline)
			}
			break
		}
	}
	return text
}

// rangeAt is a spread at a height, as the whisker's plotter wants it.
type rangeAt struct {
	spread Spread
	height float64
}

func (r rangeAt) Len() int                  { return 1 }
func (r rangeAt) XY(int) (float64, float64) { return r.spread.Median, r.height }
func (r rangeAt) XError(int) (float64, float64) {
	return r.spread.Median - r.spread.Min, r.spread.Max - r.spread.Median
}

// latencies is a line per row from the median to the slowest, with a mark per percentile, on a
// logarithmic axis.
func latencies(name, title string, rows []Row, colours palette) (chart, error) {
	p := newPlot(title, "latency, µs, logarithmic: p50  p90  p99  p99.9  max (ring)")
	grid := plotter.NewGrid()
	grid.Horizontal.Width = 0
	grid.Vertical.Color = gridInk
	p.Add(grid)
	low, high := math.Inf(1), 0.0
	for i, row := range rows {
		var points plotter.XYs
		for _, figure := range []Figure{P50, P90, P99, P999, Max} {
			if spread, found := row.Figures[figure]; found && spread.Median > 0 {
				points = append(points, plotter.XY{X: spread.Median, Y: position(rows, i)})
				low, high = min(low, spread.Median), max(high, spread.Median)
			}
		}
		if len(points) == 0 {
			continue
		}
		line, marks, err := plotter.NewLinePoints(points)
		if err != nil {
			return chart{}, err
		}
		line.Color = colours[row.Peer.Name]
		line.Width = vg.Points(2.5)
		last := len(points) - 1
		marks.GlyphStyleFunc = func(at int) draw.GlyphStyle {
			style := draw.GlyphStyle{Color: colours[row.Peer.Name], Radius: vg.Points(4), Shape: draw.CircleGlyph{}}
			if at == last {
				style.Shape = draw.RingGlyph{}
			}
			return style
		}
		p.Add(line, marks)
	}
	named(p, rows)
	if high > 0 {
		logarithmic(&p.X, low/1.3, high*1.3)
	}
	return chart{name, title, p, vg.Points(chartWidth), height(rows)}, nil
}

// logarithmic sets an axis to a logarithmic range with marks at 1, 2 and 5.
func logarithmic(axis *plot.Axis, low, high float64) {
	axis.Min, axis.Max = low, high
	axis.Scale = plot.LogScale{}
	axis.Tick.Marker = plot.TickerFunc(func(low, high float64) []plot.Tick {
		var ticks []plot.Tick
		steps := []float64{1, 2, 5}
		if high/low > 1000 {
			steps = []float64{1}
		}
		for decade := math.Pow(10, math.Floor(math.Log10(low))); decade <= high; decade *= 10 {
			for _, step := range steps {
				if value := decade * step; value >= low && value <= high {
					ticks = append(ticks, plot.Tick{Value: value, Label: short(value)})
				}
			}
		}
		return ticks
	})
}

// overview is throughput over calls in flight, a line per peer, for cells that differ in that only.
func overview(name, title string, rows []Row, colours palette) (chart, error) {
	p := newPlot(title, "calls in flight")
	p.Y.Label.Text = info(OpsPerSecond).Long
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = gridInk, gridInk
	p.Add(grid)
	var order []string
	lines := make(map[string]plotter.XYs)
	low, high := math.Inf(1), 0.0
	var across []float64
	for _, row := range rows {
		spread, found := row.Figures[OpsPerSecond]
		if !found || spread.Median <= 0 {
			continue
		}
		if lines[row.Peer.Name] == nil {
			order = append(order, row.Peer.Name)
		}
		inFlight := float64(row.Cell.InFlight)
		lines[row.Peer.Name] = append(lines[row.Peer.Name], plotter.XY{X: inFlight, Y: spread.Median})
		low, high = min(low, spread.Median), max(high, spread.Median)
		if !slices.Contains(across, inFlight) {
			across = append(across, inFlight)
		}
	}
	// The legend in the order in which the lines end.
	slices.SortStableFunc(order, func(a, b string) int {
		first, second := lines[a][len(lines[a])-1].Y, lines[b][len(lines[b])-1].Y
		return int(math.Copysign(1, second-first))
	})
	for _, name := range order {
		slices.SortFunc(lines[name], func(a, b plotter.XY) int { return int(a.X - b.X) })
		line, marks, err := plotter.NewLinePoints(lines[name])
		if err != nil {
			return chart{}, err
		}
		line.Color, line.Width = colours[name], vg.Points(2.2)
		if colours[name] == limitInk {
			line.Dashes = []vg.Length{vg.Points(5), vg.Points(3)}
		}
		marks.GlyphStyle = draw.GlyphStyle{Color: colours[name], Radius: vg.Points(3.5), Shape: draw.CircleGlyph{}}
		p.Add(line, marks)
		p.Legend.Add(name, line, marks)
	}
	p.Legend.Top, p.Legend.Left = true, true
	p.Legend.TextStyle.Font = sans(textSize)
	p.Legend.TextStyle.Color = ink
	p.Legend.Padding = vg.Points(1)
	p.Legend.XOffs = vg.Points(6)
	slices.Sort(across)
	// A fifth of the width is the legend's.
	logarithmic(&p.X, across[0]/math.Pow(across[len(across)-1]/across[0], 0.3), across[len(across)-1]*1.2)
	ticks := make(plot.ConstantTicks, len(across))
	for i, value := range across {
		ticks[i] = plot.Tick{Value: value, Label: short(value)}
	}
	p.X.Tick.Marker = ticks
	logarithmic(&p.Y, low/1.3, high*1.3)
	return chart{name, title, p, vg.Points(chartWidth), vg.Points(400)}, nil
}

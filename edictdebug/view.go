package edictdebug

import (
	_ "embed"
	"fmt"
	"html/template"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/core"
)

//go:embed page.html
var source string

var templates = template.Must(template.New("").Funcs(template.FuncMap{
	"duration": duration, "bytes": byteCount, "count": count, "share": share, "state": stateClass, "ago": ago, "deref": deref,
}).Parse(source))

// view is what the templates are executed with.
type view struct {
	edict.Snapshot
	Nonce     string
	Latencies []latency
	Ticks     []tick
	Width     int // of the histograms
}

// Open returns how many connections there are.
func (v view) Open() int { return len(v.Connections) + v.MoreConnections }

// latency is a command's row.
type latency struct {
	Name string
	edict.Latency
	Bars        []bar
	AtP50, AtP9 float64 // where the median and the p99 are drawn
}

// bar is one bar of a histogram, in an SVG 34 high.
type bar struct {
	X, Y, Width, Height float64
	Title               string
}

// tick is a mark of the axis.
type tick struct {
	X    float64
	Text string
}

const (
	barHeight  = 34
	barWidth   = 6
	perOctave  = 4
	leastRange = 8 * perOctave // so that few values don't make a few broad bars
)

// place returns where on the axis a duration is, in bars from one microsecond on. The axis is logarithmic, but straight
// within each doubling, as the buckets are.
func place(d time.Duration) float64 {
	fraction, exponent := math.Frexp(max(1, float64(d)/float64(time.Microsecond)))
	return perOctave * (float64(exponent) - 1 + 2*fraction - 1)
}

// end returns where the bar of a bucket ends.
func end(below time.Duration) float64 { return max(1, math.Ceil(place(below))) }

// viewOf returns what the templates show. All histograms have the same axis.
func viewOf(s edict.Snapshot, nonce string) view {
	v := view{Snapshot: s, Nonce: nonce}
	first, last := math.Inf(1), 0.0
	for _, l := range s.ServerStats.Latencies {
		for _, bucket := range l.Buckets {
			at := end(bucket.Below)
			first, last = min(first, at-1), max(last, at)
		}
	}
	if last == 0 {
		return v
	}
	if last-first < leastRange {
		first = max(0, math.Floor((first+last-leastRange)/2))
		last = first + leastRange
	}
	v.Width = int(last-first) * barWidth
	for decade := time.Microsecond; decade <= 100*time.Second; decade *= 10 {
		if at := (place(decade) - first) * barWidth; at >= 0 && at < float64(v.Width)-12 {
			v.Ticks = append(v.Ticks, tick{at, decade.String()})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.ServerStats.Latencies)) {
		l := latency{Name: name, Latency: s.ServerStats.Latencies[name]}
		most := uint64(1)
		for _, bucket := range l.Buckets {
			most = max(most, bucket.Count)
		}
		for _, bucket := range l.Buckets {
			height := max(1, barHeight*float64(bucket.Count)/float64(most))
			l.Bars = append(l.Bars, bar{
				X: (end(bucket.Below) - 1 - first) * barWidth, Y: barHeight - height,
				Width: barWidth - 1, Height: height, Title: fmt.Sprintf("below %v: %d", bucket.Below, bucket.Count),
			})
		}
		l.AtP50, l.AtP9 = (place(l.P50)-first)*barWidth, (place(l.P99)-first)*barWidth
		v.Latencies = append(v.Latencies, l)
	}
	return v
}

// duration rounds to three digits, for people.
func duration(d time.Duration) string {
	if d < 0 {
		return "−" + duration(-d)
	}
	for unit := time.Nanosecond; unit < time.Minute; unit *= 10 {
		if d < 1000*unit {
			return d.Round(unit).String()
		}
	}
	return d.Round(time.Second).String()
}

func ago(now, then time.Time) string { return duration(max(0, now.Sub(then))) }

func deref(d *time.Duration) time.Duration { return *d }

// byteCount returns a number of bytes, for people.
func byteCount(number any) string {
	n, ok := number.(int64)
	if !ok {
		n = int64(number.(int))
	}
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.3g KiB", float64(n)/(1<<10))
	case n < 1<<30:
		return fmt.Sprintf("%.3g MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.3g GiB", float64(n)/(1<<30))
}

// count groups the digits of a number.
func count(n any) string {
	digits := fmt.Sprint(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "\u202f" + digits[i:]
	}
	return digits
}

// share returns used of limit in percent.
func share(used, limit int64) float64 {
	if limit <= 0 {
		return 0
	}
	return min(100, 100*float64(used)/float64(limit))
}

// stateClass returns how a state looks: waiting for the caller, for others, or neither.
func stateClass(state any) string {
	switch fmt.Sprint(state) {
	case string(core.CallCredit), string(core.CallInput), "detached", "draining":
		return "wait"
	case string(core.CallTurn), string(core.CallQueued):
		return "turn"
	}
	return "fine"
}

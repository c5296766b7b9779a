// Package report turns the samples of a run into rows with medians, spreads and ratios, and rows into
// text, files and a page with charts. It measures nothing.
package report

// Figure names one measured quantity; it is the key in JSON and CSV.
type Figure string

// What a sample may hold. A workload leaves out what it can't measure.
const (
	OpsPerSecond          Figure = "ops_per_s"
	MegabytesPerSecond    Figure = "mb_per_s"
	P50                   Figure = "p50_us"
	P90                   Figure = "p90_us"
	P99                   Figure = "p99_us"
	P999                  Figure = "p999_us"
	Max                   Figure = "max_us"
	CPUSecondsPerMillion  Figure = "cpu_s_per_mop"
	BytesPerOp            Figure = "bytes_per_op"
	AllocsPerOp           Figure = "allocs_per_op"
	PeakMegabytes         Figure = "peak_mb"
	MissedPerSecond       Figure = "missed_per_s"
	ClientBytesPerConn    Figure = "client_bytes_per_conn"
	ServerBytesPerConn    Figure = "server_bytes_per_conn"
	ClientRSSBytesPerConn Figure = "client_rss_bytes_per_conn"
	ServerRSSBytesPerConn Figure = "server_rss_bytes_per_conn"
)

// FigureInfo is how a figure is shown.
type FigureInfo struct {
	Figure Figure
	Title  string // a column's head
	Long   string // a chart's axis
	Higher bool   // more is better
}

// Figures lists every figure in the order of columns.
var Figures = []FigureInfo{
	{OpsPerSecond, "ops/s", "operations per second", true},
	{MegabytesPerSecond, "MB/s", "megabytes per second", true},
	{P50, "p50 µs", "median latency, µs", false},
	{P90, "p90 µs", "90th percentile, µs", false},
	{P99, "p99 µs", "99th percentile, µs", false},
	{P999, "p99.9 µs", "99.9th percentile, µs", false},
	{Max, "max µs", "slowest, µs", false},
	{CPUSecondsPerMillion, "CPU s/Mop", "CPU seconds per million operations", false},
	{BytesPerOp, "B/op", "bytes allocated per operation", false},
	{AllocsPerOp, "allocs/op", "allocations per operation", false},
	{PeakMegabytes, "peak MB", "peak resident memory, MB", false},
	{MissedPerSecond, "missed/s", "arrivals per second that found no room", false},
	{ClientBytesPerConn, "client B/conn", "client: live bytes per connection", false},
	{ServerBytesPerConn, "server B/conn", "server: live bytes per connection", false},
	{ClientRSSBytesPerConn, "client RSS/conn", "client: resident bytes per connection", false},
	{ServerRSSBytesPerConn, "server RSS/conn", "server: resident bytes per connection", false},
}

// info returns how figure is shown.
func info(figure Figure) FigureInfo {
	for _, candidate := range Figures {
		if candidate.Figure == figure {
			return candidate
		}
	}
	return FigureInfo{Figure: figure, Title: string(figure), Long: string(figure)}
}

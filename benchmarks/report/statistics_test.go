package report

import (
	"slices"
	"testing"
)

func TestSummarize(t *testing.T) {
	for _, test := range []struct {
		values []float64
		want   Spread
	}{
		{[]float64{3}, Spread{3, 3, 3}},
		{[]float64{9, 1}, Spread{5, 1, 9}},
		{[]float64{9, 1, 2}, Spread{2, 1, 9}},
		{[]float64{4, 1, 3, 2}, Spread{2.5, 1, 4}},
	} {
		before := slices.Clone(test.values)
		if got := Summarize(test.values); got != test.want {
			t.Errorf("%v: %v, not %v", test.values, got, test.want)
		}
		if !slices.Equal(before, test.values) {
			t.Errorf("%v was reordered", before)
		}
	}
}

func TestRatiosDivideWithinRounds(t *testing.T) {
	// The machine was twice as fast in round 1, and round 2 is missing on one side.
	got := ratios(map[int]float64{0: 50, 1: 100, 2: 1}, map[int]float64{0: 100, 1: 200, 3: 7})
	if !slices.Equal(got, []float64{0.5, 0.5}) {
		t.Error(got)
	}
	if got := ratios(map[int]float64{0: 1}, map[int]float64{0: 0}); len(got) != 0 {
		t.Error("divided by zero:", got)
	}
	if got := ratios(map[int]float64{0: 1}, nil); len(got) != 0 {
		t.Error("divided by nothing:", got)
	}
}

func TestBestLeavesLimitsOut(t *testing.T) {
	values := map[string]map[int]float64{"raw": {0: 9}, "a": {0: 5}, "b": {0: 7}, "c": {0: 7}, "d": nil}
	limits := map[string]bool{"raw": true}
	names := []string{"raw", "a", "b", "c", "d"}
	lookUp := func(name string) map[int]float64 { return values[name] }
	if got := best(OpsPerSecond, names, limits, lookUp); got != "b" {
		t.Errorf("highest throughput: %q", got)
	}
	if got := best(P99, names, limits, lookUp); got != "a" {
		t.Errorf("lowest latency: %q", got)
	}
	if got := best(P99, []string{"raw", "d"}, limits, lookUp); got != "" {
		t.Errorf("no candidates: %q", got)
	}
}

func TestNumber(t *testing.T) {
	for value, want := range map[float64]string{
		0: "0", 0.1234: "0.123", 1.234: "1.23", 12.34: "12.3", 123.4: "123", 1234567: "1,234,567", -1000: "-1,000",
	} {
		if got := Number(value); got != want {
			t.Errorf("%v: %q, not %q", value, got, want)
		}
	}
}

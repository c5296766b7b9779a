package report

import "slices"

// Spread is a figure over the rounds of a run.
type Spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// Summarize returns the spread of values, of which there is at least one.
func Summarize(values []float64) Spread {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	median := sorted[middle]
	if len(sorted)%2 == 0 {
		median = (sorted[middle-1] + sorted[middle]) / 2
	}
	return Spread{Median: median, Min: sorted[0], Max: sorted[len(sorted)-1]}
}

// ratios divides round by round: what the machine did to one round it did to both. Rounds that are
// missing on either side, or whose divisor is zero, are left out.
func ratios(values, divisors map[int]float64) []float64 {
	rounds := make([]int, 0, len(values))
	for round := range values {
		if divisors[round] != 0 {
			rounds = append(rounds, round)
		}
	}
	slices.Sort(rounds)
	result := make([]float64, len(rounds))
	for i, round := range rounds {
		result[i] = values[round] / divisors[round]
	}
	return result
}

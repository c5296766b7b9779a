package core

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// histogramBuckets is four for each doubling from 4 µs on, up to about nine minutes.
const histogramBuckets = 4 * 28

// Histogram counts durations in buckets that are the same everywhere: of one microsecond each below 8 µs, then four
// for each doubling, so a bucket is a fifth of its values wide. What is beyond nine minutes is in the last one. The zero
// Histogram is empty. Safe for concurrent use, without a lock.
type Histogram struct {
	counts [histogramBuckets]atomic.Uint64
	sum    atomic.Int64 // nanoseconds
	most   atomic.Int64
}

// Add counts a duration.
func (h *Histogram) Add(d time.Duration) {
	d = max(d, 0)
	h.counts[bucketOf(d)].Add(1)
	h.sum.Add(int64(d))
	for most := h.most.Load(); int64(d) > most && !h.most.CompareAndSwap(most, int64(d)); most = h.most.Load() {
	}
}

// bucketOf returns the number of the bucket for d.
func bucketOf(d time.Duration) int {
	us := uint64(d / time.Microsecond)
	if us < 4 {
		return int(us)
	}
	shift := bits.Len64(us) - 3 // us>>shift is 4 to 7
	return min(4*shift+int(us>>shift), histogramBuckets-1)
}

// bucketEnd returns the first duration that is beyond a bucket.
func bucketEnd(bucket int) time.Duration {
	if bucket < 4 {
		return time.Duration(bucket+1) * time.Microsecond
	}
	shift := bucket/4 - 1
	return time.Duration(bucket%4+4+1) << shift * time.Microsecond
}

// HistogramSnapshot is what a Histogram had at a moment.
type HistogramSnapshot struct {
	Count uint64 `json:"count"`
	// Mean, Max and the quantiles are in nanoseconds in JSON. A quantile is the end of its bucket, so at most a
	// quarter too long, and never above Max.
	Mean time.Duration `json:"mean_ns"`
	P50  time.Duration `json:"p50_ns"`
	P90  time.Duration `json:"p90_ns"`
	P99  time.Duration `json:"p99_ns"`
	Max  time.Duration `json:"max_ns"`
	// Buckets has those that are not empty, in order.
	Buckets []HistogramBucket `json:"buckets"`
}

// HistogramBucket is how many durations were in a bucket: below its end, and not below that of the bucket before.
type HistogramBucket struct {
	Below time.Duration `json:"below_ns"`
	Count uint64        `json:"count"`
}

// Snapshot returns what has been counted.
func (h *Histogram) Snapshot() HistogramSnapshot {
	s := HistogramSnapshot{Max: time.Duration(h.most.Load()), Buckets: []HistogramBucket{}}
	for i := range h.counts {
		if n := h.counts[i].Load(); n > 0 {
			s.Buckets = append(s.Buckets, HistogramBucket{Below: bucketEnd(i), Count: n})
			s.Count += n
		}
	}
	if s.Count == 0 {
		return s
	}
	s.Mean = time.Duration(h.sum.Load() / int64(s.Count))
	s.P50, s.P90, s.P99 = s.Quantile(0.5), s.Quantile(0.9), s.Quantile(0.99)
	return s
}

// Quantile returns the duration below which a share q of all were, 0 if there were none.
func (s *HistogramSnapshot) Quantile(q float64) time.Duration {
	wanted := uint64(q*float64(s.Count) + 0.999999)
	var seen uint64
	for _, bucket := range s.Buckets {
		if seen += bucket.Count; seen >= wanted {
			return min(bucket.Below, s.Max)
		}
	}
	return s.Max
}

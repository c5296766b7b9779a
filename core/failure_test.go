package core

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"
)

// Many failures of one kind don't push out the others, and what is kept is bounded.
func TestFailuresOfOneKindLeaveTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f Failures
		if f.Last() != nil || f.Recent() != nil || f.Counts() != nil {
			t.Error("the zero Failures is not empty")
		}
		f.Note(Failure{Code: FailureRejected, Text: "the one"})
		for n := range 1000 {
			time.Sleep(time.Second) // of the bubble's clock
			f.Note(Failure{Code: FailureCommandFailed, Text: fmt.Sprint(n)})
		}
		recent := f.Recent()
		if len(recent) != failuresKept+1 || recent[0].Text != "999" || recent[failuresKept-1].Text != "992" || recent[failuresKept].Text != "the one" {
			t.Errorf("%+v", recent)
		}
		if counts := f.Counts(); counts[FailureCommandFailed] != 1000 || counts[FailureRejected] != 1 || f.Last().Text != "999" {
			t.Errorf("%v, last %+v", counts, f.Last())
		}
	})
}

func TestTextsOfFailuresAreClipped(t *testing.T) {
	var f Failures
	f.Note(Failure{Code: FailureDial, Text: strings.Repeat("é", 10_000) + "\xff"})
	if text := f.Last().Text; len(text) > maxFailureText+8 || !utf8.ValidString(text) {
		t.Errorf("%d bytes: %q", len(text), text)
	}
	if f.Note(Failure{Code: FailureDial, Text: "a\xffb"}); f.Last().Text != "a�b" {
		t.Errorf("%q", f.Last().Text)
	}
}

// Every duration is in the bucket that ends after it and begins at the end of the one before.
func TestHistogramBuckets(t *testing.T) {
	begin := time.Duration(0)
	for bucket := range histogramBuckets {
		end := bucketEnd(bucket)
		if bucketOf(begin) != bucket || bucketOf(end-1) != bucket {
			t.Errorf("bucket %d: %v is in %d, %v in %d", bucket, begin, bucketOf(begin), end-1, bucketOf(end-1))
		}
		if width := end - begin; begin >= 4*time.Microsecond && float64(width) > 0.2501*float64(begin) {
			t.Errorf("bucket %d is %v wide from %v on", bucket, width, begin)
		}
		begin = end
	}
	if bucketOf(time.Hour) != histogramBuckets-1 || bucketOf(1<<63-1) != histogramBuckets-1 {
		t.Error("what is longer is not in the last bucket")
	}
}

func TestHistogram(t *testing.T) {
	var h Histogram
	if s := h.Snapshot(); s.Count != 0 || s.P99 != 0 || s.Buckets == nil {
		t.Errorf("%+v", s)
	}
	for n := range 100 {
		h.Add(time.Duration(n+1) * time.Millisecond)
	}
	h.Add(-time.Second) // a clock that went back
	s := h.Snapshot()
	if s.Count != 101 || s.Max != 100*time.Millisecond || s.Mean != 50*time.Millisecond {
		t.Errorf("%+v", s)
	}
	for _, q := range []struct{ got, exact time.Duration }{{s.P50, 50 * time.Millisecond}, {s.P90, 90 * time.Millisecond}, {s.P99, 99 * time.Millisecond}} {
		if q.got < q.exact || q.got > q.exact*5/4 {
			t.Errorf("%v where %v is exact", q.got, q.exact)
		}
	}
}

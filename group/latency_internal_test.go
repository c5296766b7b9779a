package group

import (
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// Buckets follow each other without a gap, and none is wider than an eighth of where it begins.
func TestBuckets(t *testing.T) {
	begin := time.Duration(0)
	for i := range buckets - 1 {
		end := endOfBucket(i)
		if bucketOf(begin) != i || bucketOf(end-time.Microsecond) != i || bucketOf(end) != i+1 {
			t.Fatalf("bucket %d from %v to %v has %d, %d; behind it is %d", i, begin, end, bucketOf(begin), bucketOf(end-time.Microsecond), bucketOf(end))
		}
		if begin >= 8*time.Microsecond && end-begin > begin/8 {
			t.Fatalf("bucket %d from %v to %v is too wide", i, begin, end)
		}
		begin = end
	}
	for sample, want := range map[time.Duration]int{-time.Second: 0, 0: 0, 1000 * time.Hour: buckets - 1} {
		if got := bucketOf(sample); got != want {
			t.Errorf("%v is in bucket %d", sample, got)
		}
	}
}

func TestQuantiles(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	q := &quantiles{quantile: 0.95}
	var samples []time.Duration
	for n := range 3000 {
		sample := time.Duration(random.ExpFloat64() * float64(10*time.Millisecond))
		samples = append(samples, sample)
		q.observe(sample)
		if known := q.known.Load(); (known == 0) != (n+1 < fewSamples) {
			t.Fatalf("%d after %d samples", known, n+1)
		}
	}
	slices.Sort(samples)
	exact, known := samples[len(samples)*95/100], time.Duration(q.known.Load())
	if known < exact*9/10 || known > exact*5/4 {
		t.Errorf("%v, and it is %v", known, exact)
	}
	// When everything has become ten times as slow it follows.
	for range 2 * manySamples {
		q.observe(time.Duration(random.ExpFloat64() * float64(100*time.Millisecond)))
	}
	if known := time.Duration(q.known.Load()); known < 250*time.Millisecond || known > 400*time.Millisecond {
		t.Errorf("%v, and it should be about 300 ms", known)
	}
}

// The average rises at once and sinks slowly, also while nothing is observed.
func TestLatencyIsSensitiveToPeaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l latency
		observe := func(sample time.Duration) { l.observe(time.Now(), sample) }
		value := func() time.Duration { return l.value(time.Now()) }
		if value() != 0 {
			t.Errorf("%v when nothing is known", value())
		}
		observe(time.Millisecond)
		observe(100 * time.Millisecond)
		if value() != 100*time.Millisecond {
			t.Errorf("%v after a peak", value())
		}
		time.Sleep(forget)
		observe(time.Millisecond)
		if v := value(); v < 37*time.Millisecond || v > 38*time.Millisecond {
			t.Errorf("%v after that time, want 1/e of the peak", v)
		}
		time.Sleep(10 * forget)
		if v := value(); v > 10*time.Microsecond {
			t.Errorf("%v long after", v)
		}
	})
}

func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(Retry{Ratio: 0.25, PerSecond: 0.5, Reserve: 2})
		take := func(want int) {
			t.Helper()
			n := 0
			for b.withdraw() {
				n++
			}
			if n != want {
				t.Errorf("%d tokens, want %d", n, want)
			}
		}
		take(2)
		for range 3 {
			b.deposit()
		}
		take(0)
		b.deposit()
		take(1)
		time.Sleep(time.Second)
		take(0)
		time.Sleep(time.Second)
		take(1) // two halves
		time.Sleep(time.Hour)
		take(2) // the reserve
		for range 100 {
			b.deposit()
		}
		take(2)
	})
}

package group

import (
	"math"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
)

// latency is a moving average of an endpoint's latencies, weighted exponentially by age, which rises to a peak
// at once and forgets it slowly: Finagle's Peak EWMA. So an endpoint that becomes slow is left alone after one
// call and not after many, and one that is left alone is tried again when it has been forgotten.
type latency struct {
	mu      sync.Mutex // guards the following; held for some instructions
	average float64    // nanoseconds
	at      time.Time  // of average
}

// forget is the time after which a latency counts for 1/e.
const forget = 10 * time.Second

func (l *latency) observe(now time.Time, sample time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	value := float64(sample)
	if value < l.average {
		weight := math.Exp(-float64(now.Sub(l.at)) / float64(forget))
		value = l.average*weight + value*(1-weight)
	}
	l.average, l.at = value, now
}

// value returns the average as of now: it sinks while nothing is observed. 0 is that nothing is known.
func (l *latency) value(now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.average == 0 {
		return 0
	}
	return time.Duration(l.average * math.Exp(-float64(max(0, now.Sub(l.at)))/float64(forget)))
}

// quantiles is a histogram of the latest latencies of one type of command, exact to an eighth. Safe for
// concurrent use.
type quantiles struct {
	quantile float64
	known    atomic.Int64 // the quantile, in nanoseconds; 0 while there are too few samples

	mu     sync.Mutex // guards the following; held for some instructions, now and then for some hundred
	counts [buckets]uint32
	total  uint32
}

const (
	buckets     = 8 * 32 // eight per power of two, of microseconds: up to 71 minutes
	fewSamples  = 64     // no quantile before
	manySamples = 4096   // then the older ones count for half
	recalculate = 32     // after so many samples
)

func (q *quantiles) observe(sample time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.counts[bucketOf(sample)]++
	if q.total++; q.total >= manySamples {
		q.total = 0
		for i := range q.counts {
			q.counts[i] /= 2
			q.total += q.counts[i]
		}
	}
	if q.total >= fewSamples && q.total%recalculate == 0 {
		q.known.Store(int64(q.calculateLocked()))
	}
}

func (q *quantiles) calculateLocked() time.Duration {
	rank := uint32(math.Ceil(q.quantile * float64(q.total)))
	seen := uint32(0)
	for i, count := range q.counts {
		if seen += count; seen >= rank {
			return endOfBucket(i)
		}
	}
	return endOfBucket(buckets - 1)
}

// bucketOf cuts a number of microseconds after its first one bit and the three bits behind that.
func bucketOf(sample time.Duration) int {
	us := uint64(max(sample.Microseconds(), 0))
	if us < 8 {
		return int(us)
	}
	shift := bits.Len64(us) - 4
	return min(8*(shift+1)+int(us>>shift)-8, buckets-1)
}

// endOfBucket returns where the next bucket begins.
func endOfBucket(i int) time.Duration {
	i++
	if i < 8 {
		return time.Duration(i) * time.Microsecond
	}
	shift := i/8 - 1
	return time.Duration(uint64(8+i%8)<<shift) * time.Microsecond
}

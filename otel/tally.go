package edictotel

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/trace"

	"github.com/edict-go/edict"
)

// shards is how many parts counters have: each processor has one to itself, as a rule, for to write to a cache line that
// another one has written to costs more than all else of counting.
const shards = 8

// place says which shards a processor uses. It is to be given back at once, so that there are hardly more of them than
// processors.
type place struct{ number uint32 }

// places has one for each processor: a Pool gives what the same one has put there last.
var (
	places    = sync.Pool{New: func() any { return &place{lastPlace.Add(1)} }}
	lastPlace atomic.Uint32
)

// begun is a shard of how many commands have begun.
type begun struct {
	atomic.Int64
	_ [56]byte // the rest of the cache line
}

// tally counts calls with the same attributes.
type tally struct {
	shards    [shards]tallyShard
	exemplars []atomic.Pointer[metricdata.Exemplar[float64]] // the last one of each bucket; none without Durations
}

type tallyShard struct {
	mu     sync.Mutex // guards the following; held for some instructions
	counts            // one lock is less than an atomic for each of them
	_      [48]byte   // the rest of the cache lines
}

// counts is what a tally counts.
type counts struct {
	calls                       uint64
	requestBytes, responseBytes int64
	took, least, most           time.Duration
	buckets                     []uint64 // of Durations; nil without
}

func (t *tally) init(d *Durations) {
	if d == nil {
		return
	}
	t.exemplars = make([]atomic.Pointer[metricdata.Exemplar[float64]], len(d.bounds)+1)
	for i := range t.shards {
		t.shards[i].buckets = make([]uint64, len(d.bounds)+1, (len(d.bounds)/8+1)*8) // whole cache lines
	}
}

// add counts a call. d may be nil.
func (t *tally) add(d *Durations, end *edict.CallEnd) {
	took := max(end.Took, 0)
	p := places.Get().(*place)
	s := &t.shards[p.number%shards]
	s.mu.Lock()
	if s.calls == 0 || took < s.least {
		s.least = took
	}
	s.most = max(s.most, took)
	s.took += took
	s.calls++
	s.requestBytes += end.RequestBytes
	s.responseBytes += end.ResponseBytes
	if d != nil {
		s.buckets[d.bucket(took)]++
	}
	s.mu.Unlock()
	places.Put(p)
}

// exemplify keeps a call as an exemplar, if its span is sampled.
func (t *tally) exemplify(d *Durations, took time.Duration, span trace.Span) {
	of := span.SpanContext()
	if !of.IsSampled() {
		return
	}
	took = max(took, 0)
	traceID, spanID := of.TraceID(), of.SpanID()
	t.exemplars[d.bucket(took)].Store(&metricdata.Exemplar[float64]{
		Time: time.Now(), Value: took.Seconds(), TraceID: traceID[:], SpanID: spanID[:],
	})
}

// sum returns what has been counted. Its buckets are the caller's.
func (t *tally) sum() counts {
	var sum counts
	for i := range t.shards {
		sum.add(&t.shards[i])
	}
	return sum
}

func (c *counts) add(s *tallyShard) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls == 0 {
		return
	}
	if c.calls == 0 || s.least < c.least {
		c.least = s.least
	}
	c.most = max(c.most, s.most)
	c.took += s.took
	c.calls += s.calls
	c.requestBytes += s.requestBytes
	c.responseBytes += s.responseBytes
	if c.buckets == nil {
		c.buckets = slices.Clone(s.buckets)
		return
	}
	for i, n := range s.buckets {
		c.buckets[i] += n
	}
}

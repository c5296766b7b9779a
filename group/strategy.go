package group

import (
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/edict-go/edict/core"
)

// Strategy chooses the endpoint of each command. A group calls it from many goroutines at once, also when a
// command is tried again: then without the endpoints that it was tried at. It must not wait.
type Strategy interface {
	// Pick returns the index of one of endpoints, of which there are two at least; all are connected. The
	// slice must not be changed or kept.
	Pick(command any, endpoints []*Endpoint) int
}

// RoundRobin returns a Strategy that takes the endpoints in turn.
func RoundRobin() Strategy { return &roundRobin{} }

type roundRobin struct{ next atomic.Uint64 }

func (r *roundRobin) Pick(_ any, endpoints []*Endpoint) int {
	return int(r.next.Add(1) % uint64(len(endpoints)))
}

// LeastInFlight returns a Strategy that takes the endpoint with the fewest calls in flight.
func LeastInFlight() Strategy { return leastInFlight{} }

type leastInFlight struct{}

func (leastInFlight) Pick(_ any, endpoints []*Endpoint) int {
	offset := rand.IntN(len(endpoints)) // of equal ones, any
	best, fewest := 0, 0
	for n := range endpoints {
		i := (n + offset) % len(endpoints)
		if inFlight := endpoints[i].InFlight(); n == 0 || inFlight < fewest {
			best, fewest = i, inFlight
		}
	}
	return best
}

// LowestLatency returns a Strategy that draws two endpoints and takes the one that promises to answer sooner,
// by its latency and the calls that it has in flight ("power of two choices"; see Endpoint.Latency).
func LowestLatency() Strategy { return lowestLatency{} }

type lowestLatency struct{}

func (lowestLatency) Pick(_ any, endpoints []*Endpoint) int {
	i := rand.IntN(len(endpoints))
	j := rand.IntN(len(endpoints) - 1)
	if j >= i {
		j++
	}
	now := time.Now()
	if endpoints[j].cost(now) < endpoints[i].cost(now) {
		return j
	}
	return i
}

// Keyed is an optional interface of commands, for the Strategy ByKey: those with the same key go to the same
// endpoint. Commands without it go by their OrderingKey if they have one.
type Keyed interface{ GroupKey() string }

// ByKey is a Strategy that sends commands with the same key to the same endpoint, as long as that is connected;
// if endpoints come or go, only the keys move that must. The key is that of Keyed or of edict.Ordered. A
// command without a key, or with the empty one, goes to the endpoint with the fewest calls in flight.
//
// It is rendezvous hashing (Thaler and Ravishankar, 1998): of the hashes of the key with each endpoint the
// highest wins. Every process with the same endpoints chooses the same.
type ByKey struct {
	// Bound, if it is more than 1, is how many times the average of calls in flight an endpoint may have;
	// one that has more is passed over for the next in the key's order ("bounded loads": Mirrokni, Thorup and
	// Zadimoghaddam, 2016). So a key that is in great demand spreads, and loses its order. 1.25 is usual.
	Bound float64
}

// Pick implements Strategy.
func (b ByKey) Pick(command any, endpoints []*Endpoint) int {
	key := keyOf(command)
	if key == "" {
		return leastInFlight{}.Pick(command, endpoints)
	}
	most := -1
	if b.Bound > 1 {
		total := 1 // with this one
		for _, e := range endpoints {
			total += e.InFlight()
		}
		most = int(b.Bound*float64(total)/float64(len(endpoints))) + 1
	}
	keyHash := hash(key)
	best, highest := -1, uint64(0)
	for i, e := range endpoints {
		if most >= 0 && e.InFlight() >= most {
			continue
		}
		if score := mix(keyHash ^ e.hash); best < 0 || score > highest {
			best, highest = i, score
		}
	}
	return max(best, 0)
}

func keyOf(command any) string {
	if keyed, ok := command.(Keyed); ok {
		return keyed.GroupKey()
	}
	if ordered, ok := command.(core.Ordered); ok {
		return ordered.OrderingKey()
	}
	return ""
}

// hash is the same in every process: FNV-1a, of which mix makes bits that all depend on each other.
func hash(text string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(text) {
		h = (h ^ uint64(text[i])) * 1099511628211
	}
	return mix(h)
}

// mix is the finalizer of SplitMix64.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

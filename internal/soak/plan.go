package main

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// event is a fault of the plan.
type event struct {
	at     time.Duration // since the calls began
	length time.Duration // for faults that last
	fault  *fault
	seed   uint64 // for what else there is to choose
}

// String returns the event in a line.
func (e event) String() string {
	return fmt.Sprintf("%6.2fs %-14s for %v", e.at.Seconds(), e.fault.name, e.length.Round(time.Millisecond))
}

func (e event) random() *rand.Rand { return rand.New(rand.NewPCG(e.seed, 0)) }

const (
	// eventEvery is how long it is on average from one fault to the next.
	eventEvery = 600 * time.Millisecond
	// maxLength bounds how long a fault lasts.
	maxLength = 1500 * time.Millisecond
)

// drawPlan draws the events of a time from the seed. Each kind of fault comes once before one comes
// again, so that all come early, in another order each time.
func drawPlan(seed uint64, faults []*fault, until time.Duration) (plan []event) {
	random := rand.New(rand.NewPCG(seed, 0))
	var bag []*fault
	for at := time.Duration(0); ; {
		at += eventEvery/4 + time.Duration(random.Int64N(int64(eventEvery*3/2)))
		if at > until {
			return plan
		}
		if len(bag) == 0 {
			bag = append(bag, faults...)
			random.Shuffle(len(bag), func(i, j int) { bag[i], bag[j] = bag[j], bag[i] })
		}
		plan = append(plan, event{
			at: at, length: maxLength/10 + time.Duration(random.Int64N(int64(maxLength*9/10))),
			fault: bag[0], seed: random.Uint64(),
		})
		bag = bag[1:]
	}
}

package main

import (
	"slices"
	"testing"
	"time"
)

func TestPlan(t *testing.T) {
	faults := []*fault{{name: "a"}, {name: "b"}, {name: "c"}, {name: "d"}}
	plan := drawPlan(1, faults, time.Minute)
	if n := len(plan); n < 70 || n > 140 {
		t.Errorf("a minute has %d faults", n)
	}
	if !slices.Equal(plan, drawPlan(1, faults, time.Minute)) {
		t.Error("the same seed gives another plan")
	}
	if slices.Equal(plan, drawPlan(2, faults, time.Minute)) {
		t.Error("another seed gives the same plan")
	}
	if short := drawPlan(1, faults, 10*time.Second); !slices.Equal(short, plan[:len(short)]) {
		t.Error("a shorter plan is not the beginning of a longer one")
	}
	for i, e := range plan {
		if e.at > time.Minute || e.length <= 0 || e.length > maxLength || i > 0 && e.at <= plan[i-1].at {
			t.Errorf("%v", e)
		}
	}
	for round := range slices.Chunk(plan, len(faults)) { // each kind once before one comes again
		seen := map[*fault]bool{}
		for _, e := range round {
			if seen[e.fault] {
				t.Errorf("%s comes twice in a round", e.fault.name)
			}
			seen[e.fault] = true
		}
	}
}

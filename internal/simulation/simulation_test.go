package simulation

import (
	"flag"
	"reflect"
	"runtime"
	"testing"

	"github.com/edict-go/edict/edicttest"
	"github.com/edict-go/edict/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

var tellStory = flag.Bool("edict.story", false, "log the story of each seed")

// enough is what the default number of seeds must have had in them, at least, for TestSimulation to be worth
// its name: about half of what they have.
var enough = counts{
	seeds: 200, steps: 20_000, cuts: 50, drains: 200,
	calls: 2500, streams: 1200, executed: 1200, succeeded: 400, failed: 150, refused: 70, lost: 300, unsent: 300,
	withdrawn: 60, padded: 20, cancelled: 300, results: 500, inputs: 50, parts: 2,
}

// TestSimulation lives many seeds. It is what holds most of the table in docs/guarantees.md.
func TestSimulation(t *testing.T) {
	var total counts
	edicttest.Seeds(t, enough.seeds, func(t *testing.T, seed uint64) {
		_, s := live(t, seed, false)
		total.add(s.counted)
		if *tellStory {
			t.Logf("%v\n%s", s.config, s.story)
		}
	})
	t.Logf("%+v", total)
	if total.seeds < enough.seeds {
		return
	}
	had, wanted := reflect.ValueOf(total), reflect.ValueOf(enough)
	for i := range had.NumField() {
		if had.Field(i).Int() < wanted.Field(i).Int() {
			t.Errorf("%s: %v, want %v at least", had.Type().Field(i).Name, had.Field(i), wanted.Field(i))
		}
	}
}

// TestSimulationOfRaces lives seeds in which several steps are made at once. They are not repeatable as
// those of TestSimulation are, so it has fewer of them, and finds other things: what happens when a place
// becomes free and the one who waits for it gives up.
func TestSimulationOfRaces(t *testing.T) {
	edicttest.Seeds(t, 100, func(t *testing.T, seed uint64) { live(t, seed, true) })
}

// The same seed must tell the same story each time, however the goroutines are scheduled, or a seed that
// fails would be worth little.
func TestSeedTellsTheSameStory(t *testing.T) {
	processors := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(processors)
	const repeats = 3
	first := map[uint64]uint64{}
	stories := map[uint64][]byte{}
	for round := range repeats {
		runtime.GOMAXPROCS(1 + round%2)
		edicttest.Seeds(t, 20, func(t *testing.T, seed uint64) {
			hash, s := live(t, seed, false)
			if round == 0 {
				first[seed], stories[seed] = hash, s.story
			} else if hash != first[seed] {
				t.Errorf("seed %d has two stories:\n%s\n\nand:\n%s", seed, stories[seed], s.story)
			}
		})
	}
}

package simulation

import (
	"flag"
	"reflect"
	"runtime"
	"testing"
	"testing/synctest"

	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/edicttest"
	"github.com/edict-go/edict/internal/leak"
)

func TestMain(m *testing.M) {
	core.AuditBuffers(buffers)
	leak.Main(m)
}

var tellStory = flag.Bool("edict.story", false, "log the story of each seed")

// enough is what the default number of seeds must have had in them, at least, for TestSimulation to be worth
// its name: about half of what they have.
var enough = counts{
	seeds: 200, steps: 20_000, cuts: 50, drains: 200,
	calls: 2500, streams: 1200, executed: 1200, succeeded: 400, failed: 150, refused: 70, lost: 300, unsent: 300,
	withdrawn: 60, padded: 20, cancelled: 300, results: 500, inputs: 50, parts: 2,
}

// enoughOfFull is the same for TestSimulationOfFullLives.
var enoughOfFull = counts{seeds: 150, inTurn: 300, waited: 40, doomed: 10, compressed: 200, attacks: 50}

// enoughOfTight is the same for TestSimulationOfSmallBudgets.
var enoughOfTight = counts{seeds: 100, noRoom: 50, short: 100}

// TestSimulation lives many seeds. It is what holds most of the table in docs/guarantees.md.
func TestSimulation(t *testing.T) {
	var total counts
	edicttest.Seeds(t, enough.seeds, func(t *testing.T, seed uint64) {
		_, s := live(t, seed, life{})
		total.add(s.counted)
		if *tellStory {
			t.Logf("%v\n%s", s.config, s.story)
		}
	})
	checkEnough(t, total, enough)
}

// checkEnough checks that what the default number of seeds should have had in them has happened.
func checkEnough(t *testing.T, total, enough counts) {
	t.Helper()
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

// regressions are seeds beyond the default number that have caught something: a fault of Edict (see the
// findings in docs/guarantees.md) or one that was made on purpose. They are worth as much as the driver is
// left as it is: whoever changes what it draws looks for new ones.
var regressions = []struct {
	seed   uint64
	caught string
}{
	{432, "a Send that waits for room in the queue did not heed its context"},
	{596, "a client did not leave a server that goes away when its last call had ended"},
	{781, "a small result overtook a large one of its call"},
	{13608, "results of a cancelled stream were dropped, and it ended as if it were complete"},
}

func TestRegressions(t *testing.T) {
	for _, regression := range regressions {
		synctest.Test(t, func(t *testing.T) {
			if live(t, regression.seed, life{}); t.Failed() {
				t.Logf("seed %d once caught this: %s", regression.seed, regression.caught)
			}
		})
	}
}

// TestSimulationOfFullLives lives seeds in which there are commands in turn, compression, small budgets and
// hostile clients, too, all among what TestSimulation has.
func TestSimulationOfFullLives(t *testing.T) {
	var total counts
	edicttest.Seeds(t, enoughOfFull.seeds, func(t *testing.T, seed uint64) {
		_, s := live(t, seed, life{full: true})
		total.add(s.counted)
		if *tellStory {
			t.Logf("%v\n%s", s.config, s.story)
		}
	})
	checkEnough(t, total, enoughOfFull)
}

// TestSimulationOfSmallBudgets lives full lives with a budget that is used up all the time.
func TestSimulationOfSmallBudgets(t *testing.T) {
	var total counts
	edicttest.Seeds(t, enoughOfTight.seeds, func(t *testing.T, seed uint64) {
		_, s := live(t, seed, life{tight: true})
		total.add(s.counted)
	})
	checkEnough(t, total, enoughOfTight)
}

// TestSimulationOfRaces lives seeds in which several steps are made at once. They are not repeatable as
// those of TestSimulation are, so it has fewer of them, and finds other things: what happens when a place
// becomes free and the one who waits for it gives up.
func TestSimulationOfRaces(t *testing.T) {
	edicttest.Seeds(t, 100, func(t *testing.T, seed uint64) { live(t, seed, life{racing: true}) })
}

// TestSimulationOfFullRaces is the same with full lives, every second one with a small budget.
func TestSimulationOfFullRaces(t *testing.T) {
	edicttest.Seeds(t, 100, func(t *testing.T, seed uint64) { live(t, seed, life{racing: true, full: true, tight: seed%2 == 0}) })
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
		edicttest.Seeds(t, 40, func(t *testing.T, seed uint64) {
			hash, s := live(t, seed, life{full: seed%2 == 0})
			if round == 0 {
				first[seed], stories[seed] = hash, s.story
			} else if hash != first[seed] {
				t.Errorf("seed %d has two stories:\n%s\n\nand:\n%s", seed, stories[seed], s.story)
			}
		})
	}
}

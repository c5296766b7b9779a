package edicttest

import (
	"fmt"
	"slices"
	"time"
)

// Faults are drawn from the seed. Those of a connection have a rate: how many of them there are in
// 1 KiB of one direction, on average, so that 0.001 is one in a megabyte. The zero Faults are none.
type Faults struct {
	// Refuse is the probability, 0 to 1, that a dial is refused.
	Refuse float64
	// Cut is the rate of resets; the first one ends the connection.
	Cut float64
	// Stall is the rate of pauses. Each is as long as the seed says, StallFor at most.
	Stall float64
	// StallFor is the longest pause; 0 is 1 s.
	StallFor time.Duration
	// Tear is the rate of places where a Read ends although there is more.
	Tear float64
	// Corrupt is the rate of bytes with a flipped bit.
	Corrupt float64
	// Vanish is the rate of places from which on a direction loses all bytes; see Connection.Vanish.
	Vanish float64
}

const defaultStall = time.Second

func (f *Faults) stallFor() time.Duration {
	if f.StallFor <= 0 {
		return defaultStall
	}
	return f.StallFor
}

// rate returns the rate of a kind of fault on a connection.
func (f *Faults) rate(kind FaultKind) float64 {
	switch kind {
	case FaultCut:
		return f.Cut
	case FaultStall:
		return f.Stall
	case FaultTear:
		return f.Tear
	case FaultCorrupt:
		return f.Corrupt
	case FaultVanish:
		return f.Vanish
	}
	return 0
}

// FaultKind says what happened.
type FaultKind int

// The kinds of fault.
const (
	FaultRefuse  FaultKind = iota // a dial was refused
	FaultDelay                    // a connection was kept from Accept
	FaultCut                      // a connection was reset
	FaultStall                    // bytes, or the end, were held back
	FaultTear                     // a Read ended although there was more
	FaultCorrupt                  // a byte was changed
	FaultVanish                   // bytes, or the end, were lost
)

var faultNames = [...]string{"refuse", "delay", "cut", "stall", "tear", "corrupt", "vanish"}

// String returns the kind's name, as in "cut".
func (k FaultKind) String() string {
	if k >= 0 && int(k) < len(faultNames) {
		return faultNames[k]
	}
	return fmt.Sprintf("fault(%d)", int(k))
}

// Fault is one that has happened, not only been asked for: a stall counts once it has held
// something back, a vanished direction once it has lost something.
type Fault struct {
	Kind       FaultKind
	At         time.Duration // since New
	Address    string        // of the listener
	Connection int           // its ID; -1 for a dial that was refused
	Direction  Direction     // of a fault in a direction; of a cut the one whose point was reached
	Offset     int64         // the bytes of Direction that were delivered before it (of a tear: read)
}

// String returns the fault in a line.
func (f Fault) String() string {
	to := ""
	if f.Address != "" {
		to = " to " + f.Address
	}
	switch f.Kind {
	case FaultRefuse:
		return fmt.Sprintf("%v: dial%s: refuse", f.At, to)
	case FaultDelay:
		return fmt.Sprintf("%v: connection %d%s: delay", f.At, f.Connection, to)
	}
	return fmt.Sprintf("%v: connection %d%s: %v %v at byte %d", f.At, f.Connection, to, f.Kind, f.Direction, f.Offset)
}

// Fired returns the faults that have happened, in that order: those of the kinds named, or all. After
// 10,000 of them no more are kept. A test asserts with it that its fault has happened at all.
func (n *Network) Fired(kinds ...FaultKind) []Fault {
	n.mu.Lock()
	defer n.mu.Unlock()
	var fired []Fault
	for _, fault := range n.fired {
		if len(kinds) == 0 || slices.Contains(kinds, fault.Kind) {
			fired = append(fired, fault)
		}
	}
	return fired
}

func (n *Network) record(fault Fault) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.recordLocked(fault)
}

func (n *Network) recordLocked(fault Fault) {
	if len(n.fired) < firedLimit {
		fault.At = n.now()
		n.fired = append(n.fired, fault)
	}
}

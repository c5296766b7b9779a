package main

import (
	"context"
	"fmt"
	"iter"
	"log"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/examples/group/commands"
	"github.com/edict-go/edict/group"
)

// directory is a group.Resolver: the group hears of each list of addresses that is sent to it.
type directory chan []string

// Resolve implements group.Resolver.
func (d directory) Resolve(ctx context.Context) iter.Seq2[[]string, error] {
	return func(yield func([]string, error) bool) {
		for {
			select {
			case addresses := <-d:
				if !yield(addresses, nil) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

// tour is three servers at first, and a group of them.
type tour struct {
	out       *log.Logger
	branches  map[string]*branch // by name
	directory directory
	library   *group.Group[*commands.Branch]
}

// runTour shows what a group does when servers die, come and go.
func runTour(ctx context.Context, s *settings, out *log.Logger) error {
	t := &tour{out: out, branches: map[string]*branch{}, directory: make(directory, 1)}
	defer t.close()
	if err := t.open("east", "north", "west"); err != nil {
		return err
	}
	library, err := group.Dial(ctx, commands.All, group.Config{Endpoints: t.directory, Strategy: s.strategy})
	if err != nil {
		return err
	}
	defer library.Close()
	t.library = library
	if err := t.report(ctx, "Three branches are open."); err != nil {
		return err
	}
	t.calls(ctx, "200 calls, one after the other", 1, reserve)

	// What is under way at a server that dies is tried elsewhere, because Find is idempotent.
	t.during(ctx, "200 calls while west is killed", find, func() error { return t.branches["west"].kill() })
	delete(t.branches, "west")
	t.calls(ctx, "200 calls without west", 1, reserve)

	// The directory tells the group of servers that are new, and of those that are gone.
	if err := t.open("south", "centre"); err != nil {
		return err
	}
	if err := t.report(ctx, "South and centre are open, and west is off the list."); err != nil {
		return err
	}
	t.calls(ctx, "200 calls to four branches", 1, reserve)

	// A server that shuts down ends what it has accepted and refuses the rest, which did not run, and so is tried
	// elsewhere even though Reserve is not idempotent.
	t.during(ctx, "200 calls while east shuts down", reserve, func() error { return t.branches["east"].shutDown() })
	delete(t.branches, "east")
	t.announce()

	return t.report(ctx, "What the branches have done:")
}

// reserve and find make one call, and return the name of the server that has answered.
func reserve(ctx context.Context, t *tour, n int) (string, error) {
	return edict.Call(ctx, t.library, commands.Reserve{Title: fmt.Sprint("Book ", n)})
}

func find(ctx context.Context, t *tour, n int) (string, error) {
	return edict.Call(ctx, t.library, commands.Find{Title: fmt.Sprint("Book ", n)})
}

const calls = 200

// calls makes calls in some goroutines, and prints who has served them.
func (t *tour) calls(ctx context.Context, what string, goroutines int, call func(context.Context, *tour, int) (string, error)) {
	count := newCounter()
	var running sync.WaitGroup
	for first := range goroutines {
		running.Go(func() {
			for n := first; n < calls; n += goroutines {
				count.add(call(ctx, t, n))
			}
		})
	}
	running.Wait()
	t.out.Printf("%-32s %v", what+":", count)
}

// during makes calls while something happens to a server.
func (t *tour) during(ctx context.Context, what string, call func(context.Context, *tour, int) (string, error), happens func() error) {
	happened := make(chan error, 1)
	var once sync.Once
	t.calls(ctx, what, 8, func(ctx context.Context, t *tour, n int) (string, error) {
		if n >= calls/4 {
			once.Do(func() { go func() { happened <- happens() }() })
		}
		return call(ctx, t, n)
	})
	if err := <-happened; err != nil {
		t.out.Print(err)
	}
}

// open starts servers, and announces them.
func (t *tour) open(names ...string) error {
	for _, name := range names {
		b, err := open(name, "tcp://127.0.0.1:0")
		if err != nil {
			return err
		}
		t.branches[name] = b
	}
	t.announce()
	return nil
}

// announce tells the group which servers there are.
func (t *tour) announce() {
	var addresses []string
	for _, name := range slices.Sorted(maps.Keys(t.branches)) {
		addresses = append(addresses, t.branches[name].address)
	}
	t.directory <- addresses
}

// report asks all servers what they have done, all at the same time.
func (t *tour) report(ctx context.Context, what string) error {
	for len(t.library.Stats().Endpoints) != len(t.branches) { // the group has not heard of all yet
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	var lines []string
	for answer, err := range group.Broadcast(ctx, t.library, commands.Report{}) {
		if err != nil {
			return err
		}
		lines = append(lines, fmt.Sprintf("  %-7s found %3d, reserved %3d", answer.Result.Branch, answer.Result.Found, answer.Result.Reserved))
	}
	slices.Sort(lines)
	t.out.Printf("\n%s\n%s\n", what, strings.Join(lines, "\n"))
	return nil
}

// close ends the servers that are left.
func (t *tour) close() {
	for _, b := range t.branches {
		if err := b.shutDown(); err != nil {
			t.out.Print(err)
		}
	}
}

// counter counts who has served.
type counter struct {
	mu     sync.Mutex // guards the following
	served map[string]int
	failed int
	last   error
}

func newCounter() *counter { return &counter{served: map[string]int{}} }

func (c *counter) add(name string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.failed++
		c.last = err
		return
	}
	c.served[name]++
}

// String returns a line as in "east 67, north 67, west 66, failed 0".
func (c *counter) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(c.served)) {
		fmt.Fprintf(&text, "%s %d, ", name, c.served[name])
	}
	fmt.Fprintf(&text, "failed %d", c.failed)
	if c.last != nil {
		fmt.Fprintf(&text, " (the last: %v)", c.last)
	}
	return text.String()
}

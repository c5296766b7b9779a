// Package simulation tests Edict with a program of its own choosing: many seeds, each of them a short
// life of a server and its clients, in which everything that can happen does so in an order that the
// seed decides. It has no code but its tests.
//
// # One driver
//
// A seed runs in a synctest bubble, so time is fake and "nothing moves any more" is a thing that can be
// waited for. It is not enough to make a run repeatable: synctest does not order goroutines. So there is
// one driver that owns every choice. It waits until nothing moves, then does exactly one thing: it lets
// some bytes arrive, starts a call, ends a context, lets a command send a result or end, lets a caller
// take a result, holds up a write, moves the clock, cuts a connection, shuts a side down. Commands wait
// for the driver's orders, and so do callers between two results. Two goroutines never write to the same
// connection in one step, or what they write means the same in any order; see link.safe.
// TestSeedTellsTheSameStory checks that a seed lives the same life each time, on one processor and on two.
//
// # The model
//
// Both ends of each connection are tapped. The frames that passed say what each side can know, and from
// that follows what it may say: see model_test.go, whose checks run after every step. docs/guarantees.md
// has the table of the guarantees and of the tests that hold them.
//
// # Kinds of lives
//
// The lives of TestSimulation have what every application uses. A full life (see the type life) has more, as its seed
// chooses: commands in order by key, compression, and hostile clients, each of which attacks and leaves
// within one step. Its seeds tell one story, too. A tight life is a full one with a budget that is used up all the
// time. Several who wait for it are let go on at once, and what a buffer counts for depends on the pools, so its
// story is only nearly the same each time, and so is that of a racing life, in which several steps are made at once.
// Full lives draw more from their seeds, so that those of TestSimulation stay what they were.
//
// # Running it
//
//	go test ./internal/simulation                        # some hundred seeds
//	go test ./internal/simulation -edict.seeds=1000000   # as long as it takes
//	go test ./internal/simulation -run 'TestSimulation(OfFullLives)?$' -edict.seed=N -edict.story -v   # one, with its story
//
// What is not simulated: the path of the writer that needs no goroutine of its own (a system call that never
// waits, on TCP and Unix sockets), TLS, hostile servers, and, but for the tests of races, what goroutines do to
// each other within one step. The ordinary tests and the soak are for those.
package simulation

// Package edicttest helps to test what happens when the network fails, of Edict itself and of what is
// built on it.
//
// A [Network] is a network in memory: listeners, dialled connections, and faults that the test asks
// for or that are drawn from a seed. It needs no Edict: its connections are buffered net.Conns that
// behave as those of TCP. With Edict they go to Server.Serve and edict.WithDialer:
//
//	network := edicttest.New(edicttest.Config{})
//	listener, err := network.Listen("server")
//	go server.Serve(listener)
//	client, err := edict.Dial(ctx, "server", Commands, edict.WithDialer(network.Dialer("server")))
//
//	connection := network.Connections()[0]
//	connection.CutAfter(edicttest.ToClient, edicttest.Frames(3)) // three frames arrive, no more
//
// A [Connection] is what the test does to one of them. What has come of it is in [Network.Fired]: a
// test should look there, because a fault that did not happen is tested by nothing.
//
// [Seed] and [Seeds] run tests of which a seed decides what happens, and print how to run a failure
// again. docs/testing.md shows whole tests.
//
// # Time
//
// Delays are real, so such tests belong in synctest.Test: there a minute's stall takes no time, and
// the moment at which something happens is exact. Make the Network in there too. It starts no
// goroutine, waits on channels only, and uses timers, which do not keep the fake clock from going on.
//
// # What a seed repeats
//
// All that is drawn is a function of the seed, the number of the connection, the direction and the
// offset in its bytes; for a refused dial, of the number of the dial. No number depends on what was
// drawn before, so it does not matter in which order goroutines run, or how the bytes are spread over
// Writes. (Two exceptions: jitter is drawn by where a Write begins, and a bandwidth delivers what one
// Write wrote in packets.) The same operations on the same connections thus meet the same faults at
// the same bytes.
//
// What goroutines do at the same instant is in no fixed order all the same, not even with a fake
// clock: who dials first, or whose bytes come first on a connection that two of them write to. A
// test that must be the same to the last step owns every choice itself: it lets one thing happen,
// waits with synctest.Wait, and lets the next happen. [Config].Manual is for that.
package edicttest

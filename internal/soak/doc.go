// Command soak runs servers and clients of Edict as processes of their own, does to them and to what
// lies between them what happens to programs in the world, and counts what came of each call:
//
//	go run ./internal/soak -for 60s
//
// # What runs
//
// The driver starts this program again for each server and client (flag -role). Servers listen on
// tcp, unix and tls. Clients call them directly and through fault proxies in the driver
// (edicttest.Proxy), with many callers each: commands with one result and with many, quick and slow,
// small and large, failing, cancelled, with deadlines, alone and in bursts. A client whose connection
// is lost dials again. By some routes it resumes its connection, and most of those lead to servers with a
// journal, which the next server at the address has too. One server and one client, the steady ones, are left alone, so that what
// grows with time is seen there. Where the program runs as root on Linux there is one more server
// and one more client, each in a network namespace of its own, and between the two a wire of two TUN
// devices whose packets the driver carries (type wire).
//
// # What happens
//
// plan draws the faults from the seed (flag -seed): processes are killed (SIGKILL), drained (SIGTERM)
// and frozen (SIGSTOP) under load and started again; connections are cut, at once or at a byte,
// stalled, half-open, slow, torn, corrupted (under TLS), refused, accepted late; some are cut
// one after the other, and servers killed that have hardly begun; packets are lost,
// doubled, late, out of order, or do not come through at all for a while. When the plan is through,
// everything is healed: then every connection must work again, and all processes are drained.
//
// # What is checked
//
// A server appends the id of each command to its log before it does anything else, and when it has done it;
// a client records each call before it starts and after it ends. audit compares them: see audit.go for
// what must not be. By a route that is resumed no outcome may be unknown unless something has happened to the
// server meanwhile; with a journal only that of what was being executed when the server was killed, or takes
// inputs; and a journal must forget what its clients know. After its drain each process compares its goroutines and open files with what it had before
// the first connection. The exit code is 1 if anything that must be 0 is not, or if a fault that was
// planned did not happen.
package main

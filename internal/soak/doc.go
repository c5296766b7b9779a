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
// is lost dials again. One server and one client, the steady ones, are left alone, so that what
// grows with time is seen there. Where the program runs as root on Linux there is one more server
// and one more client, each in a network namespace of its own, and between the two a wire of two TUN
// devices whose packets the driver carries (type wire).
//
// # What happens
//
// plan draws the faults from the seed (flag -seed): processes are killed (SIGKILL), drained (SIGTERM)
// and frozen (SIGSTOP) under load and started again; connections are cut, at once or at a byte,
// stalled, half-open, slow, torn, corrupted (under TLS), refused, accepted late; packets are lost,
// doubled, late, out of order, or do not come through at all for a while. When the plan is through,
// everything is healed: then every connection must work again, and all processes are drained.
//
// # What is checked
//
// A server appends the id of each command to its log before it does anything else; a client records
// each call before it starts and after it ends. audit compares them: see audit.go for what must not
// be. After its drain each process compares its goroutines and open files with what it had before
// the first connection. The exit code is 1 if anything that must be 0 is not, or if a fault that was
// planned did not happen.
package main

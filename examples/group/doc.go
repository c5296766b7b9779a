// Group shows a client of several servers: who serves what, and what becomes of it when servers die, come and
// go.
//
// Without flags it starts some servers and a client in one process:
//
//	go run ./examples/group
//
// It kills a server under load, adds two, and shuts one down, and prints who has served how many calls each
// time, and how many have failed: none.
//
// As processes, in four terminals. Kill servers and start them again at their addresses, and see how the client
// goes on:
//
//	go run ./examples/group -serve tcp://127.0.0.1:9001 -name east
//	go run ./examples/group -serve tcp://127.0.0.1:9002 -name north
//	go run ./examples/group -serve tcp://127.0.0.1:9003 -name west
//	go run ./examples/group -connect tcp://127.0.0.1:9001,tcp://127.0.0.1:9002,tcp://127.0.0.1:9003
//
// -strategy chooses how the group chooses.
//
// # What is tried again
//
// Find is idempotent: it is tried again on another server even if its connection was lost and nobody knows whether
// it ran. Reserve is not: it is tried again if it was not sent, or refused. So a server that is killed can cost a
// Reserve that is just under way, and a server that shuts down (Ctrl-C) costs none.
//
// Read tour.go first. client.go has the other client, main.go starts servers, settings.go has the flags.
package main

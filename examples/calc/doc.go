// Calc is the first example: a calculator that executes commands for its clients.
//
// Without flags it starts a server and a client in one process, sends commands over TCP, and prints
// what came back and in what time:
//
//	go run ./examples/calc
//
// With another codec, or over another kind of connection:
//
//	go run ./examples/calc -codec mus
//	go run ./examples/calc -addr unix:///tmp/calc.sock
//	go run ./examples/calc -addr tls://127.0.0.1:0
//
// As two processes, in two terminals:
//
//	go run ./examples/calc -serve -addr tcp://127.0.0.1:9000
//	go run ./examples/calc -connect -addr tcp://127.0.0.1:9000
//
// Read main.go from top to bottom, then the package commands. The rest is flags (settings.go), a
// certificate for tls:// (certificate.go), how the results are printed (report.go), and the same
// tour with protocol buffers (protobuf.go and the package calcpb).
package main

// Chat shows a duplex command: a room in which everybody reads what anybody says.
//
// Without flags it starts a server and three members in one process, lets them talk, and prints what
// each of them sees:
//
//	go run ./examples/chat
//
// To talk yourself, start a server in one terminal and a member in each of some others. Type lines;
// the end of the input (Ctrl-D) leaves the room:
//
//	go run ./examples/chat -serve tcp://127.0.0.1:9000
//	go run ./examples/chat -connect tcp://127.0.0.1:9000 -name ada
//	go run ./examples/chat -connect tcp://127.0.0.1:9000 -name bob
//
// # A member that does not read
//
// It holds up nobody. On its way to a member an event passes three bounded places: what is under way
// to the client (ClientConfig.Window, in bytes), the batch that the member's own goroutine on the
// server is sending, and the member's queue in the room (commands.QueueSize). When all are full the
// member misses what happens from then on, and the room counts it. As soon as it reads again it gets
// what was queued, is told how many lines it missed, and goes on from there.
//
// # The end
//
// When the server shuts down it tells the members, who leave; Shutdown waits for that, as long as its
// context allows.
//
// Read tour.go for the client's side and the package commands for the server's. main.go starts a
// server, member.go is a member that talks with standard input and output, settings.go has the flags.
package main

// Exactly-once shows commands that are executed once, whatever happens to the connection and to the server: a bank
// whose server is killed again and again while clients transfer money.
//
// Without flags it is the clients, and starts itself as the server, which it kills and starts again; between kills it
// cuts connections. At the end it compares what the clients know with the bank's books:
//
//	go run ./examples/exactly-once
//
// As two processes, in two terminals. Kill the server (kill -9) and start it again, as often as you like; Ctrl-C at
// the clients ends them, and they say what they know:
//
//	go run ./examples/exactly-once -serve tcp://127.0.0.1:9000 -folder /tmp/bank
//	go run ./examples/exactly-once -connect tcp://127.0.0.1:9000
//
// # What to look at
//
// WithResume on both sides lets calls survive a connection, and the server's journal lets them survive the server. A
// transfer whose caller has an answer was done once. One that the server had done, and not answered, when it was killed
// is answered from the journal by the next server. One that was under way the next server can't know about: its call
// ends with OutcomeUnknown.
//
// The bank knows. Transfer writes its CommandID into the ledger, in the transaction in which it moves the money: so
// both have happened, or neither. The caller's error has the same ID, so the caller can ask. The answer must be final,
// though "it is not there" may only mean "not yet" (of a call that has lost its patience, for example). So the question is a
// command that settles the matter: Settle finds the transfer in the ledger, or enters it there as void, and a
// transfer that is void is never done.
//
// Read commands/commands.go first, then client.go. server.go has the server, tour.go kills it, main.go has the rest.
package main

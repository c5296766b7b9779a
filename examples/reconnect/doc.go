// Reconnect shows a client that goes on while its servers come and go.
//
// Without flags it starts a server and a client in one process, lets some callers call, and restarts the server
// four times: twice gracefully, and twice by closing all connections at once, as if it had crashed. It prints
// the states of the client and, at the end, what became of the calls:
//
//	go run ./examples/reconnect
//
// As two processes, in two terminals. Stop the server (Ctrl-C, or kill -9) and start it again, as often as you
// like; Ctrl-C at the client ends it:
//
//	go run ./examples/reconnect -serve tcp://127.0.0.1:9000
//	go run ./examples/reconnect -connect tcp://127.0.0.1:9000
//
// # What to look at
//
// No call fails because a server was restarted gracefully: what it has accepted it finishes, and the rest goes
// to the next one. After a crash, calls that were under way are of two kinds. Read is Idempotent, so the
// client sends it again, and its caller notices nothing. Increase is not, so its caller gets an error, whose outcome
// is unknown: it may have run or not. At the end the counter has counted all that succeeded, and no more than
// those of which nobody knows.
//
// Read client.go for the client's side. main.go starts and restarts servers, settings.go has the flags.
package main

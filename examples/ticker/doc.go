// Ticker shows a stream of results and what becomes of it when its reader is slow.
//
// Without flags it starts a server and a client in one process. Over one connection the client reads
// the same prices twice, once as they come and once slowly:
//
//	go run ./examples/ticker
//
// As two processes, in two terminals. Stop the server (Ctrl-C) to see how the stream ends:
//
//	go run ./examples/ticker -serve tcp://127.0.0.1:9000
//	go run ./examples/ticker -connect tcp://127.0.0.1:9000
//
// # A slow reader
//
// It slows only itself. A stream may have so many bytes under way (ClientConfig.Window); when its
// reader takes none, Sink.Send waits in the command on the server, there and nowhere else. The command
// decides what to do with what it can't send meanwhile. This one merges: of each symbol it keeps the
// newest price and counts the ones before. So what a slow reader gets is what was under way, as old as
// the window is large, and then prices that are new when they are sent.
//
// # The end
//
// Leaving the loop over the results cancels the command: its context ends, or the Send in which it
// waits fails. When the server shuts down, the command hears of it (edict.Draining), sends the last
// prices and returns, and the reader's loop ends without an error. Shutdown waits for that, as long as
// its context allows; so a reader that takes nothing at all gets its connection closed.
//
// Read client.go for the client's side and the package commands for the server's. main.go starts a
// server, settings.go has the flags.
package main

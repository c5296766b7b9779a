// Upload shows a command with many inputs and one result: a file on its way to a server.
//
// Without flags it starts a server and a client in one process. The client uploads some generated data,
// and then what the server refuses: a name that would lead out of the server's folder, and a file that
// is too large.
//
//	go run ./examples/upload
//
// With a file of yours, under another name, with another codec:
//
//	go run ./examples/upload -name copy.pdf -codec json some.pdf
//
// As two processes, in two terminals:
//
//	go run ./examples/upload -serve tcp://127.0.0.1:9000
//	go run ./examples/upload -connect tcp://127.0.0.1:9000 some.pdf
//
// The server writes to a temporary folder, which it removes when it stops, or to that of -folder. It
// counts the bytes that come, and compares their SHA-256 with the one that the client sends after the
// last of them. Only then the file gets its name.
//
// The progress is honest: the client can be ahead of the server by no more than what is under way
// (16 KiB at first, and ServerConfig.Window, 4 MiB by default, at most), since Upload waits while the command takes no more.
//
// Read client.go for the client's side and the package commands for the server's. main.go starts a
// server, progress.go shows the progress, settings.go has the flags.
package main

// Package text carries commands and results as lines of JSON: a core.Transport for a server, so that
//
//	printf '{"cmd":"Add","id":1,"body":{"A":2,"B":3}}\n' | nc HOST PORT
//
// calls a command. A server with ServerConfig.AllowText has it at the same address as the binary protocol; docs/text.md has
// the members of lines.
//
// A [Conn] is the server's side of one connection. To what executes commands it is a transport like any other: a
// line becomes a COMMAND frame, a RESULT frame becomes a line. So limits, deadlines, flow control, interceptors,
// shutdown and statistics are those of all connections.
//
// # Flow control
//
// A client of text mode gives no credit. A stream has as much as was written to the network; an input that
// comes when the command has room for none is waited with, and so is what the client has sent behind it, so a client
// that mixes calls with inputs should have a connection for each.
//
// # The end
//
// When the client has sent all that it wants (as nc does at the end of its input), the calls in flight go on, for Linger at
// most, and their results are written; then the connection ends.
package text

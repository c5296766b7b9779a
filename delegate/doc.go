// Package delegate leads a connection through its life. It begins with the handshake, in which two sides
// find out that they speak the same protocol and agree on a codec, on limits and on the numbers that stand
// for commands: [Connect] is the client's part, [Acceptor.Accept] the server's.
//
// A [Supervisor] keeps a client connected: it makes another connection when one is lost or its server goes
// away, as [Reconnect] says, and tells its [States]. It knows nothing of the handshake, or of Edict's
// protocol at all, so it does for others too. docs/connections.md has the states in a drawing.
//
// # Bad input
//
// What a peer can make this package hold is bounded by the handshake's size (64 KiB) and its time
// (5 s from the first byte to the last, however slowly they come). Fields that it does not know are
// skipped, so that newer peers can say more. Both sides end a handshake that fails with a reason:
// the server sends REJECT, the client's error quotes it.
package delegate

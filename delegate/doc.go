// Package delegate leads a connection through its life. So far that is its beginning: the handshake,
// in which two sides find out that they speak the same protocol and agree on a codec, on limits and
// on the numbers that stand for commands. [Connect] is the client's part, [Accept] the server's.
//
// # Bad input
//
// What a peer can make this package hold is bounded by the handshake's size (64 KiB) and its time
// (5 s from the first byte to the last, however slowly they come). Fields that it does not know are
// skipped, so that newer peers can say more. Both sides end a handshake that fails with a reason:
// the server sends REJECT, the client's error quotes it.
package delegate

// Package raw is the physical limit that Edict's transports are measured against: framed echo with
// combining writes and slots on one connection, and nothing else. It has no types, no deadlines, no
// cancellation, no flow control and no limits beyond the size of a frame. It is not for use in
// programs, and it has no compatibility promise.
//
// [Serve] answers on a listener; [Dial] makes a [Client] from a connection; [Client.Call] sends a
// body and waits for its echo. [Client.Delayed] and [Client.Stream] exist for the two workloads
// that an echo can't express: an answer that a blocking handler holds back for a while, and many
// results to one request.
//
// # Wire
//
// A frame is a length (4 bytes, little endian: the bytes that follow it), a sequence (8 bytes,
// little endian) and a body. The sequence's top byte is the operation, the rest is the number of
// the client's slot, which the server returns unchanged.
//
// # Who writes
//
// Frames go through a combining writer: whoever appends a frame while nobody writes becomes the
// writer, yields once so that every runnable caller can append too, and then writes everything that
// has come together with one call. See writer.go.
package raw

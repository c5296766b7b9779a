// Package examples has one program in each of its folders, to read from top to bottom, to run and
// to copy from:
//
//   - calc is the first one to read: a server, a client, commands of both kinds, errors, deadlines,
//     all codecs and addresses.
//   - chat is a duplex command: a room in which everybody reads what anybody says, and a member that
//     does not read holds up nobody.
//   - upload is a command with many inputs and one result: a file, with a progress bar, and what the
//     server refuses.
//   - ticker is a stream of results with a fast and a slow reader, which ends when the reader leaves
//     its loop or the server shuts down.
//   - reconnect is a client that goes on while its servers shut down, crash and come back.
//   - group is a client of several servers that are killed, added and shut down, and who serves what.
//   - exactly-once is a bank whose server is killed again and again: every transfer is made once, and those
//     that were cut off are settled.
//
// Some are modules of their own, because of what they need: grpc is a gRPC service that goes over to Edict, otel shows
// what OpenTelemetry sees, and shop is three processes in which something is slow, for the guide docs/operating.md.
package examples

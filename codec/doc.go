// Package codec says how commands and results become bytes: [Codec], which json, mus, protobuf and
// msgpack below it implement, and the [Registry] of commands that a client and a server share.
//
// # Names, not positions
//
// A command is known on the wire by a stable name, by default that of its type. The order in which
// commands are registered means nothing.
//
// # Shapes
//
// A command's shape is the list of its fields and of those of its result, with their types. Both
// sides exchange fingerprints of the shapes when they connect, so that a difference is found then,
// with the name of the field, and not as garbage in a result.
package codec

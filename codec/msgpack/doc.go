// Package msgpack encodes values as MessagePack, on any type and without setup.
//
// There are two forms. [Codec] writes a struct as an array of its fields in order: small and fast,
// but both sides must have the same fields. [Map] writes a struct as a map from names to fields: two
// sides can run different versions, as with JSON. They have different names in the handshake, so a
// connection never mixes them.
//
// # Hostile input
//
// The library underneath makes slices and maps of the length that the input declares, and recurses
// as deep as the input nests. So Decode first walks the bytes, without allocating: every declared
// length must fit in the bytes that follow, nesting is at most 10,000 deep, and there is exactly one
// value.
//
// # Integers in interfaces
//
// Integers are written in the shortest form that holds them. Where the target is an interface the form
// decides the type: an int of 5 arrives as int8, one of 200 as uint8, one of 70,000 as uint32. A field
// with a type of its own has none of this.
//
// # Times
//
// A time.Time keeps its nanoseconds and loses its location: it is decoded in the local one.
package msgpack

// Package mus is the fast codec: MUS, with serializers generated ahead of time.
//
// Values carry neither names nor types, nothing is boxed, and there is no reflection in a call. In
// return both sides must have the same fields in the same order, which the handshake compares.
//
// # How to use it
//
// Put this into a package of commands and run go generate:
//
//	//go:generate go tool edict-gen
//
// It writes serializers for the commands, for their results and for what these contain, and the
// variable MUS, a [Codec] that knows them. Commands of several packages share a connection through
// [Join]. Results of the types bool, string, []byte, time.Time, time.Duration, struct{} and all
// integers and floats need no serializer of their own, nor does a pointer to a type that has one.
//
// A serializer that you wrote yourself goes into [For].
//
// # Hostile input
//
// Serializers of mus-go make slices and maps of the length that the input declares, and fill an
// array from fewer elements than it has, reading past them. So types with any of these are checked
// before they are decoded: for generated serializers the check follows the Go type, for your own it
// is their Skip method. Types without them are decoded at once. A panic in a serializer becomes an
// error.
//
// # Times
//
// A time.Time keeps its nanoseconds and loses its location: it is decoded in UTC. See [Time].
package mus

// Package json is the codec that works on any type without setup: encoding/json.
//
// [Codec] is what to start with. It encodes the names of the fields, so two sides can run different
// versions of a command; unknown fields are ignored. It is the slowest of the codecs, and the
// easiest to read on the wire.
//
// # What differs from encoding/json
//
// HTML characters are not escaped. Types that encoding/json discovers too late, with an error in
// the middle of a call, are refused by Check: channels, functions, complex numbers, and interfaces
// with methods, which can be encoded but never decoded.
package json

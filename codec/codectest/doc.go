// Package codectest tests implementations of codec.Codec, ours and anybody's.
//
// [Conformance] checks that a codec keeps the rules of the interface for values of one type,
// [AppendError] that it refuses a value, [HostileLengths] that its allocations stay in proportion to
// the input, and [Fuzz] the same on inputs that the fuzzer makes up:
//
//	func TestCodec(t *testing.T) { codectest.Conformance(t, mycodec.Codec, Order{ID: 7}) }
//
//	func FuzzDecode(f *testing.F) { codectest.Fuzz(f, mycodec.Codec, Order{ID: 7}) }
package codectest

// Package protobuf encodes messages that protoc generated, or any other proto.Message.
//
// A value is a message pointer such as *pb.Balance, or a struct that embeds one and has nothing
// else. The second form is what a command needs, because Exec can't be added to a type of another
// package:
//
//	type Transfer struct{ *pb.Transfer }
//
//	func (t Transfer) Exec(ctx context.Context, bank *Bank) (*pb.Balance, error) { ... }
//
// A nil message is encoded as an empty one, so it is decoded as an empty one. Bytes after a message
// are more fields of it: Protocol Buffers can't tell them apart.
package protobuf

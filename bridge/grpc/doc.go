// Package grpcbridge carries gRPC over Edict: the stubs and handlers that protoc-gen-go-grpc has generated
// run unchanged, over Edict's connections instead of HTTP/2.
//
//	// client: instead of grpc.NewClient
//	conn, err := grpcbridge.Dial(ctx, "tcp://127.0.0.1:9000")
//	client := pb.NewGreeterClient(conn)
//
//	// server: instead of grpc.NewServer
//	server := grpcbridge.NewServer()
//	pb.RegisterGreeterServer(server, &greeter{})
//	err := server.ListenAndServe("tcp://127.0.0.1:9000")
//
// [ClientConn] is a grpc.ClientConnInterface and [Server] a grpc.ServiceRegistrar. To serve gRPC methods beside
// commands of your own, on the same connections, add [Commands] to the registry of an Edict server, and give
// its clients to [NewClientConn]. [Split] serves Edict and gRPC itself at one address, for the time of a
// migration. The guide is docs/from-grpc.md.
//
// # How calls travel
//
// A unary call is one COMMAND and one RESULT. A method with one request and many responses is a stream, all
// others are duplex commands. PROTOCOL.md, beside this file, has each byte. Metadata, headers, trailers,
// deadlines, cancellation and statuses with their details arrive as they do with gRPC.
//
// # Errors
//
// Errors of calls have a gRPC status (status.FromError, status.Code) and, in their chain, the
// *edict.Error that says in its Outcome whether the handler ran. errors.Is finds context.Canceled and
// context.DeadlineExceeded.
//
// # Concurrency
//
// ClientConn and Server are safe for concurrent use. Streams have gRPC's rules: one goroutine may be in
// SendMsg and another one in RecvMsg, but no two in the same method.
package grpcbridge

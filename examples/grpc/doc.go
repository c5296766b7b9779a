// Grpc shows how a service of gRPC goes over to Edict while it runs, without a failed call.
//
//	go run ./examples/grpc
//
// It starts a server and some clients that call it all the time, over gRPC. The server serves both at one
// address (bridge/grpc's Split). One client after the other is replaced by one that calls over Edict; when no
// other is left, the gRPC half is stopped. Calls and failures are counted.
//
// The service (service.go) and what calls it (client.go, but for dial) are those that there would be without
// Edict: the generated code of stockpb, unchanged. What a migration changes is in server.go and dial: a listen line
// and a dial line.
//
// The server and clients of either kind as processes, in terminals of their own:
//
//	go run ./examples/grpc -serve 127.0.0.1:9000
//	go run ./examples/grpc -connect 127.0.0.1:9000 -over grpc
//	go run ./examples/grpc -connect 127.0.0.1:9000 -over edict
//
// The guide is docs/from-grpc.md.
package main

module github.com/edict-go/edict/examples/grpc

go 1.26.0

replace (
	github.com/edict-go/edict => ../..
	github.com/edict-go/edict/bridge/grpc => ../../bridge/grpc
)

require (
	github.com/edict-go/edict v0.0.0-00010101000000-000000000000
	github.com/edict-go/edict/bridge/grpc v0.0.0-00010101000000-000000000000
	google.golang.org/grpc v1.85.0
	google.golang.org/protobuf v1.36.12
)

require (
	github.com/cenkalti/backoff/v5 v5.0.3 // indirect
	golang.org/x/net v0.62.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/text v0.43.0 // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20260928230214-8a89bd6388cc // indirect
	google.golang.org/grpc/cmd/protoc-gen-go-grpc v1.6.2 // indirect
)

tool (
	google.golang.org/grpc/cmd/protoc-gen-go-grpc
	google.golang.org/protobuf/cmd/protoc-gen-go
)

// Package stockpb is what protoc makes of stock.proto.
package stockpb

//go:generate sh -c "mkdir -p .tools && go build -o .tools/ google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc"
//go:generate sh -c "PATH=$PWD/.tools:$PATH protoc --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative stock.proto && rm -r .tools"

// Package echopb is the generated code of the peers that take protocol buffers.
package echopb

// The plugins are tools of this module, so their versions are pinned in go.mod. protoc is the
// system's: 3.21 made what is checked in.
//
//go:generate sh -c "mkdir -p .tools && go build -o .tools/ google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc connectrpc.com/connect/cmd/protoc-gen-connect-go storj.io/drpc/cmd/protoc-gen-go-drpc github.com/containerd/ttrpc/cmd/protoc-gen-go-ttrpc"
//go:generate sh -c "PATH=$PWD/.tools:$PATH protoc --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative --connect-go_out=. --connect-go_opt=paths=source_relative,simple --go-drpc_out=. --go-drpc_opt=paths=source_relative --go-ttrpc_out=. --go-ttrpc_opt=paths=source_relative,prefix=TTRPC echo.proto && rm -r .tools"

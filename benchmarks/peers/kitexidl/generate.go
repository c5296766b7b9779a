// Package kitexidl holds the descriptions from which kitex generates the code below it, with
// messages of its own.
package kitexidl

// kitex formats nothing and adds imports to go.mod itself; its version is pinned there.
//
//go:generate go tool kitex -module github.com/edict-go/edict/benchmarks -gen-path . -type protobuf -I . echo.proto
//go:generate go tool kitex -module github.com/edict-go/edict/benchmarks -gen-path . echo.thrift

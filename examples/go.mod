module github.com/edict-go/edict/examples

go 1.26.0

replace (
	github.com/edict-go/edict => ..
	github.com/edict-go/edict/cmd/edict-gen => ../cmd/edict-gen
)

require (
	github.com/edict-go/edict v0.0.0-00010101000000-000000000000
	github.com/mus-format/mus-go v0.7.2
	github.com/schollz/progressbar/v3 v3.19.1
	go.etcd.io/bbolt v1.5.0
	golang.org/x/term v0.47.0
	google.golang.org/protobuf v1.36.12
)

require (
	github.com/cenkalti/backoff/v5 v5.0.3 // indirect
	github.com/edict-go/edict/cmd/edict-gen v0.0.0-00010101000000-000000000000 // indirect
	github.com/mitchellh/colorstring v0.0.0-20190213212951-d06e56a500db // indirect
	github.com/mus-format/common-go v0.0.0-20251026152644-9f5ac6728d8a // indirect
	github.com/mus-format/musgen-go v0.2.3 // indirect
	github.com/rivo/uniseg v0.4.7 // indirect
	github.com/sony/gobreaker/v2 v2.4.0 // indirect
	github.com/vmihailenco/msgpack/v5 v5.4.1 // indirect
	github.com/vmihailenco/tagparser/v2 v2.0.0 // indirect
	golang.org/x/exp v0.0.0-20230515195305-f3d0a9c9a5cc // indirect
	golang.org/x/mod v0.41.0 // indirect
	golang.org/x/sync v0.23.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/tools v0.51.0 // indirect
)

tool (
	github.com/edict-go/edict/cmd/edict-gen
	google.golang.org/protobuf/cmd/protoc-gen-go
)

module github.com/edict-go/edict/cmd/edict-gen

go 1.26.0

require (
	github.com/mus-format/musgen-go v0.2.3
	golang.org/x/tools v0.51.0
)

require (
	golang.org/x/mod v0.41.0 // indirect
	golang.org/x/sync v0.23.0 // indirect
)

tool github.com/edict-go/edict/cmd/edict-gen

// Package tools has no code: its go.mod pins the programs that .ci/run and the Makefile check the
// repository with. It is not in go.work, so what these programs need doesn't decide which versions
// of anything Edict is tested with.
package tools

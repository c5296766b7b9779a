# make formats, vets, lints and tests. make ci does all that a change must pass.
.PHONY: all format ci

all: format
	.ci/run vet lint test

format:
	gofumpt=$$(cd internal/tools && GOWORK=off go tool -n gofumpt) && "$$gofumpt" -w .

ci:
	.ci/run

package edict

import (
	"context"

	"github.com/edict-go/edict/codec"
	"github.com/edict-go/edict/core"
)

// Command is a request that carries its own execution and has one result. See [core.Command].
type Command[T, R any] = core.Command[T, R]

// StreamCommand is a command with any number of results. See [core.StreamCommand].
type StreamCommand[T, R any] = core.StreamCommand[T, R]

// DuplexCommand is a command with any number of inputs and of results. See [core.DuplexCommand].
type DuplexCommand[T, I, R any] = core.DuplexCommand[T, I, R]

// Ordered is an optional interface of commands: those with the same key execute one after another. See
// [core.Ordered].
type Ordered = core.Ordered

// Idempotent is an optional interface of commands that may be executed twice. See [core.Idempotent].
type Idempotent = core.Idempotent

// Sink takes the results of a StreamCommand or DuplexCommand. See [core.Sink].
type Sink[R any] = core.Sink[R]

// Source has the inputs of a DuplexCommand. See [core.Source].
type Source[I any] = core.Source[I]

// Registry is a set of commands for receivers of type T. See [codec.Registry].
type Registry[T any] = codec.Registry[T]

// Definition is one command of a Registry. Its Named method gives it another name than its type's.
type Definition[T any] = codec.Definition[T]

// Commands makes a Registry. It panics if a name or a type occurs twice.
func Commands[T any](definitions ...Definition[T]) *Registry[T] {
	return codec.Commands(definitions...)
}

// Unary defines the command C, which has one result. The other type arguments are inferred.
func Unary[C core.Command[T, R], T, R any]() Definition[T] { return codec.Unary[C, T, R]() }

// ServerStream defines the command C, which has any number of results. The other type arguments
// are inferred.
func ServerStream[C core.StreamCommand[T, R], T, R any]() Definition[T] {
	return codec.ServerStream[C, T, R]()
}

// Duplex defines the command C, which takes any number of inputs and has any number of results. The
// other type arguments are inferred.
func Duplex[C core.DuplexCommand[T, I, R], T, I, R any]() Definition[T] {
	return codec.Duplex[C, T, I, R]()
}

// Metadata is what travels beside a command or its results. See [core.Metadata].
type Metadata = core.Metadata

// Peer describes the other side of a connection. See [core.Peer].
type Peer = core.Peer

// PeerOf returns the client of the command that runs with ctx; the zero Peer outside of a command.
func PeerOf(ctx context.Context) Peer {
	if scope, ok := core.ScopeOf(ctx); ok {
		return scope.Peer()
	}
	return Peer{}
}

// MetadataOf returns the metadata that came with the command that runs with ctx. It may be nil.
func MetadataOf(ctx context.Context) Metadata {
	if scope, ok := core.ScopeOf(ctx); ok {
		return scope.Metadata()
	}
	return nil
}

// SetMetadata sets metadata that goes back to the caller with the end of the command that runs with
// ctx, whether it succeeds or not. Outside of a command it does nothing.
func SetMetadata(ctx context.Context, key string, values ...string) {
	if scope, ok := core.ScopeOf(ctx); ok {
		scope.SetMetadata(key, values...)
	}
}

// Draining returns a channel that is closed when the server of the command that runs with ctx has
// begun to shut down: a long stream should come to an end then. Outside of a command it is nil.
func Draining(ctx context.Context) <-chan struct{} {
	if scope, ok := core.ScopeOf(ctx); ok {
		return scope.Draining()
	}
	return nil
}

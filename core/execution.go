package core

import (
	"context"
	"crypto/tls"
	"net"
)

// Executor runs one kind of command against the receiver that it was made for.
type Executor interface {
	// Execute decodes the command, runs it and hands its results to execution. It returns what the
	// command's Exec returned, or an error of its own, for example if the command can't be decoded.
	Execute(ctx context.Context, execution Execution) error
	// Stream reports whether the command has any number of results, Inputs whether it takes inputs.
	Stream() bool
	Inputs() bool
}

// OrderedExecutor is the Executor of commands that are Ordered. The server calls Prepare instead of
// Execute.
type OrderedExecutor interface {
	Executor
	// Prepare decodes the command and returns its ordering key, and execute, which does the rest of what
	// Execute does. The server calls execute when the command's turn has come, at most once, maybe in
	// another goroutine. The encoded command is valid until Prepare returns.
	Prepare(execution Execution) (key string, execute func(context.Context) error, err error)
}

// Execution is one command that a server runs, as its Executor sees it.
type Execution interface {
	// Command returns the encoded command, valid until Decoded, or until Execute or Prepare returns.
	Command() []byte
	// Decoded says that Command is not needed any more: what it lies in may serve others.
	Decoded()
	// Intercept calls run, which runs the decoded command, through the server's interceptors: with the context that they
	// have made, the same command, and the Execution itself. So run need not be made for each command. If there are none
	// (Intercepted) the Executor need not call it.
	Intercept(ctx context.Context, command any, run func(context.Context, any, Execution) error) error
	Intercepted() bool
	// Begin must be called right before the command's Exec: an error before it means that the
	// command was refused, an error after it that it was executed. If it returns an error the command must not be
	// executed, and the error is what Execute returns.
	Begin() error
	// Observe shows a result to the interceptors before it is encoded, ObserveInput an input after it
	// was decoded, if there are any. Observed reports whether one wants to see results.
	Observed() bool
	Observe(result any) error
	ObserveInput(input any) error
	// Scratch returns an empty slice to encode the result of a unary command to, whose size may be guessed. If that
	// is large it waits until the connection's budget has room for it. Reply takes the result. If again is
	// true, which it can be of one above 8 KiB, it was dropped because the connection's budget had no room for it: Reply has waited for that, and the
	// result must be encoded once more.
	Scratch(size int) ([]byte, error)
	Reply(encoded []byte) (again bool, err error)
	// Results returns where a stream's results go. It may be used until Execute returns; after
	// that it returns errors.
	Results() ResultSender
	// Received returns where the inputs are. The same holds for it.
	Received() InputReceiver
}

// InputReceiver has the inputs of one command.
type InputReceiver interface {
	// ReceiveInput waits for the next input, which the caller must release. It returns io.EOF after
	// the last one, and an error when ctx or the command's context ends.
	ReceiveInput(ctx context.Context) (*Buffer, error)
}

// ResultSender sends the results of one stream.
type ResultSender interface {
	// Buffer returns an empty buffer for a result of about that size. If that is large it waits until there is
	// credit and room for it, as SendResult does, so that nothing is held meanwhile.
	Buffer(ctx context.Context, size int) (*Buffer, error)
	// SendResult sends the result in buffer, which it takes over in any case. It waits while the
	// caller has not made room, until ctx or the command's context ends. If again is true the result was dropped
	// instead, and is to be encoded once more to a Buffer of its size.
	SendResult(ctx context.Context, buffer *Buffer) (again bool, err error)
}

// Peer describes the other side of a connection.
type Peer struct {
	// Address is the network address, Name what the peer calls itself (not verified).
	Address net.Addr
	Name    string
	// TLS is the state of the TLS connection, nil without TLS. With mutual TLS it holds the peer's
	// verified certificates.
	TLS *tls.ConnectionState
	// Codec is the name of the codec that the handshake chose, Compression that of the compression, empty
	// if there is none.
	Codec       string
	Compression string
	// Principal is who the server's authenticator says that the client is, nil without one. It is the
	// same for all commands of the connection: not to be changed.
	Principal *Principal
}

// Principal is someone whom a server's authenticator has recognised.
type Principal struct {
	// Scheme is how: "token", "jwt", "mtls", "unix", or one of your own. Names are unique within a
	// scheme, at most.
	Scheme string
	// Name is who, as in "alice", "CN=till,O=Bank" or "uid:1000".
	Name string
	// Value is what else is known, for example the claims of a token. Commands read it at the same time.
	Value any
}

// Scope is what a running command can reach through its context.
type Scope interface {
	Peer() Peer
	// Metadata returns what came with the command.
	Metadata() Metadata
	// SetMetadata sets what goes back with the end of the command.
	SetMetadata(key string, values ...string)
	// Draining is closed when the server has begun to shut down.
	Draining() <-chan struct{}
}

type scopeKey struct{}

// ScopeKey is the key of the Scope in the context of a command.
var ScopeKey any = scopeKey{}

// ScopeOf returns the Scope of the command that runs with ctx, and false outside of one.
func ScopeOf(ctx context.Context) (Scope, bool) {
	scope, ok := ctx.Value(ScopeKey).(Scope)
	return scope, ok
}

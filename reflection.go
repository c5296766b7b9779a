package edict

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/edict-go/edict/codec"
	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/delegate"
)

// The names of the commands that a server has of itself. Names that begin with "edict." are reserved for such.
const (
	// ReflectName is that of the command which returns a Reflection.
	ReflectName = "edict.Reflect"
	// StatsName is that of the command which returns a Snapshot.
	StatsName = "edict.Stats"
)

// builtInFormat is the encoding of these commands and their results, whatever the connection's codec.
const builtInFormat = "json"

// Reflection is what a server says of its commands.
type Reflection struct {
	// Server is what the server calls itself.
	Server string `json:"server"`
	// Commands are in the order of their names.
	Commands []CommandDescription `json:"commands"`
	// BuiltIn has the names of the commands that the server has of itself.
	BuiltIn []string `json:"built_in"`
}

// CommandDescription is what a server says of a command. See [codec.Description].
type CommandDescription = codec.Description

// WithReflection lets clients ask the server for its commands, with their names, kinds, shapes and fields, by the
// command edict.Reflect. Package dynamic and the command line of Edict use it, to call commands of which they have no
// Go types. Who may connect may ask.
func WithReflection() ServerOption {
	return serverOption(func(s *serverSettings) { s.reflection = true })
}

// WithRemoteStats lets clients ask the server for a Snapshot, by the command edict.Stats, as edict watch does. It has
// addresses, names and the texts of errors of other clients, but for those that only the server's log has; and who may
// connect may ask: an interceptor can say who must not.
func WithRemoteStats() ServerOption {
	return serverOption(func(s *serverSettings) { s.remoteStats = true })
}

// WithShapeDifferences lets Dial succeed although commands have another shape on the server, as
// ClientConfig.AllowShapeDifferences does, whatever the ClientConfig says.
func WithShapeDifferences() DialOption {
	return dialOption(func(s *dialSettings) { s.shapeDifferences = true })
}

// Describe returns the descriptions of the commands, in the order of their names.
func Describe[T any](registry *Registry[T]) []CommandDescription {
	descriptions := make([]CommandDescription, registry.Len())
	for i := range descriptions {
		descriptions[i] = registry.At(i).Describe()
	}
	slices.SortFunc(descriptions, func(a, b CommandDescription) int {
		switch {
		case a.Name < b.Name:
			return -1
		case a.Name > b.Name:
			return 1
		}
		return 0
	})
	return descriptions
}

// BuiltInShape returns the shape of the commands that a server has of itself.
func BuiltInShape() codec.Shape {
	return codec.Shape{"unary", ". " + builtInFormat, "> " + builtInFormat}
}

// withBuiltIns adds the commands that the server has of itself to those of its registry, and their executors.
func (s *Server) withBuiltIns(commands []delegate.Command, descriptions []CommandDescription) []delegate.Command {
	add := func(name string, answer func() any) {
		if slices.ContainsFunc(commands, func(c delegate.Command) bool { return c.Name == name }) && s.problem == nil {
			s.problem = &Error{Code: FailedPrecondition, Message: fmt.Sprintf("the server has a command of its own with the name %q", name)}
			return
		}
		commands = append(commands, delegate.Command{Name: name, Shape: BuiltInShape()})
		for codec := range s.executors {
			s.executors[codec] = append(s.executors[codec], builtIn{answer})
		}
	}
	if s.settings.reflection {
		reflection := Reflection{Server: s.settings.config.Name, Commands: descriptions, BuiltIn: []string{ReflectName}}
		if s.settings.remoteStats {
			reflection.BuiltIn = append(reflection.BuiltIn, StatsName)
		}
		add(ReflectName, func() any { return reflection })
	}
	if s.settings.remoteStats {
		add(StatsName, func() any { return forClients(Look(s)) })
	}
	return commands
}

// forClients takes from a snapshot the texts that clients are not told anywhere: what a command panicked with, why an
// authenticator has refused.
func forClients(s Snapshot) Snapshot {
	redacted := func(f Failure) Failure {
		if f.Code == core.FailureCommandPanicked || f.Code == core.FailureAuth {
			f.Text = "the server's log has the details"
		}
		return f
	}
	for i := range s.Failures {
		s.Failures[i] = redacted(s.Failures[i])
	}
	for i := range s.Connections {
		if last := s.Connections[i].LastFailure; last != nil {
			copied := redacted(*last)
			s.Connections[i].LastFailure = &copied
		}
	}
	return s
}

// builtIn executes a command that a server has of itself. Interceptors see a BuiltIn.
type builtIn struct{ answer func() any }

// BuiltIn is a command that a server has of itself, as its interceptors see it; ServerCall.Name says which.
type BuiltIn struct{}

func (builtIn) Stream() bool { return false }
func (builtIn) Inputs() bool { return false }

// Execute implements core.Executor.
func (b builtIn) Execute(ctx context.Context, execution core.Execution) error {
	run := func(_ context.Context, _ any, execution core.Execution) error {
		execution.Decoded()
		if err := execution.Begin(); err != nil {
			return err
		}
		encoded, err := json.Marshal(b.answer())
		if err != nil {
			return core.Errorf(core.Internal, "can't encode the answer: %w", err)
		}
		for {
			scratch, err := execution.Scratch(len(encoded))
			if err != nil {
				return err
			}
			if again, err := execution.Reply(append(scratch, encoded...)); !again {
				return err
			}
		}
	}
	if execution.Intercepted() {
		return execution.Intercept(ctx, BuiltIn{}, run)
	}
	return run(ctx, nil, execution)
}

// Ping sends a few bytes to the server, waits until they come back, and returns how long that took. It fails when there
// is no connection, and when ctx ends. A server answers some thousand of them a second.
func (c *Client[T]) Ping(ctx context.Context) (time.Duration, error) {
	connection := c.life.present.Load()
	if connection == nil {
		return 0, &Error{Code: Unavailable, Outcome: NotSent, Message: "there is no connection yet"}
	}
	return connection.engine.Ping(ctx)
}

// Package echo has the command that Edict's own benchmarks measure: the message of the published
// comparisons of this field (a bool, an int64, a string, a float64), sent back as it came.
package echo

//go:generate go tool edict-gen

import (
	"context"
	"strings"

	"github.com/edict-go/edict"
)

// Receiver executes the commands.
type Receiver struct{}

// Message is what goes there and back.
type Message struct {
	Flag   bool
	Number int64
	Text   string
	Ratio  float64
}

// Echo returns its message.
type Echo struct {
	Flag   bool
	Number int64
	Text   string
	Ratio  float64
}

// Exec implements edict.Command.
func (e Echo) Exec(context.Context, *Receiver) (Message, error) { return Message(e), nil }

// Blob returns as many bytes as it says, as a text.
type Blob struct{ Size int }

// Exec implements edict.Command.
func (b Blob) Exec(context.Context, *Receiver) (string, error) {
	return strings.Repeat("b", b.Size), nil
}

// Flow sends its text without end, until its caller leaves.
type Flow struct{ Text string }

// Exec implements edict.StreamCommand.
func (f Flow) Exec(_ context.Context, _ *Receiver, results edict.Sink[string]) error {
	for {
		if err := results.Send(f.Text); err != nil {
			return err
		}
	}
}

// Commands has the commands of Receiver.
var Commands = edict.Commands(edict.Unary[Echo](), edict.Unary[Blob](), edict.ServerStream[Flow]())

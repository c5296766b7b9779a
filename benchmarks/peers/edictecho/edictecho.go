// Package edictecho has the commands of the Edict peers: as plain structs, for all codecs but
// Protobuf, and as Protobuf messages.
package edictecho

import (
	"context"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/benchmarks/peer"
)

//go:generate go tool edict-gen

// Receiver executes the commands; it has no state.
type Receiver struct{}

// Message is the result of Echo and Delayed.
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

// Delayed returns its message after the delay.
type Delayed struct {
	Flag   bool
	Number int64
	Text   string
	Ratio  float64
}

// Exec implements edict.Command.
func (d Delayed) Exec(context.Context, *Receiver) (Message, error) {
	time.Sleep(peer.Delay)
	return Message(d), nil
}

// Stream sends results of a size.
type Stream struct{ Count, Size int }

// Exec implements edict.StreamCommand.
func (s Stream) Exec(_ context.Context, _ *Receiver, results edict.Sink[[]byte]) error {
	body := peer.NewResult(s.Size)
	for range s.Count {
		if err := results.Send(body); err != nil {
			return err
		}
	}
	return nil
}

// Commands has the plain commands.
var Commands = edict.Commands(edict.Unary[Echo](), edict.Unary[Delayed](), edict.ServerStream[Stream]())

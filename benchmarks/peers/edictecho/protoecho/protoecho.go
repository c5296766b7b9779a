// Package protoecho has the commands of the edict-protobuf peer. Each is a message of package echopb
// with an Exec.
package protoecho

import (
	"context"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/benchmarks/peer"
	"github.com/edict-go/edict/benchmarks/peers/echopb"
)

// Receiver executes the commands; it has no state.
type Receiver struct{}

// Echo returns its message.
type Echo struct{ *echopb.Message }

// Exec implements edict.Command.
func (e Echo) Exec(context.Context, *Receiver) (*echopb.Message, error) { return e.Message, nil }

// Delayed returns its message after the delay.
type Delayed struct{ *echopb.Message }

// Exec implements edict.Command.
func (d Delayed) Exec(context.Context, *Receiver) (*echopb.Message, error) {
	time.Sleep(peer.Delay)
	return d.Message, nil
}

// Stream sends results of a size.
type Stream struct{ *echopb.StreamRequest }

// Exec implements edict.StreamCommand.
func (s Stream) Exec(_ context.Context, _ *Receiver, results edict.Sink[*echopb.Result]) error {
	result := &echopb.Result{Body: peer.NewResult(int(s.GetSize()))}
	for range s.GetCount() {
		if err := results.Send(result); err != nil {
			return err
		}
	}
	return nil
}

// Commands has all of them.
var Commands = edict.Commands(edict.Unary[Echo](), edict.Unary[Delayed](), edict.ServerStream[Stream]())

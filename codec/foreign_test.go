package codec_test

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/edict-go/edict/codec"
	"github.com/edict-go/edict/core"
)

// morse is a command that no codec can encode, and that has no Exec.
type morse struct{ signs chan string }

type morseEncoder struct{}

func (morseEncoder) AppendCommand(dst []byte, command any) ([]byte, error) {
	return append(dst, <-command.(*morse).signs...), nil
}

type morseExecutor struct {
	receiver       *till
	stream, inputs bool
}

func (e morseExecutor) Execute(context.Context, core.Execution) error { return errors.New("beep") }
func (e morseExecutor) Stream() bool                                  { return e.stream }
func (e morseExecutor) Inputs() bool                                  { return e.inputs }

func TestForeignCommands(t *testing.T) {
	receiver := &till{}
	for _, test := range []struct {
		stream, inputs bool
		shape          codec.Shape
	}{
		{false, false, codec.Shape{"unary", ". morse/1", "> morse/1"}},
		{true, false, codec.Shape{"stream", ". morse/1", "> morse/1"}},
		{true, true, codec.Shape{"duplex", ". morse/1", "< morse/1", "> morse/1"}},
	} {
		foreign := codec.Foreign[*till]{
			Format: "morse/1", Stream: test.stream, Encoder: codec.Encoder{Command: morseEncoder{}, Result: "mine"},
			Executor: func(receiver *till) core.Executor {
				return morseExecutor{receiver, test.stream, test.inputs}
			},
		}
		if test.inputs {
			foreign.Encoder.Input = morseEncoder{}
		}
		// It stands beside a native command, and the codec, which knows nothing of it, is not asked.
		r := codec.Commands(codec.Unary[credit](), foreign.Definition("morse", reflect.TypeFor[*morse]()))
		none := plain{refuse: reflect.TypeFor[*morse]()}
		if err := r.Check(none); err != nil {
			t.Error(err)
		}
		command := &morse{make(chan string, 1)}
		index, ok := r.Index(command)
		d := r.At(index)
		if !ok || d.Name() != "morse" || d.Stream() != test.stream || d.Inputs() != test.inputs {
			t.Errorf("%v: found %v, name %q, stream %v, inputs %v", test, ok, d.Name(), d.Stream(), d.Inputs())
		}
		if !slices.Equal(d.Shape(), test.shape) {
			t.Errorf("the shape is %v, want %v", d.Shape(), test.shape)
		}
		command.signs <- "..."
		encoder := d.Encoder(none)
		if encoded, err := encoder.Command.AppendCommand([]byte(">"), command); string(encoded) != ">..." || err != nil || encoder.Result != "mine" {
			t.Errorf("encoded to %q, %v; result %v", encoded, err, encoder.Result)
		}
		executor := d.Executor(none, receiver)
		if e, ok := executor.(morseExecutor); !ok || e.receiver != receiver {
			t.Errorf("the executor is %#v", executor)
		}
	}
}

// Whoever changes the format changes the shape, so that the handshake notices.
func TestTheFormatOfAForeignCommandIsInItsFingerprint(t *testing.T) {
	shape := func(format string) codec.Shape {
		return codec.Foreign[*till]{Format: format}.Definition("morse", reflect.TypeFor[*morse]()).Shape()
	}
	if shape("morse/1").Fingerprint() == shape("morse/2").Fingerprint() {
		t.Error("two formats have one fingerprint")
	}
	if difference := shape("morse/1").Difference(shape("morse/2"), "server"); difference != "the command is morse/1 here, morse/2 on the server" {
		t.Error(difference)
	}
}

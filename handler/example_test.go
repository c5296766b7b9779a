package handler_test

import (
	"context"
	"fmt"

	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/handler"
	"github.com/edict-go/edict/transport"
)

// upper is an Executor, as codec.Unary makes one of a command and a codec.
type upper struct{}

func (upper) Stream() bool { return false }
func (upper) Inputs() bool { return false }

func (upper) Execute(ctx context.Context, execution core.Execution) error {
	text := string(execution.Command())
	if err := execution.Begin(); err != nil {
		return err
	}
	if len(text) == 0 {
		return core.Errorf(core.InvalidArgument, "nothing to do")
	}
	encoded, err := execution.Scratch(0)
	if err != nil {
		return err
	}
	for _, b := range []byte(text) {
		encoded = append(encoded, b&^0x20)
	}
	_, err = execution.Reply(encoded) // it is small, so it is taken at once
	return err
}

// A connection executes the commands that come as frames. Here the other side is played by hand; a
// client would be core.Client.
func Example() {
	here, there := transport.MemoryPipe()
	invoker := handler.NewInvoker(handler.Config{})
	connection := invoker.NewConnection(transport.NewConn(there, transport.Config{}), handler.ConnectionConfig{
		Executors: []core.Executor{upper{}}, Names: []string{"upper"},
	})
	served := make(chan error)
	go func() { served <- connection.Serve() }()

	client := transport.NewConn(here, transport.Config{})
	for i, text := range []string{"edict", ""} {
		command := core.Frame{Kind: core.KindCommand, Sequence: core.MakeSequence(uint32(i), 1), Body: []byte(text)}
		if err := client.Post(command); err != nil {
			fmt.Println(err)
		}
		frame, err := client.Receive()
		if err != nil {
			fmt.Println(err)
		}
		switch frame.Kind {
		case core.KindResult:
			fmt.Println(frame.Kind, frame.Sequence, string(frame.Body))
		case core.KindError:
			fmt.Println(frame.Kind, frame.Sequence, core.DecodeError(frame.Body))
		}
	}
	client.Close(nil)
	fmt.Println("served:", connection.OrderlyEnd(<-served))
	client.Wait()
	invoker.Stop()
	invoker.Wait()
	// Output:
	// RESULT 0.1 EDICT
	// ERROR 1.1 edict: invalid argument: nothing to do
	// served: true
}

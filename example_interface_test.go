package edict_test

import (
	"context"
	"fmt"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/transport"
)

// Clock is the receiver as an interface. A package of such commands does not import the server's
// code, and neither do its clients.
type Clock interface{ Hour() int }

type AskHour struct{}

func (AskHour) Exec(ctx context.Context, clock Clock) (int, error) { return clock.Hour(), nil }

var ClockCommands = edict.Commands(edict.Unary[AskHour]())

// sundial is the server's code.
type sundial struct{ shadow int }

func (s *sundial) Hour() int { return s.shadow / 30 }

func ExampleNewServer_interface() {
	ctx := context.Background()
	listener := transport.NewMemory()
	server := edict.NewServer[Clock](&sundial{shadow: 210}, ClockCommands) // the type is named here
	go server.Serve(listener)
	defer server.Close()
	client, err := edict.Dial(ctx, "memory", ClockCommands, edict.WithDialer(listener.Dial))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	fmt.Println(edict.Call(ctx, client, AskHour{}))
	// Output: 7 <nil>
}

package group_test

import (
	"context"
	"fmt"
	"iter"
	"log"
	"net"
	"slices"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/group"
	"github.com/edict-go/edict/transport"
)

// Desk is the receiver. There are several.
type Desk struct{ Name string }

// Ask is a command. It changes nothing, so it may run twice.
type Ask struct{ Who string }

// Exec implements edict.Command.
func (a Ask) Exec(_ context.Context, desk *Desk) (string, error) {
	return "Hello " + a.Who + ", this is " + desk.Name + ".", nil
}

// Idempotent makes Ask an edict.Idempotent: it is tried again even if nobody knows whether it ran.
func (Ask) Idempotent() bool { return true }

// DeskCommands has the commands of Desk.
var DeskCommands = edict.Commands(edict.Unary[Ask]())

// openDesk starts a server in memory.
func openDesk(name string) (server *edict.Server, dial func(context.Context) (net.Conn, error)) {
	listener := transport.NewMemory()
	server = edict.NewServer(&Desk{Name: name}, DeskCommands)
	go server.Serve(listener)
	return server, listener.Dial
}

// A group of two servers. One shuts down, and the other one answers.
func Example() {
	ctx := context.Background()
	east, dialEast := openDesk("the east desk")
	west, dialWest := openDesk("the west desk")
	defer west.Shutdown(ctx)

	// These servers are in memory, so each address has a dialler. With tcp:// addresses it is
	//
	//	group.Dial(ctx, DeskCommands, group.Config{Endpoints: group.Static("tcp://...", "tcp://...")})
	diallers := map[string]func(context.Context) (net.Conn, error){"east": dialEast, "west": dialWest}
	desks, err := group.New(func(address string) (group.Member[*Desk], error) {
		return group.Clients(DeskCommands, edict.WithDialer(diallers[address]))(address)
	}, group.Config{Endpoints: group.Static("east", "west")})
	if err != nil {
		log.Fatal(err)
	}
	defer desks.Close()

	for answer, err := range group.Broadcast(ctx, desks, Ask{Who: "both"}) { // as they come
		fmt.Println(answer.Result, err)
	}
	if err := east.Shutdown(ctx); err != nil {
		log.Fatal(err)
	}
	for range 2 {
		fmt.Println(edict.Call(ctx, desks, Ask{Who: "Ada"}))
	}
	// Unordered output:
	// Hello both, this is the east desk. <nil>
	// Hello both, this is the west desk. <nil>
	// Hello Ada, this is the west desk. <nil>
	// Hello Ada, this is the west desk. <nil>
}

// Servers with addresses. The group is a Sender.
func ExampleDial() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	desks, err := group.Dial(ctx, DeskCommands, group.Config{
		Endpoints: group.Static("tcp://10.0.0.1:9000", "tcp://10.0.0.2:9000"),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer desks.Close()
	fmt.Println(edict.Call(ctx, desks, Ask{Who: "Ada"}))
}

// nearest prefers the first endpoints of the list: it takes another one only when they are busy.
type nearest struct{ most int }

// Pick implements group.Strategy.
func (n nearest) Pick(_ any, endpoints []*group.Endpoint) int {
	i := slices.IndexFunc(endpoints, func(e *group.Endpoint) bool { return e.InFlight() < n.most })
	return max(i, 0)
}

// A strategy is one method.
func ExampleStrategy() {
	config := group.Config{
		Endpoints: group.Static("tcp://here.example.com:9000", "tcp://there.example.com:9000"),
		Strategy:  nearest{most: 100},
	}
	fmt.Printf("%T\n", config.Strategy)
	// Output: group_test.nearest
}

// directory is a Resolver: it passes on the lists that something else sends it.
type directory chan []string

// Resolve implements group.Resolver.
func (d directory) Resolve(ctx context.Context) iter.Seq2[[]string, error] {
	return func(yield func([]string, error) bool) {
		for {
			select {
			case addresses := <-d:
				if !yield(addresses, nil) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

// A resolver is a sequence of lists, each complete.
func ExampleResolver() {
	changes := make(directory, 2)
	changes <- []string{"tcp://10.0.0.1:9000"}
	changes <- []string{"tcp://10.0.0.1:9000", "tcp://10.0.0.2:9000"}

	// A group takes it as group.Config{Endpoints: changes}, and does this:
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for addresses := range changes.Resolve(ctx) {
		fmt.Println(addresses)
		if len(changes) == 0 {
			cancel() // as the group's Close does
		}
	}
	// Output:
	// [tcp://10.0.0.1:9000]
	// [tcp://10.0.0.1:9000 tcp://10.0.0.2:9000]
}

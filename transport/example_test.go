package transport_test

import (
	"context"
	"fmt"
	"io"
	"log"

	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/transport"
)

// Two ends exchange frames without a network. What the frames mean is up to those who send them.
func Example() {
	near, far := transport.MemoryPipe()
	client := transport.NewConn(near, transport.Config{})
	server := transport.NewConn(far, transport.Config{})

	ctx := context.Background()
	for _, text := range []string{"first", "second"} {
		position, err := client.Send(ctx, core.Frame{Kind: core.KindCommand, Body: []byte(text)})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("sent at", position)
	}
	if err := client.Flush(ctx); err != nil { // all is written, the server will see the end
		log.Fatal(err)
	}
	for {
		frame, err := server.Receive()
		if err == io.EOF {
			break
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%v %q up to %d\n", frame.Kind, frame.Body, frame.End)
		frame.Buffer.Release()
	}
	for _, conn := range []*transport.Conn{client, server} {
		conn.Close(nil)
		conn.Wait()
	}
	// Output:
	// sent at 0
	// sent at 21
	// COMMAND "first" up to 21
	// COMMAND "second" up to 43
}

func ExampleSplitAddress() {
	_, _, err := transport.SplitAddress("127.0.0.1:9000")
	fmt.Println(err)
	// Output: address "127.0.0.1:9000" has no scheme: write tcp://127.0.0.1:9000, or tls:// or unix:// before it
}

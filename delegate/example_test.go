package delegate_test

import (
	"context"
	"fmt"
	"log"

	"github.com/edict-go/edict/codec"
	"github.com/edict-go/edict/delegate"
	"github.com/edict-go/edict/transport"
)

// Two sides that have the command Add in different shapes find out when they connect.
func Example() {
	near, far := transport.MemoryPipe()
	clients := transport.NewConn(near, transport.Config{})
	servers := transport.NewConn(far, transport.Config{})

	acceptor := delegate.NewAcceptor(delegate.Config{
		Codecs:   []string{"json", "msgpack"},
		Commands: []delegate.Command{{Name: "Add", Shape: codec.Shape{"unary", ". struct", "A int64", "> int64"}}},
	})
	accepted := make(chan error)
	go func() {
		agreement, err := acceptor.Accept(servers, nil)
		fmt.Println("the server has chosen", agreement.Codec)
		accepted <- err
	}()

	_, err := delegate.Connect(context.Background(), clients, delegate.Config{
		Codecs:   []string{"mus", "msgpack", "json"},
		Commands: []delegate.Command{{Name: "Add", Shape: codec.Shape{"unary", ". struct", "A string", "> int64"}}},
	})
	if err := <-accepted; err != nil {
		log.Fatal(err)
	}
	fmt.Println(err)
	for _, conn := range []*transport.Conn{clients, servers} {
		conn.Close(nil)
		conn.Wait()
	}
	// Output:
	// the server has chosen msgpack
	// edict: failed precondition: handshake: command Add: field A is string here, int64 on the server
}

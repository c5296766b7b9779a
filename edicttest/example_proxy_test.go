package edicttest_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"testing"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/edicttest"
)

// serveAccount starts the service on a real socket. Elsewhere it may be a process of its own, started
// with exec.Command: all that a proxy needs of it is the address.
func serveAccount(t *testing.T) (address string) {
	server := edict.NewServer(&Account{}, AccountCommands)
	listener, err := server.Listen("tcp://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		_ = server.Close()
		_ = server.Shutdown(context.Background())
		<-served
	})
	return "tcp://" + listener.Addr().String()
}

// startProxy puts a proxy in front of a server. Clients dial the proxy's address, in whatever process
// they are.
func startProxy(t *testing.T, server string) *edicttest.Proxy {
	proxy, err := edicttest.NewProxy("tcp://127.0.0.1:0", server, edicttest.ProxyConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = proxy.Close() })
	return proxy
}

// The connection is cut in the middle of the answer. The caller can find out what became of it.
func TestDepositThroughAProxyThatCuts(t *testing.T) {
	proxy := startProxy(t, serveAccount(t))
	proxy.OnConnect(func(connection *edicttest.ProxyConnection) {
		if connection.ID() == 0 {
			connection.CutAfter(edicttest.ToClient, edicttest.InFrame(0, 10))
		}
	})
	balances := map[edict.Outcome]int{}
	for range 2 { // the second time with a connection that is left alone
		client, err := edict.Dial(t.Context(), proxy.Address(), AccountCommands)
		if err != nil {
			t.Fatal(err)
		}
		balance, err := edict.Call(t.Context(), client, Deposit{Amount: 10})
		balances[edict.OutcomeOf(err)] = balance
		_ = client.Close()
	}
	if balances[edict.Executed] != 20 || len(balances) != 2 {
		t.Errorf("%v: the first deposit was made, although its outcome was unknown", balances)
	}
	if len(proxy.Fired(edicttest.FaultCut)) != 1 {
		t.Error("nothing was cut: this tests nothing")
	}
}

// The server is silent. When the proxy has an answer to hold back, the caller gives up: no sleep, no
// deadline that is too short on a slow machine.
func TestDepositThroughAProxyThatStalls(t *testing.T) {
	proxy := startProxy(t, serveAccount(t))
	client, err := edict.Dial(t.Context(), proxy.Address(), AccountCommands)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	connection := proxy.Connections()[0]
	connection.Stall(edicttest.ToClient)
	ctx, giveUp := context.WithCancel(t.Context())
	proxy.OnFault(func(fault edicttest.Fault) { giveUp() })

	_, err = edict.Call(ctx, client, Deposit{Amount: 10})
	if !errors.Is(err, context.Canceled) || edict.OutcomeOf(err) != edict.OutcomeUnknown {
		t.Errorf("the call ended with %v", err)
	}
	connection.Resume(edicttest.ToClient)
	balance, err := edict.Call(t.Context(), client, Deposit{Amount: 10})
	if balance != 20 || err != nil {
		t.Errorf("when the server is back: %d, %v", balance, err)
	}
}

// A proxy that stands alone, for trying by hand how a service takes a bad connection.
func ExampleProxy() {
	server := edict.NewServer(&Account{}, AccountCommands)
	listener, err := server.Listen("tcp://127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go func() { _ = server.Serve(listener) }()
	defer func() { _ = server.Close() }()

	proxy, err := edicttest.NewProxy("tcp://127.0.0.1:0", "tcp://"+listener.Addr().String(), edicttest.ProxyConfig{
		Link: edicttest.Link{Latency: 20 * time.Millisecond, Jitter: 5 * time.Millisecond},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = proxy.Close() }()
	proxy.OnFault(func(fault edicttest.Fault) { fmt.Println("fault:", fault.Kind, fault.Direction) })
	proxy.OnConnect(func(connection *edicttest.ProxyConnection) {
		connection.CutAfter(edicttest.ToServer, edicttest.Frames(2)) // every connection, after two commands
	})

	client, err := edict.Dial(context.Background(), proxy.Address(), AccountCommands)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	fmt.Println(edict.Call(context.Background(), client, Deposit{Amount: 5}))
	_, err = edict.Call(context.Background(), client, Deposit{Amount: 5})
	fmt.Println(edict.CodeOf(err), edict.OutcomeOf(err))
	// Output:
	// 5 <nil>
	// fault: cut to server
	// unavailable unknown
}

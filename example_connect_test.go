package edict_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log"
	"net"
	"os/signal"
	"syscall"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/codec/json"
	"github.com/edict-go/edict/codec/msgpack"
)

func ExampleServer_ListenAndServe() {
	server := edict.NewServer(&Calc{}, Commands)
	log.Fatal(server.ListenAndServe("tcp://127.0.0.1:9000"))
}

func ExampleDial() {
	ctx := context.Background()
	client, err := edict.Dial(ctx, "tcp://127.0.0.1:9000", Commands)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	sum, err := edict.Call(ctx, client, Add{2, 3}) // sum is an int
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(sum)

	for n, err := range edict.Stream(ctx, client, Count{To: 3}) { // n is an int
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(n)
	}
}

// A server that stops when it is told to: new commands are refused, those that run may finish.
func ExampleServer_Shutdown() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()

	server := edict.NewServer(&Calc{}, Commands)
	stopped := make(chan error, 1)
	context.AfterFunc(ctx, func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		stopped <- server.Shutdown(ctx)
	})
	if err := server.ListenAndServe("tcp://127.0.0.1:9000"); !errors.Is(err, edict.ErrClosed) {
		log.Fatal(err)
	}
	if err := <-stopped; err != nil {
		log.Fatal(err) // some commands did not end in time
	}
}

func ExampleWithTLS() {
	// On the server: its certificate.
	certificate, err := tls.LoadX509KeyPair("server.pem", "server-key.pem")
	if err != nil {
		log.Fatal(err)
	}
	server := edict.NewServer(&Calc{}, Commands,
		edict.WithTLS(&tls.Config{Certificates: []tls.Certificate{certificate}}))
	go server.ListenAndServe("tls://:9000")

	// On the client: nothing, if the system trusts who signed it.
	client, err := edict.Dial(context.Background(), "tls://calc.example.com:9000", Commands)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
}

// With mutual TLS the client has a certificate too. A command finds it in edict.PeerOf(ctx).TLS.
func ExampleWithTLS_mutual() {
	var serverCertificate, clientCertificate tls.Certificate // from tls.LoadX509KeyPair
	var authority *x509.CertPool                             // who signed both

	server := edict.NewServer(&Calc{}, Commands, edict.WithTLS(&tls.Config{
		Certificates: []tls.Certificate{serverCertificate},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    authority,
	}))
	go server.ListenAndServe("tls://:9000")

	client, err := edict.Dial(context.Background(), "tls://calc.example.com:9000", Commands,
		edict.WithTLS(&tls.Config{
			Certificates: []tls.Certificate{clientCertificate},
			RootCAs:      authority,
		}))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
}

// Any net.Listener and any net.Conn will do.
func ExampleWithDialer() {
	ctx := context.Background()
	listener, err := net.Listen("tcp", "127.0.0.1:0") // or a listener of your own
	if err != nil {
		fmt.Println(err)
		return
	}
	server := edict.NewServer(&Calc{}, Commands)
	go server.Serve(listener)
	defer server.Close()

	client, err := edict.Dial(ctx, "calc", Commands,
		edict.WithDialer(func(ctx context.Context) (net.Conn, error) {
			var dialer net.Dialer // or a proxy, a tunnel, a pipe
			return dialer.DialContext(ctx, "tcp", listener.Addr().String())
		}))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	fmt.Println(edict.Call(ctx, client, Add{2, 3}))
	// Output: 5 <nil>
}

// The server takes the first codec that the client offers and it has too.
func ExampleWithCodecs() {
	ctx := context.Background()
	server := edict.NewServer(&Calc{}, Commands, edict.WithCodecs(json.Codec, msgpack.Codec))
	listener, err := server.Listen("tcp://127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	go server.Serve(listener)
	defer server.Close()

	address := "tcp://" + listener.Addr().String()
	client, err := edict.Dial(ctx, address, Commands, edict.WithCodecs(msgpack.Codec, json.Codec))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	fmt.Println(client.Peer().Codec)
	// Output: msgpack
}

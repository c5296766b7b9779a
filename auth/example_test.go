package auth_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"strings"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/auth"
	"github.com/edict-go/edict/transport"
)

// Shop is a receiver.
type Shop struct{}

// Buy is a command that tells for whom it runs.
type Buy struct{}

func (Buy) Exec(ctx context.Context, shop *Shop) (string, error) {
	principal, _ := edict.PrincipalOf(ctx)
	return fmt.Sprintf("%s, known by %s, buys", principal.Name, principal.Scheme), nil
}

var ShopCommands = edict.Commands(edict.Unary[Buy]())

// visit buys something at a server with an authenticator.
func visit(authenticator edict.Authenticator, options ...edict.DialOption) {
	ctx := context.Background()
	listener := transport.NewMemory()
	server := edict.NewServer(&Shop{}, ShopCommands, edict.WithAuthenticator(authenticator), edict.WithLogger(slog.New(slog.DiscardHandler)))
	go server.Serve(listener)
	defer server.Close()
	client, err := edict.Dial(ctx, "memory", ShopCommands, append(options, edict.WithDialer(listener.Dial))...)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	fmt.Println(edict.Call(ctx, client, Buy{}))
}

func ExampleStaticTokens() {
	authenticator, err := auth.StaticTokens(map[string]edict.Principal{
		"3F7WZ7TBMM4U2LEPX3QB5KJ6UA": {Name: "alice"},
		"N5XKQJ2YVG3RZTCW4HDLSE7M6I": {Name: "till-7", Scheme: "device"},
	})
	if err != nil {
		log.Fatal(err)
	}
	visit(authenticator, edict.WithToken("3F7WZ7TBMM4U2LEPX3QB5KJ6UA"))
	visit(authenticator, edict.WithToken("N5XKQJ2YVG3RZTCW4HDLSE7M6I"))
	visit(authenticator, edict.WithToken("guessed"))
	// Output:
	// alice, known by token, buys <nil>
	// till-7, known by device, buys <nil>
	// edict: unauthenticated: the server rejected the connection: the token is not known
}

// Machines have certificates, people have tokens, and programs of the server's own user need neither.
func ExampleAny() {
	people, err := auth.StaticTokens(map[string]edict.Principal{"3F7WZ7TBMM4U2LEPX3QB5KJ6UA": {Name: "alice"}})
	if err != nil {
		log.Fatal(err)
	}
	authenticator := auth.Any(auth.MutualTLS(nil), auth.UnixUsers(), people)

	visit(authenticator, edict.WithToken("3F7WZ7TBMM4U2LEPX3QB5KJ6UA"))
	visit(authenticator)
	// Output:
	// alice, known by token, buys <nil>
	// edict: unauthenticated: the server rejected the connection: there are no credentials that this server knows of
}

// The authorities say who may connect, and their certificates who it is.
func ExampleMutualTLS() {
	var certificate tls.Certificate // from tls.LoadX509KeyPair
	var authorities *x509.CertPool  // who signs the clients' certificates

	server := edict.NewServer(&Shop{}, ShopCommands,
		edict.WithTLS(&tls.Config{
			Certificates: []tls.Certificate{certificate},
			ClientCAs:    authorities,
			ClientAuth:   tls.RequireAndVerifyClientCert,
		}),
		edict.WithAuthenticator(auth.MutualTLS(auth.TrustDomain("example.org"))))
	log.Fatal(server.ListenAndServe("tls://:9000"))
}

// Programs of the same user on the same machine need no secret.
func ExampleUnixUsers() {
	server := edict.NewServer(&Shop{}, ShopCommands, edict.WithAuthenticator(auth.UnixUsers()))
	log.Fatal(server.ListenAndServe("unix:///run/shop.sock"))
}

// An Authenticator is a function. What it says to the client has a code; what it says in other errors is
// for the server's log.
func ExampleAuthenticator() {
	visit(authenticateMember, edict.WithToken("member-alice"))
	visit(authenticateMember, edict.WithToken("member-mallory"))
	visit(authenticateMember, edict.WithToken("alice"))
	// Output:
	// alice, known by membership, buys <nil>
	// edict: unavailable: the server rejected the connection: come back later
	// edict: unauthenticated: the server rejected the connection: authentication failed
}

func authenticateMember(ctx context.Context, credentials edict.Credentials) (edict.Principal, error) {
	name, found := strings.CutPrefix(credentials.Token.Reveal(), "member-")
	if !found {
		return edict.Principal{}, errors.New("a token of the old kind") // the client: authentication failed
	}
	level, err := levelOf(ctx, name)
	if err != nil {
		return edict.Principal{}, edict.Errorf(edict.Unavailable, "come back later") // may be tried again
	}
	return edict.Principal{Scheme: "membership", Name: name, Value: level}, nil
}

// levelOf would ask a database, until ctx ends.
func levelOf(_ context.Context, name string) (int, error) {
	if name != "alice" {
		return 0, errors.New("the database does not answer")
	}
	return 3, nil
}

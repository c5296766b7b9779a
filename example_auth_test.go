package edict_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/auth"
	"github.com/edict-go/edict/transport"
)

type Vault struct{} // a receiver

type Open struct{} // a command that asks whom it runs for

func (Open) Exec(ctx context.Context, vault *Vault) (string, error) {
	principal, _ := edict.PrincipalOf(ctx)
	if principal.Name != "alice" {
		return "", edict.Errorf(edict.PermissionDenied, "the vault is not for %s", principal.Name)
	}
	return "Hello, " + principal.Name, nil
}

var VaultCommands = edict.Commands(edict.Unary[Open]())

// A server that knows two tokens, and clients with each of them, with another one, and with none.
func ExampleWithAuthenticator() {
	ctx := context.Background()
	listener := transport.NewMemory()

	// On the server: who has which token.
	authenticator, err := auth.StaticTokens(map[string]edict.Principal{
		"3F7WZ7TBMM4U2LEPX3QB5KJ6UA": {Name: "alice"},
		"N5XKQJ2YVG3RZTCW4HDLSE7M6I": {Name: "bob"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	server := edict.NewServer(&Vault{}, VaultCommands, edict.WithAuthenticator(authenticator),
		edict.WithLogger(slog.New(slog.DiscardHandler)))
	go server.Serve(listener)
	defer server.Close()

	for _, token := range []string{"3F7WZ7TBMM4U2LEPX3QB5KJ6UA", "N5XKQJ2YVG3RZTCW4HDLSE7M6I", "guessed"} {
		client, err := edict.Dial(ctx, "memory", VaultCommands, edict.WithDialer(listener.Dial), edict.WithToken(token))
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(edict.Call(ctx, client, Open{}))
		client.Close()
	}
	_, err = edict.Dial(ctx, "memory", VaultCommands, edict.WithDialer(listener.Dial))
	fmt.Println(err)
	// Output:
	// Hello, alice <nil>
	//  edict: Open: permission denied: the vault is not for bob (executed)
	// edict: unauthenticated: the server rejected the connection: the token is not known
	// edict: unauthenticated: the server rejected the connection: a token is needed
}

// The token is read when it is needed, because something else renews it.
func ExampleWithTokenProvider() {
	ctx := context.Background()
	client, err := edict.Dial(ctx, "tls://vault.example.com:9000", VaultCommands,
		edict.WithTokenProvider(func(ctx context.Context) (string, error) {
			token, err := os.ReadFile("/run/secrets/token")
			return strings.TrimSpace(string(token)), err
		}))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	fmt.Println(edict.Call(ctx, client, Open{}))
}

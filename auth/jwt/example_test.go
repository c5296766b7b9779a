package jwt_test

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"log"
	"log/slog"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/auth/jwt"
	"github.com/edict-go/edict/transport"
	lib "github.com/golang-jwt/jwt/v5"
)

// Bank is a receiver.
type Bank struct{}

// Balance is a command that needs to know for whom it runs.
type Balance struct{}

func (Balance) Exec(ctx context.Context, bank *Bank) (string, error) {
	principal, _ := edict.PrincipalOf(ctx)
	claims := principal.Value.(jwt.Claims)
	return fmt.Sprintf("the balance of %s at branch %v", principal.Name, claims.All["branch"]), nil
}

var BankCommands = edict.Commands(edict.Unary[Balance]())

// tellersOnly refuses commands of those who have not that role.
func tellersOnly(ctx context.Context, call *edict.ServerCall, next func(context.Context) error) error {
	principal, _ := edict.PrincipalOf(ctx)
	claims, _ := principal.Value.(jwt.Claims)
	if claims.All["role"] != "teller" {
		return edict.Errorf(edict.PermissionDenied, "%s is for tellers", call.Name)
	}
	return next(ctx)
}

// A server that trusts the tokens of one issuer, whose public key it has.
func Example() {
	ctx := context.Background()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		log.Fatal(err)
	}

	key, err := jwt.NewKey("EdDSA", public)
	if err != nil {
		log.Fatal(err)
	}
	authenticator, err := jwt.New(jwt.Config{
		Keys:     jwt.Keys(map[string]jwt.Key{"2026-11": key}),
		Issuer:   "https://id.example.com",
		Audience: "bank",
		Required: []string{"sub", "branch"},
	})
	if err != nil {
		log.Fatal(err)
	}
	listener := transport.NewMemory()
	server := edict.NewServer(&Bank{}, BankCommands, edict.WithLogger(slog.New(slog.DiscardHandler)),
		edict.WithAuthenticator(authenticator), edict.WithServerInterceptors(tellersOnly))
	go server.Serve(listener)
	defer server.Close()

	// The issuer would do this.
	issue := func(role string, age time.Duration) string {
		token := lib.NewWithClaims(lib.SigningMethodEdDSA, lib.MapClaims{
			"iss": "https://id.example.com", "aud": "bank", "sub": "alice", "branch": 7, "role": role,
			"exp": time.Now().Add(15*time.Minute - age).Unix(),
		})
		token.Header["kid"] = "2026-11"
		text, err := token.SignedString(private)
		if err != nil {
			log.Fatal(err)
		}
		return text
	}
	for _, token := range []string{issue("teller", 0), issue("guest", 0), issue("teller", time.Hour)} {
		client, err := edict.Dial(ctx, "memory", BankCommands, edict.WithDialer(listener.Dial), edict.WithToken(token))
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(edict.Call(ctx, client, Balance{}))
		client.Close()
	}
	// Output:
	// the balance of alice at branch 7 <nil>
	//  edict: Balance: permission denied: Balance is for tellers (refused, not executed)
	// edict: unauthenticated: the server rejected the connection: the token has expired
}

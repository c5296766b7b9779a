package auth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"

	"github.com/edict-go/edict/core"
)

// StaticTokens returns an Authenticator for a fixed set of tokens and who has them. A principal without a
// Scheme gets "token". It is an error if a token is empty, as that of a variable that was not set, or
// longer than MaxToken.
//
// How long a comparison takes tells nothing about the tokens, their lengths included. Choose them at
// random (crypto/rand.Text): nothing here slows down who guesses.
func StaticTokens(tokens map[string]core.Principal) (Authenticator, error) {
	type entry struct {
		digest    [sha256.Size]byte
		principal core.Principal
	}
	entries := make([]entry, 0, len(tokens))
	for token, principal := range tokens {
		if token == "" {
			return nil, errors.New("auth: an empty token, which anybody has")
		}
		if len(token) > MaxToken {
			return nil, fmt.Errorf("auth: a token of %d bytes, at most %d can be sent", len(token), MaxToken)
		}
		if principal.Scheme == "" {
			principal.Scheme = "token"
		}
		entries = append(entries, entry{sha256.Sum256([]byte(token)), principal})
	}
	return func(_ context.Context, credentials Credentials) (core.Principal, error) {
		if credentials.Token.IsZero() {
			return core.Principal{}, ErrNoCredentials.With("a token is needed")
		}
		digest := sha256.Sum256([]byte(credentials.Token.Reveal()))
		found := -1
		for i := range entries { // all of them, wherever it is
			found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(entries[i].digest[:], digest[:]), i, found)
		}
		if found < 0 {
			return core.Principal{}, core.Errorf(core.Unauthenticated, "the token is not known")
		}
		return entries[found].principal, nil
	}, nil
}

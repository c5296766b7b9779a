package jwt

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/edict-go/edict/core"
	"github.com/golang-jwt/jwt/v5"
)

// Key verifies tokens of one algorithm. It comes from NewKey; the zero Key verifies nothing. Printing it
// shows the algorithm only. Safe for concurrent use.
type Key struct {
	algorithm string
	material  *any // behind a pointer, so that package fmt does not print a secret
}

// NewKey returns the key of an algorithm:
//
//   - HS256, HS384, HS512: the secret, a []byte as long as the hash at least (32, 48, 64);
//   - RS256, RS384, RS512, PS256, PS384, PS512: an *rsa.PublicKey of 2048 bits at least;
//   - ES256, ES384, ES512: an *ecdsa.PublicKey on the curve P-256, P-384 or P-521;
//   - EdDSA: an ed25519.PublicKey.
//
// It is an error if the key is of another kind, also if a secret looks like a key in PEM.
func NewKey(algorithm string, key any) (Key, error) {
	if err := checkKey(algorithm, key); err != nil {
		return Key{}, fmt.Errorf("jwt: %w", err)
	}
	if secret, ok := key.([]byte); ok {
		key = bytes.Clone(secret)
	}
	return Key{algorithm, &key}, nil
}

func checkKey(algorithm string, key any) error {
	method := jwt.GetSigningMethod(algorithm)
	switch method := method.(type) {
	case *jwt.SigningMethodHMAC:
		secret, ok := key.([]byte)
		switch {
		case !ok:
			return fmt.Errorf("%s needs a secret as []byte, not %T", algorithm, key)
		case len(secret) < method.Hash.Size():
			return fmt.Errorf("%s needs a secret of %d bytes at least, not %d", algorithm, method.Hash.Size(), len(secret))
		case bytes.Contains(secret, []byte("-----BEGIN ")):
			return fmt.Errorf("%s needs a secret, not a key in PEM", algorithm)
		}
		return nil
	case *jwt.SigningMethodRSA, *jwt.SigningMethodRSAPSS:
		public, ok := key.(*rsa.PublicKey)
		switch {
		case !ok || public == nil || public.N == nil:
			return fmt.Errorf("%s needs an *rsa.PublicKey, not %T", algorithm, key)
		case public.N.BitLen() < 2048:
			return fmt.Errorf("%s needs a key of 2048 bits at least, not %d", algorithm, public.N.BitLen())
		}
		return nil
	case *jwt.SigningMethodECDSA:
		public, ok := key.(*ecdsa.PublicKey)
		switch {
		case !ok || public == nil || public.Curve == nil:
			return fmt.Errorf("%s needs an *ecdsa.PublicKey, not %T", algorithm, key)
		case public.Curve.Params().BitSize != method.CurveBits:
			return fmt.Errorf("%s needs a key on the curve P-%d, not %s", algorithm, method.CurveBits, public.Curve.Params().Name)
		}
		return nil
	case *jwt.SigningMethodEd25519:
		if public, ok := key.(ed25519.PublicKey); !ok || len(public) != ed25519.PublicKeySize {
			return fmt.Errorf("%s needs an ed25519.PublicKey of %d bytes, not %T", algorithm, ed25519.PublicKeySize, key)
		}
		return nil
	}
	return fmt.Errorf("no algorithm %q: there are HS, RS, PS and ES with 256, 384 and 512, and EdDSA", algorithm)
}

// String tells the algorithm.
func (k Key) String() string { return "[" + strings.TrimSpace(k.algorithm+" key") + "]" }

// GoString tells the algorithm.
func (k Key) GoString() string { return k.String() }

// KeyFunc finds the key that a token names in its header as "kid"; the name is empty if it names none. It
// may wait (a key that must be fetched), until ctx ends; it is asked before the token is verified, by
// anyone, so it should not fetch for every unknown name. The client is told the code and message of an
// error that is a *core.Error: use Unavailable for a key that can't be had at the moment.
type KeyFunc func(ctx context.Context, name string) (Key, error)

// OneKey is for tokens that are all verified with the same key, whatever they name.
func OneKey(key Key) KeyFunc {
	return func(context.Context, string) (Key, error) { return key, nil }
}

// Keys is for a fixed set of keys by name. A token must name one of them.
func Keys(keys map[string]Key) KeyFunc {
	keys = maps.Clone(keys)
	return func(_ context.Context, name string) (Key, error) {
		key, known := keys[name]
		if !known {
			return Key{}, &core.Error{
				Code: core.Unauthenticated, Message: "the token's key is not known",
				Cause: fmt.Errorf("key %.64q", name),
			}
		}
		return key, nil
	}
}

var errNoKey = errors.New("the key is the zero Key")

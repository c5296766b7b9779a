package jwt_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict/auth"
	"github.com/edict-go/edict/auth/jwt"
	"github.com/edict-go/edict/core"
	lib "github.com/golang-jwt/jwt/v5"
)

// The keys of the tests. What signs is the issuer's, what verifies the server's.
var (
	secret        = []byte("a secret of sixty-four bytes, which is as many as HS512 needs!!!")
	rsaKey        = must(rsa.GenerateKey(rand.Reader, 2048))
	curveKeys     = map[string]*ecdsa.PrivateKey{"ES256": ecKey(elliptic.P256()), "ES384": ecKey(elliptic.P384()), "ES512": ecKey(elliptic.P521())}
	_, edwardsKey = edKey()
)

func must[V any](value V, err error) V {
	if err != nil {
		panic(err)
	}
	return value
}

func ecKey(curve elliptic.Curve) *ecdsa.PrivateKey {
	return must(ecdsa.GenerateKey(curve, rand.Reader))
}

func edKey() (ed25519.PublicKey, ed25519.PrivateKey) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return public, private
}

// pair returns what signs and what verifies tokens of an algorithm.
func pair(algorithm string) (signs, verifies any) {
	switch algorithm[:2] {
	case "HS":
		return secret, secret
	case "RS", "PS":
		return rsaKey, &rsaKey.PublicKey
	case "ES":
		return curveKeys[algorithm], &curveKeys[algorithm].PublicKey
	}
	return edwardsKey, edwardsKey.Public()
}

var algorithms = []string{
	"HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
}

// claims returns good claims with changes; nil removes one.
func claims(changes map[string]any) lib.MapClaims {
	all := lib.MapClaims{"sub": "alice", "iss": "https://id.example.com", "aud": "bank", "exp": time.Now().Add(time.Hour).Unix()}
	maps.Copy(all, changes)
	maps.DeleteFunc(all, func(_ string, value any) bool { return value == nil })
	return all
}

// sign returns a token; header is added to the one that it has anyway.
func sign(t testing.TB, algorithm string, key any, all lib.Claims, header map[string]any) string {
	t.Helper()
	token := lib.NewWithClaims(lib.GetSigningMethod(algorithm), all)
	maps.Copy(token.Header, header)
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// accepts returns an authenticator with good settings and changes of them.
func accepts(t testing.TB, keys jwt.KeyFunc, changes ...func(*jwt.Config)) auth.Authenticator {
	t.Helper()
	config := jwt.Config{Keys: keys, Issuer: "https://id.example.com", Audience: "bank"}
	for _, change := range changes {
		change(&config)
	}
	authenticate, err := jwt.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return authenticate
}

func oneKey(t testing.TB, algorithm string, key any) jwt.KeyFunc {
	t.Helper()
	made, err := jwt.NewKey(algorithm, key)
	if err != nil {
		t.Fatal(err)
	}
	return jwt.OneKey(made)
}

func present(authenticate auth.Authenticator, token string) (core.Principal, error) {
	return authenticate(context.Background(), auth.Credentials{Token: auth.NewToken(token)})
}

// wantRefused checks that a token is refused, with a code and this in the message, and never the token.
func wantRefused(t *testing.T, authenticate auth.Authenticator, token string, code core.Code, words string) {
	t.Helper()
	principal, err := present(authenticate, token)
	e, ok := errors.AsType[*core.Error](err)
	if !ok || e.Code != code || !strings.Contains(e.Message, words) || principal.Name != "" || principal.Value != nil {
		t.Errorf("got %+v and %v, want a refusal (%v) with %q", principal, err, code, words)
	}
	for err := err; err != nil; err = errors.Unwrap(err) {
		if len(token) > 3 && strings.Contains(err.Error(), token) {
			t.Errorf("the token is in the error %v", err)
		}
	}
}

func TestEachAlgorithm(t *testing.T) {
	for _, algorithm := range algorithms {
		signs, verifies := pair(algorithm)
		authenticate := accepts(t, oneKey(t, algorithm, verifies))
		token := sign(t, algorithm, signs, claims(map[string]any{"role": "teller", "jti": "7", "nbf": 5}), nil)
		principal, err := present(authenticate, token)
		got, ok := principal.Value.(jwt.Claims)
		if err != nil || principal.Scheme != "jwt" || principal.Name != "alice" || !ok || got.Subject != "alice" || got.ID != "7" ||
			got.Issuer != "https://id.example.com" || !slices.Equal(got.Audience, []string{"bank"}) || got.All["role"] != "teller" ||
			got.NotBefore.Unix() != 5 || !got.IssuedAt.IsZero() || time.Until(got.ExpiresAt) > time.Hour || time.Until(got.ExpiresAt) < 50*time.Minute {
			t.Errorf("%s: got %+v, %v", algorithm, principal, err)
		}
		// One bit of what is signed, and one of the signature.
		for _, at := range []int{strings.IndexByte(token, '.') + 5, strings.LastIndexByte(token, '.') + 5} {
			changed := []byte(token)
			changed[at] ^= 1
			if _, err := present(authenticate, string(changed)); err == nil {
				t.Errorf("%s: a token with a bit changed at %d is accepted", algorithm, at)
			}
		}
		// With the key of another algorithm.
		for _, other := range algorithms {
			if other == algorithm {
				continue
			}
			_, verifies := pair(other)
			wantRefused(t, accepts(t, oneKey(t, other, verifies)), token, core.Unauthenticated, "the token is not valid")
		}
	}
}

// TestAPublicKeyIsNoSecret: who signs with HMAC and the public key, which all know, is not let in, in
// whatever form the key was taken.
func TestAPublicKeyIsNoSecret(t *testing.T) {
	der := must(x509.MarshalPKIXPublicKey(&rsaKey.PublicKey))
	forms := map[string][]byte{
		"PKIX":      der,
		"PKCS1":     x509.MarshalPKCS1PublicKey(&rsaKey.PublicKey),
		"PEM":       pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}),
		"PKCS1 PEM": pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&rsaKey.PublicKey)}),
		"modulus":   rsaKey.PublicKey.N.Bytes(),
	}
	for _, right := range []string{"RS256", "PS256"} {
		authenticate := accepts(t, oneKey(t, right, &rsaKey.PublicKey))
		for form, bytes := range forms {
			for _, algorithm := range []string{"HS256", "HS384", "HS512"} {
				t.Run(right+" "+form+" "+algorithm, func(t *testing.T) {
					forged := sign(t, algorithm, bytes, claims(map[string]any{"sub": "root"}), nil)
					wantRefused(t, authenticate, forged, core.Unauthenticated, "the token is not valid")
				})
			}
		}
	}
	if _, err := jwt.NewKey("HS256", forms["PEM"]); err == nil || !strings.Contains(err.Error(), "PEM") {
		t.Errorf("a public key in PEM is taken for a secret: %v", err)
	}
}

func TestNoneIsNoAlgorithm(t *testing.T) {
	for _, algorithm := range algorithms {
		_, verifies := pair(algorithm)
		authenticate := accepts(t, oneKey(t, algorithm, verifies))
		for _, none := range []string{"none", "None", "NONE", "nOnE", "", " none"} {
			header := base64.RawURLEncoding.EncodeToString([]byte(`{"typ":"JWT","alg":"` + none + `"}`))
			payload := base64.RawURLEncoding.EncodeToString(must(json.Marshal(claims(nil))))
			for _, signature := range []string{"", "eA"} {
				token := header + "." + payload + "." + signature
				if principal, err := present(authenticate, token); err == nil {
					t.Errorf("%s: the algorithm %q lets in %+v", algorithm, none, principal)
				}
			}
		}
	}
	if _, err := jwt.NewKey("none", lib.UnsafeAllowNoneSignatureType); err == nil {
		t.Error("there is a key for none")
	}
}

func TestKeysThatDoNotFit(t *testing.T) {
	weak := &rsa.PublicKey{N: new(big.Int).Rsh(rsaKey.N, 1024), E: 65537}
	for words, c := range map[string]struct {
		algorithm string
		key       any
	}{
		"HS256 needs a secret as []byte, not string":           {"HS256", "a text"},
		"HS256 needs a secret as []byte, not *rsa.PublicKey":   {"HS256", &rsaKey.PublicKey},
		"HS256 needs a secret of 32 bytes at least, not 31":    {"HS256", secret[:31]},
		"HS512 needs a secret of 64 bytes at least, not 0":     {"HS512", []byte{}},
		"RS256 needs an *rsa.PublicKey, not *rsa.PrivateKey":   {"RS256", rsaKey},
		"RS256 needs an *rsa.PublicKey, not []uint8":           {"RS256", secret},
		"PS512 needs an *rsa.PublicKey, not <nil>":             {"PS512", nil},
		"RS256 needs an *rsa.PublicKey, not *rsa.PublicKey":    {"RS256", (*rsa.PublicKey)(nil)},
		"RS256 needs a key of 2048 bits at least, not 1024":    {"RS256", weak},
		"ES256 needs an *ecdsa.PublicKey, not *rsa.PublicKey":  {"ES256", &rsaKey.PublicKey},
		"ES256 needs a key on the curve P-256, not P-384":      {"ES256", &curveKeys["ES384"].PublicKey},
		"EdDSA needs an ed25519.PublicKey of 32 bytes":         {"EdDSA", ed25519.PublicKey("short")},
		`no algorithm "HS1"`:                                   {"HS1", secret},
		`no algorithm "none"`:                                  {"none", nil},
		"EdDSA needs an ed25519.PublicKey of 32 bytes, not ed": {"EdDSA", edwardsKey},
	} {
		if _, err := jwt.NewKey(c.algorithm, c.key); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("got %v, want %q", err, words)
		}
	}
	if _, err := jwt.New(jwt.Config{}); err == nil {
		t.Error("a config without keys is accepted")
	}
	token := sign(t, "HS256", secret, claims(nil), nil)
	if _, err := present(accepts(t, jwt.OneKey(jwt.Key{})), token); err == nil || !strings.Contains(err.Error(), "zero Key") {
		t.Errorf("with the zero Key: %v", err)
	}
}

func TestKeysByName(t *testing.T) {
	first, second := must(jwt.NewKey("HS256", secret)), must(jwt.NewKey("EdDSA", edwardsKey.Public()))
	authenticate := accepts(t, jwt.Keys(map[string]jwt.Key{"1": first, "2": second}))
	for name, c := range map[string]struct {
		algorithm string
		key       any
		good      bool
	}{"1": {"HS256", secret, true}, "2": {"EdDSA", edwardsKey, true}} {
		if _, err := present(authenticate, sign(t, c.algorithm, c.key, claims(nil), map[string]any{"kid": name})); err != nil {
			t.Errorf("key %s: %v", name, err)
		}
	}
	by := func(kid any) string {
		header := map[string]any{"kid": kid}
		if kid == nil {
			header = nil
		}
		return sign(t, "HS256", secret, claims(nil), header)
	}
	wantRefused(t, authenticate, by("2"), core.Unauthenticated, "not valid") // the other key, for another algorithm
	wantRefused(t, authenticate, by("3"), core.Unauthenticated, "the token's key is not known")
	wantRefused(t, authenticate, by(nil), core.Unauthenticated, "the token's key is not known")
	wantRefused(t, authenticate, by(1), core.Unauthenticated, "not valid")
	wantRefused(t, authenticate, by(strings.Repeat("x", 5000)), core.Unauthenticated, "key is not known")

	// What a KeyFunc says reaches the client if it is coded, and only then.
	failing := accepts(t, func(context.Context, string) (jwt.Key, error) {
		return jwt.Key{}, core.Errorf(core.Unavailable, "the keys can't be fetched").WithRetryAfter(time.Second)
	})
	wantRefused(t, failing, by("1"), core.Unavailable, "the keys can't be fetched")
	private := errors.New("the password of the key server is wrong")
	failing = accepts(t, func(context.Context, string) (jwt.Key, error) { return jwt.Key{}, private })
	if _, err := present(failing, by("1")); !errors.Is(err, private) {
		t.Errorf("got %v", err)
	} else if e, coded := errors.AsType[*core.Error](err); coded {
		t.Errorf("the client would be told %v", e)
	}
	var asked []string
	failing = accepts(t, func(_ context.Context, name string) (jwt.Key, error) {
		asked = append(asked, name)
		return first, nil
	})
	_, err1 := present(failing, by("n"))
	_, err2 := present(failing, by(nil))
	if err1 != nil || err2 != nil || !slices.Equal(asked, []string{"n", ""}) {
		t.Errorf("the keys %q were asked for, %v, %v", asked, err1, err2)
	}
}

func TestTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		at := func(d time.Duration) int64 { return start.Add(d).Unix() }
		hs := oneKey(t, "HS256", secret)
		normal := accepts(t, hs)
		strict := accepts(t, hs, func(c *jwt.Config) { c.Leeway = -1 })
		wide := accepts(t, hs, func(c *jwt.Config) { c.Leeway = time.Hour })
		endless := accepts(t, hs, func(c *jwt.Config) { c.AllowEndless = true })
		for _, c := range []struct {
			name         string
			authenticate auth.Authenticator
			changes      map[string]any
			want         *core.Error // nil is: let in
			words        string
		}{
			{"good", strict, map[string]any{"exp": at(time.Second), "nbf": at(0), "iat": at(0)}, nil, ""},
			{"expired now", strict, map[string]any{"exp": at(0)}, jwt.ErrExpired, "expired"},
			{"expired within the leeway", normal, map[string]any{"exp": at(-29 * time.Second)}, nil, ""},
			{"expired beyond it", normal, map[string]any{"exp": at(-30 * time.Second)}, jwt.ErrExpired, "expired"},
			{"expired in the wide one", wide, map[string]any{"exp": at(-59 * time.Minute)}, nil, ""},
			{"not yet", strict, map[string]any{"nbf": at(time.Second)}, jwt.ErrNotYet, "not valid yet"},
			{"not yet, within the leeway", normal, map[string]any{"nbf": at(30 * time.Second)}, nil, ""},
			{"not yet, beyond it", normal, map[string]any{"nbf": at(31 * time.Second)}, jwt.ErrNotYet, "not valid yet"},
			{"issued in the future", normal, map[string]any{"iat": at(31 * time.Second)}, jwt.ErrNotYet, "not valid yet"},
			{"endless", normal, map[string]any{"exp": nil}, &core.Error{}, "lacks a claim"},
			{"endless, allowed", endless, map[string]any{"exp": nil}, nil, ""},
			{"expired, where endless ones are allowed", endless, map[string]any{"exp": at(-time.Hour)}, jwt.ErrExpired, "expired"},
			{"expired in 1970, where endless ones are allowed", endless, map[string]any{"exp": 0}, &core.Error{}, "not valid"},
			{"text", endless, map[string]any{"exp": "never"}, &core.Error{}, "not valid"},
			{"negative", endless, map[string]any{"nbf": -1}, &core.Error{}, "not valid"},
		} {
			principal, err := present(c.authenticate, sign(t, "HS256", secret, claims(c.changes), nil))
			e, _ := errors.AsType[*core.Error](err)
			switch {
			case c.want == nil && (err != nil || principal.Name != "alice"):
				t.Errorf("%s: %v", c.name, err)
			case c.want != nil && (e == nil || e.Code != core.Unauthenticated || e.Reason != c.want.Reason || !strings.Contains(e.Message, c.words)):
				t.Errorf("%s: got %v, want %q", c.name, err, c.words)
			}
		}
		wantRefusedAnyhow(t, endless, sign(t, "HS256", secret, claims(map[string]any{"exp": 1e300}), nil))
		token := sign(t, "HS256", secret, claims(map[string]any{"exp": at(time.Minute)}), nil)
		if _, err := present(strict, token); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		wantRefused(t, strict, token, core.Unauthenticated, "expired")
	})
}

func TestClaims(t *testing.T) {
	hs := oneKey(t, "HS256", secret)
	normal := accepts(t, hs)
	loose := accepts(t, hs, func(c *jwt.Config) { c.Issuer, c.Audience = "", "" })
	needy := accepts(t, hs, func(c *jwt.Config) { c.Required = []string{"sub", "tenant"} })
	choosy := accepts(t, hs, func(c *jwt.Config) {
		c.Check = func(_ context.Context, claims jwt.Claims) error {
			if claims.ID == "revoked" {
				return core.Errorf(core.PermissionDenied, "the token is revoked")
			}
			return nil
		}
	})
	for _, c := range []struct {
		authenticate auth.Authenticator
		changes      map[string]any
		code         core.Code // 0 is: let in
		words        string
	}{
		{normal, nil, 0, ""},
		{normal, map[string]any{"aud": []string{"shop", "bank"}}, 0, ""},
		{normal, map[string]any{"aud": "shop"}, core.Unauthenticated, "another audience"},
		{normal, map[string]any{"aud": "BANK"}, core.Unauthenticated, "another audience"},
		{normal, map[string]any{"aud": nil}, core.Unauthenticated, "lacks a claim"},
		{normal, map[string]any{"aud": 5}, core.Unauthenticated, ""},
		{normal, map[string]any{"iss": "https://id.example.com/"}, core.Unauthenticated, "another issuer"},
		{normal, map[string]any{"iss": nil}, core.Unauthenticated, "lacks a claim"},
		{normal, map[string]any{"sub": 5}, core.Unauthenticated, "not valid"},
		{normal, map[string]any{"sub": nil}, 0, ""},
		{loose, map[string]any{"iss": nil, "aud": nil}, 0, ""},
		{loose, map[string]any{"iss": "anyone", "aud": nil}, 0, ""},
		{loose, nil, core.Unauthenticated, "another audience"},
		{needy, map[string]any{"tenant": "7"}, 0, ""},
		{needy, map[string]any{"tenant": false}, 0, ""},
		{needy, nil, core.Unauthenticated, `lacks the claim "tenant"`},
		{needy, map[string]any{"tenant": ""}, core.Unauthenticated, `lacks the claim "tenant"`},
		{needy, map[string]any{"tenant": "7", "sub": nil}, core.Unauthenticated, `lacks the claim "sub"`},
		{choosy, nil, 0, ""},
		{choosy, map[string]any{"jti": "revoked"}, core.PermissionDenied, "the token is revoked"},
	} {
		token := sign(t, "HS256", secret, claims(c.changes), nil)
		if c.code != 0 {
			wantRefused(t, c.authenticate, token, c.code, c.words)
		} else if _, err := present(c.authenticate, token); err != nil {
			t.Errorf("%v: %v", c.changes, err)
		}
	}
}

func TestTokensThatAreNone(t *testing.T) {
	authenticate := accepts(t, oneKey(t, "HS256", secret))
	good := sign(t, "HS256", secret, claims(nil), nil)
	head, rest, _ := strings.Cut(good, ".")
	payload, signature, _ := strings.Cut(rest, ".")
	encode := base64.RawURLEncoding.EncodeToString
	for name, token := range map[string]string{
		"no dots": "sesame", "two parts": head + "." + payload, "four parts": good + ".x", "only dots": "..",
		"many dots": strings.Repeat(".", auth.MaxToken), "long": strings.Repeat("e", auth.MaxToken),
		"not UTF-8": "\xff\xfe.\xff.\xff", "NUL": good + "\x00", "space": " " + good, "Bearer": "Bearer " + good,
		"padding": good + "=", "no signature": head + "." + payload + ".", "signature first": signature + "." + payload + "." + head,
		"header is null": encode([]byte("null")) + "." + payload + "." + signature,
		"header is list": encode([]byte("[]")) + "." + payload + "." + signature,
		"claims null":    head + "." + encode([]byte("null")) + "." + signature,
		"deep":           encode([]byte(strings.Repeat("[", 9000))) + "." + payload + "." + signature,
	} {
		t.Run(name, func(t *testing.T) { wantRefusedAnyhow(t, authenticate, token) })
	}
	if _, err := authenticate(t.Context(), auth.Credentials{}); !errors.Is(err, auth.ErrNoCredentials) {
		t.Errorf("without a token: %v", err)
	}
	wantRefused(t, authenticate, sign(t, "HS256", secret, claims(nil), map[string]any{"crit": []string{"exp"}}), core.Unauthenticated, "not valid")
	// The last character of 32 bytes has two bits to spare: a second way to write the same token.
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := len(good) - 1
	wantRefused(t, authenticate, good[:last]+string(alphabet[strings.IndexByte(alphabet, good[last])|1]), core.Unauthenticated, "not valid")
	// Signed as it should be, and no claims at all.
	for _, all := range []string{"null", "{}"} {
		text := head + "." + encode([]byte(all))
		mac := must(lib.SigningMethodHS256.Sign(text, secret))
		wantRefused(t, authenticate, text+"."+encode(mac), core.Unauthenticated, "")
	}
}

// wantRefusedAnyhow checks that a token lets nobody in, and is not in the error.
func wantRefusedAnyhow(t *testing.T, authenticate auth.Authenticator, token string) {
	t.Helper()
	principal, err := present(authenticate, token)
	if err == nil || core.CodeOf(err) != core.Unauthenticated && core.CodeOf(err) != core.Unknown {
		t.Errorf("got %+v, %v", principal, err)
	}
	for ; err != nil; err = errors.Unwrap(err) {
		if len(token) > 3 && strings.Contains(err.Error(), token) {
			t.Errorf("the token is in the error %v", err)
		}
	}
}

func TestAKeyDoesNotPrintItself(t *testing.T) {
	key := must(jwt.NewKey("HS256", secret))
	hidden := struct{ key jwt.Key }{key}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x"} {
		for _, value := range []any{key, &key, hidden, &hidden, jwt.Config{Keys: jwt.OneKey(key)}} {
			text := fmt.Sprintf(verb, value)
			if strings.Contains(text, string(secret)) || strings.Contains(text, fmt.Sprintf("%x", secret)) || strings.Contains(text, fmt.Sprint(secret)) {
				t.Errorf("%s prints the secret: %s", verb, text)
			}
		}
	}
	if key.String() != "[HS256 key]" || (jwt.Key{}).String() != "[key]" {
		t.Errorf("got %v and %v", key, jwt.Key{})
	}
}

// FuzzAuthenticate: whatever a token is, it is refused without harm, unless it was signed.
func FuzzAuthenticate(f *testing.F) {
	good := sign(f, "HS256", secret, lib.MapClaims{"aud": "bank", "iss": "https://id.example.com", "exp": 4e9, "sub": "alice"}, map[string]any{"kid": "1"})
	f.Add(good)
	f.Add("")
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Add(sign(f, "RS256", rsaKey, claims(nil), nil))
	authenticate := accepts(f, jwt.Keys(map[string]jwt.Key{"1": must(jwt.NewKey("HS256", secret)), "": must(jwt.NewKey("EdDSA", edwardsKey.Public()))}))
	f.Fuzz(func(t *testing.T, token string) {
		principal, err := present(authenticate, token)
		if err == nil && token != good {
			t.Errorf("%q lets in %+v", token, principal)
		}
		if err != nil && token == good {
			t.Errorf("the good token: %v", err)
		}
	})
}

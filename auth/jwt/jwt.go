package jwt

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/edict-go/edict/auth"
	"github.com/edict-go/edict/core"
	"github.com/golang-jwt/jwt/v5"
)

// DefaultLeeway is how far clocks may differ if nothing is set.
const DefaultLeeway = 30 * time.Second

// Config says which tokens are accepted.
type Config struct {
	// Keys finds the key that verifies a token: [OneKey], [Keys], or a function of your own. Needed.
	Keys KeyFunc
	// Issuer is the "iss" that tokens must have. Empty is any, also none: then the keys alone tell who
	// issued a token.
	Issuer string
	// Audience is the server's own name, which must be among the token's "aud". If it is empty, tokens
	// must have no audience: those that have one are meant for others.
	Audience string
	// Required are the names of further claims that tokens must have, such as "sub" or "tenant".
	Required []string
	// Leeway is how far the clocks of the issuer and the server may differ; 0 is 30 s, negative is none.
	Leeway time.Duration
	// AllowEndless accepts tokens without an "exp", which are good for ever.
	AllowEndless bool
	// Check may turn a verified token away by returning an error, as a list of revoked ones does. nil
	// accepts all.
	Check func(ctx context.Context, claims Claims) error
}

// Claims are what a verified token says. They are the Value of its principal; not to be changed.
type Claims struct {
	Issuer, Subject, ID string
	Audience            []string
	// ExpiresAt, NotBefore and IssuedAt are zero if the token does not have them.
	ExpiresAt, NotBefore, IssuedAt time.Time
	// All has all claims by their names, these included, as JSON decodes into any: numbers are float64.
	All map[string]any
}

// The reasons of refusals that a client can do something about: errors.Is finds these on both sides.
var (
	// ErrExpired is for a token whose time is over: a fresh one may do.
	ErrExpired = &core.Error{Code: core.Unauthenticated, Reason: "token-expired"}
	// ErrNotYet is for a token whose time has not come, or a clock that is wrong.
	ErrNotYet = &core.Error{Code: core.Unauthenticated, Reason: "token-not-yet-valid"}
)

// New returns an Authenticator for clients whose token is a JSON Web Token that config accepts. The
// principal has the Scheme "jwt", the subject as its Name (empty if the token has none and "sub" is not
// required), and the [Claims] as its Value. It is an error if config has no Keys.
func New(config Config) (auth.Authenticator, error) {
	if config.Keys == nil {
		return nil, errors.New("jwt: Config.Keys is needed")
	}
	config.Required = slices.Clone(config.Required)
	options := []jwt.ParserOption{jwt.WithIssuedAt(), jwt.WithStrictDecoding()}
	switch {
	case config.Leeway == 0:
		options = append(options, jwt.WithLeeway(DefaultLeeway))
	case config.Leeway > 0:
		options = append(options, jwt.WithLeeway(config.Leeway))
	}
	if config.Issuer != "" {
		options = append(options, jwt.WithIssuer(config.Issuer))
	}
	if config.Audience != "" {
		options = append(options, jwt.WithAudience(config.Audience))
	}
	if !config.AllowEndless {
		options = append(options, jwt.WithExpirationRequired())
	}
	v := &verifier{config: config, parser: jwt.NewParser(options...)}
	return v.authenticate, nil
}

// verifier checks tokens. Static after construction.
type verifier struct {
	config Config
	parser *jwt.Parser
}

func (v *verifier) authenticate(ctx context.Context, credentials auth.Credentials) (core.Principal, error) {
	if credentials.Token.IsZero() {
		return core.Principal{}, auth.ErrNoCredentials.With("a token is needed")
	}
	all := jwt.MapClaims{}
	_, err := v.parser.ParseWithClaims(credentials.Token.Reveal(), all, func(token *jwt.Token) (any, error) {
		return v.key(ctx, token)
	})
	if err != nil {
		return core.Principal{}, describe(err)
	}
	claims, err := claimsOf(all)
	if err != nil {
		return core.Principal{}, invalid(err)
	}
	if v.config.Audience == "" && len(claims.Audience) > 0 {
		return core.Principal{}, core.Errorf(core.Unauthenticated, "the token is for another audience")
	}
	for _, name := range v.config.Required {
		if value := all[name]; value == nil || value == "" {
			return core.Principal{}, core.Errorf(core.Unauthenticated, "the token lacks the claim %q", name)
		}
	}
	if v.config.Check != nil {
		if err := v.config.Check(ctx, claims); err != nil {
			return core.Principal{}, err
		}
	}
	return core.Principal{Scheme: "jwt", Name: claims.Subject, Value: claims}, nil
}

// key returns what verifies a token, by its header, which anyone may have written.
func (v *verifier) key(ctx context.Context, token *jwt.Token) (any, error) {
	if _, critical := token.Header["crit"]; critical {
		return nil, invalid(errors.New("its header has critical extensions"))
	}
	name, named := token.Header["kid"].(string)
	if _, present := token.Header["kid"]; present && !named {
		return nil, invalid(errors.New("its kid is no text"))
	}
	key, err := v.config.Keys(ctx, name)
	switch {
	case err != nil:
		return nil, err
	case key.material == nil:
		return nil, errNoKey
	case key.algorithm != token.Method.Alg():
		return nil, invalid(fmt.Errorf("its algorithm is %s, and its key is for %s", token.Method.Alg(), key.algorithm))
	}
	return *key.material, nil
}

// invalid is the error for a token of which nothing is true: the client hears no more than that.
func invalid(cause error) error {
	return &core.Error{Code: core.Unauthenticated, Message: "the token is not valid", Cause: cause}
}

// describe says what is wrong with a token. What the client is told goes beyond "not valid" only if the
// signature is good.
func describe(err error) error {
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return because(ErrExpired.With("the token has expired"), err)
	case errors.Is(err, jwt.ErrTokenNotValidYet), errors.Is(err, jwt.ErrTokenUsedBeforeIssued):
		return because(ErrNotYet.With("the token is not valid yet"), err)
	case errors.Is(err, jwt.ErrTokenInvalidAudience):
		return because(core.Errorf(core.Unauthenticated, "the token is for another audience"), err)
	case errors.Is(err, jwt.ErrTokenInvalidIssuer):
		return because(core.Errorf(core.Unauthenticated, "the token is from another issuer"), err)
	case errors.Is(err, jwt.ErrTokenRequiredClaimMissing):
		return because(core.Errorf(core.Unauthenticated, "the token lacks a claim"), err)
	}
	if e, ok := errors.AsType[*core.Error](err); ok { // of key, or of the KeyFunc
		return e
	}
	if errors.Is(err, jwt.ErrTokenUnverifiable) { // no fault of the token, maybe
		return err
	}
	return invalid(err)
}

func because(e *core.Error, cause error) error {
	e.Cause = cause
	return e
}

// claimsOf returns the claims that have a place of their own. Those of another type are an error, as is a
// time that is out of range.
func claimsOf(all jwt.MapClaims) (claims Claims, err error) {
	claims.All = all
	for name, field := range map[string]*string{"iss": &claims.Issuer, "sub": &claims.Subject, "jti": &claims.ID} {
		if value, present := all[name]; present && value != nil {
			text, ok := value.(string)
			if !ok {
				return claims, fmt.Errorf("%s is no text", name)
			}
			*field = text
		}
	}
	for name, field := range map[string]*time.Time{"exp": &claims.ExpiresAt, "nbf": &claims.NotBefore, "iat": &claims.IssuedAt} {
		if value, present := all[name]; present && value != nil {
			seconds, ok := value.(float64)
			if !ok || seconds < 0 || seconds > maxSeconds || seconds == 0 && name == "exp" { // the parser takes that for none
				return claims, fmt.Errorf("%s is no time", name)
			}
			*field = time.Unix(int64(seconds), 0)
		}
	}
	audience, err := all.GetAudience()
	claims.Audience = audience
	return claims, err
}

// maxSeconds is the end of the year 9999.
const maxSeconds = 253402300799

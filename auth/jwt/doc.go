// Package jwt authenticates the clients of a server by JSON Web Tokens (RFC 7519), with
// github.com/golang-jwt/jwt. [New] makes the auth.Authenticator; [Claims] are what commands find of the
// token.
//
// # What is checked
//
// Each [Key] is for one algorithm, and a token that names another one in its header is refused: so a
// public key can't be used as the secret of an HMAC, and "none" is no algorithm. Then the signature, the
// times with a leeway, the issuer, the audience, and the claims that the Config requires. A token whose
// header has critical extensions ("crit") is refused, because none are known here.
//
// # What it is not
//
// It fetches no keys and keeps no list of revoked tokens: see Config.Keys and Config.Check for the places
// where that fits in. A connection goes on when its token expires.
package jwt

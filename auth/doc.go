// Package auth decides who a client of a server is. An [Authenticator] looks at the [Credentials] that a
// client presents when it connects, and returns its principal or a refusal.
//
// There are ready-made ones for static bearer tokens ([StaticTokens]), certificates of mutual TLS
// ([MutualTLS]) and processes at the other end of a Unix socket ([UnixUsers]); package auth/jwt has one
// for JSON Web Tokens. [Any] joins several. Anything else is a function of your own.
//
// # Refusals
//
// The client learns the code and message of a *core.Error, and of any other error only that the
// authentication failed. The server's log has the whole text.
//
// # Secrets
//
// A [Token] does not print itself, however it is printed: its text is had from Reveal only. What goes to
// a log or to a peer is searched for the token, too, in case an authenticator put it into an error.
//
// # Concurrency
//
// An Authenticator is called for many connections at the same time, each in a goroutine of its own.
package auth

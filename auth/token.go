package auth

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/edict-go/edict/core"
)

// MaxToken is how many bytes a token may have.
const MaxToken = 16 << 10

// Token is a secret that a client presents. The zero Token is none. Printing it in any way, alone or in
// a struct, shows that there is one and nothing else. Safe for concurrent use.
type Token struct {
	// A pointer, because package fmt prints the unexported fields of a struct without asking their methods.
	secret *string
}

// NewToken returns the token with this text, the zero Token if it is empty.
func NewToken(text string) Token {
	if text == "" {
		return Token{}
	}
	return Token{&text}
}

// Reveal returns the token's text: any bytes, which nobody has checked.
func (t Token) Reveal() string {
	if t.secret == nil {
		return ""
	}
	return *t.secret
}

// IsZero reports whether there is no token.
func (t Token) IsZero() bool { return t.secret == nil }

const redacted = "[token]"

// String returns a placeholder.
func (t Token) String() string {
	if t.IsZero() {
		return "[no token]"
	}
	return redacted
}

// GoString returns a placeholder.
func (t Token) GoString() string { return t.String() }

// Format prints a placeholder, whatever the verb.
func (t Token) Format(state fmt.State, _ rune) { _, _ = state.Write([]byte(t.String())) }

// LogValue returns a placeholder.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }

// MarshalText returns a placeholder.
func (t Token) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// shortestSecret is the length, in bytes, of the shortest token that is looked for in texts: shorter ones
// keep no secret, and replacing them would make the texts unreadable.
const shortestSecret = 4

// Redact returns text with a placeholder wherever the token occurs.
func (t Token) Redact(text string) string {
	if len(t.Reveal()) < shortestSecret {
		return text
	}
	return strings.ReplaceAll(text, t.Reveal(), redacted)
}

// RedactError returns e, or a copy of it with placeholders if the token occurs in what goes over the wire.
// The Cause is kept as it is.
func (t Token) RedactError(e *core.Error) *core.Error {
	if len(t.Reveal()) < shortestSecret {
		return e
	}
	copied := *e
	copied.Reason, copied.Message = t.Redact(e.Reason), t.Redact(e.Message)
	copied.Details = slices.Clone(e.Details)
	for i := range copied.Details {
		detail := &copied.Details[i]
		detail.Type = t.Redact(detail.Type)
		detail.JSON = bytes.ReplaceAll(detail.JSON, []byte(t.Reveal()), []byte(redacted))
	}
	return &copied
}

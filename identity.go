package edict

import (
	"crypto/ed25519"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/edict-go/edict/core"
)

// ClientID names a client on all servers. See [core.ClientID].
type ClientID = core.ClientID

// JournalID names a Journal. See [core.JournalID].
type JournalID = core.JournalID

// Identity is who a client is to journals: it numbers commands, and proves with a key of its own that it is the one who
// has numbered them. It lives as long as the process does. It prints as its ID, whatever the verb. Safe for concurrent use.
type Identity struct {
	key     func() identityKey // made when it is asked for first; a function, so that nobody prints what it returns
	numbers atomic.Uint64      // of commands so far
}

type identityKey struct {
	private ed25519.PrivateKey
	id      ClientID
}

// NewIdentity returns a new Identity.
func NewIdentity() *Identity {
	return &Identity{key: sync.OnceValue(func() identityKey {
		public, private, err := ed25519.GenerateKey(nil)
		if err != nil {
			panic(err) // never: see crypto/rand
		}
		return identityKey{private, core.ClientIDOf(public)}
	})}
}

// ID returns the ID of the clients that have the Identity.
func (i *Identity) ID() ClientID { return i.key().id }

// Format implements fmt.Formatter.
func (i *Identity) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, i.ID().String()) }

// next returns the number of another command.
func (i *Identity) next() uint64 { return i.numbers.Add(1) }

// WithIdentity lets several clients of a process have one Identity. Then a command has one ID whichever of them sends
// it, and what one of them could not find out another one may: group.Dial does that for the clients of a group. It has a
// meaning with WithResume only. Without it each client has an Identity of its own.
func WithIdentity(identity *Identity) DialOption {
	return dialOption(func(s *dialSettings) { s.identity = identity })
}

package core

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
)

// ClientID names a client, whatever servers and connections it has: the first bytes of the SHA-256 of its public key. It
// is no secret.
type ClientID [16]byte

// String returns the ID in hexadecimal digits.
func (id ClientID) String() string { return fmt.Sprintf("%x", id[:]) }

// ClientIDOf returns the ID of the client whose public key that is.
func ClientIDOf(key ed25519.PublicKey) ClientID {
	hash := sha256.Sum256(key)
	return ClientID(hash[:])
}

// CommandID names a command for ever, on all servers: by its client, and the number that the client has given it, from 1.
type CommandID struct {
	Client ClientID
	Number uint64
}

// String returns both, with a slash between.
func (id CommandID) String() string { return fmt.Sprintf("%v/%d", id.Client, id.Number) }

// Unrecorded is set in the number of a COMMAND to say that its server need not remember what became of the command. It is no
// part of the command's ID.
const Unrecorded = uint64(1) << 63

// JournalID names a Journal for ever. It is no secret.
type JournalID [16]byte

// String returns the ID in hexadecimal digits.
func (id JournalID) String() string { return fmt.Sprintf("%x", id[:]) }

// Challenge is what a client signs to prove its ID to a server, on one connection: another server has another journal, and
// each handshake another Nonce, so who has seen a proof can do nothing with it. The zero Challenge is none.
type Challenge struct {
	Journal JournalID
	Nonce   [16]byte
}

// proofContext is before what is signed, so that a signature means nothing anywhere else.
const proofContext = "Edict 1 identity\x00"

func (c *Challenge) signed() []byte {
	return append(append([]byte(proofContext), c.Journal[:]...), c.Nonce[:]...)
}

// Prove returns the body of an IDENTITY frame: the public key, and the signature.
func (c *Challenge) Prove(key ed25519.PrivateKey) []byte {
	return append([]byte(key.Public().(ed25519.PublicKey)), ed25519.Sign(key, c.signed())...)
}

// Verify returns the ID of the client whose IDENTITY frame has that body.
func (c *Challenge) Verify(body []byte) (ClientID, error) {
	if len(body) != ed25519.PublicKeySize+ed25519.SignatureSize {
		return ClientID{}, fmt.Errorf("IDENTITY frame of %d bytes", len(body))
	}
	key := ed25519.PublicKey(body[:ed25519.PublicKeySize])
	if !ed25519.Verify(key, c.signed(), body[ed25519.PublicKeySize:]) {
		return ClientID{}, errors.New("IDENTITY frame whose signature is not of this handshake")
	}
	return ClientIDOf(key), nil
}

// Attempts is what a Sender that may hand a command to several Senders, as a group does, and those Senders tell each other
// about it. It belongs to the goroutine that has the call, and is used until the last Exchange is closed.
type Attempts struct {
	// ID is the command's, zero as long as it has none. The first Sender that gives its commands IDs sets it, others of the
	// same client keep it.
	ID CommandID
	// Journal is that of the server to which the command was sent last, if it remembers what becomes of it; else zero. Set
	// by the Sender.
	Journal JournalID
	// MayHaveRun says that an attempt may have run, at a server with Journal. Then only a server with that gets the
	// command, and no journal is told to forget it. Set by whoever makes attempts, like
	MayHaveRun bool
	// Over, which says that there will be no other attempt.
	Over bool
}

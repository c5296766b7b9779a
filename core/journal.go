package core

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
)

// SessionID names a session of a server: a client of its, beyond the end of connections. It is no secret.
type SessionID [16]byte

// String returns the ID in hexadecimal digits.
func (id SessionID) String() string { return fmt.Sprintf("%x", id[:]) }

// CommandID names a command for ever: by the session of its client, and the number that the client has given it
// there, from 1.
type CommandID struct {
	Session SessionID
	Number  uint64
}

// String returns both, with a slash between.
func (id CommandID) String() string { return fmt.Sprintf("%v/%d", id.Session, id.Number) }

// Journal remembers what became of commands, beyond the end of the server that has executed them. Implement it to keep
// that elsewhere than package journal does. Safe for concurrent use.
type Journal interface {
	// Begin notes that a command is about to be executed; when it returns that must not get lost any more. If the
	// command has ended before it returns what became of it; if it was begun and has not ended, ErrBegun. An error that
	// is an *Error is for the caller, whose command is Refused with it.
	Begin(id CommandID) (*Record, error)
	// End notes what became of a command. The record is only lent.
	End(id CommandID, record *Record) error
	// Forget drops what is known of commands whose results the client has got. It is called by read loops, so it must not
	// wait.
	Forget(session SessionID, numbers []uint64)
	// Identity returns what was given to SetIdentity for a session, and false if it is not known.
	Identity(session SessionID) (Identity, bool)
	SetIdentity(session SessionID, identity Identity) error
}

// SizedJournal is an optional interface of Journals, for those who watch a server.
type SizedJournal interface {
	// Size returns how much there is. It is called each second or so, and must not wait.
	Size() JournalSize
}

// JournalSize is how much there is in a Journal.
type JournalSize struct {
	// Bytes are kept, of Limit: when that is reached commands are refused. Limit is 0 if there is none.
	Bytes int64 `json:"bytes"`
	Limit int64 `json:"limit"`
	// Records is of how many commands.
	Records int `json:"records"`
}

// ErrBegun is what a Journal's Begin returns for a command that was begun before, and has not ended.
var ErrBegun = errors.New("the command was begun before")

// Identity is how a session knows its client again.
type Identity struct {
	// Current is of the secret that the client has certainly got, Offered of the one that it was told since. Hashes are
	// kept, so that who reads a journal can't resume sessions.
	Current, Offered SecretHash
	// Scheme and Name are those of the client's Principal, empty if there was no authenticator.
	Scheme, Name string
}

// SecretHash is the SHA-256 of a secret.
type SecretHash [sha256.Size]byte

// HashSecret returns the hash of a secret.
func HashSecret(secret []byte) SecretHash { return sha256.Sum256(secret) }

// Equal compares in constant time.
func (h SecretHash) Equal(other SecretHash) bool {
	return subtle.ConstantTimeCompare(h[:], other[:]) == 1
}

// Record is what became of a command: what its client was to get.
type Record struct {
	// Codec and Compression are those of the connection, on which the following depends.
	Codec, Compression string
	// Results are the encoded results of a stream, but for one that came in the last frame.
	Results []RecordedResult
	// Kind, Flags, Metadata and Body are of the frame that ended the call.
	Kind     Kind
	Flags    Flags
	Metadata []byte
	Body     []byte
	// TooLarge is set if the results were not kept for their size.
	TooLarge bool
}

// RecordedResult is a result of a stream.
type RecordedResult struct {
	Body       []byte
	Compressed bool
}

// Size returns about how many bytes the record takes.
func (r *Record) Size() int {
	size := len(r.Metadata) + len(r.Body)
	for _, result := range r.Results {
		size += len(result.Body) + ResultOverhead
	}
	return size
}

// recordVersion is the first byte of an encoded Record.
const recordVersion = 1

// Append appends the encoding of the record to dst: the version, then all fields in order; what has a variable length
// has that in front, as a uvarint.
func (r *Record) Append(dst []byte) []byte {
	dst = append(dst, recordVersion, byte(r.Kind), byte(r.Flags), flagByte(r.TooLarge))
	for _, field := range [][]byte{[]byte(r.Codec), []byte(r.Compression), r.Metadata, r.Body} {
		dst = appendBytes(dst, field)
	}
	for _, result := range r.Results {
		dst = appendBytes(append(dst, flagByte(result.Compressed)), result.Body)
	}
	return dst
}

func flagByte(set bool) byte {
	if set {
		return 1
	}
	return 0
}

func appendBytes(dst, value []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(value))), value...)
}

var errRecord = errors.New("a malformed record")

// DecodeRecord decodes what Append has encoded. The record refers to src.
func DecodeRecord(src []byte) (*Record, error) {
	if len(src) < 4 || src[0] != recordVersion {
		return nil, errRecord
	}
	r := &Record{Kind: Kind(src[1]), Flags: Flags(src[2]), TooLarge: src[3] != 0}
	src = src[4:]
	var fields [4][]byte
	for i := range fields {
		var ok bool
		if fields[i], src, ok = cutField(src); !ok {
			return nil, errRecord
		}
	}
	r.Codec, r.Compression, r.Metadata, r.Body = string(fields[0]), string(fields[1]), fields[2], fields[3]
	for len(src) > 0 {
		result := RecordedResult{Compressed: src[0] != 0}
		var ok bool
		if result.Body, src, ok = cutField(src[1:]); !ok {
			return nil, errRecord
		}
		r.Results = append(r.Results, result)
	}
	return r, nil
}

// cutField returns what appendBytes has appended, and what follows it.
func cutField(src []byte) (value, rest []byte, ok bool) {
	length, n := binary.Uvarint(src)
	if n <= 0 || length > uint64(len(src)-n) {
		return nil, nil, false
	}
	return src[n : n+int(length)], src[n+int(length):], true
}

// MaxForgotten is how many commands one FORGET frame may name.
const MaxForgotten = 1024

// AppendForgotten appends the body of a FORGET frame.
func AppendForgotten(dst []byte, numbers []uint64) []byte {
	for _, number := range numbers {
		dst = binary.AppendUvarint(dst, number)
	}
	return dst
}

// DecodeForgotten decodes the body of a FORGET frame.
func DecodeForgotten(body []byte) ([]uint64, error) {
	var numbers []uint64
	for len(body) > 0 {
		number, n := binary.Uvarint(body)
		if n <= 0 || len(numbers) == MaxForgotten {
			return nil, errors.New("a malformed list of commands")
		}
		numbers = append(numbers, number)
		body = body[n:]
	}
	return numbers, nil
}

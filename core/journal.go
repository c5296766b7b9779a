package core

import (
	"encoding/binary"
	"errors"
)

// Journal remembers what became of commands, beyond the end of the server that has executed them. Implement it to keep
// that elsewhere than package journal does. Several servers may share one. Safe for concurrent use.
type Journal interface {
	// Name returns the journal's name: made at random when the journal was, the same as long as it is there, and never
	// zero. A client takes servers with the same name for servers that know the same commands.
	Name() JournalID
	// Begin notes that a command is about to be executed; when it returns that must not get lost any more. If the
	// command has ended before it returns what became of it; if it was begun and has not ended, ErrBegun, also if another
	// server is executing it right now. Of several that ask at the same time one may execute it. An error that
	// is an *Error is for the caller, whose command is Refused with it.
	Begin(id CommandID) (*Record, error)
	// End notes what became of a command. The record is only lent.
	End(id CommandID, record *Record) error
	// Forget drops what is known of commands whose results the client has got. It is called by read loops, so it must not
	// wait. What is never forgotten so must be kept for some time, and may go after that: see docs/resume.md.
	Forget(client ClientID, numbers []uint64)
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

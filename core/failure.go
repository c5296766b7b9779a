package core

import (
	"slices"
	"strings"
	"sync"
	"time"
)

// FailureCode names what has failed, as subsystem.kind: "handshake.rejected". The names stay as they are, so that
// logs, alerts and pages may look for them. docs/operating.md says of each what to do.
type FailureCode string

// The codes. Those of a client and of a server are the same where the same thing has happened.
const (
	FailureDial              FailureCode = "dial.failed"         // client: the network's connection could not be made
	FailureToken             FailureCode = "auth.token"          // client: its TokenProvider had no token
	FailureAuth              FailureCode = "auth.refused"        // the server's authenticator did not let the client in
	FailureHandshake         FailureCode = "handshake.failed"    // it broke off, took too long, or the peer does not speak Edict
	FailureRejected          FailureCode = "handshake.rejected"  // the server did not want the connection, and said why
	FailureShape             FailureCode = "handshake.shape"     // client: commands have another shape on the server
	FailureConnectionLost    FailureCode = "connection.lost"     // the network, or the peer, broke the connection
	FailureConnectionAway    FailureCode = "connection.away"     // client: the server went away, orderly
	FailureConnectionBroken  FailureCode = "connection.violated" // the peer broke the protocol
	FailureSessionLost       FailureCode = "session.lost"        // client: the server does not know the session that was to be resumed
	FailureKeepalive         FailureCode = "keepalive.silent"    // nothing came from the peer for too long
	FailureCommandPanicked   FailureCode = "command.panicked"    // server: Exec, an interceptor or a codec panicked
	FailureCommandFailed     FailureCode = "command.failed"      // server: Exec returned an error
	FailureCommandExpired    FailureCode = "command.expired"     // server: its deadline passed
	FailureCommandRefused    FailureCode = "command.refused"     // server: a limit is reached, it shuts down, it is not known
	FailureCommandUndecoded  FailureCode = "command.malformed"   // server: the command's body can't be decoded
	FailureTextLine          FailureCode = "text.malformed"      // server: a line of text mode is none
	FailureResultUndelivered FailureCode = "result.undelivered"  // server: the result is larger than the client takes
)

// Failure is something that went wrong.
type Failure struct {
	Code FailureCode `json:"code"`
	At   time.Time   `json:"at"`
	// Text is for people. It may have what an application puts into its errors; it has no tokens.
	Text string `json:"text"`
	// Peer is the address of the peer concerned, Command the name of the command; empty if there is none.
	Peer    string `json:"peer,omitempty"`
	Command string `json:"command,omitempty"`
}

const (
	// maxFailureText bounds the text of a Failure, in bytes.
	maxFailureText = 512
	// failuresKept is how many failures of each code are kept.
	failuresKept = 8
)

// Failures remembers what went wrong of late: some of each code, so that many of one kind don't push out the one
// that matters, and how many there were. The zero Failures is empty. Safe for concurrent use.
type Failures struct {
	mu     sync.Mutex // guards the following; held briefly
	byCode map[FailureCode]*failuresOfCode
	last   *Failure // not changed
}

// failuresOfCode has the last ones of a code, at count modulo failuresKept.
type failuresOfCode struct {
	count uint64
	last  [failuresKept]Failure
}

// Note remembers a failure, and returns it as it is kept: with the time, and a text that is not too long.
func (f *Failures) Note(failure Failure) Failure {
	failure.At = time.Now()
	failure.Text = clip(failure.Text)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last = &failure
	if f.byCode == nil {
		f.byCode = map[FailureCode]*failuresOfCode{}
	}
	of := f.byCode[failure.Code]
	if of == nil {
		of = &failuresOfCode{}
		f.byCode[failure.Code] = of
	}
	of.last[of.count%failuresKept] = failure
	of.count++
	return failure
}

// clip returns a text that is valid and not too long.
func clip(text string) string {
	if len(text) > maxFailureText {
		text = text[:maxFailureText] + "…"
	}
	return strings.ToValidUTF8(text, "�")
}

// Last returns the last failure, nil if there was none. It must not be changed.
func (f *Failures) Last() *Failure {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

// Recent returns the failures that are kept, the last one first.
func (f *Failures) Recent() []Failure {
	f.mu.Lock()
	defer f.mu.Unlock()
	var recent []Failure
	for _, of := range f.byCode {
		recent = append(recent, of.last[:min(of.count, failuresKept)]...)
	}
	slices.SortStableFunc(recent, func(a, b Failure) int { return b.At.Compare(a.At) })
	return recent
}

// Counts returns how many failures there were of each code, nil if there were none.
func (f *Failures) Counts() map[FailureCode]uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.byCode) == 0 {
		return nil
	}
	counts := make(map[FailureCode]uint64, len(f.byCode))
	for code, of := range f.byCode {
		counts[code] = of.count
	}
	return counts
}

package core

import "fmt"

// Code classifies an error. The sixteen codes are the canonical ones of the RPC world, with the
// same numbers, so that they map to and from other systems without loss.
//
// A Code is itself an error value to test for: errors.Is(err, NotFound).
type Code uint8

// The canonical codes. Zero is no code at all: a call that succeeded has no error.
const (
	Canceled           Code = 1  // the caller gave up
	Unknown            Code = 2  // Exec returned an error without a code
	InvalidArgument    Code = 3  // the command is wrong whatever the state of the system
	DeadlineExceeded   Code = 4  // the deadline passed before the command ended
	NotFound           Code = 5  // what the command names does not exist
	AlreadyExists      Code = 6  // what the command would create exists
	PermissionDenied   Code = 7  // the caller is known and may not
	ResourceExhausted  Code = 8  // a limit or quota is reached
	FailedPrecondition Code = 9  // the state of the system forbids it; do not retry unchanged
	Aborted            Code = 10 // lost a race with another command; retry from the start
	OutOfRange         Code = 11 // beyond the valid range in the present state
	Unimplemented      Code = 12 // the server does not know the command
	Internal           Code = 13 // something that should never happen did, a panic for example
	Unavailable        Code = 14 // not now; retry with backoff
	DataLoss           Code = 15 // unrecoverable loss or corruption
	Unauthenticated    Code = 16 // the caller did not prove who it is
)

var codeNames = [...]string{
	Canceled:           "canceled",
	Unknown:            "unknown",
	InvalidArgument:    "invalid argument",
	DeadlineExceeded:   "deadline exceeded",
	NotFound:           "not found",
	AlreadyExists:      "already exists",
	PermissionDenied:   "permission denied",
	ResourceExhausted:  "resource exhausted",
	FailedPrecondition: "failed precondition",
	Aborted:            "aborted",
	OutOfRange:         "out of range",
	Unimplemented:      "unimplemented",
	Internal:           "internal",
	Unavailable:        "unavailable",
	DataLoss:           "data loss",
	Unauthenticated:    "unauthenticated",
}

// Valid reports whether c is one of the sixteen codes.
func (c Code) Valid() bool { return c >= Canceled && c <= Unauthenticated }

// String returns the code's name in lower case, as in "not found".
func (c Code) String() string {
	if !c.Valid() {
		return fmt.Sprintf("code(%d)", uint8(c))
	}
	return codeNames[c]
}

// Error makes a Code an error, to be tested for with errors.Is.
func (c Code) Error() string { return c.String() }

// Outcome says whether the command ran, as far as the reporter of the error can prove. It is what
// a retry has to look at: after NotSent and Refused the command can be sent again without the risk
// of running it twice.
type Outcome uint8

const (
	// OutcomeUnknown is the zero value: the command may have run, or may run still.
	OutcomeUnknown Outcome = iota
	// NotSent: the command did not leave this process. It did not run and will not.
	NotSent
	// Refused: the server declined the command before running it. It did not run and will not.
	Refused
	// Executed: the command ran; the error is what came of it.
	Executed
)

// String returns "unknown", "not sent", "refused" or "executed".
func (o Outcome) String() string {
	switch o {
	case OutcomeUnknown:
		return "unknown"
	case NotSent:
		return "not sent"
	case Refused:
		return "refused"
	case Executed:
		return "executed"
	}
	return fmt.Sprintf("outcome(%d)", uint8(o))
}

// Ran reports whether the command may have run: false only for NotSent and Refused.
func (o Outcome) Ran() bool { return o != NotSent && o != Refused }

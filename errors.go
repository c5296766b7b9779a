package edict

import "github.com/edict-go/edict/core"

// Error is the type of all errors. See [core.Error].
type Error = core.Error

// Detail is a typed fact in an Error. See [core.Detail].
type Detail = core.Detail

// Code classifies an error; it is also an error value to test for with errors.Is.
type Code = core.Code

// The canonical codes. See [core.Code].
const (
	Canceled           = core.Canceled
	Unknown            = core.Unknown
	InvalidArgument    = core.InvalidArgument
	DeadlineExceeded   = core.DeadlineExceeded
	NotFound           = core.NotFound
	AlreadyExists      = core.AlreadyExists
	PermissionDenied   = core.PermissionDenied
	ResourceExhausted  = core.ResourceExhausted
	FailedPrecondition = core.FailedPrecondition
	Aborted            = core.Aborted
	OutOfRange         = core.OutOfRange
	Unimplemented      = core.Unimplemented
	Internal           = core.Internal
	Unavailable        = core.Unavailable
	DataLoss           = core.DataLoss
	Unauthenticated    = core.Unauthenticated
)

// Outcome says whether the command ran.
type Outcome = core.Outcome

// The outcomes. See [core.Outcome].
const (
	OutcomeUnknown = core.OutcomeUnknown
	NotSent        = core.NotSent
	Refused        = core.Refused
	Executed       = core.Executed
)

// ErrClosed is in the chain of errors that come of this side's Close or Shutdown.
var ErrClosed = core.ErrClosed

// ErrSilent is in the chain of errors of a connection whose other side has sent nothing for too long, not even
// the answer to a PING. See KeepaliveInterval in ClientConfig and ServerConfig.
var ErrSilent = core.ErrSilent

// Errorf returns an *Error with a code and a message, for Exec to return. A %w verb sets its Cause.
func Errorf(code Code, format string, arguments ...any) *Error {
	return core.Errorf(code, format, arguments...)
}

// CodeOf returns the code of an error: 0 for nil, Unknown for an error without one.
func CodeOf(err error) Code { return core.CodeOf(err) }

// OutcomeOf returns the outcome of an error; a nil error's is Executed.
func OutcomeOf(err error) Outcome { return core.OutcomeOf(err) }

// DetailOf returns the first detail of type V in err's chain.
func DetailOf[V any](err error) (V, bool) { return core.DetailOf[V](err) }

package core

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"reflect"
	"slices"
	"strings"
	"time"
)

// ErrClosed is in the chain of every error caused by a connection, client or server that this side
// has closed. It matches net.ErrClosed.
var ErrClosed error = closedError{}

type closedError struct{}

func (closedError) Error() string { return "closed" }
func (closedError) Unwrap() error { return net.ErrClosed }

// Error is the one error type of Edict. Every error that a call, a stream or a dial returns has an
// *Error in its chain (errors.AsType[*Error]), whichever side it comes from.
//
// Exec returns one to choose what the caller sees; build it with [Errorf] or as a literal. Code,
// Reason, Message, Details and RetryAfter travel over the wire, the rest is local to each side.
//
// It works with errors.Is for: a Code; context.Canceled and context.DeadlineExceeded (by code);
// another *Error with the same Code and the same non-empty Reason, so that a sentinel declared in
// the package of the commands is found again on the client; and whatever Cause wraps.
type Error struct {
	Code    Code
	Outcome Outcome // whether the command ran; set by Edict, not by Exec

	// Reason is a short stable identifier that programs test for, as in "insufficient-funds".
	Reason string
	// Message is for people.
	Message string
	// Details are further facts for programs; see WithDetail and DetailOf.
	Details []Detail
	// RetryAfter is how long the server asks to wait before a retry; 0 is no hint.
	RetryAfter time.Duration

	// Command is the name of the command that failed, if it was one. Not sent.
	Command string
	// CommandID is the command's ID on a server with a Journal, that of edict.CommandIDOf, to ask afterwards what became of
	// it; else zero. Not sent.
	CommandID CommandID
	// Remote is true if the peer reported the error, false if it arose on this side. Not sent.
	Remote bool
	// Cause is the underlying error on this side. Not sent.
	Cause error
}

// Detail is one typed fact in an Error: a value in JSON under the name of its type.
type Detail struct {
	Type string
	JSON []byte
}

// Errorf returns an *Error with a code and a message. A %w verb sets its Cause; if that has an *Error
// in its chain, its Reason, Details and RetryAfter are taken over.
func Errorf(code Code, format string, arguments ...any) *Error {
	err := fmt.Errorf(format, arguments...)
	e := &Error{Code: code, Message: err.Error(), Cause: errors.Unwrap(err)}
	if inner, ok := errors.AsType[*Error](e.Cause); ok {
		e.Reason, e.Details, e.RetryAfter = inner.Reason, inner.Details, inner.RetryAfter
	}
	return e
}

// With returns a copy of e with another message: what happened this time. So a sentinel with a Code
// and a Reason becomes the error to return, which errors.Is still takes for the sentinel:
//
//	var ErrTooPoor = &edict.Error{Code: edict.FailedPrecondition, Reason: "too-poor"}
//
//	return 0, ErrTooPoor.With("%d more would be needed", missing)
func (e *Error) With(format string, arguments ...any) *Error {
	copied := *e
	copied.Message = fmt.Sprintf(format, arguments...)
	return &copied
}

// WithDetail returns a copy of e with one more detail: value, in JSON. A value that JSON can't encode
// is replaced by a description of that failure under the same type name.
func (e *Error) WithDetail(value any) *Error {
	encoded, err := json.Marshal(value)
	if err != nil {
		encoded, _ = json.Marshal(err.Error())
	}
	copied := *e
	copied.Details = append(slices.Clip(e.Details), Detail{Type: detailType(reflect.TypeOf(value)), JSON: encoded})
	return &copied
}

// WithRetryAfter returns a copy of e that asks the caller to wait that long before a retry.
func (e *Error) WithRetryAfter(wait time.Duration) *Error {
	copied := *e
	copied.RetryAfter = wait
	return &copied
}

// DetailOf returns the first detail of type V in err's chain. The type is recognised by its name,
// without the package.
func DetailOf[V any](err error) (V, bool) {
	var value V
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return value, false
	}
	name := detailType(reflect.TypeFor[V]())
	for _, detail := range e.Details {
		if detail.Type == name && json.Unmarshal(detail.JSON, &value) == nil {
			return value, true
		}
	}
	return value, false
}

func detailType(t reflect.Type) string {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil {
		return "nil"
	}
	if t.Name() == "" {
		return t.String()
	}
	return t.Name()
}

// Error returns one line: command, code, message and, for a failed call, whether it ran.
func (e *Error) Error() string {
	var text strings.Builder
	text.WriteString("edict: ")
	if e.Command != "" {
		text.WriteString(e.Command)
		text.WriteString(": ")
	}
	text.WriteString(e.Code.String())
	if e.Message != "" {
		text.WriteString(": ")
		text.WriteString(e.Message)
	}
	if e.Command != "" {
		switch e.Outcome {
		case NotSent:
			text.WriteString(" (not sent)")
		case Refused:
			text.WriteString(" (refused, not executed)")
		case Executed:
			text.WriteString(" (executed)")
		case OutcomeUnknown:
			text.WriteString(" (outcome unknown)")
		}
	}
	return text.String()
}

// Unwrap returns the Cause.
func (e *Error) Unwrap() error { return e.Cause }

// Is makes errors.Is find codes, context errors and sentinels with a Reason.
func (e *Error) Is(target error) bool {
	switch target {
	case context.Canceled:
		return e.Code == Canceled
	case context.DeadlineExceeded:
		return e.Code == DeadlineExceeded
	}
	switch target := target.(type) {
	case Code:
		return e.Code == target
	case *Error:
		return target.Reason != "" && e.Reason == target.Reason && e.Code == target.Code
	}
	return false
}

// OutcomeOf returns the outcome that err reports: of a nil error Executed, of an error without an
// *Error in its chain OutcomeUnknown.
func OutcomeOf(err error) Outcome {
	if err == nil {
		return Executed
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Outcome
	}
	return OutcomeUnknown
}

// CodeOf returns the code that err reports: 0 for nil, that of an *Error or Code in its chain,
// Canceled or DeadlineExceeded for the errors of a context, and Unknown for all others.
func CodeOf(err error) Code {
	if err == nil {
		return 0
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	if code, ok := errors.AsType[Code](err); ok {
		return code
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return DeadlineExceeded
	}
	if errors.Is(err, context.Canceled) {
		return Canceled
	}
	return Unknown
}

// AsError returns what of err goes over the wire, as a copy that the caller may change: the *Error
// in its chain, or an error made of its code and text. It returns nil for nil.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		copied := *e
		if !copied.Code.Valid() {
			copied.Code = Unknown
		}
		if outermost, isError := err.(*Error); !isError || outermost != e {
			copied.Message = err.Error() // what was said on the way
		}
		return &copied
	}
	return &Error{Code: CodeOf(err), Message: err.Error(), Cause: err}
}

// contextError returns the error of a call whose context has ended.
func contextError(ctx context.Context, outcome Outcome) *Error {
	cause := context.Cause(ctx)
	code := Canceled
	if ctx.Err() == context.DeadlineExceeded {
		code = DeadlineExceeded
	}
	return &Error{Code: code, Outcome: outcome, Message: cause.Error(), Cause: cause}
}

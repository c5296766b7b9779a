package core

import (
	"encoding/binary"
	"time"
)

// maxDetails bounds the details of one decoded error.
const maxDetails = 64

// AppendError appends e as the body of an ERROR frame: code, outcome, retry hint, reason, message,
// details. docs/protocol.md has the layout.
func AppendError(dst []byte, e *Error) []byte {
	dst = append(dst, byte(e.Code), byte(e.Outcome))
	dst = binary.AppendUvarint(dst, uint64(max(0, e.RetryAfter)/time.Microsecond))
	dst = appendString(appendString(dst, e.Reason), e.Message)
	dst = binary.AppendUvarint(dst, uint64(len(e.Details)))
	for _, detail := range e.Details {
		dst = appendString(dst, detail.Type)
		dst = appendString(dst, string(detail.JSON))
	}
	return dst
}

// DecodeError decodes the body of an ERROR frame. What can't be decoded becomes an error of its
// own, so that a malformed ERROR still ends its call.
func DecodeError(src []byte) *Error {
	malformed := &Error{Code: Internal, Message: "the peer's error is malformed", Remote: true}
	if len(src) < 2 {
		return malformed
	}
	e := &Error{Code: Code(src[0]), Outcome: Outcome(src[1]), Remote: true}
	if !e.Code.Valid() {
		e.Code = Unknown
	}
	if e.Outcome > Executed {
		e.Outcome = OutcomeUnknown
	}
	malformed.Outcome = e.Outcome
	retry, n := binary.Uvarint(src[2:])
	if n <= 0 || retry > uint64(1<<63-1)/uint64(time.Microsecond) {
		return malformed
	}
	e.RetryAfter = time.Duration(retry) * time.Microsecond
	src = src[2+n:]
	var ok bool
	if e.Reason, src, ok = cutString(src); !ok {
		return malformed
	}
	if e.Message, src, ok = cutString(src); !ok {
		return malformed
	}
	count, n := binary.Uvarint(src)
	if n <= 0 || count > maxDetails {
		return malformed
	}
	src = src[n:]
	for range count {
		var detail Detail
		var text string
		if detail.Type, src, ok = cutString(src); !ok {
			return malformed
		}
		if text, src, ok = cutString(src); !ok {
			return malformed
		}
		detail.JSON = []byte(text)
		e.Details = append(e.Details, detail)
	}
	return e
}

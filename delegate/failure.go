package delegate

import (
	"errors"

	"github.com/edict-go/edict/core"
)

// FailureOf returns what has failed in a handshake, whose error is err, on either side.
func FailureOf(err error) core.FailureCode {
	if _, ok := errors.AsType[*refusal](err); ok {
		return core.FailureAuth
	}
	e, ok := errors.AsType[*core.Error](err)
	switch {
	case !ok:
		return core.FailureHandshake
	case e.Reason == ReasonShape:
		return core.FailureShape
	case e.Remote && (e.Code == core.Unauthenticated || e.Code == core.PermissionDenied):
		return core.FailureAuth
	case e.Remote, e.Outcome == core.Refused: // the server's reject has set the outcome
		return core.FailureRejected
	}
	return core.FailureHandshake
}

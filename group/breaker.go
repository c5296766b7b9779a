package group

import (
	"errors"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/edict-go/edict/core"
)

// What an endpoint's breaker is told of an attempt.
var (
	errFailure = errors.New("the endpoint failed")
	errNeither = errors.New("nothing was learnt of the endpoint")
)

// judge returns what err says of the endpoint that it came from: nil, that it works; errFailure; or
// errNeither. An error that the endpoint's command has chosen is an answer, and says that it works.
func judge(err error, connected bool) error {
	if err == nil {
		return nil
	}
	e, ok := errors.AsType[*core.Error](err)
	if !ok || e.Outcome == core.NotSent {
		return errNeither
	}
	switch e.Code {
	case core.Unavailable:
		if e.Outcome == core.Refused && !connected {
			return errNeither // a server that shuts down, as it should
		}
		return errFailure
	case core.DeadlineExceeded:
		if e.Outcome == core.OutcomeUnknown {
			return errFailure // it did not answer
		}
		return nil
	case core.Internal:
		if e.Remote {
			return errFailure
		}
		return errNeither // can't be decoded
	}
	if e.Remote {
		return nil
	}
	return errNeither // the caller cancelled, or made a mistake
}

// newBreaker makes the breaker of an endpoint. onChange is called while the breaker is locked.
func newBreaker(config Breaker, onChange func(to gobreaker.State)) *gobreaker.TwoStepCircuitBreaker[struct{}] {
	return gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		MaxRequests: uint32(config.Probes), Interval: config.Interval, BucketPeriod: config.Interval / 10, Timeout: config.OpenFor,
		ReadyToTrip: func(counts gobreaker.Counts) bool {
			judged := counts.TotalSuccesses + counts.TotalFailures
			return judged >= uint32(config.Requests) && float64(counts.TotalFailures) >= config.Ratio*float64(judged)
		},
		OnStateChange: func(_ string, _, to gobreaker.State) { onChange(to) },
		IsSuccessful:  func(err error) bool { return err == nil },
		IsExcluded:    func(err error) bool { return err == errNeither },
	})
}

// openError is the error of a call for which all breakers are open.
func openError(endpoints []*Endpoint) *core.Error {
	first := time.Duration(-1)
	now := time.Now()
	for _, e := range endpoints {
		if left := e.openUntil.Load() - now.UnixNano(); first < 0 || time.Duration(left) < first {
			first = max(time.Duration(left), 0)
		}
	}
	return &core.Error{
		Code: core.Unavailable, Outcome: core.NotSent, RetryAfter: max(first, time.Millisecond),
		Message: "the circuit breakers of all endpoints that are connected are open: too many of their calls have failed",
	}
}

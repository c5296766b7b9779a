package grpcbridge

import (
	"errors"
	"io"
	"strconv"
	"strings"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/edict-go/edict/core"
)

// maxDetails bounds an encoded status with details: it travels in the metadata.
const maxDetails = core.MaxMetadataBytes / 2

// isReserved reports whether a key of metadata is one of those that gRPC does not send for users.
func isReserved(key string) bool {
	switch key {
	case "content-type", "user-agent", "te", "grpc-message-type", "grpc-encoding", "grpc-message", "grpc-status", "grpc-timeout":
		return true
	}
	return strings.HasPrefix(key, ":")
}

// statusOf returns the status that a handler's error means.
func statusOf(err error) *status.Status {
	if s, ok := status.FromError(err); ok {
		return s
	}
	if e, ok := errors.AsType[*core.Error](err); ok {
		return status.New(codes.Code(e.Code), e.Message)
	}
	return status.FromContextError(err)
}

// toEdict returns a handler's error as the command's, and sets the metadata of what that has no place for.
func toEdict(err error, scope core.Scope) error {
	if err == nil {
		return nil
	}
	s := statusOf(err)
	if s.Code() == codes.OK { // an error all the same
		s = status.New(codes.Unknown, err.Error())
	}
	e := &core.Error{Code: core.Code(s.Code()), Message: s.Message(), Cause: err}
	if inner, ok := errors.AsType[*core.Error](err); ok {
		e.Reason, e.Details, e.RetryAfter = inner.Reason, inner.Details, inner.RetryAfter
	}
	if !e.Code.Valid() || codes.Code(e.Code) != s.Code() {
		e.Code = core.Unknown
		scope.SetMetadata(codeKey, strconv.FormatUint(uint64(s.Code()), 10))
	}
	if details := s.Proto(); len(details.GetDetails()) > 0 {
		encoded, marshalErr := proto.Marshal(details)
		switch {
		case marshalErr != nil:
			e.Message += " (its details can't be encoded: " + marshalErr.Error() + ")"
		case len(encoded) > maxDetails:
			e.Message += " (its details are too large)"
		default:
			scope.SetMetadata(detailsKey, string(encoded))
		}
	}
	return e
}

// callError is the error of a call: a gRPC status for those who look for one, and in its chain the
// *edict.Error.
type callError struct {
	status *status.Status
	cause  error
}

// Error returns what the error of a gRPC status returns.
func (e *callError) Error() string { return e.status.Err().Error() }

// GRPCStatus is what package status looks for.
func (e *callError) GRPCStatus() *status.Status { return e.status }

// Unwrap makes errors.Is and errors.As find both.
func (e *callError) Unwrap() []error { return []error{e.cause, e.status.Err()} }

// fromEdict returns the error of a call, which has failed with err, as gRPC's users expect it. metadata is what
// came at its end.
func fromEdict(err error, metadata core.Metadata) error {
	if err == nil || err == io.EOF {
		return err
	}
	if _, ok := err.(*callError); ok {
		return err
	}
	e, ok := errors.AsType[*core.Error](err)
	if !ok {
		return &callError{statusOf(err), err}
	}
	if own, ok := errors.AsType[unsendable](err); ok {
		return &callError{statusOf(own.error), err}
	}
	s := status.New(codes.Code(e.Code), e.Message)
	if e.Remote {
		if code, parseErr := strconv.ParseUint(metadata.Get(codeKey), 10, 32); parseErr == nil && code != 0 {
			s = status.New(codes.Code(code), e.Message)
		}
		if encoded := metadata.Get(detailsKey); encoded != "" {
			details := &spb.Status{}
			if proto.Unmarshal([]byte(encoded), details) == nil && details.GetCode() == int32(s.Code()) {
				s = status.FromProto(details)
			}
		}
	}
	return &callError{s, err}
}

package grpcbridge_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/edict-go/edict"
	grpcbridge "github.com/edict-go/edict/bridge/grpc"
)

// connecting is a sender that has no connection for a while.
type connecting struct {
	since   time.Time
	after   time.Duration
	code    edict.Code
	outcome edict.Outcome
	starts  int
	done    chan struct{}
}

var errConnected = errors.New("connected")

func (c *connecting) Start(context.Context, edict.Request[struct{}]) (edict.Exchange, error) {
	c.starts++
	if time.Since(c.since) < c.after {
		return nil, &edict.Error{Code: c.code, Outcome: c.outcome}
	}
	return edict.ReplyError(&edict.Error{Code: edict.Aborted, Cause: errConnected}), nil
}

func (c *connecting) Done() <-chan struct{} { return c.done }

func TestWaitForReady(t *testing.T) {
	call := func(t *testing.T, sender *connecting, options ...grpc.CallOption) (time.Duration, error) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		sender.since = time.Now()
		_, err := testpb.NewTestServiceClient(grpcbridge.NewClientConn(sender)).UnaryCall(ctx, &testpb.SimpleRequest{}, options...)
		return time.Since(sender.since), err
	}
	for name, test := range map[string]struct {
		sender  connecting
		options []grpc.CallOption
		code    codes.Code
		least   time.Duration
		most    time.Duration
	}{
		"it waits":         {connecting{after: 5 * time.Second, code: edict.Unavailable, outcome: edict.NotSent}, []grpc.CallOption{grpc.WaitForReady(true)}, codes.Aborted, 5 * time.Second, 6 * time.Second},
		"for its time":     {connecting{after: time.Hour, code: edict.Unavailable, outcome: edict.NotSent}, []grpc.CallOption{grpc.WaitForReady(true)}, codes.DeadlineExceeded, time.Minute, time.Minute},
		"not by default":   {connecting{after: time.Hour, code: edict.Unavailable, outcome: edict.NotSent}, nil, codes.Unavailable, 0, 0},
		"not if it is off": {connecting{after: time.Hour, code: edict.Unavailable, outcome: edict.NotSent}, []grpc.CallOption{grpc.WaitForReady(false)}, codes.Unavailable, 0, 0},
		"not once it ran":  {connecting{after: time.Hour, code: edict.Unavailable}, []grpc.CallOption{grpc.WaitForReady(true)}, codes.Unavailable, 0, 0},
		"not for others":   {connecting{after: time.Hour, code: edict.Internal, outcome: edict.NotSent}, []grpc.CallOption{grpc.WaitForReady(true)}, codes.Internal, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				took, err := call(t, &test.sender, test.options...)
				wantCode(t, err, test.code)
				if took < test.least || took > test.most {
					t.Errorf("it took %v, want %v to %v", took, test.least, test.most)
				}
				if test.most > 0 && test.sender.starts > 80 {
					t.Errorf("it tried %d times", test.sender.starts)
				}
			})
		})
	}
	t.Run("not when the sender has ended", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			sender := &connecting{after: time.Hour, code: edict.Unavailable, outcome: edict.NotSent, done: make(chan struct{})}
			go func() {
				time.Sleep(2 * time.Second)
				close(sender.done)
			}()
			took, err := call(t, sender, grpc.WaitForReady(true))
			wantCode(t, err, codes.Unavailable)
			if took != 2*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	})
}

package grpcbridge_test

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"

	grpcbridge "github.com/edict-go/edict/bridge/grpc"
)

// interopTests are the test functions of google.golang.org/grpc/interop, but for those that need other things
// than a server: accounts, load balancers.
var interopTests = map[string]func(context.Context, testgrpc.TestServiceClient, ...grpc.CallOption){
	"EmptyUnaryCall":           interop.DoEmptyUnaryCall,
	"LargeUnaryCall":           interop.DoLargeUnaryCall,
	"ClientStreaming":          interop.DoClientStreaming,
	"ServerStreaming":          interop.DoServerStreaming,
	"PingPong":                 interop.DoPingPong,
	"EmptyStream":              interop.DoEmptyStream,
	"TimeoutOnSleepingServer":  interop.DoTimeoutOnSleepingServer,
	"CancelAfterBegin":         interop.DoCancelAfterBegin,
	"CancelAfterFirstResponse": interop.DoCancelAfterFirstResponse,
	"CustomMetadata":           interop.DoCustomMetadata,
	"StatusCodeAndMessage":     interop.DoStatusCodeAndMessage,
	"SpecialStatusMessage":     interop.DoSpecialStatusMessage,
}

func TestInterop(t *testing.T) {
	overTransports(t, func(t *testing.T, b *bench) {
		testgrpc.RegisterTestServiceServer(b.server, interop.NewTestServer())
		conn := b.dial()
		client := testgrpc.NewTestServiceClient(conn)
		for name, test := range interopTests {
			t.Run(name, func(t *testing.T) { test(t.Context(), client) })
			t.Run(name+"/gzip", func(t *testing.T) { test(t.Context(), client, grpc.UseCompressor(gzip.Name)) })
		}
		t.Run("UnimplementedService", func(t *testing.T) {
			interop.DoUnimplementedService(t.Context(), testgrpc.NewUnimplementedServiceClient(conn))
		})
		// The others want a *grpc.ClientConn, and get one whose calls go over conn.
		redirected, err := grpc.NewClient("passthrough:///bridge", grpcbridge.Redirect(conn)...)
		if err != nil {
			t.Fatal(err)
		}
		t.Run("UnimplementedMethod", func(t *testing.T) { interop.DoUnimplementedMethod(t.Context(), redirected) })
		t.Run("Soak", func(t *testing.T) {
			interop.DoSoakTest(t.Context(), interop.SoakTestConfig{
				RequestSize: 271828, ResponseSize: 314159, NumWorkers: 4, Iterations: 40,
				PerIterationMaxAcceptableLatency: 10 * time.Second, OverallTimeout: time.Minute,
				ChannelForTest: func() (*grpc.ClientConn, func()) { return redirected, func() {} },
			})
		})
		if err := redirected.Close(); err != nil {
			t.Error(err)
		}
	})
}

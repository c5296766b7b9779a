//go:build !race

package grpcbridge_test

import (
	"testing"

	testpb "google.golang.org/grpc/interop/grpc_testing"
)

// A unary call, both sides together: the request, the response and a payload on each side are the stub's and
// the handler's own; the rest is the bridge's and Edict's. (Not with the race detector, which allocates itself.)
func TestUnaryBudget(t *testing.T) {
	client := serveEchoing(t).stub()
	request := &testpb.SimpleRequest{Payload: &testpb.Payload{Body: make([]byte, 128)}}
	call := func() {
		if _, err := client.UnaryCall(t.Context(), request); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		call() // fills the pools
	}
	if allocations := testing.AllocsPerRun(2000, call); allocations > 12 {
		t.Errorf("%v allocations per call, at most 12 are in the budget", allocations)
	}
}

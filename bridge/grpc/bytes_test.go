package grpcbridge_test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	testpb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/edict-go/edict"
	grpcbridge "github.com/edict-go/edict/bridge/grpc"
)

// countedConn counts what goes through it.
type countedConn struct {
	net.Conn
	count *atomic.Int64
}

func (c countedConn) Read(target []byte) (int, error) {
	n, err := c.Conn.Read(target)
	c.count.Add(int64(n))
	return n, err
}

func (c countedConn) Write(source []byte) (int, error) {
	c.count.Add(int64(len(source))) // before: the answer may come before Write returns
	return c.Conn.Write(source)
}

// A call has a third at most of the bytes that gRPC has on the wire around the messages.
func TestBytesOnTheWire(t *testing.T) {
	const calls = 500
	size := map[string]int64{}
	measure := func(client testpb.TestServiceClient, count *atomic.Int64) int64 {
		request := &testpb.SimpleRequest{Payload: &testpb.Payload{Body: make([]byte, 100)}}
		var before int64
		for i := range 2 * calls {
			if i == calls {
				before = count.Load() // what is sent for a connection is sent
			}
			if _, err := client.UnaryCall(t.Context(), request); err != nil {
				t.Fatal(err)
			}
		}
		return (count.Load()-before)/calls - 2*104 // the messages themselves
	}
	t.Run("gRPC", func(t *testing.T) {
		var count atomic.Int64
		conn := classic(t, func(r grpc.ServiceRegistrar) { testpb.RegisterTestServiceServer(r, echoing()) }, nil,
			grpc.WithContextDialer(func(_ context.Context, address string) (net.Conn, error) {
				conn, err := net.Dial("tcp", address)
				return countedConn{conn, &count}, err
			}))
		size["gRPC"] = measure(testpb.NewTestServiceClient(conn), &count)
	})
	t.Run("Edict", func(t *testing.T) {
		var count atomic.Int64
		b := serveEchoing(t)
		client := b.stub(grpcbridge.WithEdict(edict.WithDialer(func(context.Context) (net.Conn, error) {
			conn, err := net.Dial("tcp", b.address[len("tcp://"):])
			return countedConn{conn, &count}, err
		})))
		size["Edict"] = measure(client, &count)
	})
	t.Logf("bytes around the messages of a call: %d over gRPC, %d over Edict", size["gRPC"], size["Edict"])
	if size["Edict"] != 42 {
		t.Errorf("a call has %d bytes beside its messages; it should be two headers of 16, the form, the hash of 8, and the kind", size["Edict"])
	}
	if 3*size["Edict"] > size["gRPC"] {
		t.Errorf("a call has %d bytes beside its messages, one of gRPC %d", size["Edict"], size["gRPC"])
	}
}

package grpcbridge_test

import (
	"context"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/edict-go/edict"
	grpcbridge "github.com/edict-go/edict/bridge/grpc"
)

// The health service of gRPC, as generated stubs and handlers go, over Edict.
func Example() {
	ctx := context.Background()
	server := grpcbridge.NewServer() // instead of grpc.NewServer
	healthpb.RegisterHealthServer(server, health.NewServer())
	listener, err := server.Listen("tcp://127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()

	conn, err := grpcbridge.Dial(ctx, "tcp://"+listener.Addr().String()) // instead of grpc.NewClient
	if err != nil {
		fmt.Println(err)
		return
	}
	response, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
	fmt.Println(response.GetStatus(), err)
	_, err = healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{Service: "none"})
	fmt.Println(err)

	fmt.Println(conn.Close())
	server.GracefulStop()
	fmt.Println(<-served)
	// Output:
	// SERVING <nil>
	// rpc error: code = NotFound desc = unknown service
	// <nil>
	// <nil>
}

// Double is a native command.
type Double struct{ N int }

// Exec implements edict.Command.
func (d Double) Exec(context.Context, struct{}) (int, error) { return 2 * d.N, nil }

// Methods of gRPC and native commands on one connection.
func ExampleCommands() {
	ctx := context.Background()
	services := grpcbridge.NewServer()
	healthpb.RegisterHealthServer(services, health.NewServer())
	server := edict.NewServer(struct{}{}, edict.Commands(append(grpcbridge.Commands[struct{}](services), edict.Unary[Double]())...))
	listener, err := server.Listen("tcp://127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	go func() { _ = server.Serve(listener) }() // until Shutdown

	client, err := edict.Dial(ctx, "tcp://"+listener.Addr().String(),
		edict.Commands(append(grpcbridge.Commands[struct{}](nil), edict.Unary[Double]())...))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(edict.Call(ctx, client, Double{21}))
	response, err := healthpb.NewHealthClient(grpcbridge.NewClientConn(client)).Check(ctx, &healthpb.HealthCheckRequest{})
	fmt.Println(response.GetStatus(), err)
	fmt.Println(client.Close(), server.Shutdown(ctx))
	// Output:
	// 42 <nil>
	// SERVING <nil>
	// <nil> <nil>
}

// Edict and gRPC at one address, while clients migrate.
func ExampleSplit() {
	ctx := context.Background()
	bridge, classic := grpcbridge.NewServer(), grpc.NewServer()
	for _, server := range []grpc.ServiceRegistrar{bridge, classic} {
		healthpb.RegisterHealthServer(server, health.NewServer())
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	forEdict, forGRPC := grpcbridge.Split(listener, grpcbridge.SplitConfig{})
	served := make(chan error, 2)
	go func() { served <- bridge.Serve(forEdict) }()
	go func() { served <- classic.Serve(forGRPC) }()

	address := listener.Addr().String()
	before, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		fmt.Println(err)
		return
	}
	after, err := grpcbridge.Dial(ctx, "tcp://"+address)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, conn := range []grpc.ClientConnInterface{before, after} {
		response, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
		fmt.Println(response.GetStatus(), err)
	}
	fmt.Println(before.Close(), after.Close())
	classic.GracefulStop()
	bridge.GracefulStop()
	fmt.Println(<-served, <-served)
	// Output:
	// SERVING <nil>
	// SERVING <nil>
	// <nil> <nil>
	// <nil> <nil>
}

package peers

import (
	"context"
	"net"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/benchmarks/peer"
	"github.com/edict-go/edict/benchmarks/peers/echopb"
	grpcbridge "github.com/edict-go/edict/bridge/grpc"
)

func init() {
	peer.Register(peer.Peer{
		Name:  "edict-grpc",
		About: "the stub and the handler of the peer grpc, unchanged, over Edict with its defaults (bridge/grpc)",
		Serve: serveEdictGRPC,
		Dial:  dialEdictGRPC,
	})
}

type edictGRPCServer struct {
	server   *grpcbridge.Server
	listener net.Listener
	ended    chan error
}

func serveEdictGRPC(options peer.ServeOptions) (peer.Server, error) {
	listener, err := peer.Listen(options.TLS)
	if err != nil {
		return nil, err
	}
	s := &edictGRPCServer{server: grpcbridge.NewServer(), listener: listener, ended: make(chan error, 1)}
	echopb.RegisterEchoerServer(s.server, grpcEchoer{})
	go func() { s.ended <- s.server.Serve(listener) }()
	return s, nil
}

func (s *edictGRPCServer) Address() string { return s.listener.Addr().String() }

func (s *edictGRPCServer) Close() error {
	s.server.Stop()
	return <-s.ended
}

type edictGRPCClient struct {
	grpcCalls
	conn *grpcbridge.ClientConn
}

func dialEdictGRPC(ctx context.Context, options peer.DialOptions) (peer.Client, error) {
	dial := edict.WithDialer(func(ctx context.Context) (net.Conn, error) { return peer.DialConn(ctx, options) })
	conn, err := grpcbridge.Dial(ctx, options.Address, grpcbridge.WithEdict(dial))
	if err != nil {
		return nil, err
	}
	return &edictGRPCClient{grpcCalls{echopb.NewEchoerClient(conn)}, conn}, nil
}

func (c *edictGRPCClient) Close() error { return c.conn.Close() }

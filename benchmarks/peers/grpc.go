package peers

import (
	"context"
	"errors"
	"io"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/edict-go/edict/benchmarks/peer"
	"github.com/edict-go/edict/benchmarks/peers/echopb"
)

func init() {
	peer.Register(peer.Peer{
		Name:   "grpc",
		About:  "google.golang.org/grpc with protocol buffers and its defaults",
		Module: "google.golang.org/grpc",
		Serve:  serveGRPC,
		Dial:   dialGRPC,
	})
}

type grpcServer struct {
	server   *grpc.Server
	listener net.Listener
	ended    chan error
}

func serveGRPC(options peer.ServeOptions) (peer.Server, error) {
	listener, err := peer.Listen(nil)
	if err != nil {
		return nil, err
	}
	var settings []grpc.ServerOption
	if options.TLS != nil {
		settings = append(settings, grpc.Creds(credentials.NewTLS(options.TLS)))
	}
	s := &grpcServer{server: grpc.NewServer(settings...), listener: listener, ended: make(chan error, 1)}
	echopb.RegisterEchoerServer(s.server, grpcEchoer{})
	go func() { s.ended <- s.server.Serve(listener) }()
	return s, nil
}

func (s *grpcServer) Address() string { return s.listener.Addr().String() }

func (s *grpcServer) Close() error {
	s.server.Stop()
	return <-s.ended
}

type grpcEchoer struct {
	protoEchoer
	echopb.UnsafeEchoerServer
}

func (grpcEchoer) Stream(request *echopb.StreamRequest, stream grpc.ServerStreamingServer[echopb.Result]) error {
	return sendResults(request, stream.Send)
}

type grpcClient struct {
	grpcCalls
	conn *grpc.ClientConn
}

// grpcCalls are the calls of a generated stub.
type grpcCalls struct{ client echopb.EchoerClient }

func dialGRPC(ctx context.Context, options peer.DialOptions) (peer.Client, error) {
	security := insecure.NewCredentials()
	if options.TLS != nil {
		security = credentials.NewTLS(options.TLS)
	}
	// passthrough: an address needs no resolver.
	conn, err := grpc.NewClient("passthrough:///"+options.Address, grpc.WithTransportCredentials(security))
	if err != nil {
		return nil, err
	}
	conn.Connect()
	for state := conn.GetState(); state != connectivity.Ready; state = conn.GetState() {
		if !conn.WaitForStateChange(ctx, state) {
			return nil, errors.Join(context.Cause(ctx), conn.Close())
		}
	}
	return &grpcClient{grpcCalls{echopb.NewEchoerClient(conn)}, conn}, nil
}

func (c grpcCalls) Echo(ctx context.Context, request peer.Message) (peer.Message, error) {
	reply, err := c.client.Echo(ctx, toProto(request))
	return fromProto(reply), err
}

func (c grpcCalls) Delayed(ctx context.Context, request peer.Message) (peer.Message, error) {
	reply, err := c.client.Delayed(ctx, toProto(request))
	return fromProto(reply), err
}

func (c grpcCalls) Stream(ctx context.Context, count, size int, each func([]byte) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.client.Stream(ctx, &echopb.StreamRequest{Count: int64(count), Size: int64(size)})
	if err != nil {
		return err
	}
	return receiveAll(stream.Recv, each)
}

func (c *grpcClient) Close() error { return c.conn.Close() }

// receiveAll passes on results until the stream's end, for every peer whose Recv says io.EOF there.
func receiveAll(receive func() (*echopb.Result, error), each func([]byte) error) error {
	for {
		result, err := receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := each(result.GetBody()); err != nil {
			return err
		}
	}
}

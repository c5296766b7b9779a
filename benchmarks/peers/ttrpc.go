package peers

import (
	"context"
	"errors"
	"io"
	"net"

	"github.com/containerd/log"
	"github.com/containerd/ttrpc"

	"github.com/edict-go/edict/benchmarks/peer"
	"github.com/edict-go/edict/benchmarks/peers/echopb"
)

func init() {
	log.L.Logger.SetOutput(io.Discard) // it reports every connection that its client has closed
	peer.Register(peer.Peer{
		Name:   "ttrpc",
		About:  "github.com/containerd/ttrpc with protocol buffers and its defaults",
		Module: "github.com/containerd/ttrpc",
		Serve:  serveTTRPC,
		Dial: func(ctx context.Context, options peer.DialOptions) (peer.Client, error) {
			conn, err := peer.DialConn(ctx, options)
			if err != nil {
				return nil, err
			}
			client := ttrpc.NewClient(conn)
			return &ttrpcClient{client, echopb.NewTTRPCEchoerClient(client)}, nil
		},
	})
}

type ttrpcServer struct {
	server   *ttrpc.Server
	listener net.Listener
	ended    chan error
}

func serveTTRPC(options peer.ServeOptions) (peer.Server, error) {
	listener, err := peer.Listen(options.TLS)
	if err != nil {
		return nil, err
	}
	server, err := ttrpc.NewServer()
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	echopb.RegisterTTRPCEchoerService(server, ttrpcEchoer{})
	s := &ttrpcServer{server: server, listener: listener, ended: make(chan error, 1)}
	go func() { s.ended <- server.Serve(context.Background(), listener) }()
	return s, nil
}

func (s *ttrpcServer) Address() string { return s.listener.Addr().String() }

func (s *ttrpcServer) Close() error {
	err := s.server.Close()
	if ended := <-s.ended; !errors.Is(ended, ttrpc.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}

type ttrpcEchoer struct{ protoEchoer }

func (ttrpcEchoer) Stream(_ context.Context, request *echopb.StreamRequest, stream echopb.TTRPCEchoer_StreamServer) error {
	return sendResults(request, stream.Send)
}

type ttrpcClient struct {
	conn   *ttrpc.Client
	client echopb.TTRPCEchoerClient
}

func (c *ttrpcClient) Echo(ctx context.Context, request peer.Message) (peer.Message, error) {
	reply, err := c.client.Echo(ctx, toProto(request))
	return fromProto(reply), err
}

func (c *ttrpcClient) Delayed(ctx context.Context, request peer.Message) (peer.Message, error) {
	reply, err := c.client.Delayed(ctx, toProto(request))
	return fromProto(reply), err
}

func (c *ttrpcClient) Stream(ctx context.Context, count, size int, each func([]byte) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.client.Stream(ctx, &echopb.StreamRequest{Count: int64(count), Size: int64(size)})
	if err != nil {
		return err
	}
	return receiveAll(stream.Recv, each)
}

func (c *ttrpcClient) Close() error { return c.conn.Close() }

package peers

import (
	"context"
	"errors"
	"net"
	"sync"

	"storj.io/drpc"
	"storj.io/drpc/drpcconn"
	"storj.io/drpc/drpcmux"
	"storj.io/drpc/drpcpool"
	"storj.io/drpc/drpcserver"

	"github.com/edict-go/edict/benchmarks/peer"
	"github.com/edict-go/edict/benchmarks/peers/echopb"
)

func init() {
	peer.Register(peer.Peer{
		Name:   "drpc",
		About:  "storj.io/drpc with protocol buffers on one connection, which carries one call at a time",
		Module: "storj.io/drpc",
		Lacks:  map[peer.Feature]string{peer.Concurrency: "a connection carries one call at a time"},
		Serve:  serveDRPC,
		Dial: func(ctx context.Context, options peer.DialOptions) (peer.Client, error) {
			conn, err := peer.DialConn(ctx, options)
			if err != nil {
				return nil, err
			}
			return newDRPCClient(drpcconn.New(conn)), nil
		},
	})
	peer.Register(peer.Peer{
		Name:   "drpc-pool",
		About:  "storj.io/drpc with its own pool (drpcpool), which opens a connection per call in flight: connections are more than the row says",
		Module: "storj.io/drpc",
		Serve:  serveDRPC,
		Dial:   dialDRPCPool,
	})
}

type drpcServer struct {
	listener *peer.Tracked
	cancel   context.CancelFunc
	serving  sync.WaitGroup
}

func serveDRPC(options peer.ServeOptions) (peer.Server, error) {
	listener, err := peer.Listen(options.TLS)
	if err != nil {
		return nil, err
	}
	mux := drpcmux.New()
	if err := echopb.DRPCRegisterEchoer(mux, drpcEchoer{}); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &drpcServer{listener: peer.Track(listener), cancel: cancel}
	s.serving.Go(func() {
		drpcserver.New(mux).Serve(ctx, s.listener) //nolint:errcheck // it ends because Close ended it
	})
	return s, nil
}

func (s *drpcServer) Address() string { return s.listener.Addr().String() }

func (s *drpcServer) Close() error {
	s.cancel() // which makes drpc close the listener
	s.serving.Wait()
	if err := s.listener.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

type drpcEchoer struct{ protoEchoer }

func (drpcEchoer) Stream(request *echopb.StreamRequest, stream echopb.DRPCEchoer_StreamStream) error {
	return sendResults(request, stream.Send)
}

type drpcClient struct {
	closeConn func() error
	client    echopb.DRPCEchoerClient
}

func newDRPCClient(conn drpc.Conn) *drpcClient {
	return &drpcClient{conn.Close, echopb.NewDRPCEchoerClient(conn)}
}

func dialDRPCPool(ctx context.Context, options peer.DialOptions) (peer.Client, error) {
	pool := drpcpool.New[string, drpcpool.Conn](drpcpool.Options{})
	conn := pool.Get(ctx, options.Address, func(ctx context.Context, _ string) (drpcpool.Conn, error) {
		conn, err := peer.DialConn(ctx, options)
		if err != nil {
			return nil, err
		}
		return drpcconn.New(conn), nil
	})
	client := newDRPCClient(conn)
	client.closeConn = func() error { return errors.Join(conn.Close(), pool.Close()) }
	// The pool connects with the first call.
	if _, err := client.Echo(ctx, peer.Message{}); err != nil {
		return nil, errors.Join(err, client.Close())
	}
	return client, nil
}

func (c *drpcClient) Echo(ctx context.Context, request peer.Message) (peer.Message, error) {
	reply, err := c.client.Echo(ctx, toProto(request))
	return fromProto(reply), err
}

func (c *drpcClient) Delayed(ctx context.Context, request peer.Message) (peer.Message, error) {
	reply, err := c.client.Delayed(ctx, toProto(request))
	return fromProto(reply), err
}

func (c *drpcClient) Stream(ctx context.Context, count, size int, each func([]byte) error) (err error) {
	stream, err := c.client.Stream(ctx, &echopb.StreamRequest{Count: int64(count), Size: int64(size)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stream.Close()) }()
	return receiveAll(stream.Recv, each)
}

func (c *drpcClient) Close() error { return c.closeConn() }

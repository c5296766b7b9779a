package peers

import (
	"context"
	"net/rpc"
	"sync"
	"time"

	"github.com/edict-go/edict/benchmarks/peer"
)

func init() {
	peer.Register(peer.Peer{
		Name:  "netrpc",
		About: "net/rpc of the standard library with gob",
		Lacks: map[peer.Feature]string{peer.Streams: "net/rpc has one reply per call"},
		Serve: serveNetRPC,
		Dial: func(ctx context.Context, options peer.DialOptions) (peer.Client, error) {
			conn, err := peer.DialConn(ctx, options)
			if err != nil {
				return nil, err
			}
			return netRPCClient{rpc.NewClient(conn)}, nil
		},
	})
}

// netRPCEchoer is the service as net/rpc wants it.
type netRPCEchoer struct{}

// Echo returns the request.
func (netRPCEchoer) Echo(request, reply *peer.Message) error {
	*reply = *request
	return nil
}

// Delayed returns the request after the delay.
func (netRPCEchoer) Delayed(request, reply *peer.Message) error {
	time.Sleep(peer.Delay)
	*reply = *request
	return nil
}

type netRPCServer struct {
	listener *peer.Tracked
	serving  sync.WaitGroup
}

func serveNetRPC(options peer.ServeOptions) (peer.Server, error) {
	server := rpc.NewServer()
	if err := server.RegisterName("Echoer", netRPCEchoer{}); err != nil {
		return nil, err
	}
	listener, err := peer.Listen(options.TLS)
	if err != nil {
		return nil, err
	}
	s := &netRPCServer{listener: peer.Track(listener)}
	s.serving.Go(func() { s.acceptLoop(server) })
	return s, nil
}

// acceptLoop is started by serveNetRPC and ends with the listener; Close waits for it.
func (s *netRPCServer) acceptLoop(server *rpc.Server) {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.serving.Go(func() {
			server.ServeConn(conn)
			s.listener.Forget(conn)
		})
	}
}

func (s *netRPCServer) Address() string { return s.listener.Addr().String() }

func (s *netRPCServer) Close() error {
	err := s.listener.Close()
	s.serving.Wait()
	return err
}

type netRPCClient struct{ client *rpc.Client }

func (c netRPCClient) Echo(_ context.Context, request peer.Message) (reply peer.Message, err error) {
	err = c.client.Call("Echoer.Echo", &request, &reply)
	return reply, err
}

func (c netRPCClient) Delayed(_ context.Context, request peer.Message) (reply peer.Message, err error) {
	err = c.client.Call("Echoer.Delayed", &request, &reply)
	return reply, err
}

func (c netRPCClient) Close() error { return c.client.Close() }

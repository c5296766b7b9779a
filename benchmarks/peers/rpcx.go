package peers

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/smallnest/rpcx/client"
	rpcxlog "github.com/smallnest/rpcx/log"
	"github.com/smallnest/rpcx/protocol"
	"github.com/smallnest/rpcx/server"

	"github.com/edict-go/edict/benchmarks/peer"
	"github.com/edict-go/edict/benchmarks/peers/echopb"
)

func init() {
	rpcxlog.SetDummyLogger()
	peer.Register(peer.Peer{
		Name:   "rpcx",
		About:  "github.com/smallnest/rpcx with protocol buffers, a single client without discovery, the HTTP gateways off",
		Module: "github.com/smallnest/rpcx",
		Lacks:  map[peer.Feature]string{peer.Streams: "rpcx has one reply per call; its streams are bare connections beside the protocol"},
		Serve:  serveRPCX,
		Dial:   dialRPCX,
	})
}

// rpcxEchoer is the service as rpcx wants it.
type rpcxEchoer struct{}

// Echo returns the request.
func (rpcxEchoer) Echo(_ context.Context, request, reply *echopb.Message) error {
	copyProto(reply, request)
	return nil
}

// Delayed returns the request after the delay.
func (rpcxEchoer) Delayed(_ context.Context, request, reply *echopb.Message) error {
	time.Sleep(peer.Delay)
	copyProto(reply, request)
	return nil
}

func copyProto(to, from *echopb.Message) {
	to.Flag, to.Number, to.Text, to.Ratio = from.GetFlag(), from.GetNumber(), from.GetText(), from.GetRatio()
}

type rpcxServer struct {
	server   *server.Server
	listener net.Listener
	ended    chan error
}

func serveRPCX(options peer.ServeOptions) (peer.Server, error) {
	listener, err := peer.Listen(options.TLS)
	if err != nil {
		return nil, err
	}
	s := &rpcxServer{server: server.NewServer(), listener: listener, ended: make(chan error, 1)}
	s.server.DisableHTTPGateway = true
	s.server.DisableJSONRPC = true
	if err := s.server.RegisterName("Echoer", rpcxEchoer{}, ""); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	go func() { s.ended <- s.server.ServeListener("tcp", listener) }()
	<-s.server.Started // Close has nothing to close before
	return s, nil
}

func (s *rpcxServer) Address() string { return s.listener.Addr().String() }

func (s *rpcxServer) Close() error {
	err := s.server.Close()
	<-s.ended // with one of several errors that all mean closed
	return err
}

type rpcxClient struct{ client *client.Client }

func dialRPCX(_ context.Context, options peer.DialOptions) (peer.Client, error) {
	settings := client.DefaultOption
	settings.SerializeType = protocol.ProtoBuffer
	settings.TLSConfig = options.TLS
	settings.ConnectTimeout = 10 * time.Second
	c := rpcxClient{client.NewClient(settings)}
	if err := c.client.Connect("tcp", options.Address); err != nil {
		return nil, err
	}
	return c, nil
}

func (c rpcxClient) Echo(ctx context.Context, request peer.Message) (peer.Message, error) {
	reply := new(echopb.Message)
	err := c.client.Call(ctx, "Echoer", "Echo", toProto(request), reply)
	return fromProto(reply), err
}

func (c rpcxClient) Delayed(ctx context.Context, request peer.Message) (peer.Message, error) {
	reply := new(echopb.Message)
	err := c.client.Call(ctx, "Echoer", "Delayed", toProto(request), reply)
	return fromProto(reply), err
}

func (c rpcxClient) Close() error { return c.client.Close() }

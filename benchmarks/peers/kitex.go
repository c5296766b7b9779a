package peers

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/cloudwego/kitex/client"
	"github.com/cloudwego/kitex/pkg/klog"
	"github.com/cloudwego/kitex/pkg/remote"
	kitexnetpoll "github.com/cloudwego/kitex/pkg/remote/trans/netpoll"
	"github.com/cloudwego/kitex/server"
	"github.com/cloudwego/kitex/transport"
	"github.com/cloudwego/netpoll"

	"github.com/edict-go/edict/benchmarks/peer"
	"github.com/edict-go/edict/benchmarks/peers/kitexidl/echoproto"
	protoservice "github.com/edict-go/edict/benchmarks/peers/kitexidl/echoproto/echoer"
	"github.com/edict-go/edict/benchmarks/peers/kitexidl/echothrift"
	thriftservice "github.com/edict-go/edict/benchmarks/peers/kitexidl/echothrift/echoer"
)

func init() {
	klog.SetOutput(io.Discard)
	netpoll.SetLoggerOutput(io.Discard) // it reports connections that their clients have closed
	const noTLS = "kitex's server has no TLS option"
	peer.Register(peer.Peer{
		Name:   "kitex",
		About:  "github.com/cloudwego/kitex, gRPC protocol, its own protocol buffers, netpoll, one connection",
		Module: "github.com/cloudwego/kitex",
		Lacks:  map[peer.Feature]string{peer.Encryption: noTLS},
		Serve: func(peer.ServeOptions) (peer.Server, error) {
			return serveKitex(func(options ...server.Option) server.Server {
				return protoservice.NewServer(&kitexProtoEchoer{}, options...)
			})
		},
		Dial: dialKitex,
	})
	peer.Register(peer.Peer{
		Name:   "kitex-thrift",
		About:  "github.com/cloudwego/kitex, native protocol (TTHeader, framed), Thrift, netpoll, multiplexed connection",
		Module: "github.com/cloudwego/kitex",
		Lacks: map[peer.Feature]string{
			peer.Encryption: noTLS,
			peer.Streams:    "a multiplexed TTHeader connection has one reply per call",
		},
		Serve: func(peer.ServeOptions) (peer.Server, error) {
			return serveKitex(func(options ...server.Option) server.Server {
				return thriftservice.NewServer(&kitexThriftEchoer{}, append(options, server.WithMuxTransport())...)
			})
		},
		Dial: dialKitexThrift,
	})
}

type kitexServer struct {
	server   server.Server
	listener net.Listener
	ended    chan error
}

func serveKitex(newServer func(...server.Option) server.Server) (peer.Server, error) {
	listener, err := peer.Listen(nil)
	if err != nil {
		return nil, err
	}
	s := &kitexServer{listener: listener, ended: make(chan error, 1)}
	s.server = newServer(
		server.WithListener(listener),
		server.WithExitWaitTime(time.Millisecond),
		// Signals stay the program's.
		server.WithExitSignal(func() <-chan error { return nil }),
	)
	go func() { s.ended <- s.server.Run() }()
	return s, nil
}

func (s *kitexServer) Address() string { return s.listener.Addr().String() }

func (s *kitexServer) Close() error {
	err := s.server.Stop()
	return errors.Join(err, <-s.ended)
}

type kitexProtoEchoer struct{}

func (kitexProtoEchoer) Echo(_ context.Context, request *echoproto.Message) (*echoproto.Message, error) {
	return request, nil
}

func (kitexProtoEchoer) Delayed(_ context.Context, request *echoproto.Message) (*echoproto.Message, error) {
	time.Sleep(peer.Delay)
	return request, nil
}

func (kitexProtoEchoer) Stream(request *echoproto.StreamRequest, stream echoproto.Echoer_StreamServer) error {
	result := &echoproto.Result{Body: peer.NewResult(int(request.GetSize()))}
	for range request.GetCount() {
		if err := stream.Send(result); err != nil {
			return err
		}
	}
	return nil
}

type kitexThriftEchoer struct{}

func (kitexThriftEchoer) Echo(_ context.Context, request *echothrift.Message) (*echothrift.Message, error) {
	return request, nil
}

func (kitexThriftEchoer) Delayed(_ context.Context, request *echothrift.Message) (*echothrift.Message, error) {
	time.Sleep(peer.Delay)
	return request, nil
}

// kitexService is a name that kitex wants and nobody resolves.
const kitexService = "echoer"

type kitexClient struct {
	*kitexDialer
	client protoservice.Client
}

func dialKitex(ctx context.Context, options peer.DialOptions) (peer.Client, error) {
	dialer := newKitexDialer()
	service, err := protoservice.NewClient(kitexService,
		client.WithHostPorts(options.Address), client.WithDialer(dialer), client.WithGRPCConnPoolSize(1))
	if err != nil {
		return nil, err
	}
	c := kitexClient{dialer, service}
	// kitex connects with the first call.
	if _, err := c.Echo(ctx, peer.Message{}); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c kitexClient) Echo(ctx context.Context, request peer.Message) (peer.Message, error) {
	reply, err := c.client.Echo(ctx, toKitexProto(request))
	return fromKitexProto(reply), err
}

func (c kitexClient) Delayed(ctx context.Context, request peer.Message) (peer.Message, error) {
	reply, err := c.client.Delayed(ctx, toKitexProto(request))
	return fromKitexProto(reply), err
}

func (c kitexClient) Stream(ctx context.Context, count, size int, each func([]byte) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.client.Stream(ctx, &echoproto.StreamRequest{Count: int64(count), Size: int64(size)})
	if err != nil {
		return err
	}
	for {
		result, err := stream.Recv()
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

func toKitexProto(message peer.Message) *echoproto.Message {
	return &echoproto.Message{Flag: message.Flag, Number: message.Number, Text: message.Text, Ratio: message.Ratio}
}

func fromKitexProto(message *echoproto.Message) peer.Message {
	return peer.Message{
		Flag: message.GetFlag(), Number: message.GetNumber(), Text: message.GetText(), Ratio: message.GetRatio(),
	}
}

type kitexThriftClient struct {
	*kitexDialer
	client thriftservice.Client
}

func dialKitexThrift(ctx context.Context, options peer.DialOptions) (peer.Client, error) {
	dialer := newKitexDialer()
	service, err := thriftservice.NewClient(kitexService,
		client.WithHostPorts(options.Address), client.WithDialer(dialer),
		client.WithTransportProtocol(transport.TTHeaderFramed), client.WithMuxConnection(1))
	if err != nil {
		return nil, err
	}
	c := kitexThriftClient{dialer, service}
	if _, err := c.Echo(ctx, peer.Message{}); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c kitexThriftClient) Echo(ctx context.Context, request peer.Message) (peer.Message, error) {
	reply, err := c.client.Echo(ctx, toKitexThrift(request))
	return fromKitexThrift(reply), err
}

func (c kitexThriftClient) Delayed(ctx context.Context, request peer.Message) (peer.Message, error) {
	reply, err := c.client.Delayed(ctx, toKitexThrift(request))
	return fromKitexThrift(reply), err
}

func toKitexThrift(message peer.Message) *echothrift.Message {
	return &echothrift.Message{Flag: message.Flag, Number: message.Number, Text: message.Text, Ratio: message.Ratio}
}

func fromKitexThrift(message *echothrift.Message) peer.Message {
	if message == nil {
		return peer.Message{}
	}
	return peer.Message{Flag: message.Flag, Number: message.Number, Text: message.Text, Ratio: message.Ratio}
}

// kitexDialer remembers its connections, because a generated client can't be closed: kitex leaves
// that to the garbage collector.
type kitexDialer struct {
	remote.Dialer

	mu    sync.Mutex // guards conns
	conns []net.Conn
}

func newKitexDialer() *kitexDialer { return &kitexDialer{Dialer: kitexnetpoll.NewDialer()} }

// DialTimeout opens a connection.
func (d *kitexDialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	conn, err := d.Dialer.DialTimeout(network, address, timeout)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	d.conns = append(d.conns, conn)
	d.mu.Unlock()
	return conn, nil
}

// Close closes every connection.
func (d *kitexDialer) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var err error
	for _, conn := range d.conns {
		err = errors.Join(err, conn.Close())
	}
	return err
}

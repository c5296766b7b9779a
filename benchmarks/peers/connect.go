package peers

import (
	"context"
	"errors"
	"net"
	"net/http"

	"connectrpc.com/connect"

	"github.com/edict-go/edict/benchmarks/peer"
	"github.com/edict-go/edict/benchmarks/peers/echopb"
	"github.com/edict-go/edict/benchmarks/peers/echopb/echopbconnect"
)

func init() {
	peer.Register(peer.Peer{
		Name:   "connect",
		About:  "connectrpc.com/connect, Connect protocol, protocol buffers, net/http's HTTP/2 without TLS (h2c), no limit on concurrent streams",
		Module: "connectrpc.com/connect",
		Serve:  serveConnect,
		Dial:   dialConnect,
	})
}

// connectStreams is above every number of calls in flight that the harness makes on one connection:
// at net/http's own limit its client would open more connections.
const connectStreams = 1 << 20

type connectServer struct {
	server   *http.Server
	listener net.Listener
	ended    chan error
}

func serveConnect(options peer.ServeOptions) (peer.Server, error) {
	listener, err := peer.Listen(nil)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle(echopbconnect.NewEchoerHandler(connectEchoer{}))
	s := &connectServer{
		server: &http.Server{
			Handler:   mux,
			Protocols: connectProtocols(options.TLS != nil),
			TLSConfig: options.TLS,
			HTTP2:     &http.HTTP2Config{MaxConcurrentStreams: connectStreams},
		},
		listener: listener,
		ended:    make(chan error, 1),
	}
	go func() {
		if options.TLS != nil {
			s.ended <- s.server.ServeTLS(listener, "", "")
		} else {
			s.ended <- s.server.Serve(listener)
		}
	}()
	return s, nil
}

func connectProtocols(encrypted bool) *http.Protocols {
	protocols := new(http.Protocols)
	protocols.SetHTTP2(encrypted)
	protocols.SetUnencryptedHTTP2(!encrypted)
	return protocols
}

func (s *connectServer) Address() string { return s.listener.Addr().String() }

func (s *connectServer) Close() error {
	err := s.server.Close()
	if ended := <-s.ended; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}

type connectEchoer struct{ protoEchoer }

func (connectEchoer) Stream(_ context.Context, request *echopb.StreamRequest, stream *connect.ServerStream[echopb.Result]) error {
	return sendResults(request, stream.Send)
}

type connectClient struct {
	transport *http.Transport
	client    echopbconnect.EchoerClient
}

func dialConnect(ctx context.Context, options peer.DialOptions) (peer.Client, error) {
	transport := &http.Transport{
		Protocols: connectProtocols(options.TLS != nil),
		// The transport adds its protocols to the configuration.
		TLSClientConfig:    options.TLS.Clone(),
		DisableCompression: true,
		HTTP2:              &http.HTTP2Config{StrictMaxConcurrentRequests: true},
	}
	scheme := "http://"
	if options.TLS != nil {
		scheme = "https://"
	}
	c := &connectClient{
		transport: transport,
		client:    echopbconnect.NewEchoerClient(&http.Client{Transport: transport}, scheme+options.Address),
	}
	// net/http connects with the first request.
	if _, err := c.Echo(ctx, peer.Message{}); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *connectClient) Echo(ctx context.Context, request peer.Message) (peer.Message, error) {
	reply, err := c.client.Echo(ctx, toProto(request))
	return fromProto(reply), err
}

func (c *connectClient) Delayed(ctx context.Context, request peer.Message) (peer.Message, error) {
	reply, err := c.client.Delayed(ctx, toProto(request))
	return fromProto(reply), err
}

func (c *connectClient) Stream(ctx context.Context, count, size int, each func([]byte) error) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.client.Stream(ctx, &echopb.StreamRequest{Count: int64(count), Size: int64(size)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stream.Close()) }()
	for stream.Receive() {
		if err := each(stream.Msg().GetBody()); err != nil {
			return err
		}
	}
	return stream.Err()
}

func (c *connectClient) Close() error {
	c.transport.CloseIdleConnections()
	return nil
}

package peers

import (
	"context"
	"net"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/benchmarks/peer"
	"github.com/edict-go/edict/benchmarks/peers/echopb"
	"github.com/edict-go/edict/benchmarks/peers/edictecho"
	"github.com/edict-go/edict/benchmarks/peers/edictecho/protoecho"
	"github.com/edict-go/edict/codec/json"
	"github.com/edict-go/edict/codec/msgpack"
	"github.com/edict-go/edict/codec/protobuf"
)

func init() {
	registerEdict("edict-mus", "MUS, generated serializers", edict.WithCodecs(edictecho.MUS))
	registerEdict("edict-json", "JSON of the standard library", edict.WithCodecs(json.Codec))
	registerEdict("edict-msgpack", "MessagePack, structs as arrays", edict.WithCodecs(msgpack.Codec))
	registerEdict("edict-resume", "MUS; connections that are resumed, exactly once", edict.WithCodecs(edictecho.MUS), edict.WithResume(edict.Resume{}))
	peer.Register(peer.Peer{
		Name: "edict-protobuf", About: "Edict with its defaults and Protobuf messages as commands",
		Serve: func(options peer.ServeOptions) (peer.Server, error) {
			return serveEdict(&protoecho.Receiver{}, protoecho.Commands, options, edict.WithCodecs(protobuf.Codec))
		},
		Dial: func(ctx context.Context, options peer.DialOptions) (peer.Client, error) {
			client, err := dialEdict(ctx, protoecho.Commands, options, edict.WithCodecs(protobuf.Codec))
			return edictProtoClient{client}, err
		},
	})
}

// registerEdict registers a peer of the plain commands.
func registerEdict(name, about string, both ...edict.Option) {
	var serving []edict.ServerOption
	var dialing []edict.DialOption
	for _, option := range both {
		serving, dialing = append(serving, option), append(dialing, option)
	}
	peer.Register(peer.Peer{
		Name: name, About: "Edict with its defaults and " + about,
		Serve: func(options peer.ServeOptions) (peer.Server, error) {
			return serveEdict(&edictecho.Receiver{}, edictecho.Commands, options, serving...)
		},
		Dial: func(ctx context.Context, options peer.DialOptions) (peer.Client, error) {
			client, err := dialEdict(ctx, edictecho.Commands, options, dialing...)
			return edictClient{client}, err
		},
	})
}

type edictServer struct {
	server   *edict.Server
	listener net.Listener
	ended    chan error
}

func serveEdict[T any](receiver T, commands *edict.Registry[T], options peer.ServeOptions, serving ...edict.ServerOption) (peer.Server, error) {
	listener, err := peer.Listen(options.TLS)
	if err != nil {
		return nil, err
	}
	s := &edictServer{
		server:   edict.NewServer(receiver, commands, serving...),
		listener: listener, ended: make(chan error, 1),
	}
	go func() { s.ended <- s.server.Serve(listener) }()
	return s, nil
}

func (s *edictServer) Address() string { return s.listener.Addr().String() }

func (s *edictServer) Close() error {
	err := s.server.Close()
	<-s.ended
	return err
}

func dialEdict[T any](ctx context.Context, commands *edict.Registry[T], options peer.DialOptions, dialing ...edict.DialOption) (*edict.Client[T], error) {
	dialer := edict.WithDialer(func(ctx context.Context) (net.Conn, error) { return peer.DialConn(ctx, options) })
	return edict.Dial(ctx, options.Address, commands, append([]edict.DialOption{dialer}, dialing...)...)
}

type edictClient struct {
	*edict.Client[*edictecho.Receiver]
}

func (c edictClient) Echo(ctx context.Context, request peer.Message) (peer.Message, error) {
	reply, err := edict.Call(ctx, c.Client, edictecho.Echo(request))
	return peer.Message(reply), err
}

func (c edictClient) Delayed(ctx context.Context, request peer.Message) (peer.Message, error) {
	reply, err := edict.Call(ctx, c.Client, edictecho.Delayed(request))
	return peer.Message(reply), err
}

func (c edictClient) Stream(ctx context.Context, count, size int, each func([]byte) error) error {
	for body, err := range edict.Stream(ctx, c.Client, edictecho.Stream{Count: count, Size: size}) {
		if err != nil {
			return err
		}
		if err := each(body); err != nil {
			return err
		}
	}
	return nil
}

type edictProtoClient struct {
	*edict.Client[*protoecho.Receiver]
}

func (c edictProtoClient) Echo(ctx context.Context, request peer.Message) (peer.Message, error) {
	reply, err := edict.Call(ctx, c.Client, protoecho.Echo{Message: toProto(request)})
	return fromProto(reply), err
}

func (c edictProtoClient) Delayed(ctx context.Context, request peer.Message) (peer.Message, error) {
	reply, err := edict.Call(ctx, c.Client, protoecho.Delayed{Message: toProto(request)})
	return fromProto(reply), err
}

func (c edictProtoClient) Stream(ctx context.Context, count, size int, each func([]byte) error) error {
	command := protoecho.Stream{StreamRequest: &echopb.StreamRequest{Count: int64(count), Size: int64(size)}}
	for result, err := range edict.Stream(ctx, c.Client, command) {
		if err != nil {
			return err
		}
		if err := each(result.GetBody()); err != nil {
			return err
		}
	}
	return nil
}

package grpcbridge

import (
	"context"
	"errors"
	"math"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/stats"

	"github.com/edict-go/edict"
)

// defaultMaxReceive is gRPC's: 4 MiB.
const defaultMaxReceive = 4 << 20

// ServerOption changes what a Server does. The names are those of package grpc.
type ServerOption func(*serverSettings)

type serverSettings struct {
	unary      grpc.UnaryServerInterceptor // all of them in one; nil for none
	stream     grpc.StreamServerInterceptor
	stats      statsHandlers
	unknown    grpc.StreamHandler
	maxReceive int
	maxSend    int
	keysKnown  bool // a callContext answers gRPC itself
	edict      []edict.ServerOption
}

func defaultServerSettings() serverSettings {
	return serverSettings{maxReceive: defaultMaxReceive, maxSend: math.MaxInt, keysKnown: keysKnown}
}

// UnaryInterceptor adds an interceptor of unary calls. The one that was added first is outermost.
func UnaryInterceptor(interceptor grpc.UnaryServerInterceptor) ServerOption {
	return ChainUnaryInterceptor(interceptor)
}

// ChainUnaryInterceptor adds interceptors of unary calls, the first one outermost.
func ChainUnaryInterceptor(interceptors ...grpc.UnaryServerInterceptor) ServerOption {
	return func(s *serverSettings) {
		for _, inner := range interceptors {
			outer := s.unary
			if outer == nil {
				s.unary = inner
				continue
			}
			s.unary = func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
				return outer(ctx, request, info, func(ctx context.Context, request any) (any, error) {
					return inner(ctx, request, info, handler)
				})
			}
		}
	}
}

// StreamInterceptor adds an interceptor of streams. The one that was added first is outermost.
func StreamInterceptor(interceptor grpc.StreamServerInterceptor) ServerOption {
	return ChainStreamInterceptor(interceptor)
}

// ChainStreamInterceptor adds interceptors of streams, the first one outermost.
func ChainStreamInterceptor(interceptors ...grpc.StreamServerInterceptor) ServerOption {
	return func(s *serverSettings) {
		for _, inner := range interceptors {
			outer := s.stream
			if outer == nil {
				s.stream = inner
				continue
			}
			s.stream = func(service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
				return outer(service, stream, info, func(service any, stream grpc.ServerStream) error {
					return inner(service, stream, info, handler)
				})
			}
		}
	}
}

// StatsHandler adds a handler of what happens to calls, such as that of otelgrpc. It hears of no connections:
// TagConn and HandleConn are not called.
func StatsHandler(handler stats.Handler) ServerOption {
	return func(s *serverSettings) { s.stats = append(s.stats, handler) }
}

// UnknownServiceHandler sets what handles the calls of methods that are not registered, as streams.
func UnknownServiceHandler(handler grpc.StreamHandler) ServerOption {
	return func(s *serverSettings) { s.unknown = handler }
}

// MaxRecvMsgSize sets the size of the largest request that is accepted, in bytes; 4 MiB if it is not set.
// Beside native commands, edict.ServerConfig.MaxFrame must allow it too.
func MaxRecvMsgSize(bytes int) ServerOption {
	return func(s *serverSettings) { s.maxReceive = bytes }
}

// MaxSendMsgSize sets the size of the largest response that is sent, in bytes. The client has a limit too.
func MaxSendMsgSize(bytes int) ServerOption {
	return func(s *serverSettings) { s.maxSend = bytes }
}

// EdictOptions adds options for the Edict server that Serve and ListenAndServe use: TLS, limits, native
// interceptors, which see each call as a *Call, and so on.
func EdictOptions(options ...edict.ServerOption) ServerOption {
	return func(s *serverSettings) { s.edict = append(s.edict, options...) }
}

// ClientOption changes what a ClientConn does. The names are those of package grpc.
type ClientOption func(*clientSettings)

type clientSettings struct {
	unary       grpc.UnaryClientInterceptor // all of them in one; nil for none
	stream      grpc.StreamClientInterceptor
	stats       statsHandlers
	credentials []credentials.PerRPCCredentials
	callOptions []grpc.CallOption
	edict       []edict.DialOption
}

// WithUnaryInterceptor adds an interceptor of unary calls. The one that was added first is outermost.
func WithUnaryInterceptor(interceptor grpc.UnaryClientInterceptor) ClientOption {
	return WithChainUnaryInterceptor(interceptor)
}

// WithChainUnaryInterceptor adds interceptors of unary calls, the first one outermost. The *grpc.ClientConn
// that they get is one of Redirect.
func WithChainUnaryInterceptor(interceptors ...grpc.UnaryClientInterceptor) ClientOption {
	return func(s *clientSettings) {
		for _, inner := range interceptors {
			outer := s.unary
			if outer == nil {
				s.unary = inner
				continue
			}
			s.unary = func(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoker grpc.UnaryInvoker, options ...grpc.CallOption) error {
				return outer(ctx, method, request, reply, conn, func(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, options ...grpc.CallOption) error {
					return inner(ctx, method, request, reply, conn, invoker, options...)
				}, options...)
			}
		}
	}
}

// WithStreamInterceptor adds an interceptor of streams. The one that was added first is outermost.
func WithStreamInterceptor(interceptor grpc.StreamClientInterceptor) ClientOption {
	return WithChainStreamInterceptor(interceptor)
}

// WithChainStreamInterceptor adds interceptors of streams, the first one outermost. The *grpc.ClientConn that
// they get is one of Redirect.
func WithChainStreamInterceptor(interceptors ...grpc.StreamClientInterceptor) ClientOption {
	return func(s *clientSettings) {
		for _, inner := range interceptors {
			outer := s.stream
			if outer == nil {
				s.stream = inner
				continue
			}
			s.stream = func(ctx context.Context, description *grpc.StreamDesc, conn *grpc.ClientConn, method string, streamer grpc.Streamer, options ...grpc.CallOption) (grpc.ClientStream, error) {
				return outer(ctx, description, conn, method, func(ctx context.Context, description *grpc.StreamDesc, conn *grpc.ClientConn, method string, options ...grpc.CallOption) (grpc.ClientStream, error) {
					return inner(ctx, description, conn, method, streamer, options...)
				}, options...)
			}
		}
	}
}

// WithStatsHandler adds a handler of what happens to calls, such as that of otelgrpc. It hears of no
// connections: TagConn and HandleConn are not called.
func WithStatsHandler(handler stats.Handler) ClientOption {
	return func(s *clientSettings) { s.stats = append(s.stats, handler) }
}

// WithPerRPCCredentials adds credentials to each call, on top of those of its options.
func WithPerRPCCredentials(added credentials.PerRPCCredentials) ClientOption {
	return func(s *clientSettings) { s.credentials = append(s.credentials, added) }
}

// WithDefaultCallOptions adds options to each call, in front of its own.
func WithDefaultCallOptions(options ...grpc.CallOption) ClientOption {
	return func(s *clientSettings) { s.callOptions = append(s.callOptions, options...) }
}

// WithEdict adds options for the Edict client that Dial makes: TLS, limits, native interceptors and so on.
// NewClientConn, which is given a client, has no use for it.
func WithEdict(options ...edict.DialOption) ClientOption {
	return func(s *clientSettings) { s.edict = append(s.edict, options...) }
}

// isClosed reports whether err says that this side has closed.
func isClosed(err error) bool { return errors.Is(err, edict.ErrClosed) }

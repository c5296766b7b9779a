package grpcbridge

import (
	"context"
	"maps"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/edict-go/edict/core"
)

// callContext is the context that a handler gets, and gRPC's view of the call: it is the
// grpc.ServerTransportStream.
//
// It answers itself for what gRPC looks up in a context, and makes it when it is asked for, instead of being
// wrapped in one more context for each: most handlers ask for none of it. It is never reused.
type callContext struct {
	parent  context.Context // the command's, maybe from a native interceptor
	name    string          // of the method
	subtype string
	stream  *serverStream // nil for a unary call

	mu         sync.Mutex // guards the following; not held while a header is sent
	incoming   metadata.MD
	header     metadata.MD
	trailer    metadata.MD
	headerSent bool
	ended      bool
}

// The keys under which gRPC finds things in a context are its own affair, so they are found out by asking
// it. If a gRPC to come did it otherwise, keysKnown would be false and wrap take the usual way.
var (
	incomingKey = keyOf(func(ctx context.Context) { metadata.FromIncomingContext(ctx) })
	peerKey     = keyOf(func(ctx context.Context) { peer.FromContext(ctx) })
	streamKey   = keyOf(func(ctx context.Context) { grpc.ServerTransportStreamFromContext(ctx) })
	keysKnown   = checkKeys()
)

// keyProbe is a context that notes what it is asked for.
type keyProbe struct {
	context.Context
	key any
}

func (p *keyProbe) Value(key any) any {
	p.key = key
	return nil
}

func keyOf(ask func(context.Context)) any {
	probe := &keyProbe{Context: context.Background()}
	ask(probe)
	return probe.key
}

// checkKeys reports whether a callContext gives gRPC what it looks for.
func checkKeys() bool {
	if incomingKey == nil || peerKey == nil || streamKey == nil {
		return false
	}
	c := &callContext{parent: context.Background(), name: "/a/B", incoming: metadata.MD{"key": {"value"}}}
	values, _ := metadata.FromIncomingContext(c)
	_, hasPeer := peer.FromContext(c)
	name, _ := grpc.Method(c)
	return len(values["key"]) == 1 && hasPeer && name == "/a/B"
}

// wrap returns c as a context that gRPC finds everything in.
func (c *callContext) wrap(keysKnown bool) context.Context {
	if keysKnown {
		return c
	}
	ctx := metadata.NewIncomingContext(c, c.metadata())
	ctx = peer.NewContext(ctx, c.peer())
	return grpc.NewContextWithServerTransportStream(ctx, c)
}

// Deadline implements context.Context.
func (c *callContext) Deadline() (time.Time, bool) { return c.parent.Deadline() }

// Done implements context.Context.
func (c *callContext) Done() <-chan struct{} { return c.parent.Done() }

// Err implements context.Context.
func (c *callContext) Err() error { return c.parent.Err() }

// AfterFunc lets package context attach its own contexts without a goroutine for each.
func (c *callContext) AfterFunc(f func()) (stop func() bool) { return context.AfterFunc(c.parent, f) }

// Value implements context.Context.
func (c *callContext) Value(key any) any {
	switch key {
	case incomingKey:
		return c.metadata()
	case peerKey:
		return c.peer()
	case streamKey:
		return c
	}
	return c.parent.Value(key)
}

// metadata returns what came with the call.
func (c *callContext) metadata() metadata.MD {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.incoming == nil {
		c.incoming = metadata.MD{"content-type": {contentType(c.subtype)}}
		if scope, ok := core.ScopeOf(c.parent); ok {
			maps.Copy(c.incoming, metadata.MD(scope.Metadata()))
		}
	}
	return c.incoming
}

// peer returns the client.
func (c *callContext) peer() *peer.Peer {
	scope, ok := core.ScopeOf(c.parent)
	if !ok {
		return &peer.Peer{}
	}
	client := grpcPeer(scope.Peer())
	if _, insecure := client.AuthInfo.(plain); insecure {
		client.AuthInfo = nil // as it is on a server of gRPC without credentials
	}
	return client
}

// grpcPeer describes the other side as gRPC does.
func grpcPeer(other core.Peer) *peer.Peer {
	if other.TLS == nil {
		return &peer.Peer{Addr: other.Address, AuthInfo: plain{credentials.CommonAuthInfo{SecurityLevel: credentials.NoSecurity}}}
	}
	return &peer.Peer{Addr: other.Address, AuthInfo: credentials.TLSInfo{
		State: *other.TLS, CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
	}}
}

// plain is the AuthInfo of a connection without TLS.
type plain struct{ credentials.CommonAuthInfo }

// AuthType implements credentials.AuthInfo.
func (plain) AuthType() string { return "insecure" }

// Method implements grpc.ServerTransportStream.
func (c *callContext) Method() string { return c.name }

// SetHeader implements grpc.ServerTransportStream.
func (c *callContext) SetHeader(md metadata.MD) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.headerSent || c.ended {
		return errHeaderSent
	}
	c.header = join(c.header, md)
	return nil
}

var errHeaderSent = status.Error(codes.Internal, "transport: the stream is done or WriteHeader was already called")

// SendHeader implements grpc.ServerTransportStream. The header of a unary call goes with its result.
func (c *callContext) SendHeader(md metadata.MD) error {
	c.mu.Lock()
	if c.headerSent || c.ended {
		c.mu.Unlock()
		return errHeaderSent
	}
	c.header, c.headerSent = join(c.header, md), true
	header := c.header
	c.mu.Unlock()
	if c.stream == nil {
		return nil
	}
	return c.stream.sendHeader(header)
}

// SetTrailer implements grpc.ServerTransportStream.
func (c *callContext) SetTrailer(md metadata.MD) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return status.Error(codes.Internal, "transport: the stream is done")
	}
	c.trailer = join(c.trailer, md)
	return nil
}

// takeHeader returns the header that must be sent before a message, if there is one.
func (c *callContext) takeHeader() metadata.MD {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.headerSent {
		return nil
	}
	c.headerSent = true
	return c.header
}

// currentHeader returns the header as it is so far.
func (c *callContext) currentHeader() metadata.MD {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.header.Copy()
}

// end takes no more headers and trailers, gives the command those that were not sent, and returns them.
func (c *callContext) end() (header, trailer metadata.MD) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	header, trailer = c.header, c.trailer
	if c.headerSent && c.stream != nil {
		header = nil
	}
	if len(header) == 0 && len(trailer) == 0 { // most calls
		return nil, nil
	}
	if scope, ok := core.ScopeOf(c.parent); ok {
		for key, values := range header {
			scope.SetMetadata(headerPrefix+key, values...)
		}
		for key, values := range trailer {
			scope.SetMetadata(key, values...)
		}
	}
	return header, trailer
}

// join adds the pairs of md to target, but for keys that are gRPC's own.
func join(target, md metadata.MD) metadata.MD {
	for key, values := range md {
		if isReserved(key) {
			continue
		}
		if target == nil {
			target = metadata.MD{}
		}
		target.Append(key, values...)
	}
	return target
}

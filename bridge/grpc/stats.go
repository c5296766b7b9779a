package grpcbridge

import (
	"context"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
)

// statsHandlers are those of one client or server.
type statsHandlers []stats.Handler

// observer tells stats handlers what happens to one call. Its methods may be called from the goroutines that
// send and receive. A nil observer has none to tell; only sent may be called on it.
type observer struct {
	handlers statsHandlers
	client   bool
	ctx      context.Context // as the handlers have tagged it
	began    time.Time

	header sync.Once // InHeader on a client, OutHeader on a server, was told
	end    sync.Once
}

// prefixSize is what gRPC has in front of each message, and counts.
const prefixSize = 5

// begin lets the handlers tag the context and tells them that the call begins.
func (h statsHandlers) begin(ctx context.Context, client bool, method string, failFast bool) *observer {
	o := &observer{handlers: h, client: client, began: time.Now()}
	for _, handler := range h {
		ctx = handler.TagRPC(ctx, &stats.RPCTagInfo{FullMethodName: method, FailFast: failFast})
	}
	o.ctx = ctx
	return o
}

// beginServer is begin for a call that the server runs.
func (h statsHandlers) beginServer(ctx context.Context, c *serverCall, client, server bool) (*observer, context.Context) {
	o := h.begin(ctx, false, c.method.name, false)
	o.tell(&stats.InHeader{
		FullMethod: c.method.name, RemoteAddr: c.context.peer().Addr, Compression: c.messages.encoding(),
		Header: c.context.metadata().Copy(),
	})
	o.tell(&stats.Begin{BeginTime: o.began, IsClientStream: client, IsServerStream: server})
	return o, o.ctx
}

// beginClient is begin for a call that the client makes.
func (h statsHandlers) beginClient(ctx context.Context, method string, failFast, client, server bool) (*observer, context.Context) {
	o := h.begin(ctx, true, method, failFast)
	o.tell(&stats.Begin{Client: true, BeginTime: o.began, FailFast: failFast, IsClientStream: client, IsServerStream: server})
	return o, o.ctx
}

func (o *observer) tell(event stats.RPCStats) {
	for _, handler := range o.handlers {
		handler.HandleRPC(o.ctx, event)
	}
}

// requested tells that a client sends the header of a call.
func (o *observer) requested(method string, remote net.Addr, compression string, header metadata.MD) {
	o.tell(&stats.OutHeader{
		Client: true, FullMethod: method, RemoteAddr: remote, Compression: compression, Header: header,
	})
}

// headerSent tells, once, that a server sends the header.
func (o *observer) headerSent(header metadata.MD) {
	o.header.Do(func() { o.tell(&stats.OutHeader{Header: header.Copy()}) })
}

// headerCame tells, once, that a client has received the header.
func (o *observer) headerCame(header metadata.MD) {
	o.header.Do(func() { o.tell(&stats.InHeader{Client: true, Header: header.Copy()}) })
}

// sent returns what is to be called for each message that is sent, with its size and that on the wire.
func (o *observer) sent() func(message any, size, wire int) {
	if o == nil {
		return nil
	}
	return func(message any, size, wire int) {
		o.tell(&stats.OutPayload{
			Client: o.client, Payload: message, Length: size, CompressedLength: wire, WireLength: wire + prefixSize, SentTime: time.Now(),
		})
	}
}

// received tells that a message was received.
func (o *observer) received(message any, size, wire int) {
	o.tell(&stats.InPayload{
		Client: o.client, Payload: message, Length: size, CompressedLength: wire, WireLength: wire + prefixSize, RecvTime: time.Now(),
	})
}

// serverEnded tells that the handler has returned err.
func (o *observer) serverEnded(trailer metadata.MD, err error) {
	o.tell(&stats.OutTrailer{Trailer: trailer.Copy()})
	end := &stats.End{BeginTime: o.began, EndTime: time.Now()}
	if err != nil {
		end.Error = statusOf(err).Err()
	}
	o.tell(end)
}

// clientEnded tells, once, how a call has ended.
func (o *observer) clientEnded(trailer metadata.MD, err error) {
	o.end.Do(func() {
		o.tell(&stats.InTrailer{Client: true, Trailer: trailer.Copy()})
		o.tell(&stats.End{Client: true, BeginTime: o.began, EndTime: time.Now(), Trailer: trailer, Error: err})
	})
}

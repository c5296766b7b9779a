package grpcbridge

import (
	"context"
	"fmt"
	"reflect"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// callSettings is what the options of one call add up to, and what of its end they ask for.
type callSettings struct {
	header, trailer *metadata.MD // where the caller wants them; nil if not
	peer            *peer.Peer
	onFinish        []func(error)
	credentials     credentials.PerRPCCredentials
	authority       string
	waitForReady    bool
	messages        *messages // the connection's, shared, or the call's own
	own             bool      // it is the call's own

	gotHeader, gotTrailer metadata.MD
}

// settle adds up the options. Those that mean nothing here, or can't be, are an error, except for the
// ones that only interceptors look at.
func (s *callSettings) settle(options []grpc.CallOption) error {
	subtype, forced := "", messageCodec{}
	var wrong error // the other options count all the same: OnFinish is told of it
	for _, option := range options {
		switch option := option.(type) {
		case grpc.StaticMethodCallOption:
		case grpc.HeaderCallOption:
			s.header = option.HeaderAddr
		case grpc.TrailerCallOption:
			s.trailer = option.TrailerAddr
		case grpc.PeerCallOption:
			s.peer = option.PeerAddr
		case grpc.FailFastCallOption:
			s.waitForReady = !option.FailFast
		case grpc.OnFinishCallOption:
			s.onFinish = append(s.onFinish, option.OnFinish)
		case grpc.MaxRecvMsgSizeCallOption:
			s.ownMessages().maxReceive = option.MaxRecvMsgSize
		case grpc.MaxSendMsgSizeCallOption:
			s.ownMessages().maxSend = option.MaxSendMsgSize
		case grpc.PerRPCCredsCallOption:
			s.credentials = option.Creds
		case grpc.CompressorCallOption:
			compressor, err := compressorFor(option.CompressorType)
			if err != nil {
				wrong = err
			}
			s.ownMessages().compressor = compressor
		case grpc.ContentSubtypeCallOption:
			subtype = option.ContentSubtype
		case grpc.ForceCodecCallOption:
			forced = messageCodec{subtype: strings.ToLower(option.Codec.Name()), v1: option.Codec}
		case grpc.ForceCodecV2CallOption:
			forced = messageCodec{subtype: strings.ToLower(option.CodecV2.Name()), v2: option.CodecV2}
		case grpc.AuthorityOverrideCallOption:
			s.authority = option.Authority
		case grpc.MaxRetryRPCBufferSizeCallOption: // nothing is buffered for retries
		default:
			if reflect.TypeOf(option).PkgPath() == reflect.TypeFor[grpc.HeaderCallOption]().PkgPath() && !isEmpty(option) {
				wrong = status.Errorf(codes.Unimplemented, "grpcbridge: the call option %T is not supported over Edict", option)
			}
		}
	}
	switch {
	case wrong != nil:
		return wrong
	case forced.v1 != nil || forced.v2 != nil:
		if subtype != "" {
			forced.subtype = subtype
		}
		s.ownMessages().codec = forced
	case subtype != "":
		codec, ok := codecFor(subtype)
		if !ok {
			return status.Errorf(codes.Internal, "no codec registered for content-subtype %s", subtype)
		}
		s.ownMessages().codec = codec
	}
	return nil
}

func isEmpty(option grpc.CallOption) bool {
	_, ok := option.(grpc.EmptyCallOption)
	return ok
}

// ownMessages returns the call's own messages, to be changed.
func (s *callSettings) ownMessages() *messages {
	if !s.own {
		copied := *s.messages
		s.messages, s.own = &copied, true
	}
	return s.messages
}

// request returns the head of a call of method.
func (s *callSettings) request(method string) request {
	r := request{hash: hashOf(method), name: method, subtype: s.messages.codec.subtype, encoding: s.messages.encoding()}
	if r.subtype != "" {
		r.form |= formSubtype
	}
	if r.encoding != "" {
		r.form |= formEncoding
	}
	return r
}

// finish hands out what the options have asked for.
func (s *callSettings) finish(c *ClientConn, err error) {
	if s.header != nil {
		*s.header = s.gotHeader
	}
	if s.trailer != nil {
		*s.trailer = s.gotTrailer
	}
	if s.peer != nil && c.peer != nil {
		*s.peer = *grpcPeer(c.peer())
	}
	for _, finished := range s.onFinish {
		finished(err)
	}
}

// credentials adds to md what the connection's and the call's credentials want.
func (c *ClientConn) credentials(ctx context.Context, method string, s *callSettings, md metadata.MD) (metadata.MD, error) {
	if md == nil {
		md = metadata.MD{}
	}
	all := c.settings.credentials
	if s.credentials != nil {
		all = append(all[:len(all):len(all)], s.credentials)
	}
	server := &peer.Peer{AuthInfo: plain{credentials.CommonAuthInfo{SecurityLevel: credentials.NoSecurity}}}
	if c.peer != nil {
		server = grpcPeer(c.peer())
	}
	authority := s.authority
	if authority == "" && server.Addr != nil {
		authority = server.Addr.String()
	}
	ctx = credentials.NewContextWithRequestInfo(ctx, credentials.RequestInfo{Method: method, AuthInfo: server.AuthInfo})
	service := method[:max(0, strings.LastIndexByte(method, '/'))]
	for _, one := range all {
		if one.RequireTransportSecurity() && server.AuthInfo.AuthType() != "tls" {
			return nil, status.Error(codes.Unauthenticated, "transport: cannot send secure credentials on an insecure connection")
		}
		pairs, err := one.GetRequestMetadata(ctx, "https://"+authority+service)
		if err != nil {
			if s, ok := status.FromError(err); ok {
				return nil, s.Err()
			}
			return nil, status.Error(codes.Unauthenticated, fmt.Sprintf("transport: per-RPC creds failed due to error: %v", err))
		}
		for key, value := range pairs {
			md.Append(key, value)
		}
	}
	if s.authority != "" {
		md.Set(":authority", s.authority)
	}
	return md, nil
}

package grpcbridge_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/reflection"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/edict-go/edict"
	grpcbridge "github.com/edict-go/edict/bridge/grpc"
)

const (
	unaryMethod    = "/grpc.testing.TestService/UnaryCall"
	downloadMethod = "/grpc.testing.TestService/StreamingOutputCall"
	duplexMethod   = "/grpc.testing.TestService/FullDuplexCall"
)

// echoing is a service that answers.
func echoing() *service {
	return &service{
		unary: func(_ context.Context, request *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
			return &testpb.SimpleResponse{Payload: request.GetPayload()}, nil
		},
		download: func(request *testpb.StreamingOutputCallRequest, stream grpc.ServerStreamingServer[testpb.StreamingOutputCallResponse]) error {
			for range request.GetResponseParameters() {
				if err := stream.Send(&testpb.StreamingOutputCallResponse{Payload: request.GetPayload()}); err != nil {
					return err
				}
			}
			return nil
		},
		duplex: func(stream grpc.BidiStreamingServer[testpb.StreamingOutputCallRequest, testpb.StreamingOutputCallResponse]) error {
			for {
				request, err := stream.Recv()
				if err == io.EOF {
					return nil
				}
				if err != nil {
					return err
				}
				if err := stream.Send(&testpb.StreamingOutputCallResponse{Payload: request.GetPayload()}); err != nil {
					return err
				}
			}
		},
	}
}

// serveEchoing starts a server of the echoing service over TCP.
func serveEchoing(t testing.TB, options ...grpcbridge.ServerOption) *bench {
	t.Helper()
	b := serveTCP(t, options...)
	testpb.RegisterTestServiceServer(b.server, echoing())
	return b
}

// stub connects a client to it.
func (b *bench) stub(options ...grpcbridge.ClientOption) testpb.TestServiceClient {
	b.t.Helper()
	return testpb.NewTestServiceClient(b.dial(options...))
}

// wantEcho makes a call that must succeed.
func wantEcho(t testing.TB, client testpb.TestServiceClient, options ...grpc.CallOption) {
	t.Helper()
	request := &testpb.SimpleRequest{Payload: &testpb.Payload{Body: []byte("hello")}}
	response, err := client.UnaryCall(t.Context(), request, options...)
	if err != nil || string(response.GetPayload().GetBody()) != "hello" {
		t.Fatalf("got %v, %v", response, err)
	}
}

// wantEchoes makes a duplex call that must succeed.
func wantEchoes(t testing.TB, client testpb.TestServiceClient, options ...grpc.CallOption) {
	t.Helper()
	stream, err := client.FullDuplexCall(t.Context(), options...)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := stream.Send(&testpb.StreamingOutputCallRequest{Payload: &testpb.Payload{Body: []byte("hello")}}); err != nil {
			t.Fatal(err)
		}
		response, err := stream.Recv()
		if err != nil || string(response.GetPayload().GetBody()) != "hello" {
			t.Fatalf("got %v, %v", response, err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != io.EOF {
		t.Fatal(err)
	}
}

// wantTold checks what a teller has collected.
func (t *teller) wantTold(test testing.TB, want ...string) {
	test.Helper()
	t.mu.Lock()
	defer t.mu.Unlock()
	if !slices.Equal(t.lines, want) {
		test.Errorf("told\n\t%s\nwant\n\t%s", strings.Join(t.lines, "\n\t"), strings.Join(want, "\n\t"))
	}
	t.lines = nil
}

func TestInterceptorsOfBothSides(t *testing.T) {
	var told teller
	serverUnary := func(name string) grpc.UnaryServerInterceptor {
		return func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			told.tell("server %s %s %T", name, info.FullMethod, request)
			response, err := handler(metadata.NewIncomingContext(ctx, metadata.Pairs("by", name)), request)
			told.tell("server %s has %T %v", name, response, err)
			return response, err
		}
	}
	serverStream := func(name string) grpc.StreamServerInterceptor {
		return func(service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			told.tell("server %s %s client %v server %v", name, info.FullMethod, info.IsClientStream, info.IsServerStream)
			err := handler(service, stream)
			told.tell("server %s has %v", name, err)
			return err
		}
	}
	clientUnary := func(name string) grpc.UnaryClientInterceptor {
		return func(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoker grpc.UnaryInvoker, options ...grpc.CallOption) error {
			told.tell("client %s %s %d options, has a target %v", name, method, len(options), strings.Contains(conn.Target(), "127.0.0.1"))
			err := invoker(ctx, method, request, reply, conn, append(options, grpc.WaitForReady(false))...)
			told.tell("client %s has %v", name, err)
			return err
		}
	}
	clientStream := func(name string) grpc.StreamClientInterceptor {
		return func(ctx context.Context, description *grpc.StreamDesc, conn *grpc.ClientConn, method string, streamer grpc.Streamer, options ...grpc.CallOption) (grpc.ClientStream, error) {
			told.tell("client %s %s %s", name, method, description.StreamName)
			return streamer(ctx, description, conn, method, options...)
		}
	}
	b := serveEchoing(t,
		grpcbridge.UnaryInterceptor(serverUnary("a")), grpcbridge.ChainUnaryInterceptor(serverUnary("b"), serverUnary("c")),
		grpcbridge.StreamInterceptor(serverStream("a")), grpcbridge.ChainStreamInterceptor(serverStream("b")))
	client := b.stub(
		grpcbridge.WithUnaryInterceptor(clientUnary("a")), grpcbridge.WithChainUnaryInterceptor(clientUnary("b")),
		grpcbridge.WithStreamInterceptor(clientStream("a")), grpcbridge.WithChainStreamInterceptor(clientStream("b")))
	wantEcho(t, client)
	told.wantTold(t,
		"client a "+unaryMethod+" 1 options, has a target true", "client b "+unaryMethod+" 2 options, has a target true",
		"server a "+unaryMethod+" *grpc_testing.SimpleRequest", "server b "+unaryMethod+" *grpc_testing.SimpleRequest",
		"server c "+unaryMethod+" *grpc_testing.SimpleRequest",
		"server c has *grpc_testing.SimpleResponse <nil>", "server b has *grpc_testing.SimpleResponse <nil>",
		"server a has *grpc_testing.SimpleResponse <nil>",
		"client b has <nil>", "client a has <nil>")
	wantEchoes(t, client)
	told.wantTold(t,
		"client a "+duplexMethod+" FullDuplexCall", "client b "+duplexMethod+" FullDuplexCall",
		"server a "+duplexMethod+" client true server true", "server b "+duplexMethod+" client true server true",
		"server b has <nil>", "server a has <nil>")
}

// An interceptor may make another call of it, and refuse.
func TestInterceptorsMayRetryAndRefuse(t *testing.T) {
	var attempts atomic.Int64
	b := serveEchoing(t, grpcbridge.UnaryInterceptor(func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		if attempts.Add(1) < 3 {
			return nil, status.Error(codes.Unavailable, "not yet")
		}
		return handler(ctx, request)
	}))
	client := b.stub(grpcbridge.WithUnaryInterceptor(func(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoker grpc.UnaryInvoker, options ...grpc.CallOption) error {
		for {
			if err := invoker(ctx, method, request, reply, conn, options...); status.Code(err) != codes.Unavailable {
				return err
			}
		}
	}))
	wantEcho(t, client)
	if n := attempts.Load(); n != 3 {
		t.Errorf("%d attempts", n)
	}
}

func TestHealthAndReflection(t *testing.T) {
	b := serveEchoing(t)
	checks := health.NewServer()
	healthpb.RegisterHealthServer(b.server, checks)
	reflection.Register(b.server)
	conn := b.dial()

	checks.SetServingStatus("here", healthpb.HealthCheckResponse_SERVING)
	client := healthpb.NewHealthClient(conn)
	response, err := client.Check(t.Context(), &healthpb.HealthCheckRequest{Service: "here"})
	if err != nil || response.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("%v, %v", response, err)
	}
	_, err = client.Check(t.Context(), &healthpb.HealthCheckRequest{Service: "there"})
	wantCode(t, err, codes.NotFound)
	watch, err := client.Watch(t.Context(), &healthpb.HealthCheckRequest{Service: "here"})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []healthpb.HealthCheckResponse_ServingStatus{healthpb.HealthCheckResponse_SERVING, healthpb.HealthCheckResponse_NOT_SERVING} {
		if response, err := watch.Recv(); err != nil || response.GetStatus() != want {
			t.Errorf("%v, %v; want %v", response, err, want)
		}
		checks.Shutdown()
	}

	stream, err := reflectionpb.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}}); err != nil {
		t.Fatal(err)
	}
	answer, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, service := range answer.GetListServicesResponse().GetService() {
		names = append(names, service.GetName())
	}
	for _, want := range []string{"grpc.health.v1.Health", "grpc.testing.TestService", "grpc.reflection.v1.ServerReflection"} {
		if !slices.Contains(names, want) {
			t.Errorf("%v, want %s", names, want)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Error(err)
	}
	if _, err := stream.Recv(); err != io.EOF {
		t.Error(err)
	}
	for _, method := range b.server.GetServiceInfo()["grpc.testing.TestService"].Methods {
		if method.Name == "StreamingInputCall" && (!method.IsClientStream || method.IsServerStream) {
			t.Errorf("%+v", method)
		}
	}
}

// upside is a codec of its own: JSON, backwards.
type upside struct{}

func (upside) Name() string { return "Upside" }

func (upside) Marshal(value any) ([]byte, error) {
	encoded, err := json.Marshal(value)
	slices.Reverse(encoded)
	return encoded, err
}

func (upside) Unmarshal(encoded []byte, value any) error {
	slices.Reverse(encoded) // it may, because they are its own
	return json.Unmarshal(encoded, value)
}

// keeping is a codec that keeps what it gets, as proxies' codecs do.
type keeping struct{}

func (keeping) Name() string { return "keeping" }

func (keeping) Marshal(value any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer("pre"), mem.SliceBuffer(*value.(*string))}, nil
}

func (keeping) Unmarshal(data mem.BufferSlice, value any) error {
	data.Ref()
	*value.(*mem.BufferSlice) = data
	return nil
}

// keepingV1 is one of the first kind.
type keepingV1 struct{}

func (keepingV1) Name() string                      { return "keeping-v1" }
func (keepingV1) Marshal(value any) ([]byte, error) { return []byte("pre" + *value.(*string)), nil }

func (keepingV1) Unmarshal(data []byte, value any) error {
	*value.(*mem.BufferSlice) = mem.BufferSlice{mem.SliceBuffer(data)}
	return nil
}

// strange is a codec that only clients have.
type strange struct{ upside }

func (strange) Name() string { return "strange" }

func init() {
	encoding.RegisterCodec(upside{})
	encoding.RegisterCodecV2(keeping{})
	encoding.RegisterCodec(keepingV1{})
}

func TestCallOptions(t *testing.T) {
	b := serveEchoing(t)
	client := b.stub()
	for name, test := range map[string]struct {
		code    codes.Code
		options []grpc.CallOption
	}{
		"wait for ready":          {codes.OK, []grpc.CallOption{grpc.WaitForReady(true)}},
		"static method":           {codes.OK, []grpc.CallOption{grpc.StaticMethod()}},
		"retry buffer":            {codes.OK, []grpc.CallOption{grpc.MaxRetryRPCBufferSize(1)}},
		"an option of a user":     {codes.OK, []grpc.CallOption{struct{ grpc.EmptyCallOption }{}}},
		"empty":                   {codes.OK, []grpc.CallOption{grpc.EmptyCallOption{}}},
		"subtype":                 {codes.OK, []grpc.CallOption{grpc.CallContentSubtype("proto")}},
		"identity":                {codes.OK, []grpc.CallOption{grpc.UseCompressor("identity")}},
		"receive limit":           {codes.ResourceExhausted, []grpc.CallOption{grpc.MaxCallRecvMsgSize(1)}},
		"send limit":              {codes.ResourceExhausted, []grpc.CallOption{grpc.MaxCallSendMsgSize(1)}},
		"no such compressor":      {codes.Internal, []grpc.CallOption{grpc.UseCompressor("none")}},
		"no such codec":           {codes.Internal, []grpc.CallOption{grpc.CallContentSubtype("none")}},
		"a codec of times past":   {codes.Unimplemented, []grpc.CallOption{grpc.CustomCodecCallOption{}}},
		"codec unknown to server": {codes.Unimplemented, []grpc.CallOption{grpc.ForceCodec(strange{})}},
	} {
		t.Run(name, func(t *testing.T) {
			finished := make(chan error, 2)
			options := append(test.options, grpc.OnFinish(func(err error) { finished <- err }))
			response, err := client.UnaryCall(t.Context(), &testpb.SimpleRequest{Payload: &testpb.Payload{Body: []byte("hello")}}, options...)
			wantCode(t, err, test.code)
			if err == nil && string(response.GetPayload().GetBody()) != "hello" {
				t.Errorf("got %v", response)
			}
			if told := <-finished; !errors.Is(told, err) {
				t.Errorf("OnFinish got %v, the caller %v", told, err)
			}
			if test.code != codes.OK {
				return
			}
			wantEchoes(t, client, options...)
			if told := <-finished; told != nil {
				t.Errorf("OnFinish of the stream got %v", told)
			}
		})
	}
}

func TestMessagesOfOtherCodecs(t *testing.T) {
	b := serveTCP(t, grpcbridge.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		method, _ := grpc.Method(stream.Context())
		switch method {
		case "/any/Upside":
			value := wrapperspb.String("")
			if err := stream.RecvMsg(value); err != nil {
				return err
			}
			if err := stream.RecvMsg(wrapperspb.String("")); err != io.EOF {
				return status.Errorf(codes.FailedPrecondition, "there is more than one request: %v", err)
			}
			return stream.SendMsg(wrapperspb.String(value.GetValue() + "!"))
		default:
			return status.Error(codes.NotFound, method)
		}
	}))
	conn := b.dial()
	reply := wrapperspb.String("")
	err := conn.Invoke(t.Context(), "/any/Upside", wrapperspb.String("hello"), reply, grpc.CallContentSubtype("UPSIDE"))
	if err != nil || reply.GetValue() != "hello!" {
		t.Errorf("%v, %v", reply, err)
	}
	err = conn.Invoke(t.Context(), "/any/Upside", wrapperspb.String("hello"), reply, grpc.ForceCodec(upside{}), grpc.CallContentSubtype("upside"))
	if err != nil || reply.GetValue() != "hello!" {
		t.Errorf("%v, %v", reply, err)
	}
	stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, "/any/Upside", grpc.CallContentSubtype("upside"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(stream.SendMsg(wrapperspb.String("hello")), stream.CloseSend(), stream.RecvMsg(reply)); err != nil {
		t.Error(err)
	}
	if stream.SendMsg(wrapperspb.String("")) == nil {
		t.Error("a second request can be sent")
	}
	if err := stream.RecvMsg(reply); err != io.EOF {
		t.Error(err)
	}
	// Twice, because the server is asked by the method's hash only the first time.
	for range 2 {
		wantCode(t, conn.Invoke(t.Context(), "/any/Other", wrapperspb.String(""), reply), codes.NotFound)
	}
}

func TestACodecMayKeepWhatItGets(t *testing.T) {
	for _, option := range []grpc.CallOption{grpc.ForceCodecV2(keeping{}), grpc.ForceCodec(keepingV1{})} {
		b := serveTCP(t, grpcbridge.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
			var kept []mem.BufferSlice
			for {
				var message mem.BufferSlice
				if err := stream.RecvMsg(&message); err != nil {
					break
				}
				kept = append(kept, message)
				if err := stream.SendMsg(new(string)); err != nil { // so that the next one is not there yet
					return err
				}
			}
			var all []string
			for _, message := range kept {
				all = append(all, string(message.Materialize()))
				message.Free()
			}
			joined := strings.Join(all, ",")
			return stream.SendMsg(&joined)
		}))
		stream, err := b.dial().NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/any/Method", option)
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		var message mem.BufferSlice
		for i := range 100 {
			text := fmt.Sprint(i)
			want = append(want, "pre"+text)
			if err := errors.Join(stream.SendMsg(&text), stream.RecvMsg(&message)); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(stream.CloseSend(), stream.RecvMsg(&message)); err != nil {
			t.Fatal(err)
		}
		if got := string(message.Materialize()); got != "pre"+strings.Join(want, ",") {
			t.Errorf("got %q", got)
		}
	}
}

// A small message that becomes large is not let in.
func TestDecompressionIsBounded(t *testing.T) {
	b := serveEchoing(t, grpcbridge.MaxRecvMsgSize(100_000))
	client := b.stub()
	large := &testpb.SimpleRequest{Payload: &testpb.Payload{Body: make([]byte, 100_000)}}
	_, err := client.UnaryCall(t.Context(), large, grpc.UseCompressor(gzip.Name))
	wantCode(t, err, codes.ResourceExhausted)
	large.Payload.Body = large.GetPayload().GetBody()[:90_000]
	_, err = client.UnaryCall(t.Context(), large, grpc.UseCompressor(gzip.Name))
	wantCode(t, err, codes.OK)
	_, err = client.UnaryCall(t.Context(), large, grpc.UseCompressor(gzip.Name), grpc.MaxCallRecvMsgSize(80_000))
	wantCode(t, err, codes.ResourceExhausted)
}

// token is a PerRPCCredentials.
type token struct {
	secure bool
	told   *teller
	err    error
}

func (c token) GetRequestMetadata(ctx context.Context, uri ...string) (map[string]string, error) {
	info, _ := credentials.RequestInfoFromContext(ctx)
	c.told.tell("%s, %s, https %v", info.Method, info.AuthInfo.AuthType(), strings.HasPrefix(uri[0], "https://127.0.0.1:"))
	if len(uri) != 1 || !strings.HasSuffix(uri[0], "/grpc.testing.TestService") {
		c.told.tell("%v", uri)
	}
	return map[string]string{"Authorization": "sesame"}, c.err
}

func (c token) RequireTransportSecurity() bool { return c.secure }

func TestCredentials(t *testing.T) {
	overTransports(t, func(t *testing.T, b *bench) {
		var seen, told teller
		service := echoing()
		service.unary = func(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
			md, _ := metadata.FromIncomingContext(ctx)
			seen.tell("%v %v %v", md["authorization"], md[":authority"], md["content-type"])
			if client, _ := peer.FromContext(ctx); client.AuthInfo != nil {
				info, ok := client.AuthInfo.(credentials.TLSInfo)
				seen.tell("%v, %d certificates, secure: %v", ok, len(info.State.PeerCertificates), credentials.CheckSecurityLevel(info, credentials.PrivacyAndIntegrity))
			}
			return &testpb.SimpleResponse{}, nil
		}
		testpb.RegisterTestServiceServer(b.server, service)
		client := b.stub(grpcbridge.WithPerRPCCredentials(token{told: &told}))
		secure := strings.HasPrefix(b.address, "tls")
		https := fmt.Sprint(!strings.HasPrefix(b.address, "unix"))
		if _, err := client.UnaryCall(t.Context(), &testpb.SimpleRequest{}, grpc.CallAuthority("some.where")); err != nil {
			t.Fatal(err)
		}
		if secure {
			told.wantTold(t, unaryMethod+", tls, https false") // the authority is that of the call
			seen.wantTold(t, "[sesame] [some.where] [application/grpc]", "true, 1 certificates, secure: <nil>")
		} else {
			told.wantTold(t, unaryMethod+", insecure, https false")
			seen.wantTold(t, "[sesame] [some.where] [application/grpc]")
		}
		_, err := client.UnaryCall(t.Context(), &testpb.SimpleRequest{}, grpc.PerRPCCredentials(token{secure: true, told: &told}))
		if secure {
			wantCode(t, err, codes.OK)
			told.wantTold(t, unaryMethod+", tls, https true", unaryMethod+", tls, https true")
			seen.wantTold(t, "[sesame sesame] [] [application/grpc]", "true, 1 certificates, secure: <nil>")
		} else {
			wantCode(t, err, codes.Unauthenticated)
			told.wantTold(t, unaryMethod+", insecure, https "+https)
			seen.wantTold(t)
		}
		for wrong, code := range map[error]codes.Code{errors.New("none"): codes.Unauthenticated, status.Error(codes.Unavailable, "later"): codes.Unavailable} {
			_, err = client.UnaryCall(t.Context(), &testpb.SimpleRequest{}, grpc.PerRPCCredentials(token{told: &told, err: wrong}))
			wantCode(t, err, code)
			_, err = client.FullDuplexCall(t.Context(), grpc.PerRPCCredentials(token{told: &told, err: wrong}))
			wantCode(t, err, code)
		}
	})
}

func TestLimitsOfTheServer(t *testing.T) {
	b := serveEchoing(t, grpcbridge.MaxRecvMsgSize(8<<20), grpcbridge.MaxSendMsgSize(6<<20))
	client := b.stub(grpcbridge.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(9 << 20)))
	send := func(size int) error {
		response, err := client.UnaryCall(t.Context(), &testpb.SimpleRequest{Payload: &testpb.Payload{Body: make([]byte, size)}})
		if err == nil && len(response.GetPayload().GetBody()) != size {
			t.Errorf("%d bytes came back, want %d", len(response.GetPayload().GetBody()), size)
		}
		return err
	}
	wantCode(t, send(5<<20), codes.OK)
	wantCode(t, send(7<<20), codes.ResourceExhausted)  // can't be sent back
	wantCode(t, send(8<<20), codes.ResourceExhausted)  // a few bytes too long
	wantCode(t, send(20<<20), codes.ResourceExhausted) // longer than a frame
	wantCode(t, send(1000), codes.OK)
}

func TestGracefulStopWaitsForHandlers(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	service := echoing()
	service.unary = func(context.Context, *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		close(entered)
		<-release
		return &testpb.SimpleResponse{Username: "done"}, nil
	}
	b := serveTCP(t)
	testpb.RegisterTestServiceServer(b.server, service)
	client := b.stub()
	called := make(chan error, 1)
	go func() {
		response, err := client.UnaryCall(t.Context(), &testpb.SimpleRequest{})
		if response.GetUsername() != "done" {
			err = errors.Join(err, errors.New("no response"))
		}
		called <- err
	}()
	<-entered
	stopped := make(chan struct{})
	go func() {
		b.server.GracefulStop()
		close(stopped)
	}()
	for { // until the client has heard of it
		_, err := client.EmptyCall(t.Context(), &testpb.Empty{})
		if status.Code(err) == codes.Unavailable {
			if edict.OutcomeOf(err).Ran() {
				t.Errorf("the outcome of %v is %v", err, edict.OutcomeOf(err))
			}
			break
		}
		wantCode(t, err, codes.Unimplemented)
	}
	select {
	case <-stopped:
		t.Error("it has not waited")
	default:
	}
	close(release)
	if err := <-called; err != nil {
		t.Error(err)
	}
	<-stopped
	if _, err := client.UnaryCall(t.Context(), &testpb.SimpleRequest{}, grpc.WaitForReady(true)); status.Code(err) != codes.Unavailable {
		t.Errorf("got %v; nothing connects again, so there is nothing to wait for", err)
	}
}

func TestStopEndsHandlers(t *testing.T) {
	b := serveTCP(t)
	service := echoing()
	ended := make(chan error, 1)
	service.duplex = func(stream grpc.BidiStreamingServer[testpb.StreamingOutputCallRequest, testpb.StreamingOutputCallResponse]) error {
		_ = stream.SendHeader(nil)
		<-stream.Context().Done()
		_, err := stream.Recv()
		ended <- err
		return err
	}
	testpb.RegisterTestServiceServer(b.server, service)
	stream, err := b.stub().FullDuplexCall(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Header(); err != nil {
		t.Fatal(err)
	}
	b.server.Stop()
	wantCode(t, <-ended, codes.Canceled)
	_, err = stream.Recv()
	wantCode(t, err, codes.Unavailable)
}

func TestAPanicEndsItsCallOnly(t *testing.T) {
	b := serveTCP(t)
	service := echoing()
	service.unary = func(context.Context, *testpb.SimpleRequest) (*testpb.SimpleResponse, error) { panic("on purpose") }
	testpb.RegisterTestServiceServer(b.server, service)
	client := b.stub()
	_, err := client.UnaryCall(t.Context(), &testpb.SimpleRequest{})
	wantCode(t, err, codes.Internal)
	if strings.Contains(err.Error(), "on purpose") {
		t.Errorf("the client is told: %v", err)
	}
	wantEchoes(t, client)
}

// calc is the receiver of native commands beside gRPC's.
type calc struct{}

type add struct{ A, B int }

func (a add) Exec(context.Context, *calc) (int, error) { return a.A + a.B, nil }

func TestBesideNativeCommands(t *testing.T) {
	var admitted teller
	server := grpcbridge.NewServer()
	service := echoing()
	service.unary = func(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		admitted.tell("the handler has %v", ctx.Value(calc{}))
		return &testpb.SimpleResponse{}, nil
	}
	testpb.RegisterTestServiceServer(server, service)
	native := edict.NewServer(&calc{}, edict.Commands(append(grpcbridge.Commands[*calc](server), edict.Unary[add]())...),
		edict.WithServerInterceptors(func(ctx context.Context, call *edict.ServerCall, next func(context.Context) error) error {
			if gRPC, ok := call.Command.(*grpcbridge.Call); ok {
				admitted.tell("%s %s stream %v inputs %v", call.Name, gRPC.Method, call.Stream, call.Inputs)
				call.OnInput(func(input any) error { admitted.tell("in %T", input); return nil })
				call.OnResult(func(result any) error { admitted.tell("out %T", result); return nil })
				if call.Metadata().Get("token") != "sesame" {
					return edict.Errorf(edict.Unauthenticated, "no token")
				}
			}
			return next(context.WithValue(ctx, calc{}, "from the interceptor"))
		}))
	listener, err := native.Listen("tcp://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- native.Serve(listener) }()
	defer func() {
		if err := native.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		<-served
	}()
	client, err := edict.Dial(t.Context(), "tcp://"+listener.Addr().String(),
		edict.Commands(append(grpcbridge.Commands[*calc](nil), edict.Unary[add]())...),
		edict.WithClientInterceptors(func(ctx context.Context, call *edict.ClientCall, next edict.ClientNext) (edict.Exchange, error) {
			if gRPC, ok := call.Command.(interface{ Method() string }); ok {
				admitted.tell("client %s %s", call.Name, gRPC.Method())
			}
			return next(ctx, call)
		}))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if sum, err := edict.Call(t.Context(), client, add{2, 3}); sum != 5 || err != nil {
		t.Errorf("%d, %v", sum, err)
	}
	conn := grpcbridge.NewClientConn(client)
	stub := testpb.NewTestServiceClient(conn)
	_, err = stub.UnaryCall(t.Context(), &testpb.SimpleRequest{})
	wantCode(t, err, codes.Unauthenticated)
	if edict.OutcomeOf(err) != edict.Refused {
		t.Errorf("the outcome is %v", edict.OutcomeOf(err))
	}
	admitted.wantTold(t, "client grpc.unary "+unaryMethod, "grpc.unary "+unaryMethod+" stream false inputs false")

	ctx := metadata.AppendToOutgoingContext(t.Context(), "token", "sesame")
	if _, err = stub.UnaryCall(ctx, &testpb.SimpleRequest{}); err != nil {
		t.Error(err)
	}
	admitted.wantTold(t, "client grpc.unary "+unaryMethod, "grpc.unary "+unaryMethod+" stream false inputs false",
		"the handler has from the interceptor", "out *grpc_testing.SimpleResponse")
	stream, err := stub.StreamingOutputCall(ctx, &testpb.StreamingOutputCallRequest{ResponseParameters: make([]*testpb.ResponseParameters, 1)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Error(err)
	}
	if _, err := stream.Recv(); err != io.EOF {
		t.Error(err)
	}
	admitted.wantTold(t, "client grpc.stream "+downloadMethod, "grpc.stream "+downloadMethod+" stream true inputs false", "out *grpc_testing.StreamingOutputCallResponse")
	duplex, err := stub.FullDuplexCall(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := duplex.Send(&testpb.StreamingOutputCallRequest{}); err != nil {
		t.Error(err)
	}
	if _, err := duplex.Recv(); err != nil {
		t.Error(err)
	}
	admitted.wantTold(t, "client grpc.duplex "+duplexMethod, "grpc.duplex "+duplexMethod+" stream true inputs true",
		"in *grpc_testing.StreamingOutputCallRequest", "out *grpc_testing.StreamingOutputCallResponse")
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	if sum, err := edict.Call(t.Context(), client, add{2, 3}); sum != 5 || err != nil {
		t.Errorf("after the ClientConn was closed: %d, %v", sum, err)
	}
}

func TestAServerWithoutServices(t *testing.T) {
	native := edict.NewServer(struct{}{}, edict.Commands(grpcbridge.Commands[struct{}](nil)...))
	listener, err := native.Listen("tcp://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- native.Serve(listener) }()
	conn, err := grpcbridge.Dial(t.Context(), "tcp://"+listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	client := testpb.NewTestServiceClient(conn)
	_, err = client.UnaryCall(t.Context(), &testpb.SimpleRequest{})
	wantCode(t, err, codes.Unimplemented)
	stream, err := client.FullDuplexCall(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = stream.Recv()
	wantCode(t, err, codes.Unimplemented)
	if err := errors.Join(conn.Close(), native.Shutdown(context.Background())); err != nil {
		t.Error(err)
	}
	<-served
}

func TestErrorsHaveAnOutcome(t *testing.T) {
	b := serveTCP(t)
	service := echoing()
	service.unary = func(ctx context.Context, request *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		if request.GetFillUsername() {
			return nil, edict.Errorf(edict.OutOfRange, "an error of Edict").WithRetryAfter(time.Minute).WithDetail(add{1, 2})
		}
		return nil, status.Error(codes.NotFound, "none")
	}
	testpb.RegisterTestServiceServer(b.server, service)
	client := b.stub()
	_, err := client.UnaryCall(t.Context(), &testpb.SimpleRequest{})
	wantCode(t, err, codes.NotFound)
	if edict.OutcomeOf(err) != edict.Executed || !errors.Is(err, edict.NotFound) || !errors.Is(err, status.Error(codes.NotFound, "none")) {
		t.Errorf("the error is %#v", err)
	}
	_, err = client.UnaryCall(t.Context(), &testpb.SimpleRequest{FillUsername: true})
	wantCode(t, err, codes.OutOfRange)
	e, _ := errors.AsType[*edict.Error](err)
	if detail, ok := edict.DetailOf[add](err); !ok || detail.B != 2 || e.RetryAfter != time.Minute {
		t.Errorf("the error is %#v", e)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = client.UnaryCall(ctx, &testpb.SimpleRequest{})
	if wantCode(t, err, codes.Canceled); !errors.Is(err, context.Canceled) || edict.OutcomeOf(err) != edict.NotSent {
		t.Errorf("%v, %v", err, edict.OutcomeOf(err))
	}
	// The cause of a context's end is for this side only; what the caller gets is Canceled, whatever it is.
	caused, cause := context.WithCancelCause(t.Context())
	cause(status.Error(codes.DataLoss, "my reason"))
	_, err = client.UnaryCall(caused, &testpb.SimpleRequest{})
	wantCode(t, err, codes.Canceled)
}

func TestDetailsThatAreTooLarge(t *testing.T) {
	b := serveTCP(t)
	service := echoing()
	service.unary = func(context.Context, *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		s, err := status.New(codes.Aborted, "sorry").WithDetails(&testpb.Payload{Body: make([]byte, 1<<20)})
		if err != nil {
			return nil, err
		}
		return nil, s.Err()
	}
	testpb.RegisterTestServiceServer(b.server, service)
	_, err := b.stub().UnaryCall(t.Context(), &testpb.SimpleRequest{})
	if wantCode(t, err, codes.Aborted); !strings.Contains(err.Error(), "sorry (its details are too large)") {
		t.Error(err)
	}
}

// Who receives nothing any more, and cancels, leaves nothing behind.
func TestAStreamThatIsCancelledEndsWithoutBeingReceived(t *testing.T) {
	b := serveEchoing(t)
	finished := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	stream, err := b.stub().FullDuplexCall(ctx, grpc.OnFinish(func(err error) { finished <- err }))
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&testpb.StreamingOutputCallRequest{}); err != nil {
		t.Fatal(err)
	}
	cancel()
	wantCode(t, <-finished, codes.Canceled)
	if err := stream.Send(&testpb.StreamingOutputCallRequest{}); err != io.EOF {
		t.Errorf("Send returns %v", err)
	}
	_, err = stream.Recv()
	wantCode(t, err, codes.Canceled)
}

// Header, Send and Recv may be called at the same time.
func TestAStreamInSeveralGoroutines(t *testing.T) {
	b := serveEchoing(t)
	client := b.stub()
	var group sync.WaitGroup
	for range 8 {
		stream, err := client.FullDuplexCall(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		const messages = 200
		group.Go(func() {
			for i := range messages {
				if err := stream.Send(&testpb.StreamingOutputCallRequest{Payload: &testpb.Payload{Body: fmt.Append(nil, i)}}); err != nil {
					t.Error(err)
				}
			}
			if err := stream.CloseSend(); err != nil {
				t.Error(err)
			}
		})
		group.Go(func() {
			if _, err := stream.Header(); err != nil {
				t.Error(err)
			}
		})
		group.Go(func() {
			for i := range messages {
				response, err := stream.Recv()
				if err != nil || string(response.GetPayload().GetBody()) != fmt.Sprint(i) {
					t.Errorf("got %v, %v, want %d", response, err, i)
					return
				}
			}
			if _, err := stream.Recv(); err != io.EOF {
				t.Error(err)
			}
		})
	}
	group.Wait()
}

// A handler's goroutine that goes on after its end does no harm.
func TestAStreamIsUsedAfterItsHandlersEnd(t *testing.T) {
	b := serveTCP(t)
	service := echoing()
	streams := make(chan grpc.BidiStreamingServer[testpb.StreamingOutputCallRequest, testpb.StreamingOutputCallResponse], 1)
	contexts := make(chan context.Context, 1)
	service.duplex = func(stream grpc.BidiStreamingServer[testpb.StreamingOutputCallRequest, testpb.StreamingOutputCallResponse]) error {
		streams <- stream
		return nil
	}
	service.unary = func(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		contexts <- ctx
		return &testpb.SimpleResponse{}, nil
	}
	testpb.RegisterTestServiceServer(b.server, service)
	client := b.stub()
	stream, err := client.FullDuplexCall(metadata.AppendToOutgoingContext(t.Context(), "key", "value"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != io.EOF {
		t.Fatal(err)
	}
	late := <-streams
	if late.Send(&testpb.StreamingOutputCallResponse{}) == nil || late.SendHeader(nil) == nil || late.SetHeader(metadata.Pairs("a", "b")) == nil {
		t.Error("it can send")
	}
	if _, err := late.Recv(); err == nil {
		t.Error("it can receive")
	}
	late.SetTrailer(metadata.Pairs("a", "b"))
	if _, err := client.UnaryCall(t.Context(), &testpb.SimpleRequest{}); err != nil {
		t.Fatal(err)
	}
	ctx := <-contexts
	if grpc.SetTrailer(ctx, metadata.Pairs("a", "b")) == nil || ctx.Err() == nil {
		t.Error("the context goes on")
	}
	if md, ok := metadata.FromIncomingContext(late.Context()); !ok || md["key"][0] != "value" {
		t.Errorf("its metadata is %v", md)
	}
}

// Contexts that a handler makes of its own end with it, and so do those of the next layers.
func TestContextsMadeOfAHandlersContext(t *testing.T) {
	b := serveTCP(t)
	service := echoing()
	ended := make(chan error, 2)
	service.unary = func(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		child, cancel := context.WithTimeout(context.WithValue(ctx, calc{}, 1), time.Hour)
		if edict.PeerOf(child).Address == nil {
			t.Error("what Edict knows of the client can't be seen")
		}
		context.AfterFunc(child, func() {
			ended <- child.Err()
			cancel()
		})
		return &testpb.SimpleResponse{}, nil
	}
	testpb.RegisterTestServiceServer(b.server, service)
	if _, err := b.stub().UnaryCall(t.Context(), &testpb.SimpleRequest{}); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != context.Canceled {
		t.Error(err)
	}
}

// The way without the keys of gRPC's contexts, should they change, gives handlers the same.
func TestContextsWithoutTheKeysOfGRPC(t *testing.T) {
	b := serveTCP(t, grpcbridge.WithoutContextKeys())
	service := echoing()
	service.unary = func(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		_, hasPeer := peer.FromContext(ctx)
		method, _ := grpc.Method(ctx)
		_ = grpc.SetHeader(ctx, metadata.Pairs("seen", fmt.Sprintf("%v %v %v", md["key"], hasPeer, method)))
		return &testpb.SimpleResponse{}, nil
	}
	testpb.RegisterTestServiceServer(b.server, service)
	var header metadata.MD
	_, err := b.stub().UnaryCall(metadata.AppendToOutgoingContext(t.Context(), "key", "value"), &testpb.SimpleRequest{}, grpc.Header(&header))
	if want := "[value] true " + unaryMethod; err != nil || len(header["seen"]) != 1 || header["seen"][0] != want {
		t.Errorf("%v, %v; want %s", header, err, want)
	}
	if !grpcbridge.KeysKnown() {
		t.Error("the keys of gRPC's contexts are not known: has it changed them?")
	}
}

func TestRegisteringPanicsWithAClearText(t *testing.T) {
	for want, register := range map[string]func(*grpcbridge.Server){
		"registered already": func(s *grpcbridge.Server) {
			testpb.RegisterTestServiceServer(s, echoing())
			testpb.RegisterTestServiceServer(s, echoing())
		},
		"does not implement": func(s *grpcbridge.Server) { s.RegisterService(&testpb.TestService_ServiceDesc, 5) },
	} {
		func() {
			defer func() {
				if text := fmt.Sprint(recover()); !strings.HasPrefix(text, "grpcbridge: ") || !strings.Contains(text, want) {
					t.Errorf("it panics with %q, want %q", text, want)
				}
			}()
			register(grpcbridge.NewServer())
		}()
	}
}

// Two methods whose names have the same hash both go by their names.
func TestMethodsWithTheSameHash(t *testing.T) {
	b := serveEchoing(t)
	b.server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "other", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "One", Handler: func(any, context.Context, func(any) error, grpc.UnaryServerInterceptor) (any, error) {
			return wrapperspb.String("one"), nil
		}}},
	}, struct{}{})
	b.server.Collide(unaryMethod, "/other/One")
	conn := b.dial()
	reply := wrapperspb.String("")
	for range 2 {
		wantEcho(t, testpb.NewTestServiceClient(conn))
		if err := conn.Invoke(t.Context(), "/other/One", proto.Message(nil), reply); err != nil || reply.GetValue() != "one" {
			t.Errorf("%v, %v", reply, err)
		}
	}
}

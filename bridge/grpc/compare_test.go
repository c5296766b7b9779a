package grpcbridge_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	grpcbridge "github.com/edict-go/edict/bridge/grpc"
)

// service is a TestService whose methods are what a test sets.
type service struct {
	testpb.UnimplementedTestServiceServer
	unary    func(context.Context, *testpb.SimpleRequest) (*testpb.SimpleResponse, error)
	download func(*testpb.StreamingOutputCallRequest, grpc.ServerStreamingServer[testpb.StreamingOutputCallResponse]) error
	upload   func(grpc.ClientStreamingServer[testpb.StreamingInputCallRequest, testpb.StreamingInputCallResponse]) error
	duplex   func(grpc.BidiStreamingServer[testpb.StreamingOutputCallRequest, testpb.StreamingOutputCallResponse]) error
}

func (s *service) UnaryCall(ctx context.Context, request *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	return s.unary(ctx, request)
}

func (s *service) StreamingOutputCall(request *testpb.StreamingOutputCallRequest, stream grpc.ServerStreamingServer[testpb.StreamingOutputCallResponse]) error {
	return s.download(request, stream)
}

func (s *service) StreamingInputCall(stream grpc.ClientStreamingServer[testpb.StreamingInputCallRequest, testpb.StreamingInputCallResponse]) error {
	return s.upload(stream)
}

func (s *service) FullDuplexCall(stream grpc.BidiStreamingServer[testpb.StreamingOutputCallRequest, testpb.StreamingOutputCallResponse]) error {
	return s.duplex(stream)
}

// story is a conversation that is had twice, over gRPC and over the bridge. What its two sides tell must be the
// same.
type story struct {
	service func(tell) *service
	client  func(ctx context.Context, tell tell, conn grpc.ClientConnInterface)
}

// tell notes what happened. Each side has one, because the two run at the same time.
type tell func(format string, arguments ...any)

// teller collects what a side tells.
type teller struct {
	mu    sync.Mutex
	lines []string
}

func (t *teller) tell(format string, arguments ...any) {
	for i, argument := range arguments {
		switch argument := argument.(type) {
		case error:
			arguments[i] = describe(argument)
		case metadata.MD:
			arguments[i] = describeMetadata(argument)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines = append(t.lines, fmt.Sprintf(format, arguments...))
}

// describe tells what users of gRPC see of an error.
func describe(err error) string {
	if err == io.EOF {
		return "EOF"
	}
	s, ok := status.FromError(err)
	text := fmt.Sprintf("%v %q, a status: %v", s.Code(), s.Message(), ok)
	for _, detail := range s.Details() {
		text += fmt.Sprintf(", %T", detail)
		if m, ok := detail.(proto.Message); ok {
			encoded, _ := proto.MarshalOptions{Deterministic: true}.Marshal(m)
			text += fmt.Sprintf(" %x", encoded)
		}
	}
	return text
}

// describeMetadata leaves out what transports add.
func describeMetadata(md metadata.MD) string {
	md = md.Copy()
	for _, key := range []string{":authority", "user-agent", "grpc-accept-encoding", "content-type"} {
		delete(md, key)
	}
	var text []string
	for _, key := range slices.Sorted(maps.Keys(md)) {
		text = append(text, fmt.Sprintf("%s=%q", key, md[key]))
	}
	return strings.Join(text, " ")
}

// classic starts a server of gRPC itself and returns a connection to it.
func classic(t testing.TB, register func(grpc.ServiceRegistrar), options []grpc.ServerOption, dialing ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(append(options, grpc.WaitForHandlers(true))...)
	register(server)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:///"+listener.Addr().String(),
		append(dialing, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		server.Stop()
		if err := <-served; err != nil && err != grpc.ErrServerStopped { // stopped before it began
			t.Error(err)
		}
	})
	return conn
}

// compare has the story over gRPC and over the bridge.
func (s story) compare(t *testing.T) {
	var told [2][2][]string
	for i, over := range []string{"gRPC", "Edict"} {
		var onServer, onClient teller
		t.Run(over, func(t *testing.T) { // at its end the handlers have ended
			register := func(registrar grpc.ServiceRegistrar) {
				testpb.RegisterTestServiceServer(registrar, s.service(onServer.tell))
			}
			var conn grpc.ClientConnInterface
			if over == "gRPC" {
				conn = classic(t, register, nil)
			} else {
				b := serveTCP(t)
				register(b.server)
				conn = b.dial()
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			s.client(ctx, onClient.tell, conn)
		})
		told[i] = [2][]string{onServer.lines, onClient.lines}
	}
	for side, name := range []string{"server", "client"} {
		if !slices.Equal(told[0][side], told[1][side]) {
			t.Errorf("the %s tells over gRPC\n\t%s\nand over Edict\n\t%s", name,
				strings.Join(told[0][side], "\n\t"), strings.Join(told[1][side], "\n\t"))
		}
	}
	if len(told[0][1]) == 0 {
		t.Error("the story tells nothing")
	}
}

// errorsOfHandlers are what handlers return.
func errorsOfHandlers() []error {
	detailed, err := status.New(codes.FailedPrecondition, "with details").WithDetails(
		durationpb.New(time.Minute), &testpb.Payload{Body: []byte{0, 1, 255}})
	if err != nil {
		panic(err)
	}
	all := []error{
		errors.New("plain"), context.DeadlineExceeded, context.Canceled, io.ErrUnexpectedEOF,
		fmt.Errorf("around it: %w", status.Error(codes.NotFound, "inner")),
		fmt.Errorf("around it: %w", detailed.Err()), detailed.Err(),
		status.Error(99, "a code of one's own"), status.Error(codes.Internal, ""), status.Error(codes.Aborted, "☺\x00\n%41"),
	}
	for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
		all = append(all, status.Error(code, "on purpose"))
	}
	return all
}

func TestStories(t *testing.T) {
	background := context.Background()
	payload := func(size int32) *testpb.Payload { return &testpb.Payload{Body: make([]byte, size)} }
	toStub := func(f func(ctx context.Context, tell tell, client testpb.TestServiceClient)) func(context.Context, tell, grpc.ClientConnInterface) {
		return func(ctx context.Context, tell tell, conn grpc.ClientConnInterface) {
			f(ctx, tell, testpb.NewTestServiceClient(conn))
		}
	}
	receiveAll := func(tell tell, stream grpc.ServerStreamingClient[testpb.StreamingOutputCallResponse], err error) {
		if err != nil {
			tell("no stream: %v", err)
			return
		}
		header, err := stream.Header()
		tell("header %v, %v", header, err)
		for {
			response, err := stream.Recv()
			if err != nil {
				tell("then %v, trailer %v", err, stream.Trailer())
				if status.Code(err) == codes.ResourceExhausted {
					return // gRPC reads on, from the middle of the message
				}
				_, again := stream.Recv()
				tell("and again %v", again)
				return
			}
			tell("got %d bytes", len(response.GetPayload().GetBody()))
		}
	}

	for name, story := range map[string]story{
		"unary, metadata both ways": {
			func(tell tell) *service {
				return &service{unary: func(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
					md, ok := metadata.FromIncomingContext(ctx)
					tell("metadata %v, %v; values %v", md, ok, metadata.ValueFromIncomingContext(ctx, "Two"))
					method, _ := grpc.Method(ctx)
					other, ok := peer.FromContext(ctx)
					tell("method %s, peer %v, network %s, %v", method, ok, other.Addr.Network(), other.AuthInfo)
					tell("SetHeader %v", grpc.SetHeader(ctx, metadata.Pairs("first", "1", "bytes-bin", "\x00\xff", "First", "again")))
					tell("SetHeader %v", grpc.SetHeader(ctx, metadata.Pairs("second", "2", "grpc-mine", "3")))
					tell("SetTrailer %v", grpc.SetTrailer(ctx, metadata.Pairs("end", "1", "bytes-bin", "\xff\x00", "first", "in the trailer")))
					tell("SetTrailer %v", grpc.SetTrailer(ctx, metadata.Pairs("end", "2")))
					return &testpb.SimpleResponse{Payload: payload(7)}, nil
				}}
			},
			toStub(func(ctx context.Context, tell tell, client testpb.TestServiceClient) {
				ctx = metadata.AppendToOutgoingContext(ctx, "one", "1", "Two", "2", "two", "3", "bytes-bin", "\x00\x01\xff", "grpc-mine", "no", "empty", "",
					"te", "mine", "grpc-message-type", "mine", "grpc-message", "mine")
				var header, trailer metadata.MD
				var other peer.Peer
				response, err := client.UnaryCall(ctx, &testpb.SimpleRequest{}, grpc.Header(&header), grpc.Trailer(&trailer), grpc.Peer(&other))
				tell("%d bytes, %v; header %v, trailer %v", len(response.GetPayload().GetBody()), err, header, trailer)
				tell("peer %s, %s", other.Addr.Network(), other.AuthInfo.AuthType())
			}),
		},
		"unary, SendHeader is once": {
			func(tell tell) *service {
				return &service{unary: func(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
					tell("SendHeader %v", grpc.SendHeader(ctx, metadata.Pairs("first", "1")))
					tell("SendHeader fails: %v", grpc.SendHeader(ctx, metadata.Pairs("second", "1")) != nil)
					tell("SetHeader fails: %v", grpc.SetHeader(ctx, metadata.Pairs("third", "1")) != nil)
					return nil, nil
				}}
			},
			toStub(func(ctx context.Context, tell tell, client testpb.TestServiceClient) {
				var header metadata.MD
				_, err := client.UnaryCall(ctx, &testpb.SimpleRequest{}, grpc.Header(&header))
				tell("%v, header %v", err, header)
			}),
		},
		"unary, errors": {
			func(tell tell) *service {
				return &service{unary: func(ctx context.Context, request *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
					_ = grpc.SetHeader(ctx, metadata.Pairs("header", "1"))
					_ = grpc.SetTrailer(ctx, metadata.Pairs("trailer", "1"))
					return nil, errorsOfHandlers()[request.GetResponseSize()]
				}}
			},
			toStub(func(ctx context.Context, tell tell, client testpb.TestServiceClient) {
				for i := range errorsOfHandlers() {
					var header, trailer metadata.MD
					response, err := client.UnaryCall(ctx, &testpb.SimpleRequest{ResponseSize: int32(i)}, grpc.Header(&header), grpc.Trailer(&trailer))
					tell("%d: %v, %v; header %v, trailer %v", i, response, err, header, trailer)
				}
			}),
		},
		"unary, deadlines and cancels": {
			func(tell tell) *service {
				return &service{unary: func(ctx context.Context, request *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
					deadline, ok := ctx.Deadline()
					tell("deadline %v, within a minute %v", ok, time.Until(deadline) < time.Minute)
					if request.GetFillUsername() {
						<-ctx.Done()
						tell("ended") // by the deadline or by the client's cancel, whatever is first
						return nil, ctx.Err()
					}
					return &testpb.SimpleResponse{}, nil
				}}
			},
			toStub(func(ctx context.Context, tell tell, client testpb.TestServiceClient) {
				_, err := client.UnaryCall(background, &testpb.SimpleRequest{})
				tell("without: %v", err)
				_, err = client.UnaryCall(ctx, &testpb.SimpleRequest{})
				tell("with: %v", err)
				for _, waits := range []bool{true, false} { // within and before
					short, cancel := context.WithTimeout(ctx, 500*time.Millisecond) // so that it is long enough to begin, on a busy machine too
					if !waits {
						<-short.Done()
					}
					_, err = client.UnaryCall(short, &testpb.SimpleRequest{FillUsername: true})
					tell("too short: %v", status.Code(err))
					cancel()
					over, cancel := context.WithCancel(ctx)
					cancel()
					_, err = client.UnaryCall(over, &testpb.SimpleRequest{FillUsername: true})
					tell("canceled before: %v", status.Code(err))
				}
			}),
		},
		"methods and services that are not there": {
			func(tell) *service { return &service{} },
			func(ctx context.Context, tell tell, conn grpc.ClientConnInterface) {
				for _, method := range []string{"/grpc.testing.TestService/No", "/no.Service/Method", "/no/Such/Service/Method", "/", "//"} {
					tell("%s: %v", method, conn.Invoke(ctx, method, &testpb.Empty{}, &testpb.Empty{}))
					tell("again: %v", conn.Invoke(ctx, method, &testpb.Empty{}, &testpb.Empty{}))
					stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method)
					tell("%v", err)
					tell("%v", stream.RecvMsg(&testpb.Empty{}))
				}
				_, err := testpb.NewTestServiceClient(conn).EmptyCall(ctx, &testpb.Empty{})
				tell("a method that is not implemented: %v", err)
			},
		},
		"unary methods as streams, streams as unary methods": {
			func(tell tell) *service {
				return &service{
					unary: func(ctx context.Context, request *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
						_ = grpc.SendHeader(ctx, metadata.Pairs("header", "1"))
						if request.GetFillUsername() {
							return nil, status.Error(codes.NotFound, "no")
						}
						return &testpb.SimpleResponse{Payload: payload(request.GetResponseSize())}, nil
					},
					download: func(request *testpb.StreamingOutputCallRequest, stream grpc.ServerStreamingServer[testpb.StreamingOutputCallResponse]) error {
						_ = stream.SetHeader(metadata.Pairs("header", "2"))
						stream.SetTrailer(metadata.Pairs("trailer", "2"))
						for _, parameters := range request.GetResponseParameters() {
							_ = stream.Send(&testpb.StreamingOutputCallResponse{Payload: payload(parameters.GetSize())})
						}
						return nil
					},
				}
			},
			func(ctx context.Context, tell tell, conn grpc.ClientConnInterface) {
				for _, description := range []*grpc.StreamDesc{{}, {ServerStreams: true}, {ClientStreams: true}, {ServerStreams: true, ClientStreams: true}} {
					for _, fails := range []bool{false, true} {
						stream, err := conn.NewStream(ctx, description, "/grpc.testing.TestService/UnaryCall")
						tell("%v", err)
						tell("%v", stream.SendMsg(&testpb.SimpleRequest{ResponseSize: 5, FillUsername: fails}))
						tell("%v", stream.CloseSend())
						header, err := stream.Header()
						tell("header %v, %v", header, err)
						response := &testpb.SimpleResponse{}
						tell("%v", stream.RecvMsg(response))
						tell("%d bytes", len(response.GetPayload().GetBody()))
						tell("%v", stream.RecvMsg(response))
					}
				}
				var header, trailer metadata.MD
				response := &testpb.StreamingOutputCallResponse{}
				err := conn.Invoke(ctx, "/grpc.testing.TestService/StreamingOutputCall", &testpb.StreamingOutputCallRequest{
					ResponseParameters: []*testpb.ResponseParameters{{Size: 9}},
				}, response, grpc.Header(&header), grpc.Trailer(&trailer))
				tell("%d bytes, %v; header %v, trailer %v", len(response.GetPayload().GetBody()), err, header, trailer)
				err = conn.Invoke(ctx, "/grpc.testing.TestService/StreamingOutputCall", &testpb.StreamingOutputCallRequest{}, response)
				tell("without a response: %v", status.Code(err))
				err = conn.Invoke(ctx, "/grpc.testing.TestService/StreamingOutputCall", &testpb.StreamingOutputCallRequest{
					ResponseParameters: []*testpb.ResponseParameters{{Size: 9}, {Size: 10}},
				}, response)
				tell("with two: %v", status.Code(err))
			},
		},
		"download, headers": {
			func(tell tell) *service {
				return &service{download: func(request *testpb.StreamingOutputCallRequest, stream grpc.ServerStreamingServer[testpb.StreamingOutputCallResponse]) error {
					how := string(request.GetPayload().GetBody())
					tell("%s", how)
					if strings.Contains(how, "set") {
						tell("SetHeader %v", stream.SetHeader(metadata.Pairs("set", "1", "x-bin", "\x00")))
					}
					if strings.Contains(how, "send") {
						tell("SendHeader %v", stream.SendHeader(metadata.Pairs("send", "1")))
						tell("SendHeader again fails: %v", stream.SendHeader(nil) != nil)
					}
					for _, parameters := range request.GetResponseParameters() {
						tell("%v", stream.Send(&testpb.StreamingOutputCallResponse{Payload: payload(parameters.GetSize())}))
						tell("SetHeader fails: %v", stream.SetHeader(metadata.Pairs("late", "1")) != nil)
					}
					stream.SetTrailer(metadata.Pairs("trailer", "1"))
					stream.SetTrailer(metadata.Pairs("trailer", "2"))
					if strings.Contains(how, "fail") {
						return status.Error(codes.DataLoss, "on purpose")
					}
					return nil
				}}
			},
			toStub(func(ctx context.Context, tell tell, client testpb.TestServiceClient) {
				for _, how := range []string{"", "set", "send", "set send", "fail", "set fail", "send fail"} {
					for _, sizes := range [][]int32{nil, {0}, {1, 2, 100_000, 3}} {
						request := &testpb.StreamingOutputCallRequest{Payload: &testpb.Payload{Body: []byte(how)}}
						for _, size := range sizes {
							request.ResponseParameters = append(request.ResponseParameters, &testpb.ResponseParameters{Size: size})
						}
						stream, err := client.StreamingOutputCall(ctx, request)
						receiveAll(tell, stream, err)
					}
				}
			}),
		},
		"upload": {
			func(tell tell) *service {
				return &service{upload: func(stream grpc.ClientStreamingServer[testpb.StreamingInputCallRequest, testpb.StreamingInputCallResponse]) error {
					_ = stream.SetHeader(metadata.Pairs("header", "1"))
					sum := 0
					for {
						request, err := stream.Recv()
						if err == io.EOF {
							_, again := stream.Recv()
							tell("end after %d bytes, again %v", sum, again)
							stream.SetTrailer(metadata.Pairs("trailer", "1"))
							return stream.SendAndClose(&testpb.StreamingInputCallResponse{AggregatedPayloadSize: int32(sum)})
						}
						if err != nil {
							return err
						}
						switch size := len(request.GetPayload().GetBody()); size {
						case 1: // fails early
							return status.Error(codes.OutOfRange, "one")
						case 2: // ends early
							return stream.SendAndClose(&testpb.StreamingInputCallResponse{AggregatedPayloadSize: -1})
						case 3: // ends without a response
							return nil
						default:
							sum += size
						}
					}
				}}
			},
			toStub(func(ctx context.Context, tell tell, client testpb.TestServiceClient) {
				for _, sizes := range [][]int32{{}, {10}, {10, 20, 100_000, 0}, {1}, {2}, {3}, {10, 1}} {
					stream, err := client.StreamingInputCall(ctx)
					tell("%v: %v", sizes, err)
					for _, size := range sizes {
						tell("%v", stream.Send(&testpb.StreamingInputCallRequest{Payload: payload(size)}))
					}
					response, err := stream.CloseAndRecv()
					header, headerErr := stream.Header()
					tell("%d, %v; header %v, %v, trailer %v", response.GetAggregatedPayloadSize(), err, header, headerErr, stream.Trailer())
				}
			}),
		},
		"upload, the end is seen by who sends": {
			func(tell tell) *service {
				return &service{upload: func(stream grpc.ClientStreamingServer[testpb.StreamingInputCallRequest, testpb.StreamingInputCallResponse]) error {
					return status.Error(codes.ResourceExhausted, "enough")
				}}
			},
			toStub(func(ctx context.Context, tell tell, client testpb.TestServiceClient) {
				stream, err := client.StreamingInputCall(ctx)
				for err == nil {
					err = stream.Send(&testpb.StreamingInputCallRequest{Payload: payload(1000)})
				}
				tell("Send %v", err)
				tell("CloseSend %v", stream.CloseSend())
				_, err = stream.CloseAndRecv()
				tell("%v", err)
			}),
		},
		"duplex": {
			func(tell tell) *service {
				return &service{duplex: func(stream grpc.BidiStreamingServer[testpb.StreamingOutputCallRequest, testpb.StreamingOutputCallResponse]) error {
					md, _ := metadata.FromIncomingContext(stream.Context())
					tell("metadata %v", md)
					tell("%v", stream.SendHeader(metadata.Pairs("early", "1")))
					for {
						request, err := stream.Recv()
						if err != nil {
							tell("then %v", err)
							stream.SetTrailer(metadata.Pairs("trailer", "1"))
							return stream.Send(&testpb.StreamingOutputCallResponse{Payload: payload(1)})
						}
						for range request.GetResponseParameters() {
							if err := stream.Send(&testpb.StreamingOutputCallResponse{Payload: request.GetPayload()}); err != nil {
								return err
							}
						}
					}
				}}
			},
			toStub(func(ctx context.Context, tell tell, client testpb.TestServiceClient) {
				stream, err := client.FullDuplexCall(metadata.AppendToOutgoingContext(ctx, "key", "value"))
				tell("%v", err)
				header, err := stream.Header() // comes before the first request is sent
				tell("header %v, %v", header, err)
				for i := range 3 {
					tell("%v", stream.Send(&testpb.StreamingOutputCallRequest{
						Payload: payload(int32(i * 40_000)), ResponseParameters: make([]*testpb.ResponseParameters, i),
					}))
					for range i {
						response, err := stream.Recv()
						tell("%d bytes, %v", len(response.GetPayload().GetBody()), err)
					}
				}
				tell("%v", stream.CloseSend())
				tell("CloseSend again %v", stream.CloseSend())
				_, err = stream.Recv()
				tell("%v", err)
				_, err = stream.Recv()
				tell("%v, trailer %v", err, stream.Trailer())
				tell("Send fails at the end: %v", stream.Send(&testpb.StreamingOutputCallRequest{}) != nil)
			}),
		},
		"duplex, cancelled by either side": {
			func(tell tell) *service {
				return &service{duplex: func(stream grpc.BidiStreamingServer[testpb.StreamingOutputCallRequest, testpb.StreamingOutputCallResponse]) error {
					_, err := stream.Recv()
					tell("%v, SendHeader %v", err, stream.SendHeader(nil))
					_, err = stream.Recv()
					tell("%v, %v", status.Code(err), stream.Context().Err())
					<-stream.Context().Done()
					return err
				}}
			},
			toStub(func(ctx context.Context, tell tell, client testpb.TestServiceClient) {
				ctx, cancel := context.WithCancel(ctx)
				stream, err := client.FullDuplexCall(ctx)
				tell("%v", err)
				tell("%v", stream.Send(&testpb.StreamingOutputCallRequest{}))
				header, err := stream.Header()
				tell("header %v, %v", header, err) // so the server is there
				cancel()
				_, err = stream.Recv()
				tell("%v", status.Code(err))
				_, err = stream.Recv()
				tell("%v", status.Code(err))
			}),
		},
		"limits": {
			func(tell tell) *service {
				return &service{
					upload: func(stream grpc.ClientStreamingServer[testpb.StreamingInputCallRequest, testpb.StreamingInputCallResponse]) error {
						_, err := stream.Recv()
						return err
					},
					unary: func(_ context.Context, request *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
						return &testpb.SimpleResponse{Payload: payload(request.GetResponseSize())}, nil
					},
					download: func(request *testpb.StreamingOutputCallRequest, stream grpc.ServerStreamingServer[testpb.StreamingOutputCallResponse]) error {
						for _, parameters := range request.GetResponseParameters() {
							if err := stream.Send(&testpb.StreamingOutputCallResponse{Payload: payload(parameters.GetSize())}); err != nil {
								return err
							}
						}
						return nil
					},
				}
			},
			toStub(func(ctx context.Context, tell tell, client testpb.TestServiceClient) {
				_, err := client.UnaryCall(ctx, &testpb.SimpleRequest{ResponseSize: 1000}, grpc.MaxCallRecvMsgSize(900))
				tell("%v", err)
				_, err = client.UnaryCall(ctx, &testpb.SimpleRequest{ResponseSize: 890}, grpc.MaxCallRecvMsgSize(900))
				tell("%v", err)
				_, err = client.UnaryCall(ctx, &testpb.SimpleRequest{Payload: payload(1000)}, grpc.MaxCallSendMsgSize(900))
				tell("%v", err)
				_, err = client.UnaryCall(ctx, &testpb.SimpleRequest{Payload: payload(4<<20 - 20)})
				tell("%v", err)
				_, err = client.UnaryCall(ctx, &testpb.SimpleRequest{Payload: payload(4 << 20)})
				tell("%v", err)
				_, err = client.UnaryCall(ctx, &testpb.SimpleRequest{ResponseSize: 4 << 20})
				tell("%v", err)
				stream, err := client.StreamingOutputCall(ctx, &testpb.StreamingOutputCallRequest{
					ResponseParameters: []*testpb.ResponseParameters{{Size: 100}, {Size: 1000}},
				}, grpc.MaxCallRecvMsgSize(900))
				receiveAll(tell, stream, err)
				upload, err := client.StreamingInputCall(ctx, grpc.MaxCallSendMsgSize(900))
				tell("%v", err)
				tell("%v", upload.Send(&testpb.StreamingInputCallRequest{Payload: payload(1000)}))
				tell("then it fails: %v", upload.Send(&testpb.StreamingInputCallRequest{}) != nil)
			}),
		},
		"options that are wrong": {
			func(tell) *service { return &service{} },
			toStub(func(ctx context.Context, tell tell, client testpb.TestServiceClient) {
				_, err := client.UnaryCall(ctx, nil, grpc.UseCompressor("none-such"))
				tell("%v", err)
				_, err = client.FullDuplexCall(ctx, grpc.UseCompressor("none-such"))
				tell("%v", err)
				_, err = client.UnaryCall(ctx, nil, grpc.CallContentSubtype("none-such"))
				tell("%v", err)
			}),
		},
	} {
		t.Run(name, story.compare)
	}
}

var _ grpc.ClientConnInterface = (*grpcbridge.ClientConn)(nil)

package grpcbridge_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	grpcbridge "github.com/edict-go/edict/bridge/grpc"
)

// recorder is a stats.Handler that tells what it hears.
type recorder struct{ *teller }

type taggedKey struct{}

func (r recorder) TagRPC(ctx context.Context, info *stats.RPCTagInfo) context.Context {
	r.tell("TagRPC %s", info.FullMethodName)
	return context.WithValue(metadata.AppendToOutgoingContext(ctx, "tagged", "yes"), taggedKey{}, true)
}

func (r recorder) HandleRPC(ctx context.Context, event stats.RPCStats) {
	tagged := ctx.Value(taggedKey{}) == true
	switch event := event.(type) {
	case *stats.Begin:
		r.tell("Begin client %v, streams %v %v, tagged %v", event.Client, event.IsClientStream, event.IsServerStream, tagged)
	case *stats.InHeader:
		r.tell("InHeader client %v %s, address %v, %s, metadata %v", event.Client, event.FullMethod, event.RemoteAddr != nil && !event.Client, event.Compression, event.Header)
	case *stats.OutHeader:
		r.tell("OutHeader client %v %s, %s, metadata %v", event.Client, event.FullMethod, event.Compression, event.Header)
	case *stats.InPayload:
		r.tell("InPayload client %v %T %d %d %d, timed %v", event.Client, event.Payload, event.Length, event.CompressedLength, event.WireLength, !event.RecvTime.IsZero())
	case *stats.OutPayload:
		r.tell("OutPayload client %v %T %d %d %d, timed %v", event.Client, event.Payload, event.Length, event.CompressedLength, event.WireLength, !event.SentTime.IsZero())
	case *stats.InTrailer:
		r.tell("InTrailer client %v, metadata %v", event.Client, event.Trailer)
	case *stats.OutTrailer:
		r.tell("OutTrailer client %v, metadata %v", event.Client, event.Trailer)
	case *stats.End:
		r.tell("End client %v, timed %v, %v", event.Client, !event.BeginTime.IsZero() && event.EndTime.After(event.BeginTime), event.Error)
	}
}

func (recorder) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (recorder) HandleConn(context.Context, stats.ConnStats)                       {}

// What stats handlers hear is what they hear from gRPC.
func TestStatsHandlers(t *testing.T) {
	service := echoing()
	service.unary = func(ctx context.Context, request *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		_ = grpc.SetHeader(ctx, metadata.Pairs("header", "1"))
		_ = grpc.SetTrailer(ctx, metadata.Pairs("trailer", "1"))
		if request.GetFillUsername() {
			return nil, status.Error(codes.NotFound, "none")
		}
		return &testpb.SimpleResponse{Payload: request.GetPayload()}, nil
	}
	for name, call := range map[string]func(context.Context, testpb.TestServiceClient){
		"unary": func(ctx context.Context, client testpb.TestServiceClient) {
			_, _ = client.UnaryCall(ctx, &testpb.SimpleRequest{Payload: &testpb.Payload{Body: make([]byte, 100)}})
		},
		"failed": func(ctx context.Context, client testpb.TestServiceClient) {
			_, _ = client.UnaryCall(ctx, &testpb.SimpleRequest{FillUsername: true})
		},
		"download": func(ctx context.Context, client testpb.TestServiceClient) {
			stream, err := client.StreamingOutputCall(ctx, &testpb.StreamingOutputCallRequest{ResponseParameters: make([]*testpb.ResponseParameters, 3)})
			for err == nil {
				_, err = stream.Recv()
			}
		},
		"duplex": func(ctx context.Context, client testpb.TestServiceClient) {
			stream, err := client.FullDuplexCall(ctx)
			for i := 0; i < 3 && err == nil; i++ {
				if err = stream.Send(&testpb.StreamingOutputCallRequest{Payload: &testpb.Payload{Body: make([]byte, i)}}); err == nil {
					_, err = stream.Recv()
				}
			}
			if err == nil {
				_ = stream.CloseSend()
				_, _ = stream.Recv()
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			var told [2][2]teller
			for i, over := range []string{"gRPC", "Edict"} {
				t.Run(over, func(t *testing.T) {
					onServer, onClient := recorder{&told[i][0]}, recorder{&told[i][1]}
					var client testpb.TestServiceClient
					if over == "gRPC" {
						client = testpb.NewTestServiceClient(classic(t, func(r grpc.ServiceRegistrar) { testpb.RegisterTestServiceServer(r, service) },
							[]grpc.ServerOption{grpc.StatsHandler(onServer)}, grpc.WithStatsHandler(onClient)))
					} else {
						b := serveTCP(t, grpcbridge.StatsHandler(onServer))
						testpb.RegisterTestServiceServer(b.server, service)
						client = b.stub(grpcbridge.WithStatsHandler(onClient))
					}
					call(metadata.AppendToOutgoingContext(t.Context(), "key", "value"), client)
				})
			}
			for side, name := range []string{"server", "client"} {
				// gRPC's transport tells of headers in a goroutine of its own, so their place varies.
				grpcLines, edictLines := slices.Sorted(slices.Values(told[0][side].lines)), slices.Sorted(slices.Values(told[1][side].lines))
				grpcLines = slices.DeleteFunc(grpcLines, func(line string) bool { return line == "" })
				if !slices.Equal(grpcLines, edictLines) {
					t.Errorf("the %s tells over gRPC\n\t%s\nand over Edict\n\t%s", name,
						strings.Join(told[0][side].lines, "\n\t"), strings.Join(told[1][side].lines, "\n\t"))
				}
				lines := told[1][side].lines
				if !strings.HasPrefix(lines[0], "TagRPC") || !strings.HasPrefix(lines[len(lines)-1], "End") {
					t.Errorf("the %s tells\n\t%s", name, strings.Join(lines, "\n\t"))
				}
			}
		})
	}
}

// Traces of otelgrpc go through: the server's span is the client's child.
func TestOpenTelemetry(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	options := []otelgrpc.Option{otelgrpc.WithTracerProvider(provider), otelgrpc.WithPropagators(propagation.TraceContext{})}
	service := echoing()
	t.Run("calls", func(t *testing.T) { // at its end the handlers have ended
		b := serveTCP(t, grpcbridge.StatsHandler(otelgrpc.NewServerHandler(options...)))
		service.unary = func(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
			if !trace.SpanFromContext(ctx).SpanContext().IsValid() {
				t.Error("the handler's context has no span")
			}
			return nil, status.Error(codes.NotFound, "none")
		}
		testpb.RegisterTestServiceServer(b.server, service)
		client := b.stub(grpcbridge.WithStatsHandler(otelgrpc.NewClientHandler(options...)))
		_, err := client.UnaryCall(t.Context(), &testpb.SimpleRequest{})
		wantCode(t, err, codes.NotFound)
		wantEchoes(t, client)
	})
	var text []string
	ended := spans.Ended()
	for _, span := range ended {
		parent := "no parent"
		if i := slices.IndexFunc(ended, func(other sdktrace.ReadOnlySpan) bool { return other.SpanContext().SpanID() == span.Parent().SpanID() }); i >= 0 {
			parent = fmt.Sprintf("child of %v", ended[i].SpanKind())
		}
		text = append(text, fmt.Sprintf("%v %s %s", span.SpanKind(), span.Name(), parent))
	}
	slices.Sort(text)
	want := []string{
		"client grpc.testing.TestService/FullDuplexCall no parent", "client grpc.testing.TestService/UnaryCall no parent",
		"server grpc.testing.TestService/FullDuplexCall child of client", "server grpc.testing.TestService/UnaryCall child of client",
	}
	if !slices.Equal(text, want) {
		t.Errorf("the spans are\n\t%s\nwant\n\t%s", strings.Join(text, "\n\t"), strings.Join(want, "\n\t"))
	}
}

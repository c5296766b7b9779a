package grpcbridge

import (
	"bytes"
	"context"
	"hash/fnv"
	"io"
	"reflect"
	"slices"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/gzip"
	testpb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/internal/vectors"
)

// PROTOCOL.md and the code agree.
func TestVectors(t *testing.T) {
	want, err := vectors.Parse("PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	const name = "/echo.Echoer/Echo"
	full := request{form: formName | formSubtype | formEncoding | formCompressed, name: name, subtype: "json", encoding: "gzip"}
	duplex := request{form: formName, name: name}
	standard := fnv.New64a()
	_, _ = standard.Write([]byte(name))
	if standard.Sum64() != hashOf(name) {
		t.Errorf("the hash is %x, should be %x", hashOf(name), standard.Sum64())
	}
	hashed := request{hash: hashOf(name), name: name}
	metadata, err := core.AppendMetadata([]byte{partHeader}, core.Metadata{"k": {"v"}})
	if err != nil {
		t.Fatal(err)
	}
	end, err := core.AppendMetadata(nil, core.Metadata{headerPrefix + "h": {"1"}, "t": {"2"}})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]byte{
		"command-hash":    append(hashed.append(nil), "hi"...),
		"command-name":    append(full.append(nil), "hi"...),
		"command-duplex":  duplex.append(nil),
		"part-message":    append([]byte{partMessage}, "hi"...),
		"part-compressed": append([]byte{partCompressed}, "hi"...),
		"part-header":     metadata,
		"end-metadata":    end,
	}
	for name := range want {
		if !bytes.Equal(got[name], want[name]) {
			t.Errorf("%s: the code writes\n%x\nthe document has\n%x", name, got[name], want[name])
		}
		delete(got, name)
	}
	for name := range got {
		t.Errorf("the document has no vector %s", name)
	}
	for _, r := range []request{full, duplex, {hash: hashOf(name)}} {
		parsed, message, err := parseRequest(append(r.append(nil), "hi"...))
		if parsed != r || string(message) != "hi" || err != nil {
			t.Errorf("%+v became %+v, %q, %v", r, parsed, message, err)
		}
	}
	header, trailer := splitMetadata(core.Metadata{":h": {"1"}, "t": {"2"}, codeKey: {"99"}, detailsKey: {"x"}, "": {"3"}})
	if !reflect.DeepEqual(header, map[string][]string{"h": {"1"}}) ||
		!reflect.DeepEqual(trailer, map[string][]string{"t": {"2"}, detailsKey: {"x"}, "": {"3"}}) {
		t.Errorf("header %v, trailer %v", header, trailer)
	}
}

func TestMalformedRequests(t *testing.T) {
	for _, body := range []string{
		"", "\x10", "\x80hhhhhhhh", "\x00", "\x00hhhhhhh", "\x01", "\x01\x02a", "\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
		"\x02hhhhhhhh", "\x04hhhhhhhh\x05gzip", "\x08hhhhhhhh", "\x06hhhhhhhh\x01a",
	} {
		if r, message, err := parseRequest([]byte(body)); err == nil {
			t.Errorf("%q is %+v with %q", body, r, message)
		}
	}
	for _, body := range []string{"", "\x02", "\x09", "\xff"} {
		if kind, content, err := cutPart([]byte(body)); err == nil {
			t.Errorf("%q is %#x with %q", body, kind, content)
		}
	}
}

func FuzzRequest(f *testing.F) {
	for _, r := range []request{{}, {form: formName, name: "/a/B"}, {form: formName | formSubtype | formEncoding, name: "/a/B", subtype: "json", encoding: "gzip"}} {
		f.Add(append(r.append(nil), "message"...))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		before := slices.Clone(body)
		r, message, err := parseRequest(body)
		if !bytes.Equal(body, before) {
			t.Fatal("the body was changed")
		}
		if err != nil {
			return
		}
		again, rest, err := parseRequest(append(r.append(nil), message...))
		if err != nil || again != r || !bytes.Equal(rest, message) {
			t.Errorf("%+v with %q became %+v with %q, %v", r, message, again, rest, err)
		}
	})
}

// FuzzMessage: whatever comes as a message is decoded or is an error, within its limits.
func FuzzMessage(f *testing.F) {
	f.Add([]byte("\x0a\x03abc"), false)
	f.Add([]byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00"), true)
	f.Fuzz(func(t *testing.T, body []byte, compressed bool) {
		m := messages{codec: defaultCodec(), compressor: encoding.GetCompressor(gzip.Name), maxReceive: 1 << 10, maxSend: 1 << 20}
		kept := &testpb.SimpleRequest{}
		size, err := m.decode(body, compressed, kept)
		if err != nil {
			return
		}
		if size > m.maxReceive {
			t.Errorf("a message of %d bytes was decoded", size)
		}
		encoded, wasCompressed, _, err := m.append(nil, kept)
		if err != nil {
			return // it has text that is no UTF-8 inside of an unknown field, for example
		}
		m.maxReceive = 1 << 20
		if _, err := m.decode(encoded, wasCompressed, &testpb.SimpleRequest{}); err != nil {
			t.Errorf("%x was decoded, and can't be when it is encoded again: %v", body, err)
		}
	})
}

// execution is a command that no connection stands behind.
type execution struct {
	core.Execution // what no gRPC call needs
	command        []byte
	inputs         [][]byte
	begun          bool
	reply          []byte
	results        int
}

func (e *execution) Command() []byte               { return e.command }
func (e *execution) Intercepted() bool             { return false }
func (e *execution) Observed() bool                { return false }
func (e *execution) Begin() error                  { e.begun = true; return nil }
func (e *execution) Decoded()                      {}
func (e *execution) Scratch(int) ([]byte, error)   { return nil, nil }
func (e *execution) Results() core.ResultSender    { return e }
func (e *execution) Received() core.InputReceiver  { return e }
func (e *execution) Peer() core.Peer               { return core.Peer{} }
func (e *execution) Metadata() core.Metadata       { return core.Metadata{"from": {"the client"}} }
func (e *execution) SetMetadata(string, ...string) {}
func (e *execution) Draining() <-chan struct{}     { return nil }

func (e *execution) Reply(encoded []byte) (bool, error) {
	e.reply = encoded
	return false, nil
}

func (e *execution) Buffer(_ context.Context, size int) (*core.Buffer, error) {
	return core.GetBuffer(size), nil
}

func (e *execution) SendResult(_ context.Context, buffer *core.Buffer) (bool, error) {
	if _, _, err := cutPart(buffer.Bytes); err != nil {
		return false, err
	}
	e.results++
	buffer.Release()
	return false, nil
}

func (e *execution) ReceiveInput(context.Context) (*core.Buffer, error) {
	if len(e.inputs) == 0 {
		return nil, io.EOF
	}
	buffer := core.GetBuffer(len(e.inputs[0]))
	buffer.Bytes = append(buffer.Bytes, e.inputs[0]...)
	e.inputs = e.inputs[1:]
	return buffer, nil
}

// fuzzed is a service whose methods take all that comes.
type fuzzed struct {
	testpb.UnimplementedTestServiceServer
}

func (fuzzed) UnaryCall(_ context.Context, request *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	return &testpb.SimpleResponse{Payload: request.GetPayload()}, nil
}

func (fuzzed) FullDuplexCall(stream grpc.BidiStreamingServer[testpb.StreamingOutputCallRequest, testpb.StreamingOutputCallResponse]) error {
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
}

// FuzzExecute: whatever a client sends, a call ends well or with a coded error, and a method is called for
// requests that are right only.
func FuzzExecute(f *testing.F) {
	server := NewServer()
	testpb.RegisterTestServiceServer(server, fuzzed{})
	const unary, duplex = "/grpc.testing.TestService/UnaryCall", "/grpc.testing.TestService/FullDuplexCall"
	byHash, byName := request{hash: hashOf(unary)}, request{form: formName | formEncoding, name: duplex, encoding: gzip.Name}
	f.Add(byHash.append(nil), []byte("\x00"), uint8(0))
	f.Add(byHash.append(nil), []byte("\x00\x1a\x03abc"), uint8(1))
	f.Add(byName.append(nil), []byte("\x00\x1a\x03abc"), uint8(2))
	f.Add(byName.append(nil), []byte("\x08\x1f\x8b"), uint8(2))
	f.Fuzz(func(t *testing.T, command, input []byte, kind uint8) {
		e := &execution{command: command, inputs: [][]byte{input, input[:len(input)/2]}}
		ctx := context.WithValue(t.Context(), core.ScopeKey, core.Scope(e))
		var err error
		switch kind % 3 {
		case 0:
			err = unaryExecutor{server}.Execute(ctx, e)
		case 1:
			err = streamExecutor{server, false}.Execute(ctx, e)
		case 2:
			err = streamExecutor{server, true}.Execute(ctx, e)
		}
		if _, _, wrong := parseRequest(command); wrong != nil && (e.begun || core.CodeOf(err) != core.InvalidArgument) {
			t.Errorf("a request that can't be parsed: begun %v, %v", e.begun, err)
		}
		if err != nil && !core.CodeOf(err).Valid() {
			t.Errorf("the error %v has the code %v", err, core.CodeOf(err))
		}
		if err == nil && kind%3 == 0 && len(e.reply) == 0 {
			t.Error("a unary call has ended well, without a reply")
		}
	})
}

// answers is a sender whose calls get the same results, and its exchange.
type answers struct {
	results [][]byte
	atEnd   core.Metadata
	fails   bool
	closed  int
}

func (a *answers) Start(context.Context, edict.Request[struct{}]) (core.Exchange, error) {
	return a, nil
}

func (a *answers) Receive() (core.Message, error) {
	if len(a.results) == 0 {
		if a.fails {
			return core.Message{}, &core.Error{Code: core.NotFound, Outcome: core.Executed, Remote: true}
		}
		return core.Message{}, io.EOF
	}
	body := a.results[0]
	a.results = a.results[1:]
	return core.Message{Body: body, Coder: resultOfCall}, nil
}

func (a *answers) Send(any) error          { return nil }
func (a *answers) CloseSend() error        { return nil }
func (a *answers) Cancel(error)            {}
func (a *answers) Metadata() core.Metadata { return a.atEnd }
func (a *answers) Close()                  { a.closed++ }

// FuzzAnswers: whatever a server answers, the call ends, once, and its header is known.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte("\x01\x01k\x01v"), []byte("\x00"), "", "", false, uint8(0))
	f.Add([]byte("\x00\x0a\x00"), []byte("\x08\x1f\x8b"), "99", "\x08\x05", true, uint8(1))
	f.Add([]byte(""), []byte("\x00"), "x", "\xff", true, uint8(2))
	f.Fuzz(func(t *testing.T, first, second []byte, code, details string, fails bool, kind uint8) {
		sender := &answers{results: [][]byte{first, second}, fails: fails, atEnd: core.Metadata{codeKey: {code}, detailsKey: {details}, ":h": {"1"}}}
		conn := NewClientConn(sender)
		if kind%4 == 0 {
			reply := &testpb.SimpleResponse{}
			_ = conn.Invoke(t.Context(), "/a/B", &testpb.SimpleRequest{}, reply)
		} else {
			description := &grpc.StreamDesc{ClientStreams: kind%4 > 1, ServerStreams: kind%4 > 2}
			stream, err := conn.NewStream(t.Context(), description, "/a/B")
			if err != nil {
				t.Fatal(err)
			}
			if err := stream.SendMsg(&testpb.SimpleRequest{}); err != nil {
				t.Fatal(err)
			}
			if _, err := stream.Header(); err != nil {
				t.Error(err)
			}
			for range 3 {
				err = stream.RecvMsg(&testpb.SimpleResponse{})
			}
			if err == nil {
				t.Error("the third message of two was received")
			}
		}
		if sender.closed != 1 {
			t.Errorf("the exchange was closed %d times", sender.closed)
		}
	})
}

// Two names that do have the same hash.
func TestMethodsWhoseNamesCollide(t *testing.T) {
	const one, other = "8yn0iYCKYHlIj4-BwPqk", "GReLUrM4wMqfg9yzV3KQ"
	if hashOf(one) != hashOf(other) {
		t.Fatal("they have not")
	}
	all := &methods{byName: map[string]*method{}, byHash: map[uint64]*method{}}
	for _, name := range []string{one, other, "third"} {
		all.add(&method{name: name})
	}
	if all.byHash[hashOf(one)] != nil {
		t.Error("one of them goes by the hash of both")
	}
	for _, name := range []string{one, other, "third"} {
		if all.byName[name].name != name {
			t.Errorf("%s is %v", name, all.byName[name])
		}
	}
	if all.byHash[hashOf("third")] != all.byName["third"] {
		t.Error("a third one does not go by its hash")
	}
}

package edict_test

import (
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/compression/s2"
	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/delegate"
	"github.com/edict-go/edict/transport"
)

type fuzzed struct{}

type fuzzedSum struct{ A, B int }

func (c fuzzedSum) Exec(context.Context, *fuzzed) (int, error) { return c.A + c.B, nil }

type fuzzedCount struct{ To int }

func (c fuzzedCount) Exec(_ context.Context, _ *fuzzed, out edict.Sink[int]) error {
	for i := range min(c.To, 10_000) {
		if err := out.Send(i); err != nil {
			return err
		}
	}
	return nil
}

type fuzzedTotal struct{}

func (fuzzedTotal) Exec(_ context.Context, _ *fuzzed, inputs edict.Source[int], results edict.Sink[int]) error {
	sum := 0
	for n, err := range inputs.All() {
		if err != nil {
			return err
		}
		sum += n
	}
	return results.Send(sum)
}

type fuzzedTurn struct{ Key, To int }

func (c fuzzedTurn) OrderingKey() string { return strconv.Itoa(c.Key % 3) }

func (c fuzzedTurn) Exec(ctx context.Context, f *fuzzed, out edict.Sink[int]) error {
	return fuzzedCount{c.To}.Exec(ctx, f, out)
}

// FuzzSession lets a client say anything after an honest handshake. The server must neither panic nor
// hang, must end that connection when the client has ended it, and must go on serving others.
func FuzzSession(f *testing.F) {
	commands := edict.Commands(edict.Unary[fuzzedSum](), edict.ServerStream[fuzzedCount](), edict.Duplex[fuzzedTotal](), edict.ServerStream[fuzzedTurn]())
	server := edict.NewServer(&fuzzed{}, commands, edict.WithLogger(slog.New(slog.DiscardHandler)), edict.WithCompression(s2.Compression))
	listener := transport.NewMemory()
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	dial := edict.WithDialer(func(ctx context.Context) (net.Conn, error) { return listener.Dial(ctx) })
	honest, err := edict.Dial(f.Context(), "memory", commands, dial)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		_ = honest.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil || server.InFlight() > 0 {
			f.Errorf("Shutdown: %v, with %d commands in flight", err, server.InFlight())
		}
		<-served
	})

	frame := func(frame core.Frame) []byte { return transport.AppendFrame([]byte{0}, frame) }
	f.Add([]byte{})
	f.Add([]byte("\x00GET / HTTP/1.1\r\n\r\n"))
	f.Add(frame(core.Frame{Kind: core.KindCommand, Body: []byte(`{"A":1,"B":2}`)}))
	f.Add(frame(core.Frame{Kind: core.KindCommand, Command: 1, Flags: core.FlagStream, Body: []byte(`{"To":9999}`)}))
	f.Add(frame(core.Frame{Kind: core.KindCommand, Flags: core.FlagTimeout | core.FlagMetadata, Metadata: []byte("\x01k\x01v"), Body: []byte(`{}`)}))
	f.Add(frame(core.Frame{Kind: core.KindPing, Body: make([]byte, 65)}))
	f.Add([]byte("\x01\x10\x08\x01\x00\x0b{\"To\":9999}\x17\x00\x00\x00\x04\x00\x10\x00\x00\x16\x00\x00\x00\x00\x10\x00\x00\x00\x07{\"A\":1}"))
	f.Add([]byte("\x01\x10\x00\x00\x01\x02{}\x10\x00\x00\x01\x02{}\x22\x00\x00\x00\x00\x20\x00\x00\x00\x02ab"))
	f.Add([]byte("\x01\x10\x18\x02\x00\x02{}\x11\x00\x00\x00\x011\x11\x00\x00\x00\x012\x12\x00\x00\x00\x00"))
	f.Add([]byte("\x01\x10\x08\x03\x00\x0b{\"To\":9999}\x10\x08\x03\x01\x02{}\x10\x08\x03\x02\x01{\x10\x08\x03\x03\x02{}\x16\x00\x00\x01\x00\x16\x00\x00\x00\x00"))
	f.Add([]byte("\x01\x10\x80\x00\x00\x06\x05\x10{\"A\":1}\x10\x80\x00\x01\x07\xff\xff\xff\xff\x0f\x00\x61"))
	f.Add(frame(core.Frame{Kind: core.KindCommand, Flags: core.FlagCompressed, Body: s2.Compression.Append(nil, []byte(`{"A":1,"B":2}`))}))
	f.Fuzz(func(t *testing.T, program []byte) {
		conn, err := listener.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		carrier := transport.NewConn(conn, transport.Config{})
		if _, err := delegate.Connect(t.Context(), carrier, delegate.Config{
			Codecs: []string{"json"}, Compressions: []string{"s2"}, Window: 1000,
			Commands: []delegate.Command{{Name: "fuzzedSum"}, {Name: "fuzzedCount"}, {Name: "fuzzedTotal"}, {Name: "fuzzedTurn"}, {Name: "unknown"}},
			// Whatever the shapes are: they are not what is tested.
			AllowDifferences: true, NamesFields: func(string) bool { return true },
		}); err != nil {
			t.Fatal(err)
		}
		if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		said := make(chan struct{})
		go func() {
			defer close(said)
			_, _ = conn.Write(speech(program)) // an error is the server's right: it may close at any time
			_ = conn.(interface{ CloseWrite() error }).CloseWrite()
		}()
		if _, err := io.Copy(io.Discard, conn); err != nil {
			t.Errorf("the server has not ended the connection: %v", err)
		}
		<-said
		carrier.Close(nil)
		carrier.Wait()

		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if sum, err := edict.Call(ctx, honest, fuzzedSum{2, 3}); sum != 5 || err != nil {
			t.Errorf("an honest client gets %d, %v", sum, err)
		}
	})
}

// speech turns a program into what a client says: after a 0 the rest as it is, else frames whose
// header is mostly right, each made of five bytes (kind, flags, number, slot, length) and a body.
func speech(program []byte) []byte {
	if len(program) == 0 || program[0] == 0 {
		return program[min(1, len(program)):]
	}
	var text []byte
	for rest := program[1:]; len(rest) >= 5; {
		length := min(int(rest[4]), len(rest)-5)
		header := binary.LittleEndian.AppendUint32(nil, uint32(length))
		header = append(header, rest[0], rest[1], rest[2], 0, rest[3]&3, 0, 0, rest[3]>>2, 0, 0, 0, 0)
		text = append(append(text, header...), rest[5:5+length]...)
		rest = rest[5+length:]
	}
	return text
}

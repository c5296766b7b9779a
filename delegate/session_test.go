package delegate_test

import (
	"bytes"
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/internal/vectors"
	"github.com/edict-go/edict/transport"
)

type Calc struct{}

type Add struct{ A, B int }

func (c Add) Exec(context.Context, *Calc) (int, error) { return c.A + c.B, nil }

type Count struct{ To int }

func (c Count) Exec(_ context.Context, _ *Calc, out edict.Sink[int]) error {
	for i := range c.To {
		if err := out.Send(i); err != nil {
			return err
		}
	}
	return edict.Errorf(edict.OutOfRange, "no more")
}

// recorder is a connection that remembers what was written to it.
type recorder struct {
	net.Conn
	mu      sync.Mutex
	written []byte
}

func (r *recorder) Write(source []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, err := r.Conn.Write(source)
	r.written = append(r.written, source[:n]...)
	return n, err
}

func (r *recorder) CloseWrite() error { return r.Conn.(interface{ CloseWrite() error }).CloseWrite() }

func (r *recorder) recorded() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Clone(r.written)
}

// TestTheSessionOfTheDocument runs the session at the end of docs/protocol.md between a real client
// and a real server and compares every byte.
func TestTheSessionOfTheDocument(t *testing.T) {
	want, err := vectors.Parse("../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	near, far := transport.MemoryPipe()
	clients, servers := &recorder{Conn: near}, &recorder{Conn: far}
	commands := edict.Commands(edict.Unary[Add](), edict.ServerStream[Count]())

	server := edict.NewServer(&Calc{}, commands, edict.ServerConfig{Name: "bank"})
	listener := &single{conns: make(chan net.Conn, 1), closed: make(chan struct{})}
	listener.conns <- servers
	served := make(chan error)
	go func() { served <- server.Serve(listener) }()
	client, err := edict.Dial(t.Context(), "memory", commands, edict.ClientConfig{Name: "till"},
		edict.WithDialer(func(context.Context) (net.Conn, error) { return clients, nil }))
	if err != nil {
		t.Fatal(err)
	}
	if sum, err := edict.Call(t.Context(), client, Add{2, 3}, edict.WithMetadata(edict.Metadata{"tenant": {"7"}})); sum != 5 || err != nil {
		t.Error(sum, err)
	}
	results := 0
	for _, err := range edict.Stream(t.Context(), client, Count{2}) {
		if results++; results == 3 && edict.CodeOf(err) != edict.OutOfRange {
			t.Error(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	<-client.Done()
	client.Close()
	<-served
	for name, got := range map[string][]byte{"session-client": clients.recorded(), "session-server": servers.recorded()} {
		if !bytes.Equal(got, want[name]) {
			t.Errorf("vector %s is\n% x\nin the document, the bytes are\n% x", name, want[name], got)
		}
	}
}

// single is a listener for the connections that it was given.
type single struct {
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (s *single) Accept() (net.Conn, error) {
	select {
	case conn := <-s.conns:
		return conn, nil
	case <-s.closed:
		return nil, net.ErrClosed
	}
}

func (s *single) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

func (s *single) Addr() net.Addr { return &net.UnixAddr{Name: "single", Net: "unix"} }

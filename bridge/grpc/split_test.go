package grpcbridge_test

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/edict-go/edict"
	grpcbridge "github.com/edict-go/edict/bridge/grpc"
	"github.com/edict-go/edict/transport"
)

// Clients of both kinds call one service at one address, at the same time.
func TestSplit(t *testing.T) {
	for scheme, address := range map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(t.TempDir(), "s"), "tls": "127.0.0.1:0"} {
		t.Run(scheme, func(t *testing.T) {
			serverTLS, clientTLS := certificates(t)
			serverTLS.NextProtos = []string{"h2"}
			listener, err := transport.Listen(t.Context(), scheme+"://"+address, serverTLS)
			if err != nil {
				t.Fatal(err)
			}
			native, classic := grpcbridge.Split(listener, grpcbridge.SplitConfig{})
			bridge, server := grpcbridge.NewServer(), grpc.NewServer()
			testpb.RegisterTestServiceServer(bridge, echoing())
			testpb.RegisterTestServiceServer(server, echoing())
			served := make(chan error, 2)
			go func() { served <- bridge.Serve(native) }()
			go func() { served <- server.Serve(classic) }()

			target, dialer := listener.Addr().String(), func(ctx context.Context, address string) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, listener.Addr().Network(), address)
			}
			security := insecure.NewCredentials()
			if scheme == "tls" {
				security = credentials.NewTLS(clientTLS)
			}
			var group sync.WaitGroup
			for range 4 {
				group.Go(func() {
					conn, err := grpcbridge.Dial(t.Context(), scheme+"://"+target, grpcbridge.WithEdict(edict.WithTLS(clientTLS)))
					if err != nil {
						t.Error(err)
						return
					}
					defer conn.Close()
					wantEcho(t, testpb.NewTestServiceClient(conn))
					wantEchoes(t, testpb.NewTestServiceClient(conn))
				})
				group.Go(func() {
					conn, err := grpc.NewClient("passthrough:///"+target, grpc.WithTransportCredentials(security), grpc.WithContextDialer(dialer))
					if err != nil {
						t.Error(err)
						return
					}
					defer conn.Close()
					wantEcho(t, testpb.NewTestServiceClient(conn))
					wantEchoes(t, testpb.NewTestServiceClient(conn))
				})
			}
			group.Wait()
			server.GracefulStop() // clients of the other kind are served on
			conn, err := grpcbridge.Dial(t.Context(), scheme+"://"+target, grpcbridge.WithEdict(edict.WithTLS(clientTLS)))
			if err != nil {
				t.Fatal(err)
			}
			wantEcho(t, testpb.NewTestServiceClient(conn))
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
			bridge.GracefulStop()
			for range 2 {
				if err := <-served; err != nil {
					t.Error(err)
				}
			}
			if _, err := dialer(t.Context(), target); err == nil {
				t.Error("something listens still")
			}
		})
	}
}

// The state of TLS gets through the split, and what has none is not taken for encrypted.
func TestTheStateOfTLSGetsThroughTheSplit(t *testing.T) {
	serverTLS, clientTLS := certificates(t)
	secure, err := transport.Listen(t.Context(), "tls://127.0.0.1:0", serverTLS)
	if err != nil {
		t.Fatal(err)
	}
	open := transport.NewMemory()
	for name, test := range map[string]struct {
		listener net.Listener
		options  []edict.DialOption
		want     bool
	}{
		"tls":    {secure, []edict.DialOption{edict.WithTLS(clientTLS)}, true},
		"memory": {open, []edict.DialOption{edict.WithDialer(open.Dial)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			native, classic := grpcbridge.Split(test.listener, grpcbridge.SplitConfig{})
			peers := make(chan edict.Peer, 1)
			server := edict.NewServer(peers, edict.Commands(edict.Unary[whoami]()))
			served := make(chan error, 1)
			go func() { served <- server.Serve(native) }()
			client, err := edict.Dial(t.Context(), "tls://"+test.listener.Addr().String(), edict.Commands(edict.Unary[whoami]()), test.options...)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := edict.Call(t.Context(), client, whoami{}); err != nil {
				t.Fatal(err)
			}
			if state := (<-peers).TLS; (state != nil && len(state.PeerCertificates) == 1) != test.want || !test.want && state != nil {
				t.Errorf("the state is %+v", state)
			}
			if err := errors.Join(client.Close(), server.Shutdown(context.Background()), classic.Close()); err != nil {
				t.Error(err)
			}
			<-served
		})
	}
}

// whoami gives the receiver the peer that it came from.
type whoami struct{}

func (whoami) Exec(ctx context.Context, peers chan edict.Peer) (bool, error) {
	peers <- edict.PeerOf(ctx)
	return true, nil
}

// dialMemory connects to a listener in memory.
func dialMemory(t testing.TB, listener *transport.Memory) net.Conn {
	t.Helper()
	conn, err := listener.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// wantClosed waits until the other side has closed a connection.
func wantClosed(t testing.TB, conn net.Conn) {
	t.Helper()
	var one [1]byte
	if n, err := conn.Read(one[:]); n != 0 || err == nil {
		t.Errorf("read %d, %v, want the end", n, err)
	}
	_ = conn.Close()
}

func TestTheFirstByteDecidesAndIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listener := transport.NewMemory()
		native, classic := grpcbridge.Split(listener, grpcbridge.SplitConfig{})
		for text, half := range map[string]net.Listener{"EDICT": native, "E": native, "PRI * HTTP": classic, "X": classic, "\x16": classic} {
			conn := dialMemory(t, listener)
			go func() {
				time.Sleep(time.Second)
				_, _ = conn.Write([]byte(text))
				_ = conn.Close()
			}()
			accepted, err := half.Accept()
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(accepted); string(got) != text || err != nil {
				t.Errorf("got %q, %v, want %q", got, err, text)
			}
			_ = accepted.Close()
		}
		if err := errors.Join(native.Close(), classic.Close()); err != nil {
			t.Error(err)
		}
	})
}

func TestASilentConnectionIsClosedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listener := transport.NewMemory()
		native, classic := grpcbridge.Split(listener, grpcbridge.SplitConfig{Timeout: 3 * time.Second})
		start := time.Now()
		wantClosed(t, dialMemory(t, listener))
		if waited := time.Since(start); waited != 3*time.Second {
			t.Errorf("it was closed after %v", waited)
		}
		// One that has spoken is not held to that time any more.
		conn := dialMemory(t, listener)
		_, _ = conn.Write([]byte("E"))
		accepted, err := native.Accept()
		if err != nil {
			t.Fatal(err)
		}
		read := make(chan error, 1)
		go func() {
			_, err := io.ReadAll(accepted)
			read <- err
		}()
		time.Sleep(time.Minute)
		_ = conn.Close()
		if err := <-read; err != nil {
			t.Error(err)
		}
		_ = accepted.Close()
		if err := errors.Join(native.Close(), classic.Close()); err != nil {
			t.Error(err)
		}
	})
}

func TestFewConnectionsWaitAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listener := transport.NewMemory()
		native, classic := grpcbridge.Split(listener, grpcbridge.SplitConfig{Timeout: time.Hour, MaxWaiting: 2})
		first, second := dialMemory(t, listener), dialMemory(t, listener)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if _, err := listener.Dial(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a third one: %v", err)
		}
		cancel()
		_ = first.Close() // makes room
		third := dialMemory(t, listener)
		closing := time.Now()
		for _, half := range []net.Listener{classic, native} { // closing both ends those that wait
			if err := half.Close(); err != nil {
				t.Error(err)
			}
			if err := half.Close(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("closing it again: %v", err)
			}
			if _, err := half.Accept(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Accept: %v", err)
			}
		}
		wantClosed(t, second)
		wantClosed(t, third)
		if took := time.Since(closing); took > 0 {
			t.Errorf("it took %v", took)
		}
		if _, err := listener.Dial(t.Context()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("the listener is open: %v", err)
		}
	})
}

func TestAClosedHalfTurnsItsConnectionsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listener := transport.NewMemory()
		native, classic := grpcbridge.Split(listener, grpcbridge.SplitConfig{})
		waiting := dialMemory(t, listener)
		_, _ = waiting.Write([]byte("PRI"))
		synctest.Wait() // it waits to be accepted
		if err := classic.Close(); err != nil {
			t.Error(err)
		}
		wantClosed(t, waiting)
		late := dialMemory(t, listener)
		_, _ = late.Write([]byte("PRI"))
		wantClosed(t, late)
		conn := dialMemory(t, listener)
		_, _ = conn.Write([]byte("E"))
		accepted, err := native.Accept()
		if err != nil {
			t.Fatal(err)
		}
		_ = accepted.Close()
		_ = conn.Close()
		if err := native.Close(); err != nil {
			t.Error(err)
		}
	})
}

// failingListener fails a number of times, and then for good.
type failingListener struct {
	*transport.Memory
	failures chan error
}

type temporary struct{ error }

func (temporary) Temporary() bool { return true }

func (l failingListener) Accept() (net.Conn, error) {
	if err := <-l.failures; err != nil {
		return nil, err
	}
	return l.Memory.Accept()
}

func TestAListenerThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listener := failingListener{transport.NewMemory(), make(chan error, 10)}
		native, classic := grpcbridge.Split(listener, grpcbridge.SplitConfig{})
		for range 5 {
			listener.failures <- temporary{errors.New("too many open files")}
		}
		listener.failures <- nil
		conn := dialMemory(t, listener.Memory)
		_, _ = conn.Write([]byte("E"))
		if accepted, err := native.Accept(); err != nil {
			t.Error(err)
		} else {
			_ = accepted.Close()
		}
		_ = conn.Close()
		broken := errors.New("broken")
		listener.failures <- broken
		for _, half := range []net.Listener{native, classic} {
			if _, err := half.Accept(); !errors.Is(err, broken) {
				t.Errorf("got %v", err)
			}
		}
		if err := errors.Join(native.Close(), classic.Close()); err != nil {
			t.Error(err)
		}
	})
}

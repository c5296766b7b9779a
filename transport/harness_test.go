package transport

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"path/filepath"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict/core"
)

// The kinds of connection that must all behave alike.
var networks = []string{"memory", "tcp", "unix", "tls"}

// onEachNetwork runs a test over a pair of connections of each kind.
func onEachNetwork(t *testing.T, config Config, test func(t *testing.T, client, server *Conn)) {
	for _, network := range networks {
		t.Run(network, func(t *testing.T) {
			client, server := connect(t, network)
			a, b := NewConn(client, config), NewConn(server, config)
			t.Cleanup(func() { closeBoth(a, b) })
			test(t, a, b)
		})
	}
}

func closeBoth(a, b *Conn) {
	a.Close(nil)
	b.Close(nil)
	a.Wait()
	b.Wait()
}

// connect returns the two ends of a connection that Dial and Listen have made.
func connect(t *testing.T, network string) (client, server net.Conn) {
	t.Helper()
	if network == "memory" {
		return MemoryPipe()
	}
	address := map[string]string{
		"tcp": "tcp://127.0.0.1:0", "tls": "tls://127.0.0.1:0", "unix": "unix://" + filepath.Join(t.TempDir(), "s"),
	}[network]
	serverTLS, clientTLS := certificates(t)
	listener, err := Listen(t.Context(), address, serverTLS)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	type result struct {
		conn net.Conn
		err  error
	}
	accepted := make(chan result, 1)
	go func() {
		conn, err := listener.Accept()
		if secure, ok := conn.(*tls.Conn); ok && err == nil {
			err = secure.HandshakeContext(t.Context())
		}
		accepted <- result{conn, err}
	}()
	if network != "unix" {
		address = network + "://" + listener.Addr().String()
	}
	client, err = Dial(t.Context(), address, clientTLS)
	if err != nil {
		t.Fatal(err)
	}
	there := <-accepted
	if there.err != nil {
		t.Fatal(there.err)
	}
	return client, there.conn
}

// certificates returns the configurations of a server with a certificate of its own, and of a client
// that trusts it and has one from the same authority.
func certificates(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "edict test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	own := []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}}
	return &tls.Config{Certificates: own, ClientCAs: pool}, &tls.Config{Certificates: own, RootCAs: pool}
}

// inBubble runs a test over an in-memory connection with a clock of its own. The client's peer is a
// bare connection, which reads only when the test does.
func inBubble(t *testing.T, config Config, test func(t *testing.T, client *Conn, peer net.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		near, far := MemoryPipe()
		client := NewConn(near, config)
		test(t, client, far)
		client.Close(nil)
		far.Close()
		client.Wait()
	})
}

// scripted is a net.Conn that reads what source gives.
type scripted struct {
	net.Conn // nil: nothing else is called
	source   io.Reader
}

func (s *scripted) Read(target []byte) (int, error) { return s.source.Read(target) }
func (s *scripted) Close() error                    { return nil }
func (s *scripted) SetReadDeadline(time.Time) error { return nil }

// reading returns a Conn that receives what source gives.
func reading(source io.Reader, config Config) *Conn {
	return NewConn(&scripted{source: source}, config)
}

// seen is what a test remembers of a received frame.
type seen struct {
	kind     core.Kind
	flags    core.Flags
	command  uint16
	sequence core.Sequence
	timeout  time.Duration
	metadata string
	body     string
	oversize bool
	end      core.Position
}

func look(frame core.Frame) seen {
	defer frame.Buffer.Release()
	if frame.Buffer != nil {
		frame.Body = frame.Buffer.Join()
	}
	return seen{
		frame.Kind, frame.Flags, frame.Command, frame.Sequence, frame.Timeout,
		string(frame.Metadata), string(frame.Body), frame.Oversize, frame.End,
	}
}

// receiveAll returns the frames of conn until its end, and what ended it.
func receiveAll(conn *Conn) (frames []seen, err error) {
	err = conn.Run(func(frame *core.Frame) error {
		frames = append(frames, look(*frame))
		return nil
	})
	return frames, err
}

// receiveEach is receiveAll with Receive instead of Run.
func receiveEach(conn *Conn) (frames []seen, err error) {
	for {
		frame, err := conn.Receive()
		if err != nil {
			return frames, err
		}
		frames = append(frames, look(frame))
	}
}

func mustReceive(t *testing.T, conn *Conn) seen {
	t.Helper()
	frame, err := conn.Receive()
	if err != nil {
		t.Fatalf("Receive: %v", err)
	}
	return look(frame)
}

func mustSend(t *testing.T, conn *Conn, frame core.Frame) core.Position {
	t.Helper()
	position, err := conn.Send(t.Context(), frame)
	if err != nil {
		t.Fatalf("Send: %v", err)
	}
	return position
}

// large returns a body in a buffer of its own.
func large(size int, fill byte) (body []byte, buffer *core.Buffer) {
	buffer = core.GetBuffer(size)
	buffer.Bytes = append(buffer.Bytes, bytes.Repeat([]byte{fill}, size)...)
	return buffer.Bytes, buffer
}

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// flush writes everything that is queued and ends the sending side. It may run in any goroutine.
func flush(t *testing.T, conn *Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := conn.Flush(ctx); err != nil {
		t.Errorf("Flush: %v", err)
	}
}

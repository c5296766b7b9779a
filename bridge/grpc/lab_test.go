package grpcbridge_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/edict-go/edict"
	grpcbridge "github.com/edict-go/edict/bridge/grpc"
)

// bench is a server and what its clients need to know.
type bench struct {
	t       testing.TB
	server  *grpcbridge.Server
	address string
	options []grpcbridge.ClientOption
}

// serve starts a server at an address; port 0 is one that is free.
func serve(t testing.TB, scheme, address string, options ...grpcbridge.ServerOption) *bench {
	t.Helper()
	serverTLS, clientTLS := certificates(t)
	b := &bench{t: t, options: []grpcbridge.ClientOption{grpcbridge.WithEdict(edict.WithTLS(clientTLS))}}
	b.server = grpcbridge.NewServer(append(options, grpcbridge.EdictOptions(edict.WithTLS(serverTLS)))...)
	listener, err := b.server.Listen(scheme + "://" + address)
	if err != nil {
		t.Fatal(err)
	}
	b.address = scheme + "://" + listener.Addr().String()
	served := make(chan error, 1)
	go func() { served <- b.server.Serve(listener) }()
	t.Cleanup(func() {
		b.server.Stop()
		if err := b.server.Shutdown(context.Background()); err != nil {
			t.Errorf("the server did not end: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return b
}

// serveTCP starts a server on loopback.
func serveTCP(t testing.TB, options ...grpcbridge.ServerOption) *bench {
	t.Helper()
	return serve(t, "tcp", "127.0.0.1:0", options...)
}

// dial connects a client, which is closed at the end of the test.
func (b *bench) dial(options ...grpcbridge.ClientOption) *grpcbridge.ClientConn {
	b.t.Helper()
	conn, err := grpcbridge.Dial(b.t.Context(), b.address, append(b.options[:len(b.options):len(b.options)], options...)...)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// overTransports runs a test over each kind of connection.
func overTransports(t *testing.T, test func(t *testing.T, b *bench)) {
	t.Run("tcp", func(t *testing.T) { test(t, serveTCP(t)) })
	t.Run("tls", func(t *testing.T) { test(t, serve(t, "tls", "127.0.0.1:0")) })
	t.Run("unix", func(t *testing.T) { test(t, serve(t, "unix", filepath.Join(t.TempDir(), "edict.sock"))) })
}

// certificates makes a certificate for 127.0.0.1 that both sides present and trust.
func certificates(t testing.TB) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bridge test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	own := []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}
	server = &tls.Config{Certificates: own, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
	return server, &tls.Config{Certificates: own, RootCAs: pool}
}

// wantCode checks the code of an error of gRPC.
func wantCode(t testing.TB, err error, code codes.Code) {
	t.Helper()
	if status.Code(err) != code {
		t.Errorf("got %v, want the code %v", err, code)
	}
}

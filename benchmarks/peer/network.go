package peer

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"sync"
	"time"
)

// Listen listens on a loopback port of the system's choice, with TLS if config isn't nil. For peers
// that take a net.Listener.
func Listen(config *tls.Config) (net.Listener, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil || config == nil {
		return listener, err
	}
	return tls.NewListener(listener, config), nil
}

// DialConn opens a connection, and completes the TLS handshake if options ask for one. For peers
// that take a net.Conn.
func DialConn(ctx context.Context, options DialOptions) (net.Conn, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", options.Address)
	if err != nil || options.TLS == nil {
		return conn, err
	}
	encrypted := tls.Client(conn, options.TLS)
	if err := encrypted.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return encrypted, nil
}

// Tracked is a listener that remembers its connections, so that a server whose library doesn't close
// them can be stopped without waiting for its clients.
type Tracked struct {
	net.Listener

	mu    sync.Mutex // guards conns
	conns map[net.Conn]struct{}
}

// Track wraps listener.
func Track(listener net.Listener) *Tracked {
	return &Tracked{Listener: listener, conns: make(map[net.Conn]struct{})}
}

// Accept waits for the next connection.
func (t *Tracked) Accept() (net.Conn, error) {
	conn, err := t.Listener.Accept()
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	t.conns[conn] = struct{}{}
	t.mu.Unlock()
	return conn, nil
}

// Forget drops a connection that has ended.
func (t *Tracked) Forget(conn net.Conn) {
	t.mu.Lock()
	delete(t.conns, conn)
	t.mu.Unlock()
}

// Close stops listening and closes every connection that wasn't forgotten.
func (t *Tracked) Close() error {
	err := t.Listener.Close()
	t.mu.Lock()
	defer t.mu.Unlock()
	for conn := range t.conns {
		conn.Close() //nolint:errcheck // it may have ended already
	}
	return err
}

// Certificate is a self-signed certificate for loopback, in the form that another process can be
// told.
type Certificate struct {
	Certificate []byte // PEM
	Key         []byte // PEM
}

// NewCertificate makes a certificate that is valid for a day.
func NewCertificate() (Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "edict benchmarks"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
		DNSNames:              []string{"localhost"},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return Certificate{}, err
	}
	encodedKey, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return Certificate{}, err
	}
	return Certificate{
		Certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}),
		Key:         pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: encodedKey}),
	}, nil
}

// ServerConfig is the server's side of c: TLS 1.3.
func (c Certificate) ServerConfig() (*tls.Config, error) {
	pair, err := tls.X509KeyPair(c.Certificate, c.Key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13}, nil
}

// ClientConfig is the client's side of c: it trusts c and nothing else, and resumes no sessions, so
// that every handshake is a full one.
func (c Certificate) ClientConfig() (*tls.Config, error) {
	trusted := x509.NewCertPool()
	if !trusted.AppendCertsFromPEM(c.Certificate) {
		return nil, errors.New("unusable certificate")
	}
	return &tls.Config{RootCAs: trusted, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS13}, nil
}

package edict_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log/slog"
	"math/big"
	"net"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/transport"
)

// lab is the receiver of the tests' commands. It counts what is executed, and holds up commands
// until the test lets them go.
type lab struct {
	executed atomic.Int64
	started  chan string          // Wait sends its name when it runs
	release  chan struct{}        // Wait ends when it is closed
	canceled chan error           // Wait sends its context's error if that ends first
	contexts chan context.Context // Peek sends its context
	accounts [8]account           // of the ordered commands
	gates    sync.Map             // by name; hold ends when its gate is closed
}

func newLab() *lab {
	return &lab{
		started: make(chan string, 20_000), release: make(chan struct{}),
		canceled: make(chan error, 20_000), contexts: make(chan context.Context, 1),
	}
}

type add struct{ A, B int }

func (c add) Exec(_ context.Context, l *lab) (int, error) {
	l.executed.Add(1)
	return c.A + c.B, nil
}

// fail ends with an error: a plain one, or one with a code.
type fail struct {
	Code   edict.Code
	Reason string
	Text   string
	Retry  time.Duration
}

type shortage struct{ Missing int }

func (c fail) Exec(_ context.Context, l *lab) (int, error) {
	l.executed.Add(1)
	sentinel := &edict.Error{Code: c.Code, Reason: c.Reason}
	return 0, sentinel.With("%s", c.Text).WithRetryAfter(c.Retry).WithDetail(shortage{Missing: 7})
}

// misbehave panics or ends its goroutine.
type misbehave struct{ Goexit, Error bool }

// grenade is an error that panics when it is looked at.
type grenade struct{}

func (grenade) Error() string { panic("secret of the error") }

func (c misbehave) Exec(context.Context, *lab) (int, error) {
	if c.Goexit {
		runtime.Goexit()
	}
	if c.Error {
		return 0, grenade{}
	}
	panic("secret of the server")
}

// wait runs until it is released or cancelled.
type wait struct{ Name string }

func (c wait) Exec(ctx context.Context, l *lab) (string, error) {
	l.executed.Add(1)
	l.started <- c.Name
	select {
	case <-l.release:
		return c.Name, nil
	case <-ctx.Done():
		l.canceled <- ctx.Err()
		return "", ctx.Err()
	}
}

// stubborn runs until it is released, whatever its context says.
type stubborn struct{ Name string }

func (c stubborn) Exec(_ context.Context, l *lab) (string, error) {
	l.started <- c.Name
	<-l.release
	return c.Name, nil
}

// repeat returns a text of a size.
type repeat struct {
	Text  string
	Times int
}

func (c repeat) Exec(context.Context, *lab) (string, error) {
	return strings.Repeat(c.Text, c.Times), nil
}

// count streams numbers, and an error at the end if it is to fail.
type count struct {
	To   int
	Fail bool
}

func (c count) Exec(_ context.Context, _ *lab, results edict.Sink[int]) error {
	for n := range c.To {
		if err := results.Send(n); err != nil {
			return err
		}
	}
	if c.Fail {
		return edict.Errorf(edict.DataLoss, "lost the rest")
	}
	return nil
}

// flood streams texts until someone stops it, and tells how it was stopped.
type flood struct{ Size int }

func (c flood) Exec(_ context.Context, l *lab, results edict.Sink[string]) error {
	text := strings.Repeat("f", c.Size)
	for {
		if err := results.Send(text); err != nil {
			l.canceled <- err
			return err
		}
		l.executed.Add(1)
	}
}

// sumUp adds its inputs and returns the sum: an upload. It fails if it is to, after some inputs.
type sumUp struct{ FailAfter int }

func (c sumUp) Exec(_ context.Context, l *lab, inputs edict.Source[int], results edict.Sink[int]) error {
	l.executed.Add(1)
	sum, taken := 0, 0
	for n, err := range inputs.All() {
		if err != nil {
			return err
		}
		sum += n
		if taken++; taken == c.FailAfter {
			return edict.Errorf(edict.OutOfRange, "%d is enough", sum)
		}
	}
	return results.Send(sum)
}

// parrot repeats its inputs as they come.
type parrot struct{}

func (parrot) Exec(_ context.Context, l *lab, inputs edict.Source[string], results edict.Sink[string]) error {
	for {
		text, err := inputs.Receive()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			l.canceled <- err
			return err
		}
		if err := results.Send(text); err != nil {
			return err
		}
	}
}

// deaf takes no inputs until it is released, then counts them.
type deaf struct{}

func (deaf) Exec(ctx context.Context, l *lab, inputs edict.Source[string], results edict.Sink[int]) error {
	l.started <- "deaf"
	select {
	case <-l.release:
	case <-ctx.Done():
		return ctx.Err()
	}
	size := 0
	for text, err := range inputs.All() {
		if err != nil {
			return err
		}
		size += len(text)
	}
	return results.Send(size)
}

// stoic tells what it gets of its inputs, and goes on after errors.
type stoic struct{}

func (stoic) Exec(_ context.Context, _ *lab, inputs edict.Source[int], results edict.Sink[string]) error {
	var got []string
	for len(got) < 5 {
		n, err := inputs.Receive()
		switch {
		case err == io.EOF:
			got = append(got, "end")
		case err != nil:
			got = append(got, "error")
		default:
			got = append(got, strconv.Itoa(n))
		}
	}
	return results.Send(strings.Join(got, " "))
}

// peek hands its context to the test and sends metadata back.
type peek struct{}

func (peek) Exec(ctx context.Context, l *lab) (string, error) {
	edict.SetMetadata(ctx, "Answer", "42", "43")
	select {
	case l.contexts <- ctx:
	default:
	}
	return edict.MetadataOf(ctx).Get("question"), nil
}

var labCommands = edict.Commands(
	edict.Unary[add](), edict.Unary[fail](), edict.Unary[misbehave](), edict.Unary[wait](), edict.Unary[stubborn](),
	edict.Unary[repeat](), edict.ServerStream[count](), edict.ServerStream[flood](), edict.Unary[peek](),
	edict.Duplex[sumUp](), edict.Duplex[parrot](), edict.Duplex[deaf](), edict.Duplex[stoic](),
	edict.Unary[enter](), edict.Unary[raise](), edict.Unary[*statement](), edict.Unary[hold](), edict.Unary[breakTurn](),
	edict.ServerStream[holdStream](), edict.Duplex[holdDuplex](),
	edict.Unary[inLane](), edict.Unary[complain](), edict.Unary[keep[int]]().Named("keepNumber"), edict.Unary[keep[string]]().Named("keepText"),
	edict.Unary[look](), edict.ServerStream[lookAround](), edict.ServerStream[texts](),
)

// bench is a server with a lab, and clients of it.
type bench struct {
	t      testing.TB
	lab    *lab
	server *edict.Server
	log    *logBuffer
	dial   func(context.Context) (net.Conn, error)
	served chan error
}

// logBuffer is a server's log, to be searched.
type logBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *logBuffer) Write(line []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(line)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// serve starts a server on an in-memory listener.
func serve(t testing.TB, options ...edict.ServerOption) *bench {
	listener := transport.NewMemory()
	return serveOn(t, listener, listener.Dial, options...)
}

func serveOn(t testing.TB, listener net.Listener, dial func(context.Context) (net.Conn, error), options ...edict.ServerOption) *bench {
	b := &bench{t: t, lab: newLab(), log: &logBuffer{}, dial: dial, served: make(chan error, 1)}
	options = append([]edict.ServerOption{edict.WithLogger(slog.New(slog.NewTextHandler(b.log, nil)))}, options...)
	b.server = edict.NewServer(b.lab, labCommands, options...)
	go func() { b.served <- b.server.Serve(listener) }()
	t.Cleanup(func() {
		_ = b.server.Close()
		if err := b.server.Shutdown(context.Background()); err != nil {
			t.Errorf("the server did not end: %v", err)
		}
		<-b.served
	})
	return b
}

// client connects a client, which is closed at the end of the test.
func (b *bench) client(options ...edict.DialOption) *edict.Client[*lab] {
	b.t.Helper()
	client, err := b.tryClient(options...)
	if err != nil {
		b.t.Fatalf("Dial: %v", err)
	}
	return client
}

func (b *bench) tryClient(options ...edict.DialOption) (*edict.Client[*lab], error) {
	options = append([]edict.DialOption{edict.WithDialer(b.dial)}, options...)
	client, err := edict.Dial(context.Background(), "test", labCommands, options...)
	if err == nil {
		b.t.Cleanup(func() { _ = client.Close() })
	}
	return client, err
}

// over runs a test over each kind of connection.
func over(t *testing.T, test func(t *testing.T, b *bench)) {
	t.Run("memory", func(t *testing.T) { test(t, serve(t)) })
	t.Run("tcp", func(t *testing.T) { test(t, serveAt(t, "tcp://127.0.0.1:0", nil, nil)) })
	t.Run("unix", func(t *testing.T) {
		test(t, serveAt(t, "unix://"+filepath.Join(t.TempDir(), "edict.sock"), nil, nil))
	})
	t.Run("tls", func(t *testing.T) {
		serverTLS, clientTLS := certificates(t)
		test(t, serveAt(t, "tls://127.0.0.1:0", serverTLS, clientTLS))
	})
}

func serveAt(t testing.TB, address string, serverTLS, clientTLS *tls.Config, options ...edict.ServerOption) *bench {
	listener, err := transport.Listen(t.Context(), address, serverTLS)
	if err != nil {
		t.Fatal(err)
	}
	scheme, _, _ := strings.Cut(address, "://")
	target := scheme + "://" + listener.Addr().String()
	return serveOn(t, listener, func(ctx context.Context) (net.Conn, error) {
		return transport.Dial(ctx, target, clientTLS)
	}, options...)
}

// certificates makes a certificate for 127.0.0.1 that both sides present and trust.
func certificates(t testing.TB) (server, client *tls.Config) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "edict test"},
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

// wantError checks the code and outcome of an error.
func wantError(t testing.TB, err error, code edict.Code, outcome edict.Outcome) {
	t.Helper()
	if edict.CodeOf(err) != code || edict.OutcomeOf(err) != outcome {
		t.Fatalf("got %v (%v, %v), want %v, %v", err, edict.CodeOf(err), edict.OutcomeOf(err), code, outcome)
	}
}

// wantSum makes a call that must succeed: the connection lives.
func wantSum(t testing.TB, client *edict.Client[*lab]) {
	t.Helper()
	sum, err := edict.Call(context.Background(), client, add{2, 3})
	if err != nil || sum != 5 {
		t.Fatalf("add = %d, %v; the connection should work", sum, err)
	}
}

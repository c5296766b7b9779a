package edict_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/auth"
	"github.com/edict-go/edict/codec/msgpack"
	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/transport"
)

// vault is a receiver whose commands tell whom they run for.
type vault struct{}

func whom(ctx context.Context) string {
	principal, known := edict.PrincipalOf(ctx)
	if !known {
		return "nobody"
	}
	return principal.Scheme + " " + principal.Name
}

type whoUnary struct{}

func (whoUnary) Exec(ctx context.Context, _ vault) (string, error) { return whom(ctx), nil }

type whoStream struct{}

func (whoStream) Exec(ctx context.Context, _ vault, results edict.Sink[string]) error {
	return results.Send(whom(ctx))
}

type whoDuplex struct{}

func (whoDuplex) Exec(ctx context.Context, _ vault, inputs edict.Source[string], results edict.Sink[string]) error {
	return results.Send(whom(ctx))
}

var vaultCommands = edict.Commands(edict.Unary[whoUnary](), edict.ServerStream[whoStream](), edict.Duplex[whoDuplex]())

const sesame = "open-sesame-4711"

// sesameOf lets in who has the token.
func sesameOf(t testing.TB, name string) edict.Authenticator {
	authenticate, err := auth.StaticTokens(map[string]edict.Principal{sesame: {Name: name}})
	if err != nil {
		t.Fatal(err)
	}
	return authenticate
}

// guard starts a server on an in-memory listener. It returns what dials it, and what stops it and returns
// all that it has logged.
func guard(t testing.TB, options ...edict.ServerOption) (dial func(context.Context) (net.Conn, error), stop func() string) {
	listener := transport.NewMemory()
	return listener.Dial, guardOn(t, listener, options...)
}

func guardOn(t testing.TB, listener net.Listener, options ...edict.ServerOption) (stop func() string) {
	log := &logBuffer{}
	options = append([]edict.ServerOption{edict.WithLogger(debugLog(log))}, options...)
	server := edict.NewServer(vault{}, vaultCommands, options...)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	stop = sync.OnceValue(func() string {
		_ = server.Close()
		if err := server.Shutdown(context.Background()); err != nil {
			t.Errorf("the server did not end: %v", err)
		}
		<-served
		return log.String()
	})
	t.Cleanup(func() { stop() })
	return stop
}

func debugLog(log *logBuffer) *slog.Logger {
	return slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// enterVault connects, asks the server for whom it runs a command, and leaves.
func enterVault(ctx context.Context, dial func(context.Context) (net.Conn, error), options ...edict.DialOption) (string, error) {
	client, err := edict.Dial(ctx, "vault", vaultCommands, append([]edict.DialOption{edict.WithDialer(dial)}, options...)...)
	if err != nil {
		return "", err
	}
	defer client.Close()
	return edict.Call(ctx, client, whoUnary{})
}

func TestCommandsFindThePrincipal(t *testing.T) {
	dial, _ := guard(t, edict.WithAuthenticator(sesameOf(t, "alice")))
	client, err := edict.Dial(t.Context(), "vault", vaultCommands, edict.WithDialer(dial), edict.WithToken(sesame))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	const want = "token alice"
	if got, err := edict.Call(t.Context(), client, whoUnary{}); err != nil || got != want {
		t.Errorf("a unary command finds %q, %v", got, err)
	}
	for got, err := range edict.Stream(t.Context(), client, whoStream{}) {
		if err != nil || got != want {
			t.Errorf("a stream finds %q, %v", got, err)
		}
	}
	call, err := edict.StartDuplex(t.Context(), client, whoDuplex{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := call.Receive(); err != nil || got != want {
		t.Errorf("a duplex command finds %q, %v", got, err)
	}
	if _, err := call.Receive(); err != io.EOF {
		t.Error(err)
	}
	if client.Peer().Principal != nil {
		t.Errorf("the client finds %+v", client.Peer().Principal)
	}
	if principal, known := edict.PrincipalOf(t.Context()); known || principal != (edict.Principal{}) {
		t.Errorf("outside of a command there is %+v", principal)
	}
	dial, _ = guard(t)
	if got, err := enterVault(t.Context(), dial, edict.WithToken(sesame)); err != nil || got != "nobody" {
		t.Errorf("without an authenticator a command finds %q, %v", got, err)
	}
}

func TestRefusedClients(t *testing.T) {
	dial, stop := guard(t, edict.WithAuthenticator(sesameOf(t, "alice")))
	_, err := enterVault(t.Context(), dial)
	wantError(t, err, edict.Unauthenticated, edict.NotSent)
	if !errors.Is(err, auth.ErrNoCredentials) || !strings.Contains(err.Error(), "a token is needed") {
		t.Errorf("without a token: %v", err)
	}
	_, err = enterVault(t.Context(), dial, edict.WithToken("guessed"))
	wantError(t, err, edict.Unauthenticated, edict.NotSent)
	if e, _ := errors.AsType[*edict.Error](err); !e.Remote || !strings.Contains(e.Message, "the token is not known") {
		t.Errorf("with a wrong token: %v", err)
	}
	if log := stop(); !strings.Contains(log, "handshake failed") || !strings.Contains(log, "the token is not known") {
		t.Errorf("the server's log is %q", log)
	}
}

// TestTheTokenIsAskedForAtEachAttempt, before the connection is opened, with the context of Dial.
func TestTheTokenIsAskedForAtEachAttempt(t *testing.T) {
	type key struct{}
	tokens := []string{"first", "second", sesame}
	authenticate := func(_ context.Context, credentials edict.Credentials) (edict.Principal, error) {
		return edict.Principal{Scheme: "seen", Name: credentials.Token.Reveal()}, nil
	}
	dial, _ := guard(t, edict.WithAuthenticator(authenticate))
	asked, opened := 0, 0
	provider := func(ctx context.Context) (string, error) {
		if ctx.Value(key{}) != "mine" || opened != asked {
			t.Errorf("asked with %v, when %d connections were open, for the %d. time", ctx, opened, asked+1)
		}
		asked++
		return tokens[asked-1], nil
	}
	counting := func(ctx context.Context) (net.Conn, error) {
		opened++
		return dial(ctx)
	}
	option := edict.WithTokenProvider(provider)
	for _, want := range tokens {
		if got, err := enterVault(context.WithValue(t.Context(), key{}, "mine"), counting, option); err != nil || got != "seen "+want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
}

// TestASlowTokenProviderHasItsOwnTime: that of the context, not that of the handshake.
func TestASlowTokenProviderHasItsOwnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dial, _ := guard(t, edict.WithAuthenticator(sesameOf(t, "alice")))
		slow := edict.WithTokenProvider(func(ctx context.Context) (string, error) {
			select {
			case <-time.After(time.Minute):
				return sesame, nil
			case <-ctx.Done():
				return "", ctx.Err()
			}
		})
		if got, err := enterVault(t.Context(), dial, slow); err != nil || got != "token alice" {
			t.Errorf("got %q, %v", got, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 59*time.Second)
		defer cancel()
		_, err := enterVault(ctx, dial, slow)
		wantError(t, err, edict.DeadlineExceeded, edict.NotSent)
	})
}

func TestATokenProviderThatFails(t *testing.T) {
	opened := false
	dial := func(context.Context) (net.Conn, error) {
		opened = true
		return nil, errors.New("no")
	}
	cause := errors.New("the key ring is locked")
	for _, c := range []struct {
		token string
		err   error
		code  edict.Code
		words string
	}{
		{"", cause, edict.Unauthenticated, "can't get a token: the key ring is locked"},
		{sesame, fmt.Errorf("%s is revoked", sesame), edict.Unauthenticated, "can't get a token: [token] is revoked"},
		{"", fmt.Errorf("at the token's issuer: %w", edict.Errorf(edict.Unavailable, "down").WithRetryAfter(time.Second)), edict.Unavailable, "at the token's issuer"},
		{"", context.DeadlineExceeded, edict.Unauthenticated, "can't get a token: context deadline exceeded"}, // the provider's own
		{"", nil, edict.Unauthenticated, "the token is empty"},
	} {
		_, err := enterVault(t.Context(), dial, edict.WithTokenProvider(func(context.Context) (string, error) { return c.token, c.err }))
		wantError(t, err, c.code, edict.NotSent)
		e, _ := errors.AsType[*edict.Error](err)
		if !errors.Is(err, c.err) && c.err != nil || !strings.Contains(err.Error(), c.words) || strings.Contains(err.Error(), sesame) || c.code == edict.Unavailable && e.RetryAfter != time.Second {
			t.Errorf("got %v, want %q", err, c.words)
		}
	}
	if opened {
		t.Error("a connection was opened")
	}
	_, err := enterVault(t.Context(), dial, edict.WithToken(""))
	wantError(t, err, edict.Unauthenticated, edict.NotSent)
}

// elsewhere is a connection that says that it leads to another machine.
type elsewhere struct{ net.Conn }

func (elsewhere) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(10, 1, 2, 3), Port: 9000} }

// tap records what is written to a connection.
type tap struct {
	net.Conn
	mu      *sync.Mutex
	written *bytes.Buffer
}

func (c tap) Write(text []byte) (int, error) {
	c.mu.Lock()
	c.written.Write(text)
	c.mu.Unlock()
	return c.Conn.Write(text)
}

type tapListener struct {
	net.Listener
	mu      sync.Mutex
	written bytes.Buffer
}

func (l *tapListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return tap{conn, &l.mu, &l.written}, nil
}

// TestTokensAreNowhereToBeFound: not in the logs of either side at any level, not in errors, options, or
// what the server sends, however the connection ends and whatever authenticators do.
func TestTokensAreNowhereToBeFound(t *testing.T) {
	clientLog := &logBuffer{}
	logged := slog.Default()
	slog.SetDefault(debugLog(clientLog)) // whatever does not know of WithLogger
	defer slog.SetDefault(logged)

	token := func(credentials edict.Credentials) string { return credentials.Token.Reveal() }
	var shown strings.Builder
	show := func(values ...any) {
		for _, value := range values {
			fmt.Fprintf(&shown, "%v %+v %#v %s\n", value, value, value, value)
		}
	}
	for name, authenticate := range map[string]edict.Authenticator{
		"static": sesameOf(t, "alice"),
		"wrong token": func(context.Context, edict.Credentials) (edict.Principal, error) {
			return edict.Principal{}, edict.Errorf(edict.Unauthenticated, "wrong")
		},
		"prints": func(_ context.Context, c edict.Credentials) (edict.Principal, error) {
			slog.Debug("debugging", "credentials", c, "token", c.Token)
			return edict.Principal{}, fmt.Errorf("credentials %v %+v %#v", c, c, &c)
		},
		"reveals": func(_ context.Context, c edict.Credentials) (edict.Principal, error) {
			return edict.Principal{}, errors.New("no such token: " + token(c))
		},
		"tells": func(_ context.Context, c edict.Credentials) (edict.Principal, error) {
			err := edict.Errorf(edict.Unauthenticated, "no such token: %w", errors.New(token(c)))
			err.Reason = token(c)
			return edict.Principal{}, err.WithDetail(token(c))
		},
		"panics": func(_ context.Context, c edict.Credentials) (edict.Principal, error) {
			panic("no such token: " + token(c))
		},
		"panics, value": func(_ context.Context, c edict.Credentials) (edict.Principal, error) { panic(c) },
		"ends":          func(_ context.Context, c edict.Credentials) (edict.Principal, error) { runtime.Goexit(); panic("no") },
	} {
		memory := transport.NewMemory()
		listener := &tapListener{Listener: memory}
		options := []edict.ServerOption{edict.WithAuthenticator(authenticate)}
		stop := guardOn(t, listener, options...)
		for noCodec, more := range map[bool]edict.DialOption{false: edict.ClientConfig{Name: "till"}, true: edict.WithCodecs(msgpack.Codec)} {
			dialOptions := append([]edict.DialOption{more}, edict.WithToken(sesame), edict.WithLogger(debugLog(clientLog)))
			client, err := edict.Dial(t.Context(), "vault", vaultCommands, append(dialOptions, edict.WithDialer(memory.Dial))...)
			show(err, options, dialOptions)
			if (err == nil) != (name == "static" && !noCodec) {
				t.Errorf("%s: Dial returned %v", name, err)
			}
			if err == nil {
				_, err = edict.Call(t.Context(), client, whoUnary{})
				show(err, client.Peer())
				client.Close()
			}
			_, err = enterVault(t.Context(), func(ctx context.Context) (net.Conn, error) {
				conn, err := memory.Dial(ctx)
				return elsewhere{conn}, err
			}, dialOptions...)
			wantError(t, err, edict.FailedPrecondition, edict.NotSent)
			show(err)
		}
		log := stop()
		sent := listener.written.String()
		for where, text := range map[string]string{
			"server's log": log, "client's log": clientLog.String(), "server's bytes": sent, "shown values": shown.String(),
		} {
			if strings.Contains(text, sesame) {
				t.Errorf("%s: the token is in the %s: %s", name, where, text)
			}
			if len(text) < 20 && where != "client's log" { // which is about what authenticators log themselves
				t.Errorf("%s: the %s are hardly there: %q", name, where, text)
			}
		}
	}
	if !strings.Contains(clientLog.String(), "debugging") {
		t.Errorf("the log is %s", clientLog)
	}
}

// TestATokenOverAnOpenNetwork is refused on this side, unless it is allowed.
func TestATokenOverAnOpenNetwork(t *testing.T) {
	dial, _ := guard(t, edict.WithAuthenticator(sesameOf(t, "alice")))
	far := func(ctx context.Context) (net.Conn, error) {
		conn, err := dial(ctx)
		return elsewhere{conn}, err
	}
	_, err := enterVault(t.Context(), far, edict.WithToken(sesame))
	wantError(t, err, edict.FailedPrecondition, edict.NotSent)
	if got, err := enterVault(t.Context(), far, edict.WithToken(sesame), edict.WithInsecureToken()); err != nil || got != "token alice" {
		t.Errorf("allowed: %q, %v", got, err)
	}
	over(t, func(t *testing.T, b *bench) { // all of these are private
		wantSum(t, b.client(edict.WithToken(sesame)))
	})
}

// TestShutdownEndsAuthentications: it doesn't wait for those that heed their context.
func TestShutdownEndsAuthentications(t *testing.T) {
	listener := transport.NewMemory()
	asked := make(chan struct{})
	server := edict.NewServer(vault{}, vaultCommands, edict.WithLogger(slog.New(slog.DiscardHandler)),
		edict.ServerConfig{HandshakeTimeout: time.Hour},
		edict.WithAuthenticator(func(ctx context.Context, _ edict.Credentials) (edict.Principal, error) {
			close(asked)
			<-ctx.Done()
			return edict.Principal{}, ctx.Err()
		}))
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	entered := make(chan error, 1)
	go func() {
		_, err := enterVault(context.Background(), listener.Dial, edict.WithToken(sesame))
		entered <- err
	}()
	<-asked
	if err := server.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	<-served
	wantError(t, <-entered, edict.Unavailable, edict.NotSent)
}

// TestAPanicOfAnAuthenticatorIsLogged with its stack; the next client is let in.
func TestAPanicOfAnAuthenticatorIsLogged(t *testing.T) {
	first := true
	dial, stop := guard(t, edict.WithAuthenticator(func(context.Context, edict.Credentials) (edict.Principal, error) {
		if first {
			first = false
			panic("secret of the server")
		}
		return edict.Principal{Scheme: "any", Name: "one"}, nil
	}))
	_, err := enterVault(t.Context(), dial)
	wantError(t, err, edict.Internal, edict.NotSent)
	if got, err := enterVault(t.Context(), dial); err != nil || got != "any one" {
		t.Errorf("the next client: %q, %v", got, err)
	}
	if log := stop(); strings.Contains(err.Error(), "secret") || !strings.Contains(log, "secret of the server") || !strings.Contains(log, "auth_test.go") {
		t.Errorf("the client has %v, the log is %s", err, log)
	}
}

// authority signs certificates.
type authority struct {
	t           testing.TB
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	a := &authority{t: t}
	pair := a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: "authority"}, IsCA: true, KeyUsage: x509.KeyUsageCertSign})
	a.certificate, a.key = pair.Leaf, pair.PrivateKey.(*ecdsa.PrivateKey)
	return a
}

// sign returns a certificate like template with a key of its own, signed by the authority, or by itself if
// that has no certificate yet.
func (a *authority) sign(template *x509.Certificate) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template.SerialNumber, template.BasicConstraintsValid = big.NewInt(time.Now().UnixNano()), true
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(time.Hour)
	}
	parent, signer := a.certificate, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	return pool
}

func (a *authority) client(commonName string, uris ...string) tls.Certificate {
	template := &x509.Certificate{Subject: pkix.Name{CommonName: commonName}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	for _, text := range uris {
		uri, err := url.Parse(text)
		if err != nil {
			a.t.Fatal(err)
		}
		template.URIs = append(template.URIs, uri)
	}
	return a.sign(template)
}

// TestMutualTLS: over a real connection, with certificates that are right and wrong in several ways.
func TestMutualTLS(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	serverCertificate := ours.sign(&x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	expired := ours.sign(&x509.Certificate{Subject: pkix.Name{CommonName: "till"}, NotAfter: time.Now().Add(-time.Minute), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	notForClients := ours.sign(&x509.Certificate{Subject: pkix.Name{CommonName: "till"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	stolen := ours.client("till")
	stolen.PrivateKey = theirs.client("till").PrivateKey // the certificate without its key
	const denied = "no SPIFFE ID of a trusted domain"
	for _, c := range []struct {
		name         string
		ask          tls.ClientAuthType
		authenticate edict.Authenticator
		with         []tls.Certificate
		token        string
		want         string
		code         edict.Code // or else, with
		words        string
	}{
		{"verified", tls.RequireAndVerifyClientCert, auth.MutualTLS(nil), []tls.Certificate{ours.client("till")}, "", "mtls CN=till", 0, ""},
		{
			"SPIFFE", tls.RequireAndVerifyClientCert, auth.MutualTLS(auth.TrustDomain("example.org")),
			[]tls.Certificate{ours.client("till", "spiffe://example.org/till")},
			"", "mtls spiffe://example.org/till", 0, "",
		},
		{
			"another domain", tls.RequireAndVerifyClientCert, auth.MutualTLS(auth.TrustDomain("example.org")),
			[]tls.Certificate{ours.client("till", "spiffe://evil.org/till")},
			"", "", edict.PermissionDenied, denied,
		},
		{"another authority", tls.RequireAndVerifyClientCert, auth.MutualTLS(nil), []tls.Certificate{theirs.client("till")}, "", "", edict.Unavailable, "tls"},
		{"expired", tls.RequireAndVerifyClientCert, auth.MutualTLS(nil), []tls.Certificate{expired}, "", "", edict.Unavailable, "tls"},
		{"not for clients", tls.RequireAndVerifyClientCert, auth.MutualTLS(nil), []tls.Certificate{notForClients}, "", "", edict.Unavailable, "tls"},
		{"none", tls.RequireAndVerifyClientCert, auth.MutualTLS(nil), nil, "", "", edict.Unavailable, "tls"},
		{"without its key", tls.VerifyClientCertIfGiven, auth.MutualTLS(nil), []tls.Certificate{stolen}, "", "", edict.Unavailable, "tls"},
		{"none, as it may be", tls.VerifyClientCertIfGiven, auth.MutualTLS(nil), nil, "", "", edict.Unauthenticated, "a client certificate is needed"},
		// A server that asks for certificates and does not verify them: whoever made one is nobody.
		{"not verified", tls.RequireAnyClientCert, auth.MutualTLS(nil), []tls.Certificate{theirs.client("till")}, "", "", edict.Unauthenticated, "not verified"},
		{"not verified, though good", tls.RequestClientCert, auth.MutualTLS(nil), []tls.Certificate{ours.client("till")}, "", "", edict.Unauthenticated, "not verified"},
		// Several kinds together.
		{"any: certificate", tls.VerifyClientCertIfGiven, auth.Any(auth.MutualTLS(nil), sesameOf(t, "alice")), []tls.Certificate{ours.client("till")}, sesame, "mtls CN=till", 0, ""},
		{"any: token", tls.VerifyClientCertIfGiven, auth.Any(auth.MutualTLS(nil), sesameOf(t, "alice")), nil, sesame, "token alice", 0, ""},
		{"any: wrong token", tls.VerifyClientCertIfGiven, auth.Any(auth.MutualTLS(nil), sesameOf(t, "alice")), nil, "wrong", "", edict.Unauthenticated, "the token is not known"},
		{"any: nothing", tls.VerifyClientCertIfGiven, auth.Any(auth.MutualTLS(nil), sesameOf(t, "alice")), nil, "", "", edict.Unauthenticated, "no credentials"},
	} {
		for version, name := range map[uint16]string{tls.VersionTLS12: "1.2", tls.VersionTLS13: "1.3"} {
			t.Run(c.name+" "+name, func(t *testing.T) {
				listener, err := transport.Listen(t.Context(), "tls://127.0.0.1:0", &tls.Config{
					Certificates: []tls.Certificate{serverCertificate}, ClientCAs: ours.pool(), ClientAuth: c.ask, MaxVersion: version,
				})
				if err != nil {
					t.Fatal(err)
				}
				guardOn(t, listener, edict.WithAuthenticator(c.authenticate))
				options := []edict.DialOption{}
				if c.token != "" {
					options = append(options, edict.WithToken(c.token))
				}
				got, err := enterVault(t.Context(), func(ctx context.Context) (net.Conn, error) {
					return transport.Dial(ctx, "tls://"+listener.Addr().String(), &tls.Config{RootCAs: ours.pool(), Certificates: c.with})
				}, options...)
				if got != c.want {
					t.Errorf("got %q, %v, want %q", got, err, c.want)
				}
				if c.code != 0 {
					wantError(t, err, c.code, edict.NotSent)
					if !strings.Contains(err.Error(), c.words) {
						t.Errorf("got %v, want %q", err, c.words)
					}
				}
			})
		}
	}
}

// TestUnixPeers: over a real socket.
func TestUnixPeers(t *testing.T) {
	me := uint32(os.Geteuid())
	for _, c := range []struct {
		authenticate edict.Authenticator
		want         string
		code         edict.Code
	}{
		{auth.UnixUsers(), fmt.Sprintf("unix uid:%d", me), 0},
		{auth.UnixUsers(5, me), fmt.Sprintf("unix uid:%d", me), 0},
		{auth.UnixUsers(me + 1), "", edict.PermissionDenied},
		{auth.Any(auth.UnixUsers(me+1), sesameOf(t, "alice")), "token alice", 0},
	} {
		listener, err := transport.Listen(t.Context(), "unix://"+filepath.Join(t.TempDir(), "edict.sock"), nil)
		if err != nil {
			t.Fatal(err)
		}
		guardOn(t, listener, edict.WithAuthenticator(c.authenticate))
		got, err := enterVault(t.Context(), func(ctx context.Context) (net.Conn, error) {
			return transport.Dial(ctx, "unix://"+listener.Addr().String(), nil)
		}, edict.WithToken(sesame))
		switch {
		case runtime.GOOS != "linux" && c.want != "token alice":
			wantError(t, err, edict.Unimplemented, edict.NotSent)
		case got != c.want || core.CodeOf(err) != c.code:
			t.Errorf("got %q, %v, want %q", got, err, c.want)
		}
	}
	dial, _ := guard(t, edict.WithAuthenticator(auth.UnixUsers()))
	_, err := enterVault(t.Context(), dial)
	if !errors.Is(err, auth.ErrNoCredentials) || !strings.Contains(err.Error(), "a Unix socket is needed") {
		t.Errorf("over memory: %v", err)
	}
}

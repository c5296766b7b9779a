package auth_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/edict-go/edict/auth"
	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/edicttest"
	"github.com/edict-go/edict/transport"
)

const secret = "open-sesame-4711"

// TestATokenDoesNotPrintItself: in no way that a program logs or reports things by.
func TestATokenDoesNotPrintItself(t *testing.T) {
	token := auth.NewToken(secret)
	credentials := auth.Credentials{Token: token, Name: "till"}
	hidden := struct{ token auth.Token }{token}
	list, table := []auth.Token{token}, map[string]auth.Token{"k": token}
	values := []any{token, &token, credentials, &credentials, hidden, &hidden, list, table, []any{hidden}}
	hex, numbers := fmt.Sprintf("%x", secret), strings.Trim(fmt.Sprint([]byte(secret)), "[]")
	check := func(how, text string) {
		t.Helper()
		for _, form := range []string{secret, hex, strings.ToUpper(hex), numbers} {
			if strings.Contains(text, form) {
				t.Errorf("%s shows the token: %s", how, text)
			}
		}
	}
	for i, value := range values {
		for _, verb := range "vsqxXdTtcUbeEfFgGop" {
			for _, flags := range []string{"", "+", "#", " ", "-40.30"} {
				format := "%" + flags + string(verb)
				check(fmt.Sprintf("%s of %d", format, i), fmt.Sprintf(format, value))
			}
		}
		encoded, err := json.Marshal(value)
		check(fmt.Sprintf("JSON of %d", i), string(encoded)+fmt.Sprint(err))
		var log bytes.Buffer
		level := &slog.HandlerOptions{Level: slog.LevelDebug, AddSource: true}
		for _, handler := range []slog.Handler{slog.NewTextHandler(&log, level), slog.NewJSONHandler(&log, level)} {
			slog.New(handler).With("with", value).Debug("m", "value", value, slog.Group("g", "value", value))
		}
		check(fmt.Sprintf("the log of %d", i), log.String())
	}
	if token.Reveal() != secret || token.IsZero() || token.String() != "[token]" {
		t.Errorf("got %q, %v, %v", token.Reveal(), token.IsZero(), token)
	}
	if none := auth.NewToken(""); !none.IsZero() || none.Reveal() != "" || none != (auth.Token{}) || fmt.Sprintf("%#v", none) != "[no token]" {
		t.Errorf("got %v", none)
	}
}

func TestRedact(t *testing.T) {
	token := auth.NewToken(secret)
	if got := token.Redact("a " + secret + " b" + secret); got != "a [token] b[token]" {
		t.Errorf("got %q", got)
	}
	for _, short := range []string{"", "abc"} {
		if got := auth.NewToken(short).Redact("abc"); got != "abc" {
			t.Errorf("got %q", got)
		}
	}
	e := core.Errorf(core.Aborted, "m "+secret).WithDetail("d " + secret)
	e.Reason = secret
	e.Details[0].Type = secret
	got := token.RedactError(e)
	if encoded := core.AppendError(nil, got); bytes.Contains(encoded, []byte(secret)) || got.Message != "m [token]" || got.Code != core.Aborted {
		t.Errorf("got %+v", got)
	}
	if e.Message != "m "+secret || e.Reason != secret || !bytes.Contains(e.Details[0].JSON, []byte(secret)) {
		t.Errorf("the error itself was changed to %+v", e)
	}
	if (auth.Token{}).RedactError(e) != e {
		t.Error("without a token the error is copied")
	}
}

func present(authenticate auth.Authenticator, credentials auth.Credentials) (core.Principal, error) {
	return authenticate(context.Background(), credentials)
}

func wantRefused(t *testing.T, what string, authenticate auth.Authenticator, credentials auth.Credentials, code core.Code, words string) {
	t.Helper()
	principal, err := present(authenticate, credentials)
	e, ok := errors.AsType[*core.Error](err)
	if !ok || e.Code != code || !strings.Contains(e.Message, words) || principal != (core.Principal{}) {
		t.Errorf("%s: got %+v and %v, want a refusal (%v) with %q", what, principal, err, code, words)
	}
}

func TestStaticTokens(t *testing.T) {
	long := strings.Repeat("x", auth.MaxToken)
	authenticate, err := auth.StaticTokens(map[string]core.Principal{
		secret: {Name: "alice", Value: 7}, "second": {Name: "bob", Scheme: "key"}, long: {Name: "carol"}, "\xff\x00": {Name: "dora"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for token, want := range map[string]core.Principal{
		secret: {Scheme: "token", Name: "alice", Value: 7}, "second": {Scheme: "key", Name: "bob"},
		long: {Scheme: "token", Name: "carol"}, "\xff\x00": {Scheme: "token", Name: "dora"},
	} {
		got, err := present(authenticate, auth.Credentials{Token: auth.NewToken(token)})
		if err != nil || got != want {
			t.Errorf("%.20q: got %+v, %v; want %+v", token, got, err, want)
		}
	}
	for _, token := range []string{"s", "secon", "second ", "SECOND", "second\x00", secret + secret, long[1:], "\xff", "\x00"} {
		wantRefused(t, fmt.Sprintf("%.20q", token), authenticate, auth.Credentials{Token: auth.NewToken(token)}, core.Unauthenticated, "the token is not known")
	}
	if _, err := present(authenticate, auth.Credentials{Name: "alice"}); !errors.Is(err, auth.ErrNoCredentials) {
		t.Errorf("without a token: %v", err)
	}
	empty, err := auth.StaticTokens(nil)
	if err != nil {
		t.Fatal(err)
	}
	wantRefused(t, "no tokens", empty, auth.Credentials{Token: auth.NewToken("x")}, core.Unauthenticated, "not known")
	for _, wrong := range []string{"", long + "x"} {
		if _, err := auth.StaticTokens(map[string]core.Principal{wrong: {}, "good": {}}); err == nil {
			t.Errorf("a token of %d bytes is accepted", len(wrong))
		}
	}
}

func TestAny(t *testing.T) {
	accept := func(name string) auth.Authenticator {
		return func(context.Context, auth.Credentials) (core.Principal, error) {
			return core.Principal{Name: name}, nil
		}
	}
	refuse := func(err error) auth.Authenticator {
		return func(context.Context, auth.Credentials) (core.Principal, error) { return core.Principal{Name: "x"}, err }
	}
	none, wrong, wrongToo := auth.ErrNoCredentials.With("none"), core.Errorf(core.Unauthenticated, "wrong"), core.Errorf(core.Unauthenticated, "wrong too")
	denied, away, plain := core.Errorf(core.PermissionDenied, "denied"), core.Errorf(core.Unavailable, "away"), errors.New("plain")
	for _, c := range []struct {
		name string
		any  auth.Authenticator
		want string // the name of the principal, or else:
		errs []error
		code core.Code
	}{
		{"the first that accepts", auth.Any(refuse(wrong), refuse(denied), accept("a"), accept("b")), "a", nil, 0},
		{"nobody", auth.Any(), "", []error{auth.ErrNoCredentials}, core.Unauthenticated},
		{"nothing presented", auth.Any(refuse(none), refuse(none)), "", []error{auth.ErrNoCredentials}, core.Unauthenticated},
		{"one had something", auth.Any(refuse(none), refuse(wrong), refuse(none)), "", []error{wrong}, core.Unauthenticated},
		{"two had", auth.Any(refuse(wrong), refuse(plain), refuse(wrongToo)), "", []error{wrong, wrongToo, plain}, core.Unauthenticated},
		{"denied counts more", auth.Any(refuse(wrong), refuse(denied), refuse(away)), "", []error{denied}, core.PermissionDenied},
		{"so does unavailable", auth.Any(refuse(none), refuse(plain), refuse(away)), "", []error{away}, core.Unavailable},
		{"in one another", auth.Any(auth.Any(refuse(none)), auth.Any(refuse(none), accept("c"))), "c", nil, 0},
	} {
		got, err := present(c.any, auth.Credentials{})
		if got.Name != c.want || (err == nil) != (c.errs == nil) || core.CodeOf(err) != c.code {
			t.Errorf("%s: got %+v, %v", c.name, got, err)
		}
		for _, want := range c.errs {
			if !errors.Is(err, want) && !strings.Contains(err.Error(), want.Error()) {
				t.Errorf("%s: %v is not in %v", c.name, want, err)
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	late := auth.Any(func(ctx context.Context, _ auth.Credentials) (core.Principal, error) {
		cancel()
		return core.Principal{}, ctx.Err()
	}, accept("too late"))
	if got, err := late(ctx, auth.Credentials{}); !errors.Is(err, context.Canceled) {
		t.Errorf("after its context has ended: %+v, %v", got, err)
	}
	defer func() {
		if recover() == nil {
			t.Error("Any takes nil")
		}
	}()
	auth.Any(accept("a"), nil)
}

// certificate returns a client certificate as far as MutualTLS looks at it.
func certificate(commonName string, dns []string, uris ...string) *x509.Certificate {
	c := &x509.Certificate{Subject: pkix.Name{CommonName: commonName}, DNSNames: dns}
	for _, text := range uris {
		uri, err := url.Parse(text)
		if err != nil {
			panic(err)
		}
		c.URIs = append(c.URIs, uri)
	}
	return c
}

func verified(c *x509.Certificate) auth.Credentials {
	return auth.Credentials{TLS: &tls.ConnectionState{PeerCertificates: []*x509.Certificate{c}, VerifiedChains: [][]*x509.Certificate{{c}}}}
}

func TestMutualTLS(t *testing.T) {
	anyone := auth.MutualTLS(nil)
	for want, c := range map[string]*x509.Certificate{
		"CN=till":                   certificate("till", []string{"till.example.org"}),
		"DNS:till.example.org":      certificate("", []string{"till.example.org"}),
		"spiffe://example.org/till": certificate("till", nil, "spiffe://example.org/till"),
	} {
		got, err := present(anyone, verified(c))
		identity, ok := got.Value.(auth.Identity)
		if err != nil || got.Scheme != "mtls" || got.Name != want || !ok || identity.Certificate != c || identity.Name() != want {
			t.Errorf("got %+v, %v; want %s", got, err, want)
		}
	}
	for _, nothing := range []auth.Credentials{{}, {TLS: &tls.ConnectionState{}}, {Token: auth.NewToken("x"), TLS: &tls.ConnectionState{}}} {
		if _, err := present(anyone, nothing); !errors.Is(err, auth.ErrNoCredentials) {
			t.Errorf("without a certificate: %v", err)
		}
	}
	c := certificate("till", nil)
	unverified := auth.Credentials{TLS: &tls.ConnectionState{PeerCertificates: []*x509.Certificate{c}}}
	wantRefused(t, "a certificate that nobody verified", anyone, unverified, core.Unauthenticated, "not verified")
	unverified.TLS.VerifiedChains = [][]*x509.Certificate{{}}
	wantRefused(t, "an empty chain", anyone, unverified, core.Unauthenticated, "not verified")
	wantRefused(t, "no name", anyone, verified(certificate("", nil)), core.Unauthenticated, "names nobody")
	// What counts is the chain that was verified, not what was sent.
	other := verified(c)
	other.TLS.PeerCertificates = []*x509.Certificate{certificate("root", nil)}
	if got, err := present(anyone, other); err != nil || got.Name != "CN=till" {
		t.Errorf("got %+v, %v", got, err)
	}
	choosy := auth.MutualTLS(func(identity auth.Identity) error {
		if identity.Certificate.Subject.CommonName != "till" {
			return core.Errorf(core.PermissionDenied, "only tills")
		}
		return nil
	})
	if _, err := present(choosy, verified(c)); err != nil {
		t.Error(err)
	}
	wantRefused(t, "another name", choosy, verified(certificate("shop", nil)), core.PermissionDenied, "only tills")
}

func TestSPIFFE(t *testing.T) {
	inDomain := auth.MutualTLS(auth.TrustDomain("example.org", "other.org"))
	for _, id := range []string{"spiffe://example.org/till", "spiffe://other.org/ns/prod/sa/Till_1.2-3"} {
		if got, err := present(inDomain, verified(certificate("x", nil, id))); err != nil || got.Name != id || got.Value.(auth.Identity).SPIFFE != id {
			t.Errorf("%s: got %+v, %v", id, got, err)
		}
	}
	for _, ids := range [][]string{
		{},
		{"spiffe://example.org"},
		{"spiffe://example.org/"},
		{"spiffe://example.org/a//b"},
		{"spiffe://example.org/a/"},
		{"spiffe://example.org/a/../b"},
		{"spiffe://example.org/."},
		{"spiffe://example.org:80/a"},
		{"spiffe://u@example.org/a"},
		{"spiffe://example.org/a?b"},
		{"spiffe://example.org/a?"},
		{"spiffe://example.org/a#b"},
		{"spiffe://example.org/a%2Fb"},
		{"spiffe://Example.org/a"},
		{"spiffe:///a"},
		{"spiffe:example.org/a"},
		{"https://example.org/a"},
		{"spiffe://example.org/a", "spiffe://example.org/b"},
		{"spiffe://example.org/a", "https://x"},
		{"spiffe://example.org/ä"},
		{"spiffe://example.org/" + strings.Repeat("a", 2048)},
		{"spiffe://evil.org/example.org"},
		{"spiffe://example.org.evil.org/a"},
		{"spiffe://xexample.org/a"},
	} {
		wantRefused(t, fmt.Sprint(ids), inDomain, verified(certificate("x", nil, ids...)), core.PermissionDenied, "no SPIFFE ID of a trusted domain")
	}
	authority := certificate("x", nil, "spiffe://example.org/a")
	authority.IsCA = true
	wantRefused(t, "an authority", inDomain, verified(authority), core.PermissionDenied, "no SPIFFE ID")
}

func TestUnixUsers(t *testing.T) {
	me := uint32(os.Geteuid())
	as := func(uid uint32) auth.Credentials {
		return auth.Credentials{Unix: &auth.UnixCredentials{UID: uid, GID: 5, PID: 6}, Address: &net.UnixAddr{Net: "unix"}}
	}
	got, err := present(auth.UnixUsers(), as(me))
	want := core.Principal{Scheme: "unix", Name: fmt.Sprintf("uid:%d", me), Value: auth.UnixCredentials{UID: me, GID: 5, PID: 6}}
	if err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	wantRefused(t, "another user", auth.UnixUsers(), as(me+1), core.PermissionDenied, "is not let in")
	some := auth.UnixUsers(1000, math.MaxUint32)
	for uid, good := range map[uint32]bool{1000: true, math.MaxUint32: true, 0: false, 1001: false} {
		if _, err := present(some, as(uid)); (err == nil) != good {
			t.Errorf("user %d: %v", uid, err)
		}
	}
	wantRefused(t, "not known", some, auth.Credentials{Address: &net.UnixAddr{Net: "unix"}}, core.Unimplemented, "the other end of")
	if _, err := present(some, auth.Credentials{Address: &net.TCPAddr{}, Token: auth.NewToken("x")}); !errors.Is(err, auth.ErrNoCredentials) {
		t.Errorf("over TCP: %v", err)
	}
}

// connected returns the two ends of a real connection; the far one is as a server accepts it.
func connected(t *testing.T, network, address string) (near, far net.Conn) {
	t.Helper()
	listener, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if near, err = net.Dial(network, listener.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if far, err = listener.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}

func TestCredentialsOfARealUnixSocket(t *testing.T) {
	near, far := connected(t, "unix", filepath.Join(t.TempDir(), "s"))
	for name, conn := range map[string]net.Conn{"the socket": far, "in TLS": tls.Server(far, &tls.Config{}), "a wrapper": wrapper{far}} {
		got := auth.CredentialsOf(conn)
		if runtime.GOOS != "linux" {
			wantRefused(t, name, auth.UnixUsers(), got, core.Unimplemented, "needs Linux")
			continue
		}
		want := auth.UnixCredentials{UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), PID: int32(os.Getpid())}
		if got.Unix == nil || *got.Unix != want || got.Address.Network() != "unix" || !got.Token.IsZero() {
			t.Errorf("%s: got %+v, want %+v", name, got.Unix, want)
		}
	}
	near.Close()
	far.Close()
	if got := auth.CredentialsOf(far); got.Unix != nil {
		t.Errorf("of a closed socket: %+v", got.Unix)
	}
	if got := auth.CredentialsOf(endless{far}); got.Unix != nil {
		t.Errorf("of a wrapper of itself: %+v", got.Unix)
	}
	_, tcp := connected(t, "tcp", "127.0.0.1:0")
	if got := auth.CredentialsOf(tcp); got.Unix != nil || got.TLS != nil || got.Address == nil {
		t.Errorf("over TCP: %+v", got)
	}
}

// wrapper is a connection around another one, endless one around itself.
type wrapper struct{ net.Conn }

func (w wrapper) NetConn() net.Conn { return w.Conn }

type endless struct{ net.Conn }

func (e endless) NetConn() net.Conn { return e }

// at is a connection to an address.
type at struct {
	net.Conn
	remote net.Addr
}

func (a at) RemoteAddr() net.Addr { return a.remote }

func TestIsPrivate(t *testing.T) {
	pipe, _ := net.Pipe()
	memory, _ := transport.MemoryPipe()
	tcp, _ := connected(t, "tcp", "127.0.0.1:0")
	unix, _ := connected(t, "unix", filepath.Join(t.TempDir(), "s"))
	ip := func(text string) net.Conn { return at{remote: &net.TCPAddr{IP: net.ParseIP(text), Port: 1}} }
	private := []net.Conn{
		pipe, memory, tcp, unix, ip("127.0.0.1"), ip("127.9.9.9"), ip("::1"), ip("::ffff:127.0.0.1"),
		at{remote: edicttest.Addr("server")},
		tls.Client(at{remote: ip("10.0.0.1").RemoteAddr()}, &tls.Config{}),
	}
	public := []net.Conn{
		ip("10.0.0.1"), ip("192.168.0.1"), ip("8.8.8.8"), ip("0.0.0.0"), ip("::"), ip("fe80::1"), ip("::ffff:10.0.0.1"), ip(""),
		at{remote: nil},
		at{remote: &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}},
		at{remote: &net.IPAddr{}},
	}
	for want, conns := range map[bool][]net.Conn{true: private, false: public} {
		for i, conn := range conns {
			if auth.IsPrivate(conn) != want {
				t.Errorf("%d (%v): %v", i, conn.RemoteAddr(), !want)
			}
		}
	}
	pipe.Close()
	memory.Close()
}

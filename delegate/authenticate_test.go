package delegate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict/auth"
	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/transport"
)

const secret = "open-sesame-4711"

// alice is let in by her token.
func alice(_ context.Context, credentials auth.Credentials) (core.Principal, error) {
	if credentials.Token.Reveal() != secret {
		return core.Principal{}, core.Errorf(core.Unauthenticated, "who are you?")
	}
	return core.Principal{Scheme: "test", Name: "alice", Value: credentials}, nil
}

func withToken(token string) Config {
	return Config{Name: "till", Codecs: []string{"a"}, Token: auth.NewToken(token)}
}

func guarded(authenticate auth.Authenticator) Config {
	return Config{Name: "bank", Codecs: []string{"a"}, Authenticator: authenticate, Logger: slog.New(slog.DiscardHandler)}
}

func TestAPrincipalIsAgreedOn(t *testing.T) {
	clients, servers := meet(t, withToken(secret), guarded(alice), nil)
	if clients.err != nil || servers.err != nil {
		t.Fatal(clients.err, servers.err)
	}
	p := servers.Principal
	if p == nil || p.Name != "alice" || clients.Principal != nil {
		t.Fatalf("the server has %+v, the client %+v", p, clients.Principal)
	}
	if c := p.Value.(auth.Credentials); c.Name != "till" || c.Address.Network() != "memory" || c.TLS != nil || c.Unix != nil {
		t.Errorf("the authenticator saw %+v", c)
	}
	_, servers = meet(t, withToken(secret), Config{Codecs: []string{"a"}}, nil)
	if servers.err != nil || servers.Principal != nil {
		t.Errorf("without an authenticator: %+v, %v", servers.Principal, servers.err)
	}
}

// TestWhatARefusedClientIsTold, and what the server's log says.
func TestWhatARefusedClientIsTold(t *testing.T) {
	shared := &core.Error{Code: core.PermissionDenied, Reason: "banned", Message: "you are banned", RetryAfter: time.Minute}
	for _, c := range []struct {
		name    string
		err     error
		code    core.Code
		told    string
		log     string
		notTold string
	}{
		{name: "coded", err: shared, code: core.PermissionDenied, told: "you are banned", log: "permission denied: you are banned"},
		{name: "wrapped", err: fmt.Errorf("database 10.0.0.7: %w", shared), code: core.PermissionDenied, told: "you are banned", log: "database 10.0.0.7", notTold: "10.0.0.7"},
		{name: "with a cause", err: &core.Error{Code: core.Unavailable, Message: "try later", Cause: errors.New("10.0.0.8 is down")}, code: core.Unavailable, told: "try later", log: "10.0.0.8 is down", notTold: "10.0.0.8"},
		{name: "plain", err: errors.New("no row for user 5"), code: core.Unauthenticated, told: "authentication failed", log: "no row for user 5", notTold: "row"},
		{name: "a context's", err: context.DeadlineExceeded, code: core.Unauthenticated, told: "authentication failed", log: "deadline exceeded"},
		{name: "no code", err: &core.Error{Message: "hm"}, code: core.Unauthenticated, told: "hm"},
		{name: "a wrong code", err: &core.Error{Code: 200, Message: "hm"}, code: core.Unauthenticated, told: "hm"},
		{name: "no credentials", err: auth.ErrNoCredentials.With("a token, please"), code: core.Unauthenticated, told: "a token, please"},
		{
			name: "too long", err: core.Errorf(core.Aborted, "%s", strings.Repeat("long ", 20_000)).WithDetail(strings.Repeat("x", 70_000)),
			code: core.Aborted, told: "long long",
		},
		{name: "joined", err: errors.Join(errors.New("private"), core.Errorf(core.Aborted, "public")), code: core.Aborted, told: "public", log: "private", notTold: "private"},
	} {
		t.Run(c.name, func(t *testing.T) {
			clients, servers := meet(t, withToken(secret), guarded(func(context.Context, auth.Credentials) (core.Principal, error) {
				return core.Principal{Name: "x"}, c.err
			}), nil)
			wantError(t, "client", clients, "the server rejected the connection: "+c.told)
			wantError(t, "server", servers, "authentication: ", c.log)
			if core.CodeOf(clients.err) != c.code || servers.Principal != nil {
				t.Errorf("the client is told %v", clients.err)
			}
			if c.notTold != "" && strings.Contains(clients.err.Error(), c.notTold) {
				t.Errorf("the client is told %q", clients.err)
			}
		})
	}
	if shared.Outcome != core.OutcomeUnknown || shared.Message != "you are banned" {
		t.Errorf("the shared error was changed to %+v", shared)
	}
	_, servers := meet(t, withToken(secret), guarded(func(context.Context, auth.Credentials) (core.Principal, error) {
		return core.Principal{}, shared
	}), nil)
	if !errors.Is(servers.err, shared) {
		t.Errorf("the server's error %v is not the authenticator's", servers.err)
	}
}

// TestARefusedClientLearnsNothingElse: not the server's name, its codecs, or its commands' shapes.
func TestARefusedClientLearnsNothingElse(t *testing.T) {
	config := guarded(alice)
	config.Codecs, config.Commands = []string{"special"}, []Command{{"Add", otherShape}}
	_, _, said := acceptRaw(t, config, saying(helloBytes(1, 1, goodHello())))
	if e := rejection(t, said); e.Message != "who are you?" || e.Outcome != core.Refused {
		t.Errorf("the client is told %+v", e)
	}
	for _, word := range []string{"bank", "special", "string"} {
		if bytes.Contains(said, []byte(word)) {
			t.Errorf("the server said %q", said)
		}
	}
	// A server that is full does not ask.
	asked := false
	full := core.Errorf(core.ResourceExhausted, "full")
	clients, _ := meet(t, withToken(secret), guarded(func(context.Context, auth.Credentials) (core.Principal, error) {
		asked = true
		return core.Principal{}, nil
	}), full)
	if core.CodeOf(clients.err) != core.ResourceExhausted || asked {
		t.Errorf("got %v, asked %v", clients.err, asked)
	}
}

func TestAnAuthenticatorThatMisbehaves(t *testing.T) {
	for name, misbehave := range map[string]auth.Authenticator{
		"panicked: secret of the server [token]": func(_ context.Context, c auth.Credentials) (core.Principal, error) {
			panic("secret of the server " + c.Token.Reveal())
		},
		"panicked: runtime error: index": func(context.Context, auth.Credentials) (core.Principal, error) {
			var none []int
			return core.Principal{}, fmt.Errorf("%d", none[len(none)])
		},
		"panicked: secret of the error": func(context.Context, auth.Credentials) (core.Principal, error) { return core.Principal{}, grenade{} },
		"ended its goroutine":           func(context.Context, auth.Credentials) (core.Principal, error) { runtime.Goexit(); panic("no") },
	} {
		var log bytes.Buffer
		config := guarded(misbehave)
		config.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		clients, servers := meet(t, withToken(secret), config, nil)
		wantError(t, "client", clients, "rejected the connection: authentication failed")
		wantError(t, "server", servers, "authentication: the authenticator ", name)
		if core.CodeOf(clients.err) != core.Internal || servers.Principal != nil {
			t.Errorf("%s: the client has %v", name, clients.err)
		}
		if panicked := strings.Contains(name, "panicked"); panicked != strings.Contains(log.String(), "authenticate_test.go") {
			t.Errorf("%s: the log is %q, want a stack in it", name, log.String())
		}
		if text := log.String() + servers.err.Error() + clients.err.Error(); strings.Contains(text, secret) {
			t.Errorf("the token is in %s", text)
		}
	}
}

// grenade is an error that panics when it is looked at.
type grenade struct{}

func (grenade) Error() string { panic("secret of the error") }

// TestAnAuthenticatorHasTheTimeOfTheHandshake: its context ends then, and whether it minds or not, the
// client is turned away and the connection closed. Accept waits for it.
func TestAnAuthenticatorHasTheTimeOfTheHandshake(t *testing.T) {
	for name, stubborn := range map[string]time.Duration{"heeds its context": 0, "does not": time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := transport.MemoryPipe()
				server := transport.NewConn(far, transport.Config{})
				config := guarded(func(ctx context.Context, _ auth.Credentials) (core.Principal, error) {
					if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) != 4*time.Second {
						t.Errorf("the context's deadline is in %v", time.Until(deadline))
					}
					<-ctx.Done()
					<-time.After(stubborn)
					return core.Principal{Name: "late"}, ctx.Err()
				})
				start := time.Now()
				go func() {
					<-time.After(time.Second) // comes out of the same time
					_, _ = near.Write(helloBytes(1, 1, goodHello()))
				}()
				rejected := make(chan []byte)
				go func() {
					said, _ := io.ReadAll(near)
					if after := time.Since(start); after > 5*time.Second+rejectLinger {
						t.Errorf("the connection was closed after %v", after)
					}
					rejected <- said
				}()
				agreement, err := NewAcceptor(config).Accept(server, nil)
				if after := time.Since(start); after < 5*time.Second+stubborn || after > 5*time.Second+rejectLinger+stubborn {
					t.Errorf("Accept has returned after %v", after)
				}
				if err == nil || agreement.Principal != nil || !strings.Contains(err.Error(), "authentication: ") {
					t.Errorf("Accept returned %+v, %v", agreement, err)
				}
				server.Close(err) // as its owner does
				if e := rejection(t, <-rejected); e.Code != core.Unavailable || e.Message != "authentication took too long" {
					t.Errorf("the client is told %+v", e)
				}
				server.Wait()
				near.Close()
			})
		})
	}
}

// TestClosingTheConnectionEndsTheAuthentication, as a shutdown of the server does.
func TestClosingTheConnectionEndsTheAuthentication(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := transport.MemoryPipe()
		server := transport.NewConn(far, transport.Config{})
		go func() {
			_, _ = near.Write(helloBytes(1, 1, goodHello()))
			<-time.After(time.Second)
			server.Close(nil)
		}()
		start := time.Now()
		_, err := NewAcceptor(guarded(func(ctx context.Context, _ auth.Credentials) (core.Principal, error) {
			<-ctx.Done()
			return core.Principal{}, ctx.Err()
		})).Accept(server, nil)
		if err == nil || !strings.Contains(err.Error(), "closed") || time.Since(start) != time.Second {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
		server.Close(err) // as its owner does: Wait comes after Close
		server.Wait()
		near.Close()
	})
}

func TestTokensOnTheWire(t *testing.T) {
	long := strings.Repeat("x", auth.MaxToken)
	for _, token := range []string{"", "x", secret, long, "\xff\xfe\x00", "💣", strings.Repeat("\x00", 100)} {
		var seen auth.Credentials
		clients, servers := meet(t, withToken(token), guarded(func(_ context.Context, c auth.Credentials) (core.Principal, error) {
			seen = c
			return core.Principal{Name: "x"}, nil
		}), nil)
		if clients.err != nil || servers.err != nil || seen.Token.Reveal() != token || seen.Token.IsZero() != (token == "") {
			t.Errorf("a token of %d bytes: %v, %v, and the server has %d", len(token), clients.err, servers.err, len(seen.Token.Reveal()))
		}
	}
	// A client does not send one that is too long, a server does not take it.
	clients, servers := meet(t, withToken(long+"x"), guarded(alice), nil)
	wantError(t, "client", clients, "the token has 16385 bytes, at most 16384 are allowed")
	wantError(t, "server", servers, "the client closed the connection")
	if core.CodeOf(clients.err) != core.InvalidArgument {
		t.Errorf("the code is %v", core.CodeOf(clients.err))
	}
	tooLong := goodHello()
	tooLong.token = auth.NewToken(long + "x")
	got, _, said := acceptRaw(t, guarded(alice), saying(helloBytes(1, 1, tooLong)))
	wantError(t, "server", got, "malformed HELLO: field 8: a token of 16385 bytes, at most 16384 are allowed")
	if e := rejection(t, said); e.Code != core.InvalidArgument || bytes.Contains(said, []byte("xxxx")) {
		t.Errorf("the client is told %+v", e)
	}
	// The last one counts, also if it is empty.
	first := preface(1, 1)
	body := appendText(appendText(appendHello(nil, goodHello()), helloToken, "first"), helloToken, secret)
	if got, _, _ := acceptRaw(t, guarded(alice), saying(transport.AppendFrame(first[:], core.Frame{Kind: core.KindHello, Body: body}))); got.err != nil {
		t.Errorf("with two tokens: %v", got.err)
	}
	body = appendText(body, helloToken, "")
	if got, _, _ := acceptRaw(t, guarded(alice), saying(transport.AppendFrame(first[:], core.Frame{Kind: core.KindHello, Body: body}))); got.err == nil {
		t.Error("with an empty token at the end the client is let in")
	}
}

// remote is a connection with another remote address.
type remote struct {
	net.Conn
	address net.Addr
}

func (r remote) RemoteAddr() net.Addr { return r.address }

// TestATokenIsNotSentInTheOpen: not one byte of the handshake is, unless that is allowed.
func TestATokenIsNotSentInTheOpen(t *testing.T) {
	far := &net.TCPAddr{IP: net.IPv4(10, 1, 2, 3), Port: 9000}
	try := func(config Config) (heard []byte, err error) {
		synctest.Test(t, func(t *testing.T) {
			near, other := transport.MemoryPipe()
			client := transport.NewConn(remote{near, far}, transport.Config{})
			heardAll := make(chan []byte)
			go func() {
				all, _ := io.ReadAll(other)
				heardAll <- all
			}()
			_, err = Connect(t.Context(), client, config)
			client.Close(err)
			client.Wait()
			heard = <-heardAll
			other.Close()
		})
		return heard, err
	}
	config := withToken(secret)
	heard, err := try(config)
	wantError(t, "client", ending{err: err}, "10.1.2.3:9000 is not encrypted", "tls://", "WithInsecureToken")
	if core.CodeOf(err) != core.FailedPrecondition || len(heard) > 0 || strings.Contains(err.Error(), secret) {
		t.Errorf("got %v, and the server heard %q", err, heard)
	}
	config.InsecureToken = true
	if heard, _ := try(config); !bytes.Contains(heard, []byte(secret)) {
		t.Errorf("allowed, but the server heard %q", heard)
	}
	config = Config{Codecs: []string{"a"}}
	if heard, _ := try(config); len(heard) == 0 {
		t.Error("without a token nothing is sent")
	}
}

// TestAServerThatRepeatsTheToken can't get it into the client's logs.
func TestAServerThatRepeatsTheToken(t *testing.T) {
	first := preface(1, 1)
	e := core.Errorf(core.Unauthenticated, "bad token %s", secret).WithDetail(secret)
	e.Reason = "not-" + secret
	text := transport.AppendFrame(first[:], core.Frame{Kind: core.KindReject, Body: appendReject(nil, e)})
	got, _ := connectRaw(t, withToken(secret), saying(text))
	wantError(t, "client", got, "bad token [token]")
	if shown := fmt.Sprintf("%v %+v %#v %s", got.err, got.err, got.err, got.err.(*core.Error).Details[0].JSON); strings.Contains(shown, secret) {
		t.Errorf("the token is in %s", shown)
	}
}

func TestSettingsDoNotPrintTheToken(t *testing.T) {
	config := withToken(secret)
	greeting := goodHello()
	greeting.token = config.Token
	for _, value := range []any{config, &config, config.WithDefaults(), NewAcceptor(config), greeting, &greeting} {
		for _, verb := range []string{"%v", "%+v", "%#v"} {
			if text := fmt.Sprintf(verb, value); strings.Contains(text, secret) {
				t.Errorf("%s of %T has the token", verb, value)
			}
		}
	}
}

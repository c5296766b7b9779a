package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAnAddressWithAMistakeTellsWhatToWrite(t *testing.T) {
	for address, want := range map[string]string{
		"127.0.0.1:9000":      "write tcp://127.0.0.1:9000",
		"":                    "has no scheme",
		"http://example.com":  "unknown scheme: use tcp://host:port, tls://host:port or unix:///path",
		"TCP://127.0.0.1:1":   "unknown scheme",
		"tcp://":              "nothing after the scheme",
		"unix://":             "unix:///path",
		"memory://somewhere ": "unknown scheme",
	} {
		if _, _, err := SplitAddress(address); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("SplitAddress(%q): %v, want it to contain %q", address, err, want)
		}
		if _, err := Dial(t.Context(), address, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Dial(%q): %v, want it to contain %q", address, err, want)
		}
		if _, err := Listen(t.Context(), address, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Listen(%q): %v, want it to contain %q", address, err, want)
		}
	}
	if scheme, rest, err := SplitAddress("unix:///run/calc.sock"); scheme != "unix" || rest != "/run/calc.sock" || err != nil {
		t.Error(scheme, rest, err)
	}
}

func TestDialHeedsItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, address := range []string{"tcp://127.0.0.1:1", "tls://127.0.0.1:1", "unix:///nowhere"} {
		if _, err := Dial(ctx, address, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("Dial(%q): %v, want context.Canceled", address, err)
		}
	}
}

// TestDialGivesUpOnATLSServerThatIsSilent: the TLS handshake is part of Dial.
func TestDialGivesUpOnATLSServerThatIsSilent(t *testing.T) {
	listener, err := Listen(t.Context(), "tcp://127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = conn.Read(make([]byte, 1)) // the client's hello is on its way
		cancel()
		_, _ = io.Copy(io.Discard, conn)
	}()
	if _, err := Dial(ctx, "tls://"+listener.Addr().String(), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

func TestAServerForTLSNeedsACertificate(t *testing.T) {
	for _, config := range []*tls.Config{nil, {}} {
		if _, err := Listen(t.Context(), "tls://127.0.0.1:0", config); err == nil || !strings.Contains(err.Error(), "needs a certificate") {
			t.Errorf("got %v, want it to say that a certificate is missing", err)
		}
	}
}

func TestTLSBelow1_2IsRefused(t *testing.T) {
	server, client := certificates(t)
	old := func(config *tls.Config) *tls.Config {
		config = config.Clone()
		config.MinVersion, config.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
		return config
	}
	t.Run("by the server", func(t *testing.T) {
		low := server.Clone()
		low.MinVersion = tls.VersionTLS10 // even if the user asks for it
		listener, err := Listen(t.Context(), "tls://127.0.0.1:0", low)
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		served := make(chan error)
		go func() { served <- acceptTLS(t, listener) }()
		if conn, err := tls.Dial("tcp", listener.Addr().String(), old(client)); err == nil {
			conn.Close()
			t.Error("a client of TLS 1.1 was let in")
		}
		if err := <-served; err == nil || !strings.Contains(err.Error(), "versions") {
			t.Errorf("the server: %v, want that the version is refused", err)
		}
	})
	t.Run("by the client", func(t *testing.T) {
		listener, err := tls.Listen("tcp", "127.0.0.1:0", old(server))
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		served := make(chan error)
		go func() { served <- acceptTLS(t, listener) }()
		low := client.Clone()
		low.MinVersion = tls.VersionTLS10 // even if the user asks for it
		if conn, err := Dial(t.Context(), "tls://"+listener.Addr().String(), low); err == nil {
			conn.Close()
			t.Error("a server of TLS 1.1 was accepted")
		}
		<-served
	})
}

// acceptTLS completes the TLS handshake of one connection and closes it.
func acceptTLS(t *testing.T, listener net.Listener) error {
	conn, err := listener.Accept()
	if err != nil {
		t.Error(err)
		return err
	}
	defer conn.Close()
	if err := conn.(*tls.Conn).HandshakeContext(t.Context()); err != nil {
		return err
	}
	_, err = conn.Write([]byte("x"))
	return err
}

func TestMutualTLS(t *testing.T) {
	server, client := certificates(t)
	server.ClientAuth = tls.RequireAndVerifyClientCert
	listener, err := Listen(t.Context(), "tls://localhost:0", server)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	dial := func(config *tls.Config) (tls.ConnectionState, error) {
		served := make(chan error)
		go func() { served <- acceptTLS(t, listener) }()
		conn, err := Dial(t.Context(), "tls://"+listener.Addr().String(), config)
		if err != nil {
			<-served
			return tls.ConnectionState{}, err
		}
		defer conn.Close()
		_, err = conn.Read(make([]byte, 1)) // with TLS 1.3 the client learns of the refusal here
		return conn.(*tls.Conn).ConnectionState(), errors.Join(err, <-served)
	}
	state, err := dial(client)
	if err != nil || len(state.PeerCertificates) != 1 || state.Version != tls.VersionTLS13 {
		t.Errorf("with a certificate: %v, %d certificates, version %x", err, len(state.PeerCertificates), state.Version)
	}
	anonymous := client.Clone()
	anonymous.Certificates = nil
	if _, err := dial(anonymous); err == nil {
		t.Error("a client without a certificate was let in")
	}
	_, stranger := certificates(t)
	stranger.RootCAs = client.RootCAs
	if _, err := dial(stranger); err == nil {
		t.Error("a client with a certificate of another authority was let in")
	}
	distrustful := client.Clone()
	distrustful.RootCAs = nil
	if _, err := dial(distrustful); err == nil || !strings.Contains(err.Error(), "TLS handshake with tls://") {
		t.Errorf("a server whose authority is unknown: %v, want an error that names the address", err)
	}
}

func TestAUnixSocketIsForItsOwnerOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	listener, err := Listen(t.Context(), "unix://"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the mode is %v (%v), want 0600", info.Mode(), err)
	}
}

func TestAStaleUnixSocketIsReplacedALiveOneIsNot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	stale, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	stale.(*net.UnixListener).SetUnlinkOnClose(false)
	stale.Close() // as a server that was killed leaves it

	live, err := Listen(t.Context(), "unix://"+path, nil)
	if err != nil {
		t.Fatalf("the stale socket is in the way: %v", err)
	}
	defer live.Close()
	if _, err := Listen(t.Context(), "unix://"+path, nil); err == nil || !strings.Contains(err.Error(), "another server is listening") {
		t.Errorf("got %v, want that another server is listening", err)
	}
	conn, err := Dial(t.Context(), "unix://"+path, nil)
	if err != nil {
		t.Fatalf("the live socket is gone: %v", err)
	}
	conn.Close()
}

func TestAFileThatIsNoSocketIsLeftAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(t.Context(), "unix://"+path, nil); err == nil {
		t.Error("a server listens at a file")
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "precious" {
		t.Errorf("the file has become %q, %v", text, err)
	}
}

func TestAListenerChoosesItsPort(t *testing.T) {
	for _, scheme := range []string{"tcp", "tls"} {
		config, _ := certificates(t)
		listener, err := Listen(t.Context(), scheme+"://127.0.0.1:0", config)
		if err != nil {
			t.Fatal(err)
		}
		if listener.Addr().(*net.TCPAddr).Port == 0 {
			t.Errorf("%s: the port is 0", scheme)
		}
		listener.Close()
	}
}

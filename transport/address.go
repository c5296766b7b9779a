package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

// How soon a dead peer is noticed: the kernel probes after 15 s of silence, every 5 s, and gives up
// after three probes; and it gives up when sent data is not acknowledged for 30 s. Without the
// latter it would retry for about 16 minutes.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}

// userTimeout is used where the system has it (tune).
const userTimeout = 30 * time.Second

// SplitAddress splits an address into its scheme and the rest, as in "tcp" and "127.0.0.1:9000", or
// "unix" and "/run/calc.sock". An unknown scheme is an error that names the known ones.
func SplitAddress(address string) (scheme, rest string, err error) {
	scheme, rest, found := strings.Cut(address, "://")
	switch {
	case !found:
		return "", "", fmt.Errorf("address %q has no scheme: write tcp://%s, or tls:// or unix:// before it", address, address)
	case scheme != "tcp" && scheme != "tls" && scheme != "unix":
		return "", "", fmt.Errorf("address %q has an unknown scheme: use tcp://host:port, tls://host:port or unix:///path", address)
	case rest == "":
		return "", "", fmt.Errorf("address %q has nothing after the scheme: use tcp://host:port, tls://host:port or unix:///path", address)
	}
	return scheme, rest, nil
}

// Dial connects to a tcp://, tls:// or unix:// address. config is for tls:// only; nil there means
// the system's root certificates, and the name to verify is taken from the address. TLS is 1.2 at
// least; its handshake is part of Dial. It gives up when ctx ends.
func Dial(ctx context.Context, address string, config *tls.Config) (net.Conn, error) {
	scheme, rest, err := SplitAddress(address)
	if err != nil {
		return nil, err
	}
	network := scheme
	if scheme == "tls" {
		network = "tcp"
	}
	dialer := net.Dialer{KeepAliveConfig: keepAlive}
	conn, err := dialer.DialContext(ctx, network, rest)
	if err != nil {
		return nil, err
	}
	tune(conn)
	if scheme != "tls" {
		return conn, nil
	}
	config = clientTLS(config, rest)
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("TLS handshake with %s: %w", address, err)
	}
	return secure, nil
}

// clientTLS completes config with what a client needs.
func clientTLS(config *tls.Config, hostPort string) *tls.Config {
	if config == nil {
		config = &tls.Config{}
	}
	config = config.Clone()
	config.MinVersion = max(config.MinVersion, tls.VersionTLS12)
	if config.ServerName == "" {
		config.ServerName, _, _ = net.SplitHostPort(hostPort)
	}
	return config
}

// Listen listens at a tcp://, tls:// or unix:// address; port 0 is one that the system chooses.
// tls:// needs a config with a certificate. A Unix socket is accessible to its owner only (mode
// 0600), and a file left behind by a server that no longer runs is replaced.
func Listen(ctx context.Context, address string, config *tls.Config) (net.Listener, error) {
	scheme, rest, err := SplitAddress(address)
	if err != nil {
		return nil, err
	}
	listenConfig := net.ListenConfig{KeepAliveConfig: keepAlive}
	switch scheme {
	case "unix":
		listenConfig.Control = restrict
		if err := removeStaleSocket(ctx, rest); err != nil {
			return nil, err
		}
		listener, err := listenConfig.Listen(ctx, "unix", rest)
		if err != nil {
			return nil, err
		}
		if err := os.Chmod(rest, 0o600); err != nil {
			_ = listener.Close()
			return nil, err
		}
		return listener, nil
	case "tls":
		if config == nil || len(config.Certificates) == 0 && config.GetCertificate == nil && config.GetConfigForClient == nil {
			return nil, errors.New("a tls:// address needs a certificate: give the server a tls.Config with one (edict.WithTLS)")
		}
		listener, err := listenConfig.Listen(ctx, "tcp", rest)
		if err != nil {
			return nil, err
		}
		config = config.Clone()
		config.MinVersion = max(config.MinVersion, tls.VersionTLS12)
		return tls.NewListener(tuningListener{listener}, config), nil
	}
	listener, err := listenConfig.Listen(ctx, "tcp", rest)
	if err != nil {
		return nil, err
	}
	return tuningListener{listener}, nil
}

// tuningListener sets the user timeout on what it accepts.
type tuningListener struct{ net.Listener }

func (l tuningListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		tune(conn)
	}
	return conn, err
}

// removeStaleSocket removes a socket that nobody listens on any more.
func removeStaleSocket(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if err != nil || info.Mode()&os.ModeSocket == 0 {
		return nil // nothing there, or not ours to remove: listening says what is wrong
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", path)
	if err == nil {
		_ = conn.Close()
		return fmt.Errorf("listen unix %s: another server is listening there", path)
	}
	if !isRefused(err) {
		return fmt.Errorf("listen unix %s: the socket exists and can't be probed: %w", path, err)
	}
	return os.Remove(path)
}

package transport

import (
	"crypto/tls"
	"net"
	"syscall"
	"testing"
)

// TestADeadPeerIsNoticedInTensOfSeconds asks the kernel for what was set, on both ends.
func TestADeadPeerIsNoticedInTensOfSeconds(t *testing.T) {
	for _, network := range []string{"tcp", "tls"} {
		client, server := connect(t, network)
		defer client.Close()
		defer server.Close()
		for side, conn := range map[string]net.Conn{"client": client, "server": server} {
			if secure, ok := conn.(*tls.Conn); ok {
				conn = secure.NetConn()
			}
			raw, err := conn.(*net.TCPConn).SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			for _, option := range []struct {
				name                string
				level, number, want int
			}{
				{"SO_KEEPALIVE", syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1},
				{"TCP_KEEPIDLE", syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, 15},
				{"TCP_KEEPINTVL", syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, 5},
				{"TCP_KEEPCNT", syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT, 3},
				{"TCP_USER_TIMEOUT", syscall.IPPROTO_TCP, tcpUserTimeout, 30_000},
				{"TCP_NODELAY", syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1},
			} {
				var got int
				var optionErr error
				if err := raw.Control(func(fd uintptr) {
					got, optionErr = syscall.GetsockoptInt(int(fd), option.level, option.number)
				}); err != nil {
					t.Fatal(err)
				}
				if optionErr != nil || got != option.want {
					t.Errorf("%s, %s: %s is %d (%v), want %d", network, side, option.name, got, optionErr, option.want)
				}
			}
		}
	}
}

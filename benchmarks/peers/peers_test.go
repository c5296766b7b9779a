package peers

import (
	"crypto/tls"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/edict-go/edict/benchmarks/peer"
)

// TestPeers holds every peer to what it registered: echoes, delayed calls and streams answer what
// was asked, plain and encrypted, or the peer says that it lacks them.
func TestPeers(t *testing.T) {
	certificate, err := peer.NewCertificate()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range peer.All() {
		for _, encrypted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/tls=%t", p.Name, encrypted), func(t *testing.T) {
				var serverTLS, clientTLS *tls.Config
				if encrypted {
					if _, reason := p.Missing([]peer.Feature{peer.Encryption}); reason != "" {
						t.Skip(reason)
					}
					if serverTLS, err = certificate.ServerConfig(); err != nil {
						t.Fatal(err)
					}
					if clientTLS, err = certificate.ClientConfig(); err != nil {
						t.Fatal(err)
					}
				}
				server, err := p.Serve(peer.ServeOptions{TLS: serverTLS})
				if err != nil {
					t.Fatal(err)
				}
				client, err := p.Dial(t.Context(), peer.DialOptions{Address: server.Address(), TLS: clientTLS})
				if err != nil {
					t.Fatal(err)
				}
				exercise(t, p, client)
				if err := client.Close(); err != nil {
					t.Error("closing the client:", err)
				}
				if err := server.Close(); err != nil {
					t.Error("closing the server:", err)
				}
			})
		}
	}
}

func exercise(t *testing.T, p peer.Peer, client peer.Client) {
	if _, lacks := p.Lacks[peer.Calls]; !lacks {
		calls(t, p, client)
	}
	streamer, ok := client.(peer.Streamer)
	if _, lacks := p.Lacks[peer.Streams]; lacks == ok {
		t.Fatalf("lacks streams: %t, but can stream: %t", lacks, ok)
	}
	if !ok {
		return
	}
	for _, shape := range []struct{ count, size int }{{1, 1}, {500, 128}, {20, 64 << 10}} {
		seen := 0
		err := streamer.Stream(t.Context(), shape.count, shape.size, func(body []byte) error {
			seen++
			return peer.CheckResult(body, shape.size)
		})
		if err != nil || seen != shape.count {
			t.Errorf("%d of %d results of %d bytes, error %v", seen, shape.count, shape.size, err)
		}
	}
}

func calls(t *testing.T, p peer.Peer, client peer.Client) {
	var callers sync.WaitGroup
	for caller := range 8 {
		callers.Go(func() {
			for i := range 8 {
				request := peer.Message{
					Flag: i%2 == 0, Number: int64(caller)<<32 - int64(i), Ratio: float64(caller) / 3,
					Text: strings.Repeat(string(rune('a'+caller)), i*100),
				}
				call := client.Echo
				if i == 7 {
					call = client.Delayed
				}
				reply, err := call(t.Context(), request)
				if err != nil || reply != request {
					t.Errorf("%s: sent %+v, got %+v, error %v", p.Name, request, reply, err)
					return
				}
			}
		})
	}
	callers.Wait()
}

package group_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict/group"
)

// lookup answers with what the test says, and counts.
type lookup struct {
	mu    sync.Mutex
	hosts []string
	err   error
	times []time.Time
}

func (l *lookup) LookupHost(_ context.Context, host string) ([]string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if host != "calc.example" {
		return nil, errors.New("unexpected host " + host)
	}
	l.times = append(l.times, time.Now())
	return slices.Clone(l.hosts), l.err
}

func (l *lookup) set(err error, hosts ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hosts, l.err = hosts, err
}

func TestDNS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lookup{}
		l.set(nil, "10.0.0.2", "::1", "10.0.0.1")
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		updates := make(chan []string, 10)
		failures := make(chan error, 10)
		done := make(chan struct{})
		go func() {
			defer close(done)
			for addresses, err := range (group.DNS{Address: "tcp://calc.example:9000", Refresh: time.Minute, Lookup: l}).Resolve(ctx) {
				if err != nil {
					failures <- err
				} else {
					updates <- addresses
				}
			}
		}()
		synctest.Wait()
		if got, want := <-updates, []string{"tcp://10.0.0.1:9000", "tcp://10.0.0.2:9000", "tcp://[::1]:9000"}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		l.set(nil, "10.0.0.1", "10.0.0.2", "::1") // in another order
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := len(updates); n != 0 {
			t.Errorf("%d updates without a change", n)
		}
		if n := len(l.times); n != 61 {
			t.Errorf("%d lookups in an hour", n)
		}
		l.set(errors.New("no such host"))
		time.Sleep(time.Minute + 12*time.Second)
		synctest.Wait()
		if n := len(failures); n != 3 { // then each 6 s
			t.Errorf("%d failures", n)
		}
		l.set(nil, "10.0.0.3")
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if got := <-updates; !slices.Equal(got, []string{"tcp://10.0.0.3:9000"}) {
			t.Errorf("got %v", got)
		}
		cancel()
		<-done
	})
}

func TestDNSOfAnAddressThatHasNoHost(t *testing.T) {
	for _, address := range []string{"calc.example:9000", "unix:///run/calc.sock", "tcp://calc.example", "udp://calc.example:1"} {
		synctest.Test(t, func(t *testing.T) {
			for _, err := range (group.DNS{Address: address, Lookup: &lookup{}}).Resolve(t.Context()) {
				if err == nil || !strings.Contains(err.Error(), "tcp://") {
					t.Errorf("%s: %v", address, err)
				}
				break
			}
		})
	}
}

// serveDNS answers queries for A records of calc.example with what hosts returns, on a socket of its own.
func serveDNS(t *testing.T, hosts func() []net.IP) *net.Resolver {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { _ = conn.Close(); <-done })
	go func() {
		defer close(done)
		buffer := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			if reply := answerDNS(buffer[:n], hosts()); reply != nil {
				_, _ = conn.WriteTo(reply, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var dialer net.Dialer
		return dialer.DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

// answerDNS answers a query for the A records of calc.example. (RFC 1035: a header of 12 bytes, the question, and
// per host a record that refers to its name.) For other types the answer is that there are none.
func answerDNS(query []byte, hosts []net.IP) []byte {
	const name = "\x04calc\x07example\x00"
	const typeA, classIN = "\x00\x01", "\x00\x01"
	end := 12 + len(name) + 4
	if len(query) < end || string(query[12:12+len(name)]) != name {
		return nil
	}
	if string(query[end-4:end-2]) != typeA {
		hosts = nil
	}
	reply := append([]byte(nil), query[:end]...)
	reply[2], reply[3] = 0x84, 0 // an answer, authoritative
	reply[7] = byte(len(hosts))  // records; no others follow
	reply[11] = 0
	for _, host := range hosts {
		reply = append(reply, "\xc0\x0c"+typeA+classIN+"\x00\x00\x00\x01"+"\x00\x04"...) // the name at 12, valid for 1 s, 4 bytes
		reply = append(reply, host.To4()...)
	}
	return reply
}

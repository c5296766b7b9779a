package edict_test

import (
	"crypto/tls"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/transport"
)

// Who is slow or silent before the handshake is done is gone after its timeout, whatever comes meanwhile.
func TestSlowHandshakes(t *testing.T) {
	serverTLS, _ := certificates(t)
	hello := greeting(t)
	for name, test := range map[string]struct {
		bytes []byte
		tls   bool
	}{
		"a byte every 4 s":    {bytes: hello},
		"a byte of TLS":       {bytes: []byte{22, 3, 1, 2, 0, 1}, tls: true},
		"silence before TLS":  {tls: true},
		"half of the preface": {bytes: hello[:4]},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				memory := transport.NewMemory()
				var listener net.Listener = memory
				if test.tls {
					listener = tls.NewListener(memory, serverTLS)
				}
				b := serveOn(t, listener, memory.Dial)
				conn, err := b.dial(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				go func() {
					for _, one := range test.bytes {
						if _, err := conn.Write([]byte{one}); err != nil {
							return
						}
						time.Sleep(4 * time.Second)
					}
				}()
				_, _ = io.Copy(io.Discard, conn)
				if took := time.Since(began); took < 5*time.Second || took > 6*time.Second {
					t.Errorf("it was ended after %v", took)
				}
				_ = conn.Close()
				time.Sleep(4 * time.Second) // the writer notices
			})
		})
	}
}

// Both sides write as much as they may, and neither reads: nothing is stuck but that call, and when one reads
// everything comes.
func TestBothSidesWriteAndNeitherReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := serve(t)
		client := b.client()
		const inputs = 2000
		text := strings.Repeat("b", 1000)
		invocation, err := edict.StartDuplex(t.Context(), client, parrot{})
		if err != nil {
			t.Fatal(err)
		}
		sent := make(chan error, 1)
		go func() {
			for range inputs {
				if err := invocation.Send(text); err != nil {
					sent <- err
					return
				}
			}
			sent <- invocation.CloseSend()
		}()
		synctest.Wait()
		select {
		case <-sent:
			t.Fatal("everything was sent, and nobody has read")
		default:
		}
		wantSum(t, client)
		got := 0
		for result, err := range invocation.Results() {
			if err != nil || result != text {
				t.Fatal(err)
			}
			got++
		}
		if err := <-sent; err != nil || got != inputs {
			t.Errorf("%d results, %v", got, err)
		}
	})
}

// Messages that are begun in parts and given up, again and again, leave nothing behind.
func TestPartsThatAreGivenUpFlood(t *testing.T) {
	budget := edict.NewBudget(16 << 20)
	b := serve(t, edict.WithBudget(budget))
	honest, conn := b.client(), b.handshaken()
	part := make([]byte, 10_000)
	for i := range core.Sequence(5000) {
		frames := transport.AppendFrame(nil, core.Frame{Kind: core.KindCommand, Flags: core.FlagMore, Command: number("repeat"), Sequence: i, Body: part})
		frames = transport.AppendFrame(frames, core.Frame{Kind: core.KindAbort, Sequence: i})
		if _, err := conn.Write(frames); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := conn.Write(transport.AppendFrame(nil, core.Frame{Kind: core.KindPing})); err != nil {
		t.Fatal(err)
	}
	pong := make([]byte, transport.HeaderSize)
	if _, err := io.ReadFull(conn, pong); err != nil || core.Kind(pong[4]) != core.KindPong {
		t.Errorf("%v, % x", err, pong)
	}
	wantSum(t, honest)
	for _, connection := range b.server.Stats().Connections {
		if connection.BudgetUsed > 64<<10 {
			t.Errorf("%d bytes are held for %v", connection.BudgetUsed, connection.Peer.Name)
		}
	}
}

func TestServerStats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		budget := edict.NewBudget(16 << 20)
		b := serve(t, edict.WithBudget(budget))
		client, c := b.client(edict.ClientConfig{Name: "client"}), b.rawClient()
		for range 3 {
			wantSum(t, client)
		}
		c.write(core.Frame{Kind: core.KindPing})
		c.read()
		c.command("unheardOf", 1, "{}")
		c.wantRefused(1, core.Unimplemented)
		c.write(core.Frame{Kind: core.KindCancel, Sequence: 77})
		c.command("wait", 2, `{"Name":"w"}`)
		<-b.lab.started
		c.write(core.Frame{Kind: core.KindCancel, Sequence: 2})
		<-b.lab.canceled
		c.read()
		c.command("stubborn", 3, `{"Name":"s"}`)
		<-b.lab.started
		synctest.Wait() // what has ended is counted out a little later than its result comes
		stats := b.server.Stats()
		slices.SortFunc(stats.Connections, func(a, b edict.ConnectionStats) int { return strings.Compare(a.Peer.Name, b.Peer.Name) })
		want := []edict.CommandStats{{Commands: 3}, {Commands: 2, Refused: 1, Pings: 1, Ignored: 1, Canceled: 1}}
		if len(stats.Connections) != 2 {
			t.Fatalf("%d connections", len(stats.Connections))
		}
		for i, connection := range stats.Connections {
			if connection.CommandStats != want[i] || connection.InFlight != i || connection.BudgetUsed < core.ConnectionCost {
				t.Errorf("%q: %+v", connection.Peer.Name, connection)
			}
		}
		total := edict.CommandStats{Commands: 5, Refused: 1, Pings: 1, Ignored: 1, Canceled: 1}
		if stats.Total != total || stats.InFlight != 1 || stats.BudgetUsed != budget.Used() || stats.BudgetLimit != 16<<20 {
			t.Errorf("%+v", stats)
		}
		close(b.lab.release)
		c.read()
		c.conn.Close(nil)
		client.Close()
		if err := b.server.Shutdown(t.Context()); err != nil { // waits for the sessions
			t.Error(err)
		}
		if stats := b.server.Stats(); len(stats.Connections) != 0 || stats.Total != total || stats.BudgetUsed != 0 {
			t.Errorf("at the end %+v", stats)
		}
	})
}

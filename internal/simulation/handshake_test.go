package simulation

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/edicttest"
)

// meeting is one handshake, on a network of its own. The driver moves the bytes.
type meeting struct {
	network    *edicttest.Network
	server     *edict.Server
	served     chan error
	accepted   chan *tap
	connection *edicttest.Connection
	client     *edict.Client[*lab]
	err        error // of Dial
	dialed     bool
	lab        *lab
}

// meet begins a handshake: the client has dialled, and nothing of it has arrived.
func meet(t *testing.T, serverOptions []edict.ServerOption, clientOptions []edict.DialOption) *meeting {
	m := &meeting{
		network: edicttest.New(edicttest.Config{Manual: true}), served: make(chan error, 1), accepted: make(chan *tap, 1),
		lab: newLab(),
	}
	listener, err := m.network.Listen("server")
	if err != nil {
		t.Fatal(err)
	}
	serverOptions = append(serverOptions, edict.WithLogger(slog.New(slog.DiscardHandler)))
	clientOptions = append(clientOptions, edict.WithDialer(m.network.Dialer("server")))
	m.server = edict.NewServer(m.lab, commands, serverOptions...)
	go func() { m.served <- m.server.Serve(tapListener{listener, m.accepted}) }()
	go func() {
		m.client, m.err = edict.Dial(context.Background(), "simulation", commands, clientOptions...)
		m.dialed = true
	}()
	synctest.Wait()
	m.connection = m.network.Connections()[0]
	return m
}

// meetPlainly is meet with a codec that both sides have, and no other options.
func meetPlainly(t *testing.T) *meeting {
	codecs := edict.WithCodecs(plain{"a"})
	return meet(t, []edict.ServerOption{codecs}, []edict.DialOption{codecs})
}

// move delivers all that is under way, in parts of step bytes, until nothing moves any more.
func (m *meeting) move(step int) {
	for {
		moved := m.connection.Deliver(edicttest.ToServer, step)
		synctest.Wait()
		moved += m.connection.Deliver(edicttest.ToClient, step)
		synctest.Wait()
		if moved == 0 {
			return
		}
	}
}

// end closes both sides and waits for them.
func (m *meeting) end(t *testing.T) {
	t.Helper()
	if m.client != nil {
		_ = m.client.Close()
	}
	_ = m.server.Close()
	if err := m.server.Shutdown(context.Background()); err != nil {
		t.Errorf("the server does not end: %v", err)
	}
	<-m.served
}

// wantCall checks that both sides agree: a call works.
func (m *meeting) wantCall(t *testing.T) {
	t.Helper()
	var reply letter
	var err error
	done := false
	go func() {
		reply, err = edict.Call(context.Background(), m.client, ask{Call: 1, Size: 100})
		done = true
	}()
	synctest.Wait()
	m.move(1 << 20)
	if r := m.lab.runs[1]; r != nil {
		if r.codec != m.client.Peer().Codec {
			t.Errorf("the client has the codec %q, the server %q", m.client.Peer().Codec, r.codec)
		}
		r.orders <- order{kind: orderFinish, size: 50}
	}
	synctest.Wait()
	m.move(1 << 20)
	if want := (letter{Call: 1, Index: replyIndex, Size: 50}); !done || err != nil || reply != want {
		t.Errorf("a call after the handshake: %+v, %v", reply, err)
	}
}

// A handshake whose bytes come one by one, or in any other parts, succeeds like another.
func TestHandshakeTornAnywhere(t *testing.T) {
	for _, step := range []int{1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 23, 24, 25, 40} {
		synctest.Test(t, func(t *testing.T) {
			m := meetPlainly(t)
			m.move(step)
			if !m.dialed || m.err != nil {
				t.Fatalf("in parts of %d bytes: %v", step, m.err)
			}
			m.wantCall(t)
			m.end(t)
		})
	}
}

// A connection that is cut, closed or falls silent at any byte of the handshake, in either direction, gives
// a client and a server that agree, or an error to the client within the handshake's timeout; and the
// server has no connection left.
func TestHandshakeCutAtEveryByte(t *testing.T) {
	sizes := map[edicttest.Direction]int{}
	synctest.Test(t, func(t *testing.T) { // how many bytes there are
		m := meetPlainly(t)
		sizes[edicttest.ToServer] = m.connection.Pending(edicttest.ToServer)
		m.connection.Deliver(edicttest.ToServer, 1<<20)
		synctest.Wait()
		sizes[edicttest.ToClient] = m.connection.Pending(edicttest.ToClient)
		m.move(1 << 20)
		m.end(t)
	})
	if sizes[edicttest.ToServer] < 40 || sizes[edicttest.ToClient] < 30 {
		t.Fatalf("the handshake has %v bytes", sizes)
	}
	faults := map[string]func(*edicttest.Connection, edicttest.Direction, edicttest.Point){
		"cut":     (*edicttest.Connection).CutAfter,
		"silence": (*edicttest.Connection).StallAfter,
	}
	for name, fault := range faults {
		for d, size := range sizes {
			for n := range size {
				synctest.Test(t, func(t *testing.T) {
					m := meetPlainly(t)
					fault(m.connection, d, edicttest.Bytes(int64(n)))
					synctest.Wait()
					m.move(1 << 20)
					if name == "silence" {
						start := time.Now()
						time.Sleep(5*time.Second + time.Millisecond) // the default of the handshake's timeout
						synctest.Wait()
						if !m.dialed {
							t.Errorf("the client still waits after %v", time.Since(start))
						}
						m.connection.Cut() // or the server, whose WELCOME was lost, would wait for commands
						synctest.Wait()
					}
					if len(m.network.Fired()) == 0 {
						t.Errorf("%s %v after %d bytes did not happen", name, d, n)
					}
					if !m.dialed || m.err == nil || edict.OutcomeOf(m.err) != edict.NotSent {
						t.Errorf("%s %v after %d bytes: the client's error is %v", name, d, n, m.err)
					}
					if open := m.server.Connections(); open != 0 {
						t.Errorf("%s %v after %d bytes: the server has %d connections", name, d, n, open)
					}
					m.end(t)
				})
			}
		}
	}
}

// Whatever both sides are set to, they agree on the first codec of the client's that the server has, and on
// the smaller of their limits; and if they can't agree, the client is told so.
func TestHandshakeAgreesOnTheBest(t *testing.T) {
	edicttest.Seeds(t, 100, func(t *testing.T, seed uint64) {
		random := rand.New(rand.NewPCG(seed, 0))
		draw := func() (codecs []edict.Codec, names []string) {
			for _, i := range random.Perm(4)[:1+random.IntN(3)] {
				name := string(rune('a' + i))
				codecs, names = append(codecs, plain{name}), append(names, name)
			}
			return codecs, names
		}
		clientCodecs, offered := draw()
		serverCodecs, known := draw()
		best := ""
		for _, name := range offered {
			for _, other := range known {
				if best == "" && name == other {
					best = name
				}
			}
		}
		clientLimit, serverLimit := 1+random.IntN(4), 1+random.IntN(4)
		m := meet(t,
			[]edict.ServerOption{edict.WithCodecs(serverCodecs...), edict.ServerConfig{MaxInFlight: serverLimit}},
			[]edict.DialOption{edict.WithCodecs(clientCodecs...), edict.ClientConfig{MaxInFlight: clientLimit}})
		m.move(1 + random.IntN(60))
		time.Sleep(10 * time.Second) // a server that rejects lingers
		synctest.Wait()
		m.move(1 << 20)
		switch {
		case !m.dialed:
			t.Fatal("the client still waits")
		case best == "" && (edict.CodeOf(m.err) != edict.FailedPrecondition || m.server.Connections() != 0):
			t.Fatalf("offered %v, known %v: %v, %d connections", offered, known, m.err, m.server.Connections())
		case best != "" && (m.err != nil || m.client.Peer().Codec != best):
			t.Fatalf("offered %v, known %v: %v", offered, known, m.err)
		}
		if best != "" {
			wantPlaces(t, m, min(clientLimit, serverLimit))
		}
		m.end(t)
	})
}

// wantPlaces checks that the client takes so many calls at once, and that the server runs them.
func wantPlaces(t *testing.T, m *meeting, places int) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer synctest.Wait()
	defer cancel()
	for i := range places + 2 {
		go func() { _, _ = edict.Call(ctx, m.client, ask{Call: 10 + i}) }()
		synctest.Wait()
	}
	m.move(1 << 20)
	if n := m.lab.active(); n != places {
		t.Errorf("%d run at once, want %d", n, places)
	}
	for _, r := range m.lab.runs {
		r.orders <- order{kind: orderFinish}
	}
}

package simulation

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/edicttest"
)

// The other simulations have no keepalive: in them time passes while nothing moves, and a PING would be
// written whenever it does. Here it is alone with some calls on a link that is slow, and then half open.

// idling is one connection with a keepalive on both sides: of the client, and of the server.
type idling struct {
	*testing.T
	taps                [2]*tap
	intervals, timeouts [2]time.Duration
}

// TestKeepaliveOfSilentConnections: silence ends a connection within interval and timeout, on the side that
// notices it; a byte that comes in time keeps it alive; PINGs are as few as they may be.
func TestKeepaliveOfSilentConnections(t *testing.T) {
	edicttest.Seeds(t, 200, func(t *testing.T, seed uint64) { simulateKeepalive(t, rand.New(rand.NewPCG(seed, 6))) })
}

func simulateKeepalive(t *testing.T, random *rand.Rand) {
	between := func(low, high time.Duration) time.Duration {
		return low + time.Duration(random.Int64N(int64(high-low)))
	}
	i := &idling{T: t}
	for side := range 2 {
		i.intervals[side] = between(100*time.Millisecond, 20*time.Second)
		i.timeouts[side] = between(100*time.Millisecond, 20*time.Second)
	}
	// There and back in less than the timeouts.
	link := edicttest.Link{Latency: between(0, min(i.timeouts[0], i.timeouts[1])/2)}
	network := edicttest.New(edicttest.Config{Link: link})
	listener, err := network.Listen("server")
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan *tap, 1)
	server := edict.NewServer(newLab(), commands, edict.WithCodecs(plain{"a"}), edict.WithLogger(slog.New(slog.DiscardHandler)),
		edict.ServerConfig{KeepaliveInterval: i.intervals[1], KeepaliveTimeout: i.timeouts[1], HandshakeTimeout: time.Hour})
	served := make(chan error, 1)
	go func() { served <- server.Serve(tapListener{listener, accepted}) }()
	client, err := edict.Dial(t.Context(), "simulation", commands, edict.WithCodecs(plain{"a"}),
		edict.WithDialer(tapDial(network.Dialer("server"), func(t *tap) { i.taps[0] = t })),
		edict.ClientConfig{KeepaliveInterval: i.intervals[0], KeepaliveTimeout: i.timeouts[0], HandshakeTimeout: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	i.taps[1] = <-accepted
	connection := network.Connections()[0]
	defer func() {
		_ = client.Close()
		_ = server.Close()
		if err := server.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		<-served
	}()

	// Calls that are refused at once, after pauses of all lengths: nobody may take the peer for dead.
	longest := 2 * max(i.intervals[0], i.intervals[1])
	for range random.IntN(20) {
		<-time.After(between(0, longest))
		if _, err := edict.Call(t.Context(), client, ask{Fault: undecodable}); edict.OutcomeOf(err) != edict.Refused {
			t.Fatalf("a peer that is there was given up: %v", err)
		}
	}
	if random.IntN(10) == 0 {
		<-time.After(10 * longest)
	}
	select {
	case <-client.Done():
		t.Fatalf("a peer that is there was given up: %v", client.Err())
	default:
	}
	for side := range i.taps {
		i.checkPings(side)
	}

	// Then one direction is gone, or both.
	gone := 1 + random.IntN(3)
	for side, d := range []edicttest.Direction{edicttest.ToClient, edicttest.ToServer} {
		if gone&(1<<side) != 0 {
			connection.Vanish(d)
		}
	}
	<-time.After(time.Hour)
	synctest.Wait()
	for side := range i.taps {
		if gone&(1<<side) != 0 {
			i.checkEnd(side)
		}
	}
	if gone == 1 && !errors.Is(client.Err(), edict.ErrSilent) {
		t.Errorf("the client has ended with %v", client.Err())
	}
}

// checkPings checks that a side has sent no PING before its time.
func (i *idling) checkPings(side int) {
	i.Helper()
	end := i.taps[side]
	end.mu.Lock()
	defer end.mu.Unlock()
	for _, ping := range end.offered.frames {
		if ping.kind != core.KindPing {
			continue
		}
		for _, heard := range end.read.frames {
			if silence := ping.at.Sub(heard.at); silence > 0 && silence < i.intervals[side]*3/4 {
				i.Errorf("side %d has sent a PING %v after a frame; its interval is %v", side, silence, i.intervals[side])
			}
		}
	}
}

// checkEnd checks when a side has given up a peer of which it hears nothing any more.
func (i *idling) checkEnd(side int) {
	i.Helper()
	end := i.taps[side]
	end.mu.Lock()
	defer end.mu.Unlock()
	if !end.closed {
		i.Fatalf("side %d has not noticed", side)
	}
	last := end.read.frames[len(end.read.frames)-1].at
	if silence := end.closedAt.Sub(last); silence > i.intervals[side]+i.timeouts[side] {
		i.Errorf("side %d has noticed after %v; its interval is %v, its timeout %v", side, silence, i.intervals[side], i.timeouts[side])
	}
}

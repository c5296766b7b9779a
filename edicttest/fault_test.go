package edicttest_test

import (
	"errors"
	"io"
	"net"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/edicttest"
	"github.com/edict-go/edict/transport"
)

// What is delivered can be read after a cut; what is under way is lost; both ends learn of it, also
// those who wait.
func TestCut(t *testing.T) {
	onPair(t, edicttest.Config{}, func(p *pair) {
		p.write(p.client, "arrived")
		p.network.SetLink(edicttest.Link{Latency: time.Second, Buffer: 20})
		p.write(p.client, "under way")
		var waiting sync.WaitGroup
		waiting.Go(func() { p.wantReadError(p.client, syscall.ECONNRESET) })
		waiting.Go(func() {
			n, err := p.server.Write(make([]byte, 30))
			if n != 20 || !errors.Is(err, syscall.ECONNRESET) {
				p.t.Errorf("Write = %d, %v", n, err)
			}
		})
		synctest.Wait()
		p.connection.Cut()
		waiting.Wait()
		p.wantRead(p.server, "arrived")
		for _, conn := range []net.Conn{p.client, p.server} {
			p.wantReadError(conn, syscall.ECONNRESET)
			p.wantWriteError(conn, syscall.ECONNRESET)
		}
		if err := p.client.(interface{ CloseWrite() error }).CloseWrite(); !errors.Is(err, syscall.ENOTCONN) {
			p.t.Errorf("CloseWrite: %v", err)
		}
		p.connection.Cut() // again: nothing
		wantFired(p.t, p.network, edicttest.FaultCut)
		if len(p.network.Connections()) > 0 {
			p.t.Error("it counts as open")
		}
		p.wantReadError(p.client, syscall.ECONNRESET)
		_ = p.client.Close()
		p.wantReadError(p.client, net.ErrClosed)
	})
}

func TestCutAfterBytes(t *testing.T) {
	for _, link := range []edicttest.Link{{}, {Buffer: 4}, {Latency: time.Second, Segment: 3, Jitter: time.Second}} {
		for cut := range 11 {
			onPair(t, edicttest.Config{Link: link}, func(p *pair) {
				p.connection.CutAfter(toServer, edicttest.Bytes(int64(cut)))
				wait := arrivals(p.server)
				_, _ = p.client.Write([]byte("0123456789"))
				got, err := wait()
				text := ""
				for _, a := range got {
					text += a.data
				}
				if text != "0123456789"[:cut] || !errors.Is(err, syscall.ECONNRESET) {
					p.t.Errorf("read %q, then %v; want %d bytes and a reset", text, err, cut)
				}
				wantFired(p.t, p.network, edicttest.FaultCut)
				if fault := p.network.Fired()[0]; fault.Offset != int64(cut) || fault.Direction != toServer || fault.Address != "server" {
					p.t.Errorf("the fault is %v", fault)
				}
			})
		}
	}
}

// A write learns of a cut that its own bytes have caused.
func TestCutDuringAWrite(t *testing.T) {
	onPair(t, edicttest.Config{Link: edicttest.Link{Buffer: 4}}, func(p *pair) {
		p.connection.CutAfter(toServer, edicttest.Bytes(2))
		if n, err := p.client.Write([]byte("0123456789")); n != 4 || !errors.Is(err, syscall.ECONNRESET) {
			p.t.Errorf("Write = %d, %v", n, err)
		}
		p.wantRead(p.server, "01")
		p.wantReadError(p.server, syscall.ECONNRESET)
	})
}

// A point that was passed already cuts at once, one that is never reached does not.
func TestCutAfterWhatHasPassed(t *testing.T) {
	onPair(t, edicttest.Config{}, func(p *pair) {
		p.write(p.client, "0123456789")
		p.write(p.client, string(make([]byte, 100)))
		p.wantRead(p.server, "0123456789"+string(make([]byte, 100)))
		p.connection.CutAfter(toServer, edicttest.Bytes(111))
		p.connection.CutAfter(toServer, edicttest.Frames(0)) // this is not Edict's protocol
		p.connection.CutAfter(toClient, edicttest.Bytes(1))
		wantFired(p.t, p.network)
		p.connection.CutAfter(toServer, edicttest.Bytes(3))
		wantFired(p.t, p.network, edicttest.FaultCut)
		p.wantReadError(p.server, syscall.ECONNRESET)
	})
}

// dialogue is the bytes of one direction: the preface, the handshake's frame, and frames of 16 + 0,
// 16 + 1, 16 + 2 bytes and so on.
func dialogue(frames int) (text string, starts []int) {
	encoded := append([]byte("EDICT\n\x01\x01"), transport.AppendFrame(nil, core.Frame{Kind: core.KindHello, Body: make([]byte, 50)})...)
	for i := range frames {
		starts = append(starts, len(encoded))
		encoded = transport.AppendFrame(encoded, core.Frame{Kind: core.KindCommand, Body: []byte(strings.Repeat("f", i))})
	}
	return string(encoded), append(starts, len(encoded))
}

func TestPointsInFrames(t *testing.T) {
	text, starts := dialogue(5)
	type row struct {
		point edicttest.Point
		want  int
	}
	rows := []row{{edicttest.Bytes(0), 0}, {edicttest.Bytes(-1), 0}, {edicttest.Frames(-1), starts[0]}}
	for i, start := range starts {
		rows = append(rows,
			row{edicttest.Frames(i), start}, row{edicttest.InFrame(i, 0), start}, row{edicttest.InFrame(i, -7), start},
			row{edicttest.InFrame(i, 1), start + 1}, row{edicttest.InFrame(i, 16), start + 16}, row{edicttest.InFrame(i, 20), start + 20},
		)
	}
	for _, row := range rows {
		for _, segment := range []int{len(text), 1, 7} {
			onPair(t, edicttest.Config{Manual: true}, func(p *pair) {
				p.connection.CutAfter(toServer, row.point)
				_, _ = p.client.Write([]byte(text))
				delivered := 0
				for len(p.network.Connections()) > 0 {
					moved := p.connection.Deliver(toServer, segment)
					if moved == 0 && delivered < row.want && row.want <= len(text) {
						p.t.Fatalf("%v: stuck after %d bytes", row.point, delivered)
					}
					if delivered += moved; moved == 0 {
						break
					}
				}
				if want := min(row.want, len(text)); delivered != want || len(p.network.Fired()) == 0 != (row.want > len(text)) {
					p.t.Errorf("%v in steps of %d: cut after %d bytes, want %d", row.point, segment, delivered, row.want)
				}
			})
		}
	}
}

// A point in a frame can also be given while the frame is on its way, or when it is gone.
func TestPointsInFramesThatHaveBegun(t *testing.T) {
	text, starts := dialogue(3)
	for _, row := range []struct {
		point edicttest.Point
		want  int
	}{
		{edicttest.InFrame(1, 12), starts[1] + 12},
		{edicttest.InFrame(1, 5), starts[1] + 10},
		{edicttest.Frames(1), starts[1] + 10},
		{edicttest.InFrame(0, 10_000), starts[1] + 10},
		{edicttest.InFrame(1, 34), starts[1] + 34},
	} {
		onPair(t, edicttest.Config{Manual: true}, func(p *pair) {
			p.write(p.client, text)
			delivered := p.connection.Deliver(toServer, starts[1]+10)
			p.connection.CutAfter(toServer, row.point)
			for moved := 1; moved > 0; delivered += moved {
				moved = p.connection.Deliver(toServer, 3)
			}
			if delivered != row.want {
				p.t.Errorf("%v: cut after %d bytes, want %d", row.point, delivered, row.want)
			}
		})
	}
}

func TestPointsAreWrittenAsTheyAreMade(t *testing.T) {
	for want, point := range map[string]edicttest.Point{
		"Bytes(7)": edicttest.Bytes(7), "Frames(2)": edicttest.Frames(2), "InFrame(2, 5)": edicttest.InFrame(2, 5), "Bytes(0)": {},
	} {
		if point.String() != want {
			t.Errorf("%v, want %s", point, want)
		}
	}
}

func TestCorrupt(t *testing.T) {
	onPair(t, edicttest.Config{}, func(p *pair) {
		p.write(p.client, "ab")
		p.connection.Corrupt(toServer, edicttest.Bytes(1)) // too late
		p.connection.Corrupt(toServer, edicttest.Bytes(2))
		p.connection.Corrupt(toServer, edicttest.Bytes(4))
		wantFired(p.t, p.network)
		p.write(p.client, "abab")
		p.wantRead(p.server, "ab"+"`b`b")
		wantFired(p.t, p.network, edicttest.FaultCorrupt, edicttest.FaultCorrupt)
	})
}

// A corrupted length is the reader's problem: points in frames are those of the writer.
func TestCorruptALength(t *testing.T) {
	text, starts := dialogue(3)
	onPair(t, edicttest.Config{}, func(p *pair) {
		p.connection.Corrupt(toServer, edicttest.Frames(1)) // the first byte of its length
		p.connection.CutAfter(toServer, edicttest.Frames(2))
		p.write(p.client, text)
		want := []byte(text[:starts[2]])
		want[starts[1]] ^= 1
		p.wantRead(p.server, string(want))
		p.wantReadError(p.server, syscall.ECONNRESET)
	})
}

func TestStall(t *testing.T) {
	onPair(t, edicttest.Config{Link: edicttest.Link{Buffer: 10}}, func(p *pair) {
		p.connection.Stall(toServer)
		wantFired(p.t, p.network) // nothing to hold back yet
		p.write(p.client, "0123456789")
		wantFired(p.t, p.network, edicttest.FaultStall)
		_ = p.client.SetWriteDeadline(time.Now().Add(time.Second))
		p.wantWriteError(p.client, os.ErrDeadlineExceeded) // the buffer is full
		_ = p.server.SetReadDeadline(time.Now().Add(time.Minute))
		p.wantReadError(p.server, os.ErrDeadlineExceeded)
		_ = p.server.SetReadDeadline(time.Time{})
		p.write(p.server, "as ever")
		p.wantRead(p.client, "as ever")
		_ = p.client.Close() // the end is held back too

		waiting := arrivals(p.server)
		time.Sleep(time.Minute)
		p.connection.Resume(toServer)
		got, err := waiting()
		if !slices.Equal(got, []arrival{{time.Minute, "0123456789"}}) || err != io.EOF {
			p.t.Errorf("after the stall: %v, %v", got, err)
		}
	})
}

// The end alone is held back too.
func TestStallTheEnd(t *testing.T) {
	onPair(t, edicttest.Config{}, func(p *pair) {
		p.connection.Stall(toServer)
		closeWrite(p.t, p.client)
		_ = p.server.SetReadDeadline(time.Now().Add(time.Minute))
		p.wantReadError(p.server, os.ErrDeadlineExceeded)
		_ = p.server.SetReadDeadline(time.Time{})
		wantFired(p.t, p.network, edicttest.FaultStall)
		p.connection.Resume(toServer)
		p.wantReadError(p.server, io.EOF)
	})
}

func TestStallAfter(t *testing.T) {
	onPair(t, edicttest.Config{Link: edicttest.Link{Latency: time.Second}}, func(p *pair) {
		p.connection.StallAfter(toServer, edicttest.Bytes(4))
		p.write(p.client, "0123456789")
		waiting := arrivals(p.server)
		closeWrite(p.t, p.client)
		time.Sleep(time.Minute)
		wantFired(p.t, p.network, edicttest.FaultStall)
		p.connection.Resume(toServer)
		got, err := waiting()
		if !slices.Equal(got, []arrival{{time.Second, "0123"}, {time.Minute, "456789"}}) || err != io.EOF {
			p.t.Errorf("around the stall: %v, %v", got, err)
		}
	})
}

func TestVanish(t *testing.T) {
	onPair(t, edicttest.Config{Link: edicttest.Link{Latency: time.Second, Buffer: 10}}, func(p *pair) {
		p.write(p.client, "arrives")
		p.wantRead(p.server, "arrives")
		p.write(p.client, "under way")
		p.connection.Vanish(toServer)
		wantFired(p.t, p.network, edicttest.FaultVanish)
		for range 10 {
			p.write(p.client, "more than the buffer holds")
		}
		p.write(p.server, "is heard")
		p.wantRead(p.client, "is heard")
		_ = p.client.Close() // nor does the end arrive
		_ = p.server.SetReadDeadline(time.Now().Add(time.Hour))
		p.wantReadError(p.server, os.ErrDeadlineExceeded)
		// That nobody reads at the other end any more is news that does not arrive either.
		p.write(p.server, "is dropped")
		time.Sleep(time.Minute)
		p.write(p.server, "is dropped")
		wantFired(p.t, p.network, edicttest.FaultVanish)
	})
	// A write that waits for room goes on.
	onPair(t, edicttest.Config{Link: edicttest.Link{Buffer: 4}}, func(p *pair) {
		p.connection.Stall(toServer)
		written := make(chan struct{})
		go func() {
			defer close(written)
			p.write(p.client, "0123456789")
		}()
		synctest.Wait()
		p.connection.Vanish(toServer)
		<-written
		wantFired(p.t, p.network, edicttest.FaultStall, edicttest.FaultVanish)
	})
	onPair(t, edicttest.Config{}, func(p *pair) {
		p.connection.Vanish(toServer)
		p.connection.Vanish(toClient)
		closeWrite(p.t, p.client)
		p.write(p.server, "nobody")
		wantFired(p.t, p.network, edicttest.FaultVanish, edicttest.FaultVanish)
	})
}

// Each of the faults that can be drawn fires, about as often as its rate says, at other places with
// another seed.
func TestDrawnFaults(t *testing.T) {
	const size = 1 << 20 // 1024 KiB
	for _, row := range []struct {
		kind     edicttest.FaultKind
		faults   edicttest.Faults
		min, max int
	}{
		{edicttest.FaultTear, edicttest.Faults{Tear: 0.5}, 400, 620},
		{edicttest.FaultCorrupt, edicttest.Faults{Corrupt: 0.5}, 400, 620},
		{edicttest.FaultStall, edicttest.Faults{Stall: 0.5, StallFor: time.Second}, 400, 620},
		{edicttest.FaultStall, edicttest.Faults{Stall: 0.01}, 3, 20},
		{edicttest.FaultCut, edicttest.Faults{Cut: 0.01}, 1, 1},
		{edicttest.FaultVanish, edicttest.Faults{Vanish: 0.01}, 1, 1},
	} {
		var places [2][]edicttest.Fault
		for i := range places {
			config := edicttest.Config{Seed: uint64(i), Faults: row.faults, Link: edicttest.Link{Buffer: 10_000}}
			onPair(t, config, func(p *pair) {
				_ = p.server.SetReadDeadline(time.Now().Add(time.Hour))
				wait := arrivals(p.server)
				sent := noise(size, 0)
				start := time.Now()
				_, err := p.client.Write(sent)
				_ = p.client.(interface{ CloseWrite() error }).CloseWrite() // it may be cut
				got, readErr := wait()
				places[i] = p.network.Fired()
				switch row.kind {
				case edicttest.FaultCut:
					if !errors.Is(err, syscall.ECONNRESET) || !errors.Is(readErr, syscall.ECONNRESET) {
						p.t.Errorf("cut: %v, %v", err, readErr)
					}
					return
				case edicttest.FaultVanish:
					if err != nil || !errors.Is(readErr, os.ErrDeadlineExceeded) {
						p.t.Errorf("vanish: %v, %v", err, readErr)
					}
					return
				case edicttest.FaultStall:
					each := time.Since(start) / time.Duration(len(places[i]))
					if each < 300*time.Millisecond || each > 700*time.Millisecond {
						p.t.Errorf("a stall of up to 1s takes %v on average", each)
					}
				}
				var all []byte
				for _, a := range got {
					all = append(all, a.data...)
				}
				if row.kind == edicttest.FaultCorrupt {
					for _, fault := range places[i] {
						if all[fault.Offset] == sent[fault.Offset] {
							p.t.Errorf("%v: nothing has changed there", fault)
						}
						all[fault.Offset] = sent[fault.Offset]
					}
				}
				sameBytes(p.t, row.kind.String(), all, sent)
			})
			if n := len(places[i]); n < row.min || n > row.max {
				t.Errorf("%d times %v, want %d to %d", n, row.kind, row.min, row.max)
			}
			for _, fault := range places[i] {
				if fault.Kind != row.kind {
					t.Fatalf("%v among those of %v", fault, row.kind)
				}
			}
		}
		if len(places[0]) == len(places[1]) && places[0][0].Offset == places[1][0].Offset {
			t.Errorf("%v: two seeds have the same faults", row.kind)
		}
	}
}

func TestDrawnRefusals(t *testing.T) {
	var refused [2][]int
	for i := range refused {
		network := edicttest.New(edicttest.Config{Seed: uint64(i), Faults: edicttest.Faults{Refuse: 0.3}})
		listener := listen(t, network, "server")
		for n := range 200 {
			if _, err := network.Dial(t.Context(), "server"); errors.Is(err, syscall.ECONNREFUSED) {
				refused[i] = append(refused[i], n)
			}
		}
		if n := len(refused[i]); n < 35 || n > 85 || n != len(network.Fired(edicttest.FaultRefuse)) {
			t.Errorf("%d of 200 dials were refused", n)
		}
		_ = listener.Close()
	}
	if slices.Equal(refused[0], refused[1]) {
		t.Error("two seeds refuse the same dials")
	}
}

// trace is what a conversation with all kinds of faults looks like from outside.
func trace(t *testing.T, seed uint64, writeSize int) (story []any) {
	config := edicttest.Config{
		Seed:   seed,
		Link:   edicttest.Link{Latency: time.Second, Segment: 500, Buffer: 3000},
		Faults: edicttest.Faults{Cut: 0.03, Stall: 0.1, StallFor: time.Minute, Tear: 1, Corrupt: 1, Vanish: 0.005},
	}
	onPair(t, config, func(p *pair) {
		_ = p.server.SetReadDeadline(time.Now().Add(time.Hour))
		wait := arrivals(p.server)
		for rest := noise(20_000, 0); len(rest) > 0; {
			n, err := p.client.Write(rest[:min(len(rest), writeSize)])
			if err != nil {
				break
			}
			rest = rest[n:]
		}
		_ = p.client.Close()
		got, err := wait()
		for _, a := range got {
			story = append(story, a)
		}
		story = append(story, errors.Is(err, syscall.ECONNRESET), err == io.EOF)
		for _, fault := range p.network.Fired() {
			if fault.Kind != edicttest.FaultTear {
				story = append(story, fault)
			}
		}
	})
	return story
}

// The same seed gives the same story, another one another.
func TestASeedRepeats(t *testing.T) {
	const seeds = 40
	var stories []any
	for seed := range uint64(seeds) {
		first := trace(t, seed, 1000)
		if second := trace(t, seed, 1000); !reflect.DeepEqual(first, second) {
			t.Fatalf("seed %d tells two stories:\n%v\n%v", seed, first[max(0, len(first)-10):], second[max(0, len(second)-10):])
		}
		for other, story := range stories {
			if reflect.DeepEqual(story, first) {
				t.Errorf("seeds %d and %d tell the same story", seed, other)
			}
		}
		stories = append(stories, first)
	}
}

// The faults are at the same bytes, however these are written.
func TestASeedRepeatsForOtherWrites(t *testing.T) {
	for seed := range uint64(20) {
		var places [2][]edicttest.Fault
		for i, size := range []int{20_000, 77} {
			for _, step := range trace(t, seed, size) {
				if fault, ok := step.(edicttest.Fault); ok && fault.Kind != edicttest.FaultStall {
					fault.At = 0
					places[i] = append(places[i], fault)
				}
			}
		}
		if !reflect.DeepEqual(places[0], places[1]) {
			t.Errorf("seed %d: %v and %v", seed, places[0], places[1])
		}
	}
}

func TestTheListOfFaultsIsBounded(t *testing.T) {
	network := edicttest.New(edicttest.Config{})
	network.RefuseDials("server", true)
	listen(t, network, "server")
	for range 10_010 {
		_, _ = network.Dial(t.Context(), "server")
	}
	if n := len(network.Fired()); n != 10_000 {
		t.Errorf("%d faults are kept", n)
	}
	if n := len(network.Fired(edicttest.FaultCut, edicttest.FaultDelay)); n != 0 {
		t.Errorf("%d are of another kind", n)
	}
}

func TestFaultsInWords(t *testing.T) {
	for want, fault := range map[string]edicttest.Fault{
		"1s: dial to server: refuse":                                {Kind: edicttest.FaultRefuse, At: time.Second, Address: "server", Connection: -1},
		"0s: connection 2 to server: delay":                         {Kind: edicttest.FaultDelay, Address: "server", Connection: 2},
		"0s: connection 0: cut to client at byte 7":                 {Kind: edicttest.FaultCut, Direction: toClient, Offset: 7},
		"1ms: connection 3 to server: corrupt to server at byte 70": {Kind: edicttest.FaultCorrupt, At: time.Millisecond, Address: "server", Connection: 3, Offset: 70},
		"0s: connection 0: fault(9) to server at byte 0":            {Kind: 9},
	} {
		if fault.String() != want {
			t.Errorf("%q, want %q", fault, want)
		}
	}
}

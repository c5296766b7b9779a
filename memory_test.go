package edict_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/compression/s2"
	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/delegate"
	"github.com/edict-go/edict/transport"
)

// besieged is the receiver of a server that is a process of its own, whose memory is measured.
type besieged struct{ budget *edict.Budget }

// usage returns what the server's process occupies, after a garbage collection.
type usage struct{}

type occupied struct {
	Live int64 // objects on the heap, and the stacks of goroutines
	Used int64 // of the budget
}

func (usage) Exec(_ context.Context, b *besieged) (occupied, error) {
	runtime.GC()
	runtime.GC() // what pools keep goes with the second one
	samples := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
	metrics.Read(samples)
	return occupied{Live: int64(samples[0].Value.Uint64() + samples[1].Value.Uint64()), Used: b.budget.Used()}, nil
}

// sit keeps what it was sent until its caller goes.
type sit struct{ Text string }

func (sit) Exec(ctx context.Context, _ *besieged) (int, error) {
	<-ctx.Done()
	return 0, ctx.Err()
}

// pour sends results as long as they are taken.
type pour struct{ Size int }

func (c pour) Exec(_ context.Context, _ *besieged, results edict.Sink[string]) error {
	text := filler[:c.Size]
	for {
		if err := results.Send(text); err != nil {
			return err
		}
	}
}

// fill returns one large result.
type fill struct{ Size int }

func (c fill) Exec(context.Context, *besieged) (string, error) { return filler[:c.Size], nil }

var filler = strings.Repeat("f", 256<<10)

// ignore takes no inputs.
type ignore struct{}

func (ignore) Exec(ctx context.Context, _ *besieged, _ edict.Source[string], _ edict.Sink[int]) error {
	<-ctx.Done()
	return ctx.Err()
}

var siege = edict.Commands(
	edict.Unary[usage](), edict.Unary[sit](), edict.ServerStream[pour](), edict.Unary[fill](), edict.Duplex[ignore](),
)

const (
	usageNumber = iota
	sitNumber
	pourNumber
	fillNumber
	ignoreNumber
)

// besiegedBudget is in the environment of the server's process: how large its budget is.
const besiegedBudget = "EDICT_TEST_BUDGET"

func TestMain(m *testing.M) {
	if size, err := strconv.ParseInt(os.Getenv(besiegedBudget), 10, 64); err == nil {
		serveBesieged(size)
		return
	}
	os.Exit(m.Run())
}

// smallBuffers is a listener whose connections leave little to the system.
type smallBuffers struct{ net.Listener }

func (l smallBuffers) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if tcp, ok := conn.(*net.TCPConn); ok {
		_, _ = tcp.SetWriteBuffer(16<<10), tcp.SetReadBuffer(64<<10)
	}
	return conn, err
}

// serveBesieged is the server's process. It ends when its standard input does.
func serveBesieged(size int64) {
	budget := edict.NewBudget(size)
	server := edict.NewServer(&besieged{budget}, siege, edict.WithBudget(budget), edict.WithCompression(s2.Compression),
		edict.ServerConfig{WriteTimeout: time.Hour, FrameTimeout: time.Hour, KeepaliveInterval: -1}, // the siege lasts as long as it takes
		edict.WithLogger(slog.New(slog.DiscardHandler)))
	listener, err := server.Listen("tcp://127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(listener.Addr())
	go server.Serve(smallBuffers{listener})
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// startBesieged starts the server's process, with these variables in its environment, and returns its address.
func startBesieged(t *testing.T, variables ...string) string {
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), variables...)
	command.Stderr = os.Stderr
	input, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = input.Close()
		if err := command.Wait(); err != nil {
			t.Errorf("the server's process: %v", err)
		}
	})
	var address string
	if _, err := fmt.Fscan(output, &address); err != nil {
		t.Fatal(err)
	}
	return address
}

// TestMemoryUnderSiege has 1,000 connections that do what they can to make a server hold memory, and measures
// that it holds no more than its budget and a fifth of it, and still serves others.
func TestMemoryUnderSiege(t *testing.T) {
	const (
		budget      = 256 << 20
		connections = 1000
	)
	limit := int64(budget) * 6 / 5
	address := startBesieged(t, fmt.Sprintf("%s=%d", besiegedBudget, budget), fmt.Sprintf("GOMEMLIMIT=%d", limit))
	// A machine that has much to do may let it wait for long; how long is up to measure.
	honest, err := edict.Dial(t.Context(), "tcp://"+address, siege, edict.ClientConfig{KeepaliveInterval: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = honest.Close() })
	measure := func() occupied {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		now, err := edict.Call(ctx, honest, usage{})
		if err != nil {
			t.Fatalf("an honest client's call: %v", err)
		}
		return now
	}
	idle := measure()
	conns := besiege(t, address, connections)
	t.Logf("%d connections occupy %d MiB as long as they do nothing", connections, (measure().Live-idle.Live)>>20)

	frames := besiegers()
	var attackers sync.WaitGroup
	var written atomic.Int64
	for i, conn := range conns {
		attackers.Go(func() {
			for _, frame := range frames[i%attacks] {
				for part := range slices.Chunk(frame, 16<<10) {
					if _, err := conn.Write(part); err != nil {
						return
					}
					written.Add(int64(len(part)))
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { attackers.Wait(); close(done) }()
	var most occupied
	began := time.Now()
	before, still := int64(0), 0
	for ended := false; !ended; {
		select {
		case <-done:
			ended = true
		case <-time.After(500 * time.Millisecond):
		}
		if now := measure(); now.Live > most.Live {
			most = now
		}
		// It is over when the server has not read on for some measurements, which take as long as it is busy.
		if now := written.Load(); now != before {
			before, still = now, 0
		} else if still++; still == 4 {
			for _, conn := range conns {
				_ = conn.SetWriteDeadline(time.Now())
			}
		}
	}
	// What is allocated while garbage is collected counts as live, so it is measured when not much happens.
	rest := measure()
	for range 10 {
		if rest.Live > limit {
			time.Sleep(200 * time.Millisecond)
			rest = measure()
		}
	}
	t.Logf("%v: up to %d MiB live; at last %d, and the budget has %d", time.Since(began), most.Live>>20, rest.Live>>20, rest.Used>>20)
	if rest.Live > limit || most.Live > limit*5/4 {
		t.Errorf("the server holds more than the %d MiB of its budget and a fifth of that", budget>>20)
	}
	if rest.Used < budget/2 {
		t.Error("the siege has not used half of the budget: it does not tell anything")
	}
}

// besiege opens connections whose handshake is done.
func besiege(t *testing.T, address string, number int) []net.Conn {
	plain, compressed := siegeGreeting(), siegeGreeting("s2")
	conns := make([]net.Conn, number)
	var dialers sync.WaitGroup
	for i := range conns {
		dialers.Go(func() {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { _ = conn.Close() })
			_ = conn.(*net.TCPConn).SetReadBuffer(4 << 10)
			greeting := plain
			if i%attacks == bombing {
				greeting = compressed
			}
			header := make([]byte, transport.PrefaceSize+transport.HeaderSize)
			_, err = conn.Write(greeting)
			if err == nil {
				_, err = io.ReadFull(conn, header)
			}
			if err != nil || core.Kind(header[transport.PrefaceSize+4]) != core.KindWelcome {
				t.Errorf("connection %d: %v", i, err)
			}
			conns[i] = conn
		})
	}
	dialers.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return conns
}

// There are so many kinds of attack, and this one needs a compression.
const (
	attacks = 6
	bombing = 2
)

// besiegers returns what connections send before they go silent, without reading anything.
func besiegers() [attacks][][]byte {
	frame := func(kind core.Kind, flags core.Flags, number uint16, sequence core.Sequence, body []byte) []byte {
		return transport.AppendFrame(nil, core.Frame{Kind: kind, Flags: flags, Command: number, Sequence: sequence, Body: body})
	}
	credit := binary.LittleEndian.AppendUint32(nil, 1<<30)
	part := make([]byte, 200<<10)
	bomb := s2.Compression.Append(nil, []byte(`{"Text":"`+strings.Repeat("b", 4<<20-20)+`"}`))
	large := []byte(`{"Text":"` + strings.Repeat("l", 30<<10) + `"}`)
	stream, inputs := core.FlagStream, core.FlagStream|core.FlagInputs

	var unread, parts, bombs, untaken, many, pings [][]byte
	for i := range core.Sequence(8) {
		unread = append(unread,
			frame(core.KindCommand, stream, pourNumber, i, []byte(`{"Size":65536}`)), frame(core.KindCredit, 0, 0, i, credit),
			frame(core.KindCommand, 0, fillNumber, 100+i, []byte(`{"Size":262144}`)))
		parts = append(parts, frame(core.KindCommand, core.FlagMore, sitNumber, i, part))
		bombs = append(bombs, frame(core.KindCommand, core.FlagCompressed, sitNumber, i, bomb))
		untaken = append(untaken,
			frame(core.KindCommand, inputs, ignoreNumber, i, []byte("{}")), frame(core.KindInput, 0, 0, i, part))
	}
	for i := range core.Sequence(200) {
		many = append(many, frame(core.KindCommand, 0, sitNumber, i, large))
	}
	many = append(many, frame(core.KindCommand, 0, sitNumber, 500, large)[:20_000]) // and stops in a frame
	for range 18_000 {
		pings = append(pings, frame(core.KindPing, 0, 0, 0, make([]byte, 64)))
	}
	return [attacks][][]byte{unread, parts, bombing: bombs, untaken, many, {bytes.Join(pings, nil)}}
}

// siegeGreeting returns the bytes with which a client of the besieged begins.
func siegeGreeting(compressions ...string) []byte {
	client, server := transport.MemoryPipe()
	carrier := transport.NewConn(client, transport.Config{})
	config := delegate.Config{Name: "besieger", Codecs: []string{"json"}, Compressions: compressions}
	for i := range siege.Len() {
		config.Commands = append(config.Commands, delegate.Command{Name: siege.At(i).Name(), Shape: siege.At(i).Shape()})
	}
	failed := make(chan struct{})
	go func() {
		defer close(failed)
		_, _ = delegate.Connect(context.Background(), carrier, config)
	}()
	header := make([]byte, transport.PrefaceSize+transport.HeaderSize)
	_, _ = io.ReadFull(server, header)
	body := make([]byte, binary.LittleEndian.Uint32(header[transport.PrefaceSize:]))
	_, _ = io.ReadFull(server, body)
	_ = server.Close()
	<-failed
	carrier.Close(nil)
	carrier.Wait()
	return append(header, body...)
}

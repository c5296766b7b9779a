package edict_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/codec/msgpack"
	"github.com/edict-go/edict/compression/compressiontest"
	"github.com/edict-go/edict/compression/s2"
	"github.com/edict-go/edict/compression/zstd"
	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/delegate"
)

// spy counts what is compressed and decoded with a compression, by both sides.
type spy struct {
	edict.Compression
	appended, decoded atomic.Int64
}

func (s *spy) Append(dst, src []byte) []byte {
	s.appended.Add(1)
	return s.Compression.Append(dst, src)
}

func (s *spy) Decode(dst, src []byte) error {
	s.decoded.Add(1)
	return s.Compression.Decode(dst, src)
}

// want checks how many messages were compressed, and decoded on the other side, since the last time.
func (s *spy) want(t testing.TB, what string, appended, decoded int64) {
	t.Helper()
	if a, d := s.appended.Swap(0), s.decoded.Swap(0); a != appended || d != decoded {
		t.Errorf("%s: %d messages were compressed, %d decoded, want %d and %d", what, a, d, appended, decoded)
	}
}

func eachCompression(t *testing.T, test func(t *testing.T, compression edict.Compression)) {
	for _, compression := range []edict.Compression{s2.Compression, zstd.Compression} {
		t.Run(compression.Name(), func(t *testing.T) { test(t, compression) })
	}
}

// named is a compression under another name.
type named struct {
	edict.Compression
	name string
}

func (n named) Name() string { return n.name }

func TestCompressedMessages(t *testing.T) {
	const large = 10 << 20
	text := string(compressiontest.Text(large))
	codecs := edict.WithCodecs(msgpack.Codec) // quicker than JSON with the race detector
	eachCompression(t, func(t *testing.T, compression edict.Compression) {
		spy := &spy{Compression: compression}
		with := edict.WithCompression(spy)
		test := func(t *testing.T, b *bench) {
			client := b.client(with, codecs, edict.ClientConfig{MaxFrame: 2 * large})
			if client.Peer().Compression != compression.Name() {
				t.Errorf("the compression is %q", client.Peer().Compression)
			}
			wantSum(t, client)
			spy.want(t, "small messages", 0, 0)
			for _, size := range []int{5000, 100_000, large} { // copied, in one piece, in parts
				if got, err := edict.Call(t.Context(), client, repeat{Text: text[:size], Times: 1}); got != text[:size] || err != nil {
					t.Fatalf("%d bytes there and back: %d, %v", size, len(got), err)
				}
				spy.want(t, "a command and its result", 2, 2)
			}
			invocation, err := edict.StartDuplex(t.Context(), client, parrot{})
			if err != nil {
				t.Fatal(err)
			}
			sizes := []int{10, 5000, 100_000, 10, large, 2000, 50_000}
			sent := make(chan error, 1)
			go func() {
				for _, size := range sizes {
					if err := invocation.Send(text[:size]); err != nil {
						sent <- err
						return
					}
				}
				sent <- invocation.CloseSend()
			}()
			for _, size := range sizes {
				if got, err := invocation.Receive(); got != text[:size] || err != nil {
					t.Fatalf("%d bytes there and back: %d, %v\n%s", size, len(got), err, b.log)
				}
			}
			if _, err := invocation.Receive(); err != io.EOF || <-sent != nil {
				t.Error(err)
			}
			spy.want(t, "inputs and results", 8, 8)
			wantSum(t, client)
		}
		options := []edict.ServerOption{with, codecs, edict.ServerConfig{MaxFrame: 2 * large}}
		t.Run("memory", func(t *testing.T) { test(t, serve(t, options...)) })
		t.Run("tcp", func(t *testing.T) { test(t, serveAt(t, "tcp://127.0.0.1:0", nil, nil, options...)) })
		t.Run("tls", func(t *testing.T) {
			serverTLS, clientTLS := certificates(t)
			test(t, serveAt(t, "tls://127.0.0.1:0", serverTLS, clientTLS, options...))
		})
	})
}

// Streams, of which many results are under way and few are taken at a time.
func TestACompressedStream(t *testing.T) {
	eachCompression(t, func(t *testing.T, compression edict.Compression) {
		b := serveAt(t, "tcp://127.0.0.1:0", nil, nil, edict.WithCompression(compression))
		client := b.client(edict.WithCompression(compression))
		taken := 0
		for text, err := range edict.Stream(t.Context(), client, flood{Size: 100_000}) {
			if err != nil || text != strings.Repeat("f", 100_000) {
				t.Fatalf("%d bytes, %v", len(text), err)
			}
			if taken++; taken == 50 {
				break
			}
		}
		if err := <-b.lab.canceled; err != context.Canceled {
			t.Errorf("the command got %v", err)
		}
		wantSum(t, client)
	})
}

// counted counts what goes over a connection.
type counted struct {
	net.Conn
	bytes *atomic.Int64
}

func (c counted) Read(target []byte) (int, error) {
	n, err := c.Conn.Read(target)
	c.bytes.Add(int64(n))
	return n, err
}

// Write counts first: the peer may have answered before Conn.Write returns.
func (c counted) Write(source []byte) (int, error) {
	c.bytes.Add(int64(len(source)))
	return c.Conn.Write(source)
}

// counting makes the clients of b count what goes over their connections.
func (b *bench) counting() *atomic.Int64 {
	var count atomic.Int64
	dial := b.dial
	b.dial = func(ctx context.Context) (net.Conn, error) {
		conn, err := dial(ctx)
		return counted{conn, &count}, err
	}
	return &count
}

// There is less on the wire, in each direction.
func TestCompressionSaves(t *testing.T) {
	eachCompression(t, func(t *testing.T, compression edict.Compression) {
		with := edict.WithCompression(compression)
		b := serve(t, with)
		bytes := b.counting()
		client := b.client(with)
		wire := func(command repeat) int64 {
			before := bytes.Load()
			if _, err := edict.Call(t.Context(), client, command); err != nil {
				t.Fatal(err)
			}
			return bytes.Load() - before
		}
		text := string(compressiontest.Text(100_000))
		if size := wire(repeat{Text: text}); size > 60_000 {
			t.Errorf("a command of 100,000 bytes and its result are %d on the wire", size)
		}
		if size := wire(repeat{Text: "text", Times: 25_000}); size > 10_000 {
			t.Errorf("a command and its result of 100,000 bytes are %d on the wire", size)
		}
		if size := wire(repeat{Text: text, Times: 1}); size > 120_000 {
			t.Errorf("twice 100,000 bytes are %d on the wire", size)
		}
	})
}

func TestNegotiationOfCompression(t *testing.T) {
	a, b, c := named{s2.Compression, "a"}, named{zstd.Compression, "b"}, named{s2.Compression, "c"}
	type list = []edict.Compression
	for _, test := range []struct {
		client, server list
		want           string
	}{
		{nil, nil, ""},
		{list{a}, nil, ""},
		{nil, list{a}, ""},
		{list{a}, list{b}, ""},
		{list{named{a, ""}}, list{named{a, ""}}, ""}, // no name, no choice
		{list{a}, list{a}, "a"},
		{list{a, b}, list{b, a}, "a"}, // the client's order
		{list{b, a}, list{b, a}, "b"},
		{list{c, b}, list{a, b}, "b"},
	} {
		var spies []*spy
		spied := func(compressions list) (wrapped list) {
			for _, compression := range compressions {
				s := &spy{Compression: compression}
				spies, wrapped = append(spies, s), append(wrapped, s)
			}
			return wrapped
		}
		bench := serve(t, edict.WithCompression(spied(test.server)...))
		client := bench.client(edict.WithCompression(spied(test.client)...))
		if _, err := edict.Call(t.Context(), client, peek{}); err != nil {
			t.Fatal(err)
		}
		if onServer := edict.PeerOf(<-bench.lab.contexts).Compression; client.Peer().Compression != test.want || onServer != test.want {
			t.Errorf("%v and %v: %q and %q, want %q", test.client, test.server, client.Peer().Compression, onServer, test.want)
		}
		text := strings.Repeat("text", 5000)
		if got, err := edict.Call(t.Context(), client, repeat{Text: text, Times: 1}); got != text || err != nil {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		for _, spy := range spies {
			uses := int64(0)
			if test.want != "" && spy.Name() == test.want {
				uses = 1 // each side has a spy of its own
			}
			spy.want(t, "compression "+spy.Name(), uses, uses)
		}
	}
}

// Connections of one server share what its commands were run with before.
func TestConnectionsWithAndWithoutCompression(t *testing.T) {
	b := serve(t, edict.WithCompression(s2.Compression), edict.ServerConfig{CompressionThreshold: 100})
	with := b.client(edict.WithCompression(s2.Compression), edict.ClientConfig{CompressionThreshold: 100})
	without := b.client()
	for i := range 1000 {
		client := []*edict.Client[*lab]{with, without}[i%2]
		if text, err := edict.Call(t.Context(), client, repeat{Text: "text", Times: 50}); len(text) != 200 || err != nil {
			t.Fatalf("call %d: %q, %v", i, text, err)
		}
	}
}

func TestTheThresholdOfCompression(t *testing.T) {
	for _, test := range []struct{ threshold, smallest int }{{0, 4096}, {100, 100}, {1, 50}, {-1, 0}} {
		spy := &spy{Compression: s2.Compression}
		with := edict.WithCompression(spy)
		server := serve(t, with, edict.ServerConfig{CompressionThreshold: test.threshold, MaxFrame: 10 << 20})
		client := server.client(with, edict.ClientConfig{CompressionThreshold: -1})
		results := func(size, compressed int) {
			t.Helper()
			if _, err := edict.Call(t.Context(), client, repeat{Text: strings.Repeat("x", size-2), Times: 1}); err != nil { // 2 quotes
				t.Fatal(err)
			}
			spy.want(t, fmt.Sprintf("threshold %d, results of %d bytes", test.threshold, size), int64(compressed), int64(compressed))
		}
		server = serve(t, with, edict.ServerConfig{CompressionThreshold: -1})
		sender := server.client(with, edict.ClientConfig{CompressionThreshold: test.threshold})
		commands := func(size, compressed int) {
			t.Helper()
			size -= len(`{"Text":"","Times":0}`)
			if _, err := edict.Call(t.Context(), sender, repeat{Text: strings.Repeat("x", size)}); err != nil {
				t.Fatal(err)
			}
			spy.want(t, fmt.Sprintf("threshold %d, commands of %d bytes", test.threshold, size), int64(compressed), int64(compressed))
		}
		for _, check := range []func(size, compressed int){results, commands} {
			if test.threshold < 0 {
				check(1<<20, 0)
				continue
			}
			if test.smallest == test.threshold || test.threshold == 0 {
				check(test.smallest-1, 0)
			}
			check(test.smallest, 1)
		}
	}
}

// What can't be compressed goes as it is, and is not inflated.
func TestIncompressibleMessages(t *testing.T) {
	eachCompression(t, func(t *testing.T, compression edict.Compression) {
		spy := &spy{Compression: compression}
		with := edict.WithCompression(spy)
		b := serve(t, with, edict.WithCodecs(msgpack.Codec))
		bytes := b.counting()
		client := b.client(with, edict.WithCodecs(msgpack.Codec))
		random := string(compressiontest.Random(100_000))
		before := bytes.Load()
		if got, err := edict.Call(t.Context(), client, repeat{Text: random, Times: 1}); got != random || err != nil {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		spy.want(t, "random bytes", 2, 0)
		if wire := bytes.Load() - before; wire > 200_100 {
			t.Errorf("%d bytes on the wire", wire)
		}
	})
}

// MaxFrame is for what a message is before it is compressed: the sender finds out.
func TestCompressionDoesNotRaiseMaxFrame(t *testing.T) {
	with := edict.WithCompression(zstd.Compression)
	b := serve(t, with, edict.ServerConfig{MaxFrame: 64 << 10})
	client := b.client(with, edict.ClientConfig{MaxFrame: 64 << 10})
	fits := strings.Repeat("x", 64<<10-len(`{"Text":"","Times":1}`))
	if got, err := edict.Call(t.Context(), client, repeat{Text: fits, Times: 1}); got != fits || err != nil {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	_, err := edict.Call(t.Context(), client, repeat{Text: fits + "x"})
	wantError(t, err, edict.ResourceExhausted, edict.NotSent)
	_, err = edict.Call(t.Context(), client, repeat{Text: "x", Times: 64<<10 - 1})
	wantError(t, err, edict.ResourceExhausted, edict.Executed)
	wantSum(t, client)
}

// The window counts bytes on the wire, so a stream that can be compressed has more under way.
func TestTheWindowIsForCompressedBytes(t *testing.T) {
	for _, compress := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var with edict.Option = edict.WithCompression()
			if compress {
				with = edict.WithCompression(s2.Compression)
			}
			b := serve(t, with)
			client := b.client(with, edict.ClientConfig{Window: 20_000})
			invocation, err := edict.StartStream(t.Context(), client, flood{Size: 10_000})
			if err != nil {
				t.Fatal(err)
			}
			defer invocation.Cancel()
			synctest.Wait()
			if sent := b.lab.executed.Load(); compress != (sent > 20) || sent < 2 {
				t.Errorf("compressed %v: %d results of 10,000 bytes were sent with a window of 20,000", compress, sent)
			}
		})
	}
}

// bomb is what a hostile peer sends as the body of a compressed message.
type bomb struct {
	name string
	body []byte
	code core.Code // of the error that a command gets
}

// bombs returns bodies for a receiver whose MaxFrame is 64 KiB.
func bombs(compression edict.Compression) []bomb {
	spoil := map[string]func(body []byte, size uint32) []byte{
		"s2": func(body []byte, size uint32) []byte {
			_, n := binary.Uvarint(body)
			return append(binary.AppendUvarint(nil, uint64(size)), body[n:]...)
		},
		"zstd": func(body []byte, size uint32) []byte {
			body = bytes.Clone(body)
			binary.LittleEndian.PutUint32(body[5:], size) // behind magic and descriptor
			return body
		},
	}[compression.Name()]
	million := compression.Append(nil, []byte(`{"A":2,"B":3}`+strings.Repeat(" ", 1_000_000)))
	text := compression.Append(nil, []byte(`{"A":2,"B":3,"C":"`+string(compressiontest.Text(60_000))+`"}`))
	return []bomb{
		{"inflates to a million", million, core.ResourceExhausted},
		{"inflates to one more", compression.Append(nil, make([]byte, 64<<10+1)), core.ResourceExhausted},
		{"announces a gigabyte", spoil(million, 1<<30), core.ResourceExhausted},
		{"announces a gigabyte, in 1 KiB", append(spoil(million, 1<<30), make([]byte, 1000)...)[:1024], core.ResourceExhausted},
		{"announces little", spoil(million, 10), core.InvalidArgument},
		{"announces 64 KiB", spoil(million, 64<<10), core.InvalidArgument},
		{"announces more than it has", spoil(text, 64<<10), core.InvalidArgument},
		{"truncated", text[:len(text)-1], core.InvalidArgument},
		{"cut to its beginning", text[:20], core.InvalidArgument},
		{"empty", nil, core.InvalidArgument},
		{"plain", []byte(`{"A":2,"B":3}`), core.InvalidArgument},
	}
}

// offering is the handshake of a raw peer that compresses.
func offering(compression edict.Compression) func(*delegate.Config) {
	return func(config *delegate.Config) { config.Compressions = []string{compression.Name()} }
}

// A bomb is refused before anything is allocated for it, and harms its own call only.
func TestBombsInCommands(t *testing.T) {
	eachCompression(t, func(t *testing.T, compression edict.Compression) {
		b := serve(t, edict.WithCompression(compression), edict.ServerConfig{MaxFrame: 64 << 10})
		c := b.rawClient(offering(compression))
		good := func(body []byte) {
			t.Helper()
			c.write(core.Frame{Kind: core.KindCommand, Flags: core.FlagCompressed, Command: number("add"), Sequence: 5, Body: body})
			c.wantResult(5, "5")
		}
		good(compression.Append(nil, []byte(`{"A":2,"B":3}`)))
		for i, bomb := range bombs(compression) {
			sequence := core.MakeSequence(1, uint64(i))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			c.write(core.Frame{Kind: core.KindCommand, Flags: core.FlagCompressed, Command: number("add"), Sequence: sequence, Body: bomb.body})
			frame := c.read()
			runtime.ReadMemStats(&after)
			if e := core.DecodeError(frame.Body); frame.Kind != core.KindError || frame.Sequence != sequence || e.Code != bomb.code || e.Outcome != core.Refused {
				t.Errorf("%s: %v with %v (%v, %v), want %v", bomb.name, frame.Kind, e, e.Code, e.Outcome, bomb.code)
			}
			if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 500_000 {
				t.Errorf("%s: %d bytes were allocated", bomb.name, allocated)
			}
			good(compression.Append(nil, append([]byte(`{"A":2,"B":3}`), bytes.Repeat([]byte(" "), 64<<10-13)...))) // just fits
		}
		if strings.Contains(b.log.String(), "panic") {
			t.Error(b.log)
		}
	})
}

// Ordered commands are inflated before they have their turn, and one that can't be gives its turn away.
func TestCompressedOrderedCommands(t *testing.T) {
	b := serve(t, edict.WithCompression(s2.Compression))
	c := b.rawClient(offering(s2.Compression))
	enter := func(sequence core.Sequence, body []byte) {
		t.Helper()
		c.write(core.Frame{Kind: core.KindCommand, Flags: core.FlagCompressed, Command: number("enter"), Sequence: sequence, Body: body})
	}
	const entries = 100
	for i := range entries {
		sequence := core.MakeSequence(uint32(2*i), 1)
		enter(sequence, s2.Compression.Append(nil, fmt.Appendf(nil, `{"Account":1,"Entry":%d,"Text":%q}`, i, strings.Repeat("x", i*100))))
		enter(sequence+1, []byte("a bomb"))
	}
	refused := 0
	for range 2 * entries {
		frame := c.read()
		if frame.Kind == core.KindError {
			refused++
		}
	}
	if refused != entries {
		t.Errorf("%d of %d were refused, %d can't be inflated", refused, 2*entries, entries)
	}
	for i, entry := range b.lab.accounts[1].entries {
		if entry != i {
			t.Fatalf("the order is %v", b.lab.accounts[1].entries)
		}
	}
	if done := len(b.lab.accounts[1].entries); done != entries {
		t.Errorf("%d of %d were executed", done, entries)
	}
}

func TestBombsInInputs(t *testing.T) {
	eachCompression(t, func(t *testing.T, compression edict.Compression) {
		b := serve(t, edict.WithCompression(compression), edict.ServerConfig{MaxFrame: 64 << 10})
		c := b.rawClient(offering(compression))
		for i, bomb := range bombs(compression) {
			if bomb.name == "plain" {
				continue
			}
			sequence := core.MakeSequence(1, uint64(i))
			say := func(kind core.Kind, flags core.Flags, body []byte) {
				t.Helper()
				c.write(core.Frame{Kind: kind, Flags: flags, Command: number("parrot"), Sequence: sequence, Body: body})
			}
			say(core.KindCommand, core.FlagStream|core.FlagInputs, []byte("{}"))
			say(core.KindInput, core.FlagCompressed, compression.Append(nil, []byte(`"first"`)))
			if frame := c.readPast(core.KindCredit, core.KindPing); frame.Kind != core.KindResult || string(frame.Body) != `"first"` {
				t.Fatalf("got %v %q", frame.Kind, frame.Body)
			}
			say(core.KindInput, core.FlagCompressed, bomb.body)
			if len(bomb.body) < core.DefaultWindow/2 { // else there is no credit left
				say(core.KindInput, 0, []byte(`"after a gap"`))
			}
			frame := c.readPast(core.KindCredit, core.KindPing)
			if e := core.DecodeError(frame.Body); frame.Kind != core.KindError || frame.Sequence != sequence || e.Code != bomb.code || e.Outcome != core.Executed {
				t.Errorf("%s: %v with %v (%v, %v), want %v", bomb.name, frame.Kind, e, e.Code, e.Outcome, bomb.code)
			}
			if err := <-b.lab.canceled; edict.CodeOf(err) != bomb.code {
				t.Errorf("the command got %v", err)
			}
		}
		c.command("add", 9, `{"A":2,"B":3}`)
		c.wantResult(9, "5")
	})
}

// A command that goes on after an input that can't be inflated gets the same error, not what follows.
func TestNoGapAfterABomb(t *testing.T) {
	b := serve(t, edict.WithCompression(s2.Compression))
	c := b.rawClient(offering(s2.Compression))
	for _, frame := range inputFrames("stoic") {
		c.write(frame)
	}
	for _, number := range []string{"1", "2", "bomb", "4"} {
		frame := core.Frame{Kind: core.KindInput, Sequence: 7, Body: []byte(number)}
		if number == "bomb" {
			frame.Flags = core.FlagCompressed
		}
		c.write(frame)
	}
	c.write(core.Frame{Kind: core.KindInputEnd, Sequence: 7})
	frame := c.read()
	if want := `"1 2 error error error"`; string(frame.Body) != want {
		t.Errorf("the command got %s, want %s", frame.Body, want)
	}
}

func TestBombsInResults(t *testing.T) {
	eachCompression(t, func(t *testing.T, compression edict.Compression) {
		client, server := againstWith(t, offering(compression), edict.WithCompression(compression), edict.ClientConfig{MaxFrame: 64 << 10})
		for _, bomb := range bombs(compression) {
			result := make(chan error, 1)
			go func() {
				_, err := edict.Call(t.Context(), client, add{1, 1})
				result <- err
			}()
			sequence := server.read(core.KindCommand).Sequence
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			server.write(core.Frame{Kind: core.KindResult, Flags: core.FlagLast | core.FlagCompressed, Sequence: sequence, Body: bomb.body})
			err := <-result
			runtime.ReadMemStats(&after)
			want := bomb.code
			if want == core.InvalidArgument {
				want = core.Internal
			}
			if edict.CodeOf(err) != want || edict.OutcomeOf(err) != edict.Executed {
				t.Errorf("%s: %v (%v), want %v", bomb.name, err, edict.CodeOf(err), want)
			}
			if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 500_000 {
				t.Errorf("%s: %d bytes were allocated", bomb.name, allocated)
			}
		}
	})
}

// What was not agreed on is refused, or ends the connection.
func TestCompressedWithoutAgreement(t *testing.T) {
	body := s2.Compression.Append(nil, []byte(`{"A":2,"B":3}`))
	for name, options := range map[string][]edict.ServerOption{
		"off":              nil,
		"no common choice": {edict.WithCompression(zstd.Compression)},
	} {
		t.Run(name, func(t *testing.T) {
			b := serve(t, options...)
			c := b.rawClient(offering(s2.Compression))
			c.write(core.Frame{Kind: core.KindCommand, Flags: core.FlagCompressed, Command: number("add"), Sequence: 1, Body: body})
			c.wantRefused(1, core.Unimplemented)
			c.command("add", 1, `{"A":2,"B":3}`)
			c.wantResult(1, "5")
			for _, frame := range inputFrames("deaf") {
				c.write(frame)
			}
			c.write(core.Frame{Kind: core.KindInput, Flags: core.FlagCompressed, Sequence: 7, Body: body})
			c.wantGoAway("compressed INPUT")
		})
	}
	t.Run("client", func(t *testing.T) {
		client, server := against(t)
		result := make(chan error, 1)
		go func() {
			_, err := edict.Call(t.Context(), client, add{1, 1})
			result <- err
		}()
		sequence := server.read(core.KindCommand).Sequence
		server.write(core.Frame{Kind: core.KindResult, Flags: core.FlagLast | core.FlagCompressed, Sequence: sequence, Body: body})
		wantError(t, <-result, edict.Unavailable, edict.OutcomeUnknown)
		<-client.Done()
	})
}

// The flag means nothing on frames that have no body of a codec.
func TestTheFlagOnOtherFrames(t *testing.T) {
	client, server := againstWith(t, offering(s2.Compression), edict.WithCompression(s2.Compression))
	result := make(chan error, 1)
	go func() {
		_, err := edict.Call(t.Context(), client, add{1, 1})
		result <- err
	}()
	sequence := server.read(core.KindCommand).Sequence
	server.write(core.Frame{Kind: core.KindPong, Flags: core.FlagCompressed})
	server.write(core.Frame{
		Kind: core.KindError, Flags: core.FlagCompressed, Sequence: sequence,
		Body: core.AppendError(nil, &core.Error{Code: core.Aborted, Outcome: core.Executed, Message: "plain"}),
	})
	wantError(t, <-result, edict.Aborted, edict.Executed)
}

// The timeout and metadata are as they are without compression.
func TestOnlyBodiesAreCompressed(t *testing.T) {
	client, server := againstWith(t, offering(s2.Compression), edict.WithCompression(s2.Compression))
	secret := strings.Repeat("secret", 2000)
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	text := strings.Repeat("text", 2000)
	var back edict.Metadata
	result := make(chan error, 1)
	call := func(command repeat) core.Frame {
		go func() {
			got, err := edict.Call(ctx, client, command, edict.WithMetadata(edict.Metadata{"token": {secret}}), edict.WithResponseMetadata(&back))
			if err == nil && got != "ok" {
				err = errors.New(got)
			}
			result <- err
		}()
		return server.read(core.KindCommand)
	}
	answer := func(sequence core.Sequence) {
		metadata, err := core.AppendMetadata(nil, core.Metadata{"back": {secret}})
		if err != nil {
			t.Fatal(err)
		}
		server.write(core.Frame{
			Kind: core.KindResult, Flags: core.FlagLast | core.FlagCompressed | core.FlagMetadata, Sequence: sequence,
			Metadata: metadata, Body: s2.Compression.Append(nil, []byte(`"ok"`)),
		})
		if err := <-result; err != nil || back.Get("back") != secret {
			t.Errorf("%v, with metadata of %d bytes", err, len(back.Get("back")))
		}
	}
	for _, large := range []bool{true, false} {
		command := repeat{Text: "small"}
		if large {
			command.Text = text
		}
		frame := call(command)
		metadata, err := core.DecodeMetadata(frame.Metadata)
		if err != nil || metadata.Get("token") != secret || frame.Timeout < time.Minute || frame.Timeout > time.Hour {
			t.Errorf("metadata of %d bytes, %v; timeout %v", len(frame.Metadata), err, frame.Timeout)
		}
		if compressed := frame.Flags&core.FlagCompressed != 0; compressed != large {
			t.Errorf("large %v, compressed %v", large, compressed)
		}
		body := frame.Body
		if large {
			size, _ := s2.Compression.DecodedLen(frame.Body)
			body = make([]byte, size)
			if err := s2.Compression.Decode(body, frame.Body); err != nil {
				t.Error(err)
			}
		}
		if want := fmt.Sprintf(`{"Text":%q,"Times":0}`, command.Text); string(body) != want {
			t.Errorf("the body is %.100q", body)
		}
		answer(frame.Sequence)
	}
}

// pages returns the same results again and again.
type pages struct{ text, random []byte }

type textPage struct{}

func (textPage) Exec(_ context.Context, p *pages) (string, error) { return string(p.text), nil }

type randomPage struct{}

func (randomPage) Exec(_ context.Context, p *pages) ([]byte, error) { return p.random, nil }

// slow is a connection that takes as long to write as a network of 100 Mbit/s.
type slow struct{ net.Conn }

func (s slow) Write(source []byte) (int, error) {
	time.Sleep(time.Duration(len(source)) * 80 * time.Nanosecond)
	return s.Conn.Write(source)
}

// slowListener slows down what a server sends.
type slowListener struct{ net.Listener }

func (l slowListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return slow{conn}, err
}

// BenchmarkCompression calls, one after the other, for results of 64 KiB in JSON: text, or random bytes (which
// JSON writes in base64).
func BenchmarkCompression(b *testing.B) {
	commands := edict.Commands(edict.Unary[textPage](), edict.Unary[randomPage]())
	receiver := &pages{compressiontest.Text(64 << 10), compressiontest.Random(48 << 10)}
	for _, network := range []string{"loopback", "100Mbit"} {
		for _, algorithms := range [][]edict.Compression{nil, {s2.Compression}, {zstd.Compression}} {
			server := edict.NewServer(receiver, commands, edict.WithCompression(algorithms...))
			listener, err := server.Listen("tcp://127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			address := "tcp://" + listener.Addr().String()
			if network != "loopback" {
				listener = slowListener{listener}
			}
			go server.Serve(listener)
			dial := func(options ...edict.DialOption) *edict.Client[*pages] {
				client, err := edict.Dial(b.Context(), address, commands, append(options, edict.WithCompression(algorithms...))...)
				if err != nil {
					b.Fatal(err)
				}
				return client
			}
			client := dial()
			var wire atomic.Int64
			counter := dial(edict.WithDialer(func(ctx context.Context) (net.Conn, error) {
				conn, err := net.Dial("tcp", listener.Addr().String())
				return counted{conn, &wire}, err
			}))
			for name, call := range map[string]func(*edict.Client[*pages]) (int, error){
				"text": func(c *edict.Client[*pages]) (int, error) {
					text, err := edict.Call(b.Context(), c, textPage{})
					return len(text), err
				},
				"random": func(c *edict.Client[*pages]) (int, error) {
					random, err := edict.Call(b.Context(), c, randomPage{})
					return len(random), err
				},
			} {
				chosen := client.Peer().Compression
				if chosen == "" {
					chosen = "off"
				}
				b.Run(fmt.Sprintf("%s/%s/%s", network, name, chosen), func(b *testing.B) {
					before := wire.Load()
					if _, err := call(counter); err != nil {
						b.Fatal(err)
					}
					size := wire.Load() - before
					cpu := cpuTime()
					for b.Loop() {
						if _, err := call(client); err != nil {
							b.Fatal(err)
						}
					}
					b.ReportMetric(float64(cpuTime()-cpu)/float64(b.N), "cpu-ns/op")
					b.ReportMetric(float64(size), "wire-B/op")
				})
			}
			_ = client.Close()
			_ = counter.Close()
			_ = server.Close()
		}
	}
}

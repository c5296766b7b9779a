package edict_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/delegate"
	"github.com/edict-go/edict/transport"
)

// rawClient speaks frames to a server, after a handshake as a client with the lab's commands.
type rawClient struct {
	t         testing.TB
	conn      *transport.Conn
	agreement delegate.Agreement
}

func (b *bench) rawClient(changes ...func(*delegate.Config)) *rawClient {
	b.t.Helper()
	conn, err := b.dial(context.Background())
	if err != nil {
		b.t.Fatal(err)
	}
	carrier := transport.NewConn(conn, transport.Config{})
	b.t.Cleanup(func() { carrier.Close(nil); carrier.Wait() })
	config := delegate.Config{Name: "raw", Codecs: []string{"json"}}
	for i := range labCommands.Len() {
		config.Commands = append(config.Commands, delegate.Command{Name: labCommands.At(i).Name(), Shape: labCommands.At(i).Shape()})
	}
	config.Commands = append(config.Commands, delegate.Command{Name: "unheardOf", Shape: labCommands.At(0).Shape()})
	for _, change := range changes {
		change(&config)
	}
	agreement, err := delegate.Connect(context.Background(), carrier, config)
	if err != nil {
		b.t.Fatal(err)
	}
	return &rawClient{b.t, carrier, agreement}
}

func (c *rawClient) write(frame core.Frame) {
	c.t.Helper()
	if err := c.conn.Post(frame); err != nil {
		c.t.Fatalf("writing %v: %v", frame.Kind, err)
	}
}

// command writes a COMMAND frame for the command with this name.
func (c *rawClient) command(name string, sequence core.Sequence, body string) {
	c.t.Helper()
	c.write(core.Frame{Kind: core.KindCommand, Command: number(name), Sequence: sequence, Body: []byte(body)})
}

func number(name string) uint16 {
	for i := range labCommands.Len() {
		if labCommands.At(i).Name() == name {
			return uint16(i)
		}
	}
	return uint16(labCommands.Len()) // unheardOf
}

func (c *rawClient) read() core.Frame {
	c.t.Helper()
	frame, err := c.conn.Receive()
	if err != nil {
		c.t.Fatalf("reading: %v", err)
	}
	return frame
}

// readPast returns the next frame that is of none of these kinds.
func (c *rawClient) readPast(kinds ...core.Kind) core.Frame {
	c.t.Helper()
	for {
		if frame := c.read(); !slices.Contains(kinds, frame.Kind) {
			return frame
		}
	}
}

func (c *rawClient) wantResult(sequence core.Sequence, body string) {
	c.t.Helper()
	frame := c.read()
	if frame.Kind != core.KindResult || frame.Flags != core.FlagLast || frame.Sequence != sequence || string(frame.Body) != body {
		c.t.Fatalf("got %v %v %q, want the result %q of %v", frame.Kind, frame.Sequence, frame.Body, body, sequence)
	}
}

func (c *rawClient) wantRefused(sequence core.Sequence, code core.Code) {
	c.t.Helper()
	frame := c.read()
	e := core.DecodeError(frame.Body)
	if frame.Kind != core.KindError || frame.Sequence != sequence || e.Code != code || e.Outcome != core.Refused {
		c.t.Fatalf("got %v %v %v (%v), want %v refused with %v", frame.Kind, frame.Sequence, e, e.Outcome, sequence, code)
	}
}

// wantGoAway checks that the server says why it ends the connection, and ends it.
func (c *rawClient) wantGoAway(why string) {
	c.t.Helper()
	for {
		frame, err := c.conn.Receive()
		if err != nil {
			c.t.Fatalf("the connection ended without GOAWAY: %v", err)
		}
		if frame.Kind != core.KindGoAway {
			continue
		}
		if e := core.DecodeError(frame.Body[8:]); !strings.Contains(e.Message, why) {
			c.t.Errorf("GOAWAY says %q, want %q", e.Message, why)
		}
		break
	}
	for { // results may be under way still, but the end comes
		if _, err := c.conn.Receive(); err != nil {
			return
		}
	}
}

// What is wrong with one command ends that command, and nothing else.
func TestBadCommandsFailAlone(t *testing.T) {
	b := serve(t, edict.ServerConfig{MaxInFlight: 100, MaxFrame: 64 << 10})
	c := b.rawClient()
	good := func(sequence core.Sequence) {
		t.Helper()
		c.command("add", sequence, `{"A":2,"B":3}`)
		c.wantResult(sequence, "5")
	}
	good(core.MakeSequence(0, 1))
	c.command("unheardOf", core.MakeSequence(1, 1), "{}")
	c.wantRefused(core.MakeSequence(1, 1), core.Unimplemented)
	c.write(core.Frame{Kind: core.KindCommand, Command: 60_000, Sequence: core.MakeSequence(1, 2)})
	c.wantRefused(core.MakeSequence(1, 2), core.Unimplemented)
	c.command("add", core.MakeSequence(2, 1), `{"A":`)
	c.wantRefused(core.MakeSequence(2, 1), core.InvalidArgument)
	c.command("add", core.MakeSequence(100, 1), `{}`)
	c.wantRefused(core.MakeSequence(100, 1), core.ResourceExhausted)
	c.write(core.Frame{Kind: core.KindCommand, Command: number("add"), Sequence: 3, Flags: core.FlagCompressed}) // not agreed on
	c.wantRefused(3, core.Unimplemented)
	c.write(core.Frame{Kind: core.KindCommand, Command: number("add"), Sequence: 3, Flags: core.FlagStream})
	c.wantRefused(3, core.InvalidArgument)
	c.write(core.Frame{Kind: core.KindCommand, Command: number("add"), Sequence: 3, Flags: core.FlagMetadata, Metadata: []byte{200}})
	c.wantRefused(3, core.InvalidArgument)
	c.write(core.Frame{Kind: core.KindCommand, Command: number("add"), Sequence: 3, Flags: core.FlagTimeout, Timeout: 0, Body: []byte(`{}`)})
	c.wantRefused(3, core.DeadlineExceeded)
	good(core.MakeSequence(0, 2))
	// Frames for calls that have ended, or never were, are late and mean nothing.
	c.write(core.Frame{Kind: core.KindCancel, Sequence: core.MakeSequence(0, 1)})
	c.write(core.Frame{Kind: core.KindCancel, Sequence: core.MakeSequence(16<<20-1, 9)})
	c.write(core.Frame{Kind: core.KindCredit, Sequence: core.MakeSequence(50, 1), Body: []byte{1, 0, 0, 0}})
	c.write(core.Frame{Kind: core.KindInput, Sequence: core.MakeSequence(0, 1), Body: []byte("1")})
	c.write(core.Frame{Kind: core.KindInputEnd, Sequence: core.MakeSequence(50, 1)})
	c.write(core.Frame{Kind: core.KindCommand, Command: number("add"), Sequence: 3, Flags: core.FlagStream | core.FlagInputs})
	c.wantRefused(3, core.InvalidArgument)
	c.write(core.Frame{Kind: core.KindCommand, Command: number("parrot"), Sequence: 3, Flags: core.FlagStream})
	c.wantRefused(3, core.InvalidArgument)
	c.write(core.Frame{Kind: core.KindPing, Body: []byte("are you there?")})
	if frame := c.read(); frame.Kind != core.KindPong || string(frame.Body) != "are you there?" {
		t.Errorf("got %v %q", frame.Kind, frame.Body)
	}
	good(core.MakeSequence(0, 3))
}

// What breaks the protocol ends the connection, with the reason, and no other.
func TestViolationsEndTheConnection(t *testing.T) {
	for name, test := range map[string]struct {
		frames []core.Frame
		why    string
	}{
		"slot in use": {[]core.Frame{
			{Kind: core.KindCommand, Command: number("wait"), Sequence: 7, Body: []byte("{}")},
			{Kind: core.KindCommand, Command: number("wait"), Sequence: 7, Body: []byte("{}")},
		}, "slot is in use"},
		"hello again":               {[]core.Frame{{Kind: core.KindHello}}, "unexpected HELLO"},
		"a result":                  {[]core.Frame{{Kind: core.KindResult}}, "unexpected RESULT"},
		"an unknown kind":           {[]core.Frame{{Kind: 0x77}}, "unexpected kind(0x77)"},
		"a long ping":               {[]core.Frame{{Kind: core.KindPing, Body: make([]byte, 100)}}, "PING frame too long"},
		"credit of 0":               {creditFrames(0), "CREDIT out of range"},
		"credit of 4 GiB":           {creditFrames(1<<32 - 1), "CREDIT out of range"},
		"input after the end":       {append(inputFrames("deaf"), core.Frame{Kind: core.KindInputEnd, Sequence: 7}, core.Frame{Kind: core.KindInput, Sequence: 7}), "INPUT after INPUT_END"},
		"end after the end":         {append(inputFrames("deaf"), core.Frame{Kind: core.KindInputEnd, Sequence: 7}, core.Frame{Kind: core.KindInputEnd, Sequence: 7}), "INPUT_END after INPUT_END"},
		"input beyond the window":   {append(inputFrames("deaf"), input(300<<10), input(0)), "INPUT beyond the window"},
		"input for a stream":        {append(creditFrames(1)[:1], input(1)), "takes no inputs"},
		"end of inputs for a unary": {[]core.Frame{{Kind: core.KindCommand, Command: number("wait"), Sequence: 7, Body: []byte("{}")}, {Kind: core.KindInputEnd, Sequence: 7}}, "takes no inputs"},
		"credit of 1 byte":          {append(creditFrames(1)[:1], core.Frame{Kind: core.KindCredit, Sequence: 7, Body: []byte{1}}), "CREDIT out of range"},
	} {
		t.Run(name, func(t *testing.T) {
			b := serve(t)
			honest := b.client()
			c := b.rawClient()
			for _, frame := range test.frames {
				c.write(frame)
			}
			c.wantGoAway(test.why)
			wantSum(t, honest)
		})
	}
}

// Fault (rapid reset): a command that is cancelled but goes on counts as running, so a client that starts
// and cancels has no more of them than its limit.
func TestStartAndCancelFlood(t *testing.T) {
	const limit = 100
	b := serve(t, edict.ServerConfig{MaxInFlight: limit})
	honest := b.client()
	c := b.rawClient()
	for slot := range uint32(limit) {
		c.write(core.Frame{Kind: core.KindCommand, Command: number("stubborn"), Sequence: core.MakeSequence(slot, 1), Body: []byte("{}")})
		c.write(core.Frame{Kind: core.KindCancel, Sequence: core.MakeSequence(slot, 1)})
	}
	for range limit {
		<-b.lab.started
	}
	c.write(core.Frame{Kind: core.KindCommand, Command: number("stubborn"), Sequence: core.MakeSequence(limit, 1), Body: []byte("{}")})
	c.wantRefused(core.MakeSequence(limit, 1), core.ResourceExhausted)
	if n := b.server.InFlight(); n != limit {
		t.Errorf("%d commands run", n)
	}
	wantSum(t, honest)
	c.write(core.Frame{Kind: core.KindCommand, Command: number("stubborn"), Sequence: core.MakeSequence(0, 2), Body: []byte("{}")})
	c.wantGoAway("slot is in use")
	close(b.lab.release)
	wantSum(t, honest)
}

// inputFrames start a command that takes inputs.
func inputFrames(name string) []core.Frame {
	return []core.Frame{{Kind: core.KindCommand, Flags: core.FlagStream | core.FlagInputs, Command: number(name), Sequence: 7, Body: []byte("{}")}}
}

func input(size int) core.Frame {
	return core.Frame{Kind: core.KindInput, Sequence: 7, Body: make([]byte, size)}
}

func creditFrames(credit uint32) []core.Frame {
	return []core.Frame{
		{Kind: core.KindCommand, Flags: core.FlagStream, Command: number("flood"), Sequence: 7, Body: []byte(`{"Size":10}`)},
		{Kind: core.KindCredit, Sequence: 7, Body: binary.LittleEndian.AppendUint32(nil, credit)},
	}
}

// Fault: 7 bytes made the receiver allocate 1 GiB.
func TestHeaderThatAnnouncesGigabyte(t *testing.T) {
	over(t, func(t *testing.T, b *bench) {
		honest := b.client()
		for _, length := range []uint32{1 << 30, 1<<32 - 1, 4 << 20} {
			conn := b.handshaken()
			header := transport.AppendFrame(nil, core.Frame{Kind: core.KindCommand})
			binary.LittleEndian.PutUint32(header, length)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for _, part := range [][]byte{header[:7], header[7:], []byte("{")} {
				if _, err := conn.Write(part); err != nil {
					t.Fatal(err)
				}
			}
			wantSum(t, honest)
			runtime.ReadMemStats(&after)
			if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 1<<20 {
				t.Errorf("%d bytes announced made the server allocate %d", length, allocated)
			}
			_ = conn.Close()
		}
	})
}

// handshaken returns a connection after the handshake, to write bytes to.
func (b *bench) handshaken() net.Conn {
	b.t.Helper()
	conn, err := b.dial(context.Background())
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = conn.Close() })
	if _, err := conn.Write(greeting(b.t)); err != nil {
		b.t.Fatal(err)
	}
	header := make([]byte, transport.PrefaceSize+transport.HeaderSize)
	if _, err := io.ReadFull(conn, header); err != nil {
		b.t.Fatal(err)
	}
	length := binary.LittleEndian.Uint32(header[transport.PrefaceSize:])
	if _, err := io.CopyN(io.Discard, conn, int64(length)); err != nil {
		b.t.Fatal(err)
	}
	return conn
}

// greeting returns the bytes with which a client of the lab begins.
func greeting(t testing.TB) []byte {
	t.Helper()
	client, server := transport.MemoryPipe()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go edict.Dial(ctx, "test", labCommands, edict.WithDialer(func(context.Context) (net.Conn, error) { return client, nil }))
	header := make([]byte, transport.PrefaceSize+transport.HeaderSize)
	if _, err := io.ReadFull(server, header); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, binary.LittleEndian.Uint32(header[transport.PrefaceSize:]))
	if _, err := io.ReadFull(server, body); err != nil {
		t.Fatal(err)
	}
	_ = server.Close()
	return append(header, body...)
}

// Whatever bytes come, at whatever point, the server neither panics nor hangs, and serves others.
func TestGarbageAtEveryPoint(t *testing.T) {
	b := serve(t)
	close(b.lab.release) // a flipped bit may make it a command that waits for that, whatever happens
	honest := b.client()
	hello := greeting(t)
	random := rand.New(rand.NewPCG(1, 2))
	conversation := append(bytes.Clone(hello), transport.AppendFrame(nil, core.Frame{Kind: core.KindCommand, Command: number("add"), Sequence: 1, Body: []byte(`{"A":1,"B":1}`)})...)
	for cut := range len(conversation) {
		truncated, err := b.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = truncated.Write(conversation[:cut])
		_ = truncated.Close()

		garbage := make([]byte, 64)
		for i := range garbage {
			garbage[i] = byte(random.Uint32())
		}
		spoilt, err := b.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = spoilt.Write(append(bytes.Clone(conversation[:cut]), garbage...))
		_ = spoilt.Close()

		flipped := bytes.Clone(conversation)
		flipped[cut] ^= 1 << random.IntN(8)
		wrong, err := b.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = wrong.Write(flipped)
		_ = wrong.Close()
		if cut%16 == 0 {
			wantSum(t, honest)
		}
	}
	wantSum(t, honest)
	for line := range strings.Lines(b.log.String()) {
		// A flipped bit may make it one of the commands that panic on purpose.
		if strings.Contains(line, "panic") && !strings.Contains(line, "command=misbehave") && !strings.Contains(line, "command=breakTurn") {
			t.Error(line)
		}
	}
}

// A peer of a newer version is told what is spoken here; one that also speaks ours is served.
func TestNewerProtocolVersion(t *testing.T) {
	b := serve(t)
	hello := greeting(t)
	newer := bytes.Clone(hello)
	newer[6], newer[7] = 2, 9
	conn, err := b.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(newer); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, transport.PrefaceSize+transport.HeaderSize)
	if _, err := io.ReadFull(conn, answer); err != nil {
		t.Fatal(err)
	}
	if answer[6] != delegate.MinVersion || answer[7] != delegate.MaxVersion || core.Kind(answer[transport.PrefaceSize+4]) != core.KindReject {
		t.Errorf("answer % x", answer)
	}
	reason, _ := io.ReadAll(conn)
	if !bytes.Contains(reason, []byte("the versions 2 to 9")) {
		t.Errorf("reason %q", reason)
	}
	_ = conn.Close()

	both := bytes.Clone(hello)
	both[7] = 9
	if conn, err = b.dial(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(both); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, answer); err != nil {
		t.Fatal(err)
	}
	if answer[6] != 1 || answer[7] != 1 || core.Kind(answer[transport.PrefaceSize+4]) != core.KindWelcome {
		t.Errorf("answer % x", answer)
	}
	_ = conn.Close()
}

func TestNoCommonCodec(t *testing.T) {
	b := serve(t)
	_, err := b.tryClient(edict.WithCodecs(namedCodec("esperanto"), namedCodec("klingon")))
	wantError(t, err, edict.FailedPrecondition, edict.NotSent)
	if want := "no common codec: the client offers esperanto, klingon, the server has json"; !strings.Contains(err.Error(), want) {
		t.Errorf("the client is told %v", err)
	}
	for !strings.Contains(b.log.String(), "no common codec") {
		runtime.Gosched()
	}
}

// rawServer is a server of which the test writes and reads every frame.
type rawServer struct {
	t    testing.TB
	conn *transport.Conn
}

// against returns a client of a raw server.
func against(t testing.TB, options ...edict.DialOption) (*edict.Client[*lab], *rawServer) {
	t.Helper()
	return againstWith(t, func(*delegate.Config) {}, options...)
}

// againstWith is against, with a change to the server's handshake.
func againstWith(t testing.TB, change func(*delegate.Config), options ...edict.DialOption) (*edict.Client[*lab], *rawServer) {
	t.Helper()
	ours, theirs := transport.MemoryPipe()
	carrier := transport.NewConn(theirs, transport.Config{})
	var config delegate.Config
	config.Codecs = []string{"json"}
	for i := range labCommands.Len() {
		config.Commands = append(config.Commands, delegate.Command{Name: labCommands.At(i).Name(), Shape: labCommands.At(i).Shape()})
	}
	change(&config)
	accepted := make(chan error, 1)
	go func() {
		_, err := delegate.NewAcceptor(config).Accept(carrier, nil)
		accepted <- err
	}()
	options = append(options, edict.WithDialer(func(context.Context) (net.Conn, error) { return ours, nil }))
	client, err := edict.Dial(context.Background(), "test", labCommands, options...)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-accepted; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close(); carrier.Close(nil); carrier.Wait() })
	return client, &rawServer{t, carrier}
}

func (s *rawServer) read(kind core.Kind) core.Frame {
	s.t.Helper()
	frame, err := s.conn.Receive()
	if err != nil || frame.Kind != kind {
		s.t.Fatalf("got %v, %v; want %v", frame.Kind, err, kind)
	}
	return frame
}

func (s *rawServer) write(frame core.Frame) {
	s.t.Helper()
	if err := s.conn.Post(frame); err != nil {
		s.t.Fatal(err)
	}
}

// A call that is cancelled while its frame is half written leaves the frame whole; one that is
// cancelled before that, or between its parts, is never seen by the server, and its error says so.
func TestCancelledWhileFrameIsHalfWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := against(t)
		start := time.Now()
		call := func(command add, text string) error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if text != "" {
				_, err := edict.Call(ctx, client, repeat{Text: text})
				return err
			}
			_, err := edict.Call(ctx, client, command)
			return err
		}
		for range 3 { // more than the connection holds, and nobody reads
			wantError(t, call(add{}, strings.Repeat("x", 120_000)), edict.DeadlineExceeded, edict.OutcomeUnknown)
		}
		wantError(t, call(add{}, strings.Repeat("y", 1<<20)), edict.DeadlineExceeded, edict.NotSent)
		wantError(t, call(add{1, 1}, ""), edict.DeadlineExceeded, edict.NotSent)
		wantError(t, call(add{2, 2}, ""), edict.DeadlineExceeded, edict.NotSent)
		if took := time.Since(start); took != 6*time.Second {
			t.Errorf("took %v", took)
		}
		// Now the server reads: three whole commands, their cancels, and nothing of the others.
		for range 3 {
			if frame := server.read(core.KindCommand); len(frame.Body) < 120_000 {
				t.Errorf("a frame of %d bytes", len(frame.Body))
			}
			server.read(core.KindCancel)
		}
		result := make(chan error, 1)
		go func() { result <- call(add{3, 3}, "") }()
		frame := server.read(core.KindCommand)
		if string(frame.Body) != `{"A":3,"B":3}` {
			t.Errorf("got %s", frame.Body)
		}
		server.write(core.Frame{Kind: core.KindResult, Flags: core.FlagLast, Sequence: frame.Sequence, Body: []byte("6")})
		if err := <-result; err != nil {
			t.Error(err)
		}
	})
}

// A result for an earlier use of a slot is not taken for one of the present use.
func TestStaleResultForReusedSlot(t *testing.T) {
	client, server := against(t)
	var before core.Sequence
	for i := range 3 {
		result := make(chan int, 1)
		go func() {
			sum, err := edict.Call(t.Context(), client, add{i, i})
			if err != nil {
				t.Error(err)
			}
			result <- sum
		}()
		frame := server.read(core.KindCommand)
		if i > 0 {
			if frame.Sequence.Slot() != before.Slot() || frame.Sequence == before {
				t.Fatalf("the slot was not reused: %v after %v", frame.Sequence, before)
			}
			server.write(core.Frame{Kind: core.KindResult, Flags: core.FlagLast, Sequence: before, Body: []byte("666")})
			server.write(core.Frame{Kind: core.KindError, Sequence: before, Body: core.AppendError(nil, &core.Error{Code: core.Internal})})
		}
		server.write(core.Frame{Kind: core.KindResult, Flags: core.FlagLast, Sequence: frame.Sequence, Body: []byte{'0' + byte(i)}})
		if sum := <-result; sum != i {
			t.Fatalf("got %d, want %d", sum, i)
		}
		before = frame.Sequence
	}
}

// GOAWAY refuses what the server has not accepted, by position, and leaves the rest alone.
func TestGoAwayByPosition(t *testing.T) {
	client, server := against(t)
	type answer struct {
		sum int
		err error
	}
	call := func(command add) chan answer {
		result := make(chan answer, 1)
		go func() {
			sum, err := edict.Call(t.Context(), client, command)
			result <- answer{sum, err}
		}()
		return result
	}
	first := call(add{1, 1})
	accepted := server.read(core.KindCommand)
	second := call(add{2, 2})
	server.read(core.KindCommand)
	body := binary.LittleEndian.AppendUint64(nil, uint64(accepted.End))
	server.write(core.Frame{Kind: core.KindGoAway, Body: core.AppendError(body, &core.Error{Code: core.Unavailable, Message: "moving"})})
	wantError(t, (<-second).err, edict.Unavailable, edict.Refused)
	_, err := edict.Call(t.Context(), client, add{3, 3})
	wantError(t, err, edict.Unavailable, edict.NotSent)
	server.write(core.Frame{Kind: core.KindResult, Flags: core.FlagLast, Sequence: accepted.Sequence, Body: []byte("2")})
	if got := <-first; got.sum != 2 || got.err != nil {
		t.Errorf("got %v", got)
	}
}

// A server that breaks the protocol ends its connection, and all calls learn of it.
func TestServerThatBreaksTheProtocol(t *testing.T) {
	for name, frame := range map[string]core.Frame{
		"a command":    {Kind: core.KindCommand},
		"unknown kind": {Kind: 0x55},
		"short goaway": {Kind: core.KindGoAway, Body: []byte{1}},
		"long ping":    {Kind: core.KindPing, Body: make([]byte, 100)},
	} {
		t.Run(name, func(t *testing.T) {
			client, server := against(t)
			result := make(chan error, 1)
			go func() {
				_, err := edict.Call(t.Context(), client, add{1, 1})
				result <- err
			}()
			server.read(core.KindCommand)
			server.write(frame)
			wantError(t, <-result, edict.Unavailable, edict.OutcomeUnknown)
			<-client.Done()
		})
	}
}

// A server can't make a client hold more than the window of a stream.
func TestServerThatOverrunsTheWindow(t *testing.T) {
	client, server := against(t, edict.ClientConfig{Window: 1000})
	invocation, err := edict.StartStream(t.Context(), client, count{To: 1})
	if err != nil {
		t.Fatal(err)
	}
	frame := server.read(core.KindCommand)
	for range 50 {
		if server.conn.Post(core.Frame{Kind: core.KindResult, Sequence: frame.Sequence, Body: []byte("1")}) != nil {
			break
		}
	}
	<-client.Done()
	taken := 0
	for err == nil {
		_, err = invocation.Receive()
		taken++
	}
	wantError(t, err, edict.Unavailable, edict.OutcomeUnknown)
	if taken > 1000/core.ResultOverhead+2 {
		t.Errorf("%d results were held", taken)
	}
}

// Results that can't be decoded, or are missing, are errors of their call.
func TestBadResults(t *testing.T) {
	client, server := against(t)
	for name, answer := range map[string]core.Frame{
		"undecodable":  {Kind: core.KindResult, Flags: core.FlagLast, Body: []byte("{")},
		"no result":    {Kind: core.KindEnd},
		"broken error": {Kind: core.KindError, Body: []byte{}},
	} {
		t.Run(name, func(t *testing.T) {
			result := make(chan error, 1)
			go func() {
				_, err := edict.Call(t.Context(), client, add{1, 1})
				result <- err
			}()
			frame := server.read(core.KindCommand)
			answer.Sequence = frame.Sequence
			server.write(answer)
			if err := <-result; edict.CodeOf(err) != edict.Internal {
				t.Errorf("got %v", err)
			}
		})
	}
}

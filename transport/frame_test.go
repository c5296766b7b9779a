package transport

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/edict-go/edict/core"
)

// samples has a frame of each form.
func samples() []core.Frame {
	return []core.Frame{
		{Kind: core.KindEnd, Sequence: 1},
		{Kind: core.KindCommand, Command: 0xfffe, Sequence: core.MakeSequence(0xabcdef, 1<<40-1), Body: []byte("body")},
		{Kind: core.KindCommand, Flags: core.FlagTimeout, Timeout: 1500 * time.Millisecond, Body: []byte("b")},
		{Kind: core.KindCommand, Flags: core.FlagMetadata, Metadata: []byte("metadata")},
		{
			Kind: core.KindCommand, Flags: core.FlagTimeout | core.FlagMetadata | core.FlagStream,
			Command: 7, Timeout: time.Hour, Metadata: []byte{0}, Body: []byte{1, 2, 3},
		},
		{Kind: core.KindResult, Flags: core.FlagLast, Sequence: 1 << 63, Body: bytes.Repeat([]byte("x"), 1000)},
		{Kind: core.KindResult, Body: bytes.Repeat([]byte("y"), core.LargeBody-1)},
		{Kind: core.Kind(0x7f), Flags: 0x90, Body: []byte("a kind of the future")},
		{Kind: core.KindResult, Flags: core.FlagCompressed, Body: []byte("whatever the compression says")},
		// The last one, because it gives way to others.
		{Kind: core.KindResult, Sequence: 9, Flags: core.FlagMetadata, Metadata: []byte("m"), Body: bytes.Repeat([]byte("z"), core.LargeBody)},
	}
}

// encoded returns the bytes of frames and what a receiver must see of them.
func encoded(frames []core.Frame) (stream []byte, want []seen) {
	for _, frame := range frames {
		stream = AppendFrame(stream, frame)
		frame.End = core.Position(len(stream))
		frame.Buffer = nil
		want = append(want, look(frame))
	}
	return stream, want
}

func TestFramesArriveAsSent(t *testing.T) {
	onEachNetwork(t, Config{}, func(t *testing.T, client, server *Conn) {
		frames := samples()
		for _, size := range []int{core.LargeBody - 1, core.LargeBody, core.LargeBody + 1, 1 << 20, defaultMaxFrame} {
			body, buffer := large(size, byte(size))
			frames = append(frames, core.Frame{Kind: core.KindResult, Sequence: core.Sequence(10 + len(frames)), Body: body, Buffer: buffer})
		}
		_, want := encoded(frames)
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			for i, frame := range frames {
				start := core.Position(0)
				if i > 0 {
					start = want[i-1].end
				}
				// The others give way, and have their place when they are written.
				if position, err := client.Send(t.Context(), frame); err != nil || frame.Kind == core.KindCommand && position != start {
					t.Errorf("frame %d: Send returned position %d and %v, want %d", i, position, err, start)
				}
			}
			flush(t, client)
		}()
		got, err := receiveAll(server)
		if err != io.EOF {
			t.Errorf("after the last frame Receive returned %v, want io.EOF", err)
		}
		<-sent // it looks at want as well
		if got, want := byCall(got), byCall(want); !slices.Equal(got, want) {
			t.Errorf("the frames differ: got %d, want %d of them", len(got), len(want))
		}
	})
}

// byCall orders frames by their calls: those of different calls may overtake each other.
func byCall(frames []seen) []seen {
	for i := range frames {
		frames[i].end = 0
	}
	slices.SortStableFunc(frames, func(a, b seen) int { return cmp.Compare(a.sequence, b.sequence) })
	return frames
}

func TestTheWriterEncodesAsAppendFrameDoes(t *testing.T) {
	near, far := MemoryPipe()
	client := NewConn(near, Config{})
	defer client.Wait()
	defer client.Close(nil)
	frames := samples()
	want, _ := encoded(frames)
	for _, frame := range frames {
		mustSend(t, client, frame)
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(far, got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("the writer's bytes are not those of AppendFrame")
	}
}

func TestATimeoutBelowZeroIsSentAsZero(t *testing.T) {
	stream := AppendFrame(nil, core.Frame{Kind: core.KindCommand, Flags: core.FlagTimeout, Timeout: -5})
	if frame := mustReceive(t, reading(bytes.NewReader(stream), Config{})); frame.timeout != 0 {
		t.Errorf("got a timeout of %v, want 0: over, not 584 years", frame.timeout)
	}
}

func TestFramesAreCutWhereverTheyAreSplit(t *testing.T) {
	stream, want := encoded(samples())
	for name, source := range map[string]io.Reader{
		"one byte at a time":        iotest.OneByteReader(bytes.NewReader(stream)),
		"half of what is asked for": iotest.HalfReader(bytes.NewReader(stream)),
		"data together with EOF":    iotest.DataErrReader(bytes.NewReader(stream)),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := receiveAll(reading(source, Config{}))
			if err != io.EOF || !slices.Equal(got, want) {
				t.Errorf("got %d frames and %v, want the %d frames and io.EOF", len(got), err, len(want))
			}
		})
	}
}

func TestAnEndWithinAFrameIsUnexpected(t *testing.T) {
	stream, want := encoded(samples())
	for cut := range len(stream) {
		if cut > 3000 && cut%997 != 0 && !slices.ContainsFunc(want, func(s seen) bool {
			return max(int(s.end), cut)-min(int(s.end), cut) < HeaderSize+2
		}) {
			continue // within the large bodies every byte is like the next
		}
		got, err := receiveAll(reading(bytes.NewReader(stream[:cut]), Config{}))
		whole := 0
		for whole < len(want) && int(want[whole].end) <= cut {
			whole++
		}
		wantErr := io.ErrUnexpectedEOF
		if cut == 0 || whole > 0 && int(want[whole-1].end) == cut {
			wantErr = io.EOF
		}
		if err != wantErr || !slices.Equal(got, want[:whole]) {
			t.Fatalf("cut at %d: got %d frames and %v, want %d and %v", cut, len(got), err, whole, wantErr)
		}
	}
}

func TestABrokenConnectionSaysHow(t *testing.T) {
	broken := errors.New("the cable was cut")
	_, err := receiveAll(reading(io.MultiReader(strings.NewReader("half a header"[:8]), iotest.ErrReader(broken)), Config{}))
	if err != broken {
		t.Errorf("got %v, want the error of the connection", err)
	}
}

func TestPaddingIsSkipped(t *testing.T) {
	body, buffer := large(core.LargeBody, 'p')
	stream, _ := encoded([]core.Frame{
		{Kind: core.KindPadding},
		{Kind: core.KindPadding, Flags: core.FlagTimeout, Body: []byte("x")},
		{Kind: core.KindEnd, Sequence: 1},
		{Kind: core.KindPadding, Body: body, Buffer: buffer},
		{Kind: core.KindEnd, Sequence: 2},
	})
	got, err := receiveAll(reading(bytes.NewReader(stream), Config{}))
	if err != io.EOF || len(got) != 2 || got[0].sequence != 1 || got[1].sequence != 2 || int(got[1].end) != len(stream) {
		t.Errorf("got %v and %v, want the two ENDs, at their positions", got, err)
	}
}

func TestFlagsThatAnnounceMoreThanThereIsAreAProtocolError(t *testing.T) {
	for name, frame := range map[string]core.Frame{
		"timeout of 7 bytes":              {Flags: core.FlagTimeout, Body: make([]byte, 7)},
		"metadata length of 3 bytes":      {Flags: core.FlagMetadata, Body: make([]byte, 3)},
		"metadata of 1 byte, 0 there":     {Flags: core.FlagMetadata, Body: []byte{1, 0, 0, 0}},
		"metadata of 4 GiB":               {Flags: core.FlagMetadata, Body: []byte{255, 255, 255, 255, 1}},
		"metadata after timeout, too big": {Flags: core.FlagMetadata | core.FlagTimeout, Body: append(make([]byte, 8), 2, 0, 0, 0, 1)},
		"in a large frame":                {Flags: core.FlagMetadata, Body: append([]byte{255, 255, 255, 255}, make([]byte, core.LargeBody)...)},
	} {
		t.Run(name, func(t *testing.T) {
			frame.Kind = core.KindCommand
			flags := frame.Flags
			frame.Flags = 0 // so that the encoder takes the body as it is
			stream := AppendFrame(nil, frame)
			stream[5] = byte(flags)
			_, err := receiveAll(reading(bytes.NewReader(stream), Config{}))
			if problem, ok := errors.AsType[*ProtocolError](err); !ok || !strings.Contains(problem.Error(), "COMMAND frame too short") {
				t.Errorf("got %v, want a protocol error that names the frame", err)
			}
		})
	}
}

// zeros gives n zero bytes.
func zeros(n int64) io.Reader { return io.LimitReader(zeroReader{}, n) }

type zeroReader struct{}

func (zeroReader) Read(target []byte) (int, error) {
	clear(target)
	return len(target), nil
}

// header returns a header that announces length bytes.
func header(kind core.Kind, length uint32) []byte {
	return appendHeader(nil, &core.Frame{Kind: kind, Sequence: 42}, int(length))
}

func TestAnAnnouncedGigabyteAllocatesNothing(t *testing.T) {
	const bound = 3 * readSize // the read buffer, and the first step of a large body
	for _, limit := range []int{64 << 10, NoLimit} {
		for size := 0; size <= 20; size++ {
			start := append(header(core.KindCommand, 1<<30), make([]byte, 4)...)[:size]
			conn := reading(bytes.NewReader(start), Config{MaxReceive: limit})
			var err error
			if n := allocated(func() { _, err = receiveAll(conn) }); n > bound {
				t.Errorf("%d bytes of a frame of 1 GiB, limit %d: allocated %d bytes, want at most %d", size, limit, n, bound)
			}
			if want := io.ErrUnexpectedEOF; size > 0 && err != want {
				t.Errorf("%d bytes of a frame of 1 GiB, limit %d: got %v, want %v", size, limit, err, want)
			}
		}
	}
}

func TestAFrameThatIsTooLongIsSkippedAndTheNextIsRead(t *testing.T) {
	for _, length := range []uint32{1001, core.LargeBody, 64 << 20, 1 << 30} {
		if length > 64<<20 && testing.Short() {
			continue
		}
		next := AppendFrame(nil, core.Frame{Kind: core.KindEnd, Sequence: 43})
		conn := reading(io.MultiReader(bytes.NewReader(header(core.KindCommand, length)), zeros(int64(length)), bytes.NewReader(next)),
			Config{MaxReceive: 1000})
		var skipped, after seen
		n := allocated(func() { skipped, after = mustReceive(t, conn), mustReceive(t, conn) })
		if n > 3*readSize {
			t.Errorf("length %d: skipping allocated %d bytes", length, n)
		}
		want := seen{kind: core.KindCommand, sequence: 42, oversize: true, end: core.Position(HeaderSize) + core.Position(length)}
		if skipped != want {
			t.Errorf("length %d: got %+v, want %+v", length, skipped, want)
		}
		if want := (seen{kind: core.KindEnd, sequence: 43, end: want.end + HeaderSize}); after != want {
			t.Errorf("length %d: then got %+v, want %+v", length, after, want)
		}
	}
}

func TestTheLargestFrameAllowedIsNotOversize(t *testing.T) {
	const limit = 100_000
	stream := AppendFrame(nil, core.Frame{Kind: core.KindResult, Body: make([]byte, limit)})
	if frame := mustReceive(t, reading(bytes.NewReader(stream), Config{MaxReceive: limit})); frame.oversize || len(frame.body) != limit {
		t.Errorf("got %d bytes, oversize %v; want all", len(frame.body), frame.oversize)
	}
}

func TestSendRefusesWhatThePeerWouldNotTake(t *testing.T) {
	onEachNetwork(t, Config{MaxSend: 1000}, func(t *testing.T, client, server *Conn) {
		_, err := client.Send(t.Context(), core.Frame{Kind: core.KindCommand, Body: make([]byte, 1001)})
		if !errors.Is(err, core.ResourceExhausted) || !strings.Contains(err.Error(), "1001 bytes") {
			t.Errorf("got %v, want ResourceExhausted with the size", err)
		}
		position := mustSend(t, client, core.Frame{Kind: core.KindCommand, Body: make([]byte, 1000)})
		if position != 0 {
			t.Errorf("the refused frame has taken %d bytes", position)
		}
		if frame := mustReceive(t, server); len(frame.body) != 1000 {
			t.Errorf("got %d bytes, want the frame after the refused one", len(frame.body))
		}
	})
}

func TestPrefacesGoFirst(t *testing.T) {
	onEachNetwork(t, Config{}, func(t *testing.T, client, server *Conn) {
		client.SendPreface([PrefaceSize]byte{1, 2, 3, 4, 5, 6, 7, 8})
		if position := mustSend(t, client, core.Frame{Kind: core.KindHello, Body: []byte("hello")}); position != PrefaceSize {
			t.Errorf("the first frame is at %d, want %d: the preface counts", position, PrefaceSize)
		}
		preface, err := server.ReceivePreface()
		if want := [PrefaceSize]byte{1, 2, 3, 4, 5, 6, 7, 8}; err != nil || preface != want {
			t.Errorf("got %v and %v, want %v", preface, err, want)
		}
		want := seen{kind: core.KindHello, body: "hello", end: PrefaceSize + HeaderSize + 5}
		if got := mustReceive(t, server); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
}

func TestTheReadBufferWraps(t *testing.T) {
	// Many small frames, so that the read buffer wraps again and again.
	var stream []byte
	for i := range 20_000 {
		stream = AppendFrame(stream, core.Frame{Kind: core.KindResult, Sequence: core.Sequence(i), Body: bytes.Repeat([]byte{byte(i)}, i%300)})
	}
	conn := reading(iotest.HalfReader(bytes.NewReader(stream)), Config{})
	for i := range 20_000 {
		frame, err := conn.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if frame.Sequence != core.Sequence(i) || !bytes.Equal(frame.Body, bytes.Repeat([]byte{byte(i)}, i%300)) {
			t.Fatalf("frame %d is damaged", i)
		}
	}
}

package transport

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict/core"
)

// uncut is a kind of frame that is not cut in parts and gives way to none.
const uncut = core.Kind(0x7f)

// jam lets client write a frame that is too much for a connection that nobody reads, and returns
// the frame's size with its header. Whatever is sent afterwards stays in the queue.
func jam(t *testing.T, client *Conn) int {
	t.Helper()
	body, buffer := large(memoryBuffer+1000, 'j')
	mustSend(t, client, core.Frame{Kind: uncut, Body: body, Buffer: buffer})
	synctest.Wait()
	if attempted := client.Attempted(); attempted != core.Position(HeaderSize+len(body)) {
		t.Fatalf("the large frame is not under way: attempted %d", attempted)
	}
	return HeaderSize + len(body)
}

// TestFramesOfManyCallersArriveWhole is for the combining writer: whoever writes, the frames of all
// arrive, intact, and those of one caller in the order in which it sent them.
func TestFramesOfManyCallersArriveWhole(t *testing.T) {
	const callers, each = 32, 150
	onEachNetwork(t, Config{QueueBytes: 64 << 10}, func(t *testing.T, client, server *Conn) {
		var group sync.WaitGroup
		for caller := range callers {
			group.Go(func() {
				for i := range each {
					frame := core.Frame{Kind: core.KindCommand, Command: uint16(i), Sequence: core.Sequence(caller)}
					size, fill := sizeAndFill(caller, i)
					if size >= core.LargeBody {
						frame.Body, frame.Buffer = large(size, fill)
					} else {
						frame.Body = slices.Repeat([]byte{fill}, size)
					}
					var err error
					if i%5 == 0 {
						err = client.Post(frame)
					} else {
						_, err = client.Send(t.Context(), frame)
					}
					if err != nil {
						t.Errorf("caller %d: frame %d: %v", caller, i, err)
						return
					}
				}
			})
		}
		go func() {
			group.Wait()
			flush(t, client)
		}()
		var next [callers]int
		for {
			frame, err := server.Receive()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			caller := int(frame.Sequence)
			if caller >= callers || int(frame.Command) != next[caller] {
				t.Fatalf("got frame %d of caller %d out of turn", frame.Command, caller)
			}
			size, fill := sizeAndFill(caller, next[caller])
			if len(frame.Body) != size || slices.ContainsFunc(frame.Body, func(b byte) bool { return b != fill }) {
				t.Fatalf("frame %d of caller %d is damaged", frame.Command, caller)
			}
			next[caller]++
			frame.Buffer.Release()
		}
		for caller, n := range next {
			if n != each {
				t.Errorf("%d frames of caller %d arrived, want %d", n, caller, each)
			}
		}
	})
}

func sizeAndFill(caller, i int) (int, byte) {
	fill := byte(caller*31 + i)
	switch {
	case i%50 == 49:
		return core.LargeBody + 100*caller, fill
	case i%10 == 9:
		return 5000, fill
	}
	return i % 200, fill
}

// TestBothDirectionsAtOnce sends more than the connection holds in both directions at the same time.
func TestBothDirectionsAtOnce(t *testing.T) {
	onEachNetwork(t, Config{}, func(t *testing.T, client, server *Conn) {
		const frames, size = 40, 100_000
		var group sync.WaitGroup
		for _, conn := range []*Conn{client, server} {
			group.Go(func() {
				for range frames {
					body, buffer := large(size, 'x')
					if _, err := conn.Send(t.Context(), core.Frame{Kind: core.KindResult, Body: body, Buffer: buffer}); err != nil {
						t.Error(err)
						return
					}
				}
			})
			group.Go(func() {
				for i := range frames {
					frame, err := conn.Receive()
					if err != nil || len(frame.Body) != size {
						t.Errorf("frame %d: %d bytes, %v", i, len(frame.Body), err)
						return
					}
					frame.Buffer.Release()
				}
			})
		}
		group.Wait()
	})
}

func TestAWithdrawnFrameNeverArrivesAndLaterOnesDo(t *testing.T) {
	queued := func() []core.Frame {
		first, firstBuffer := large(core.LargeBody+1, 'a')
		second, secondBuffer := large(core.LargeBody+2, 'b')
		return []core.Frame{
			{Kind: core.KindCommand, Sequence: 0, Body: []byte("small")},
			{Kind: core.KindCommand, Sequence: 1, Body: first, Buffer: firstBuffer},
			{Kind: core.KindCommand, Sequence: 2, Flags: core.FlagTimeout | core.FlagMetadata, Metadata: []byte("m"), Body: []byte("b")},
			{Kind: core.KindCommand, Sequence: 3, Flags: core.FlagMetadata, Metadata: []byte("mm"), Body: second, Buffer: secondBuffer},
			{Kind: core.KindCommand, Sequence: 4},
			{Kind: core.KindCommand, Sequence: 5, Flags: core.FlagNumbered | core.FlagMetadata, Number: 1 << 20, Metadata: []byte("m"), Body: []byte("numbered")},
		}
	}
	for withdrawn := range queued() {
		t.Run(fmt.Sprint(withdrawn), func(t *testing.T) {
			inBubble(t, Config{}, func(t *testing.T, client *Conn, far net.Conn) {
				jam(t, client)
				frames := queued()
				_, want := encoded(frames)
				var positions []core.Position
				for _, frame := range frames {
					positions = append(positions, mustSend(t, client, frame))
				}
				if !client.Withdraw(core.Sequence(withdrawn), positions[withdrawn]) {
					t.Error("a frame in the queue can't be withdrawn")
				}
				go flush(t, client)
				got, err := receiveAll(NewConn(far, Config{}))
				if err != io.EOF || len(got) != len(frames) {
					t.Fatalf("got %d frames and %v, want the large one and all but one of %d, and io.EOF", len(got), err, len(frames))
				}
				shift := got[0].end
				want = slices.Delete(want, withdrawn, withdrawn+1)
				for i, frame := range got[1:] {
					frame.end -= shift
					if frame != want[i] {
						t.Errorf("the %d-th frame is damaged", i)
					}
				}
			})
		})
	}
}

func TestWhatIsUnderWayCanNotBeWithdrawn(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, client *Conn, far net.Conn) {
		size := jam(t, client)
		if client.Withdraw(0, 0) {
			t.Error("a frame was withdrawn when half of it was written")
		}
		// Its caller has given up; the frame must be completed nevertheless.
		next := mustSend(t, client, core.Frame{Kind: core.KindCancel, Sequence: 9})
		if next != core.Position(size) {
			t.Errorf("the next frame is at %d, want %d", next, size)
		}
		server := NewConn(far, Config{})
		if frame := mustReceive(t, server); len(frame.body) != size-HeaderSize {
			t.Errorf("the half written frame arrived with %d bytes of %d", len(frame.body), size-HeaderSize)
		}
		if frame := mustReceive(t, server); frame.kind != core.KindCancel || frame.sequence != 9 {
			t.Errorf("then came %+v, want the CANCEL", frame)
		}
	})
}

func TestAfterAFailureWhatWasQueuedWasNotSent(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, client *Conn, far net.Conn) {
		size := jam(t, client)
		body, buffer := large(core.LargeBody, 'q')
		queued := mustSend(t, client, core.Frame{Kind: core.KindCommand, Body: body, Buffer: buffer})
		broken := errors.New("broken")
		client.Close(broken)
		client.Wait()
		if attempted := client.Attempted(); attempted != core.Position(size) || queued < attempted {
			t.Errorf("attempted is %d, want %d: just what was under way", attempted, size)
		}
		if !client.Withdraw(0, queued) {
			t.Error("a frame that will never be written counts as sent")
		}
		if client.Withdraw(0, 0) {
			t.Error("a frame that was under way counts as not sent")
		}
		if _, err := client.Send(t.Context(), core.Frame{Kind: core.KindEnd}); err != broken {
			t.Errorf("Send afterwards: %v, want the cause", err)
		}
		if err := client.Post(core.Frame{Kind: core.KindEnd}); err != broken {
			t.Errorf("Post afterwards: %v, want the cause", err)
		}
		if err := client.Flush(t.Context()); err != broken {
			t.Errorf("Flush afterwards: %v, want the cause", err)
		}
		if _, err := client.Receive(); err != broken {
			t.Errorf("Receive afterwards: %v, want the cause", err)
		}
		client.Close(errors.New("later"))
		if _, err := client.Receive(); err != broken {
			t.Errorf("after a second Close: %v, want the first cause", err)
		}
		if attempted := client.Attempted(); attempted != core.Position(size) {
			t.Errorf("attempted went on to %d", attempted)
		}
	})
}

func TestCloseMakesAllMethodsReturn(t *testing.T) {
	const tooMuch = 16 << 20 // for the buffers of any kind of connection
	onEachNetwork(t, Config{QueueBytes: 1000, MaxSend: tooMuch}, func(t *testing.T, client, _ *Conn) {
		for range 2 { // one under way, one in the queue
			body, buffer := large(tooMuch, 'x')
			mustSend(t, client, core.Frame{Kind: uncut, Body: body, Buffer: buffer})
		}
		results := make(chan error)
		go func() {
			_, err := client.Receive()
			results <- err
		}()
		go func() {
			for { // until it waits for room
				if _, err := client.Send(context.Background(), core.Frame{Kind: core.KindEnd}); err != nil {
					results <- err
					return
				}
			}
		}()
		go func() { results <- client.Flush(context.Background()) }()
		client.Close(nil)
		for range 3 {
			if err := <-results; !errors.Is(err, net.ErrClosed) || !errors.Is(err, core.ErrClosed) {
				t.Errorf("got %v, want ErrClosed", err)
			}
		}
	})
}

// queued returns how many bytes wait to be written.
func (c *Conn) queued() int {
	c.writer.mu.Lock()
	defer c.writer.mu.Unlock()
	return c.writer.pending.size
}

func TestSendWaitsForRoomAsLongAsItsContext(t *testing.T) {
	const queue = 10_000
	inBubble(t, Config{QueueBytes: queue}, func(t *testing.T, client *Conn, far net.Conn) {
		jam(t, client)
		frame := core.Frame{Kind: core.KindCommand, Body: make([]byte, 1000)}
		sent := 0
		for client.queued() < queue {
			mustSend(t, client, frame)
			sent++
		}

		start := time.Now()
		hurry, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if _, err := client.Send(hurry, frame); err != context.DeadlineExceeded || time.Since(start) != 3*time.Second {
			t.Errorf("Send returned %v after %v, want the deadline after 3s", err, time.Since(start))
		}
		because := errors.New("because")
		canceled, cancelCause := context.WithCancelCause(t.Context())
		cancelCause(because)
		if _, err := client.Send(canceled, frame); err != because {
			t.Errorf("Send returned %v, want the cause of its context", err)
		}

		// Those that have more patience get on as soon as the peer reads; Post never waits.
		patient := make(chan error)
		for range 3 {
			go func() {
				_, err := client.Send(t.Context(), frame)
				patient <- err
			}()
		}
		synctest.Wait()
		if err := client.Post(core.Frame{Kind: core.KindPong}); err != nil {
			t.Errorf("Post: %v", err)
		}
		select {
		case err := <-patient:
			t.Fatalf("Send has returned (%v) though there is no room", err)
		default:
		}
		server := NewConn(far, Config{})
		mustReceive(t, server)
		for range 3 {
			if err := <-patient; err != nil {
				t.Errorf("Send: %v", err)
			}
		}
		for range sent + 4 {
			mustReceive(t, server)
		}
	})
}

func TestPostEndsAConnectionWhosePeerDoesNotRead(t *testing.T) {
	const queue = 10_000
	inBubble(t, Config{QueueBytes: queue}, func(t *testing.T, client *Conn, far net.Conn) {
		jam(t, client)
		frame := core.Frame{Kind: core.KindPong, Body: make([]byte, 1000)}
		var err error
		for range 2 * (queue + postLimit) / 1000 {
			if err = client.Post(frame); err != nil {
				break
			}
		}
		if err != errPeerNotReading {
			t.Fatalf("after twice its limit Post returned %v", err)
		}
		select {
		case <-client.Done():
		default:
			t.Error("the connection goes on")
		}
		if _, err := client.Receive(); err != errPeerNotReading {
			t.Errorf("Receive: %v, want the same", err)
		}
	})
}

func TestAPeerThatReadsNothingIsGivenUp(t *testing.T) {
	inBubble(t, Config{WriteTimeout: 7 * time.Second}, func(t *testing.T, client *Conn, _ net.Conn) {
		start := time.Now()
		jam(t, client)
		_, err := client.Receive()
		if !IsTimeout(err) || !strings.Contains(err.Error(), "took nothing for 7s") {
			t.Errorf("got %v, want a timeout after 7s", err)
		}
		wantGivenUp(t, time.Since(start), 7*time.Second)
	})
}

func TestAPeerThatReadsSlowlyIsNot(t *testing.T) {
	inBubble(t, Config{WriteTimeout: 7 * time.Second}, func(t *testing.T, client *Conn, far net.Conn) {
		size := jam(t, client) + jamAgain(t, client)
		chunk := make([]byte, 2000)
		for read := 0; read < size; {
			<-time.After(6 * time.Second)
			n, err := far.Read(chunk)
			if err != nil {
				t.Fatalf("after %d bytes of %d: %v", read, size, err)
			}
			read += n
		}
		if err := client.Post(core.Frame{Kind: core.KindPing}); err != nil {
			t.Errorf("the connection has ended: %v", err)
		}
	})
}

// jamAgain sends a second frame that is larger than the connection holds.
func jamAgain(t *testing.T, client *Conn) int {
	t.Helper()
	body, buffer := large(2*memoryBuffer, 'k')
	mustSend(t, client, core.Frame{Kind: uncut, Body: body, Buffer: buffer})
	return HeaderSize + len(body)
}

func TestTheEndOfTheHandshakesDeadlineLeavesTheWriteTimeout(t *testing.T) {
	inBubble(t, Config{WriteTimeout: 7 * time.Second}, func(t *testing.T, client *Conn, _ net.Conn) {
		if err := client.SetDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		jam(t, client)
		if err := client.SetDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		select {
		case <-client.Done():
		case <-time.After(time.Hour):
		}
		wantGivenUp(t, time.Since(start), 7*time.Second)
	})
}

// wantGivenUp checks when a peer that reads nothing was given up: it is not known when within the
// first write it took the last bytes, so it may have twice the time.
func wantGivenUp(t *testing.T, after, timeout time.Duration) {
	t.Helper()
	if after < timeout || after > 2*timeout {
		t.Errorf("a peer that reads nothing was given up after %v, want %v to %v", after, timeout, 2*timeout)
	}
}

func TestADeadlineOfOneFrameDoesNotStay(t *testing.T) {
	inBubble(t, Config{WriteTimeout: 7 * time.Second}, func(t *testing.T, client *Conn, far net.Conn) {
		server := NewConn(far, Config{})
		for range 3 {
			hurry, cancel := context.WithTimeout(t.Context(), time.Second)
			if _, err := client.Send(hurry, core.Frame{Kind: core.KindPing}); err != nil {
				t.Fatal(err)
			}
			mustReceive(t, server)
			<-hurry.Done()
			cancel()
			<-time.After(time.Minute) // longer than any deadline that might have stayed
		}
		mustSend(t, client, core.Frame{Kind: core.KindPing})
		mustReceive(t, server)
	})
}

func TestFlushEndsTheSendingSideOnly(t *testing.T) {
	onEachNetwork(t, Config{}, func(t *testing.T, client, server *Conn) {
		body, buffer := large(3<<20, 'f')
		mustSend(t, client, core.Frame{Kind: core.KindCommand, Body: body, Buffer: buffer})
		flushed := make(chan struct{})
		go func() {
			flush(t, client)
			close(flushed)
		}()
		if got, err := receiveAll(server); err != io.EOF || len(got) != 1 || len(got[0].body) != 3<<20 {
			t.Errorf("got %d frames and %v, want one and io.EOF", len(got), err)
		}
		<-flushed
		mustSend(t, server, core.Frame{Kind: core.KindResult, Body: []byte("still there")})
		if frame := mustReceive(t, client); frame.body != "still there" {
			t.Errorf("the other direction gave %+v", frame)
		}
	})
}

// What is posted after Flush is dropped: to write it would end the connection, and the peer could lose what it
// has not read yet.
func TestPostAfterFlushIsDropped(t *testing.T) {
	onEachNetwork(t, Config{}, func(t *testing.T, client, server *Conn) {
		mustSend(t, server, core.Frame{Kind: core.KindGoAway})
		flush(t, server)
		body, buffer := large(core.LargeBody, 'x')
		for _, frame := range []core.Frame{{Kind: core.KindError}, {Kind: core.KindPong, Body: body, Buffer: buffer}} {
			if err := server.Post(frame); err != nil {
				t.Errorf("Post: %v", err)
			}
		}
		flush(t, server) // again
		mustSend(t, client, core.Frame{Kind: core.KindCommand})
		if got := mustReceive(t, server); got.kind != core.KindCommand {
			t.Errorf("the server got a %v", got.kind)
		}
		if got := mustReceive(t, client); got.kind != core.KindGoAway {
			t.Errorf("the client got a %v", got.kind)
		}
		if _, err := client.Receive(); err != io.EOF {
			t.Errorf("then it got %v", err)
		}
	})
}

func TestFlushGivesUpWithItsContext(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, client *Conn, _ net.Conn) {
		jam(t, client)
		hurry, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		start := time.Now()
		if err := client.Flush(hurry); err != context.DeadlineExceeded || time.Since(start) != 3*time.Second {
			t.Errorf("Flush returned %v after %v, want the deadline after 3s", err, time.Since(start))
		}
	})
}

// TestACloseNeverWaitsForTheAlert: a TLS connection to a peer that reads nothing is closed at once.
func TestACloseNeverWaitsForTheAlert(t *testing.T) {
	near, far := net.Pipe() // without a buffer: every write waits
	defer far.Close()
	client := NewConn(tls.Client(near, &tls.Config{ServerName: "nobody"}), Config{})
	mustSend(t, client, core.Frame{Kind: core.KindPing}) // waits in the TLS handshake
	client.Close(nil)
	client.Wait()
}

// TestThePeersEndIsSeenByAWriter: the connection ends when the peer has closed it, also for one who
// only writes.
func TestThePeersEndIsSeenByAWriter(t *testing.T) {
	onEachNetwork(t, Config{}, func(t *testing.T, client, server *Conn) {
		server.Close(nil)
		for {
			if _, err := client.Send(t.Context(), core.Frame{Kind: core.KindPing, Body: make([]byte, 100)}); err != nil {
				break
			}
		}
		<-client.Done()
		if _, err := client.Receive(); err == nil || errors.Is(err, core.ErrClosed) {
			t.Errorf("Receive: %v, want what broke the connection", err)
		}
	})
}

func TestReceiveAllocatesNothing(t *testing.T) {
	stream := AppendFrame(nil, core.Frame{Kind: core.KindResult, Body: make([]byte, 100)})
	conn := reading(&endless{stream, 0}, Config{})
	if n := testing.AllocsPerRun(1000, func() { _, _ = conn.Receive() }); n > 0 {
		t.Errorf("Receive allocates %v times per frame", n)
	}
}

// endless repeats a text for ever.
type endless struct {
	text []byte
	at   int
}

func (e *endless) Read(target []byte) (int, error) {
	n := copy(target, e.text[e.at:])
	e.at = (e.at + n) % len(e.text)
	return n, nil
}

// TestPositionsAreThoseOfTheStream compares what Send returns with where the frames begin.
func TestPositionsAreThoseOfTheStream(t *testing.T) {
	onEachNetwork(t, Config{}, func(t *testing.T, client, server *Conn) {
		const callers, each = 8, 100
		var group sync.WaitGroup
		var mu sync.Mutex
		positions := map[uint64]core.Position{}
		for caller := range callers {
			group.Go(func() {
				for i := range each {
					id := uint64(caller*each + i)
					body := binary.LittleEndian.AppendUint64(nil, id)
					position, err := client.Send(t.Context(), core.Frame{Kind: core.KindCommand, Body: append(body, make([]byte, i)...)})
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					positions[id] = position
					mu.Unlock()
				}
			})
		}
		at := map[uint64]core.Position{}
		for range callers * each {
			frame := mustReceive(t, server)
			at[binary.LittleEndian.Uint64([]byte(frame.body))] = frame.end - HeaderSize - core.Position(len(frame.body))
		}
		group.Wait()
		for id, position := range positions {
			if at[id] != position {
				t.Errorf("frame %d: Send said %d, it is at %d", id, position, at[id])
			}
		}
	})
}

// The handshake's deadline must not outlive it, also if its last frame is being written when it ends.
func TestTheEndOfTheHandshakesDeadlineWhileWriting(t *testing.T) {
	onEachNetwork(t, Config{}, func(t *testing.T, client, server *Conn) {
		if err := client.SetDeadline(time.Now().Add(-time.Second)); err != nil {
			t.Fatal(err)
		}
		client.writer.mu.Lock()
		client.writer.writing = true // the test has the role
		client.writer.mu.Unlock()
		if err := client.SetDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		if client.writer.takeBatch() {
			t.Fatal("there is something to write")
		}
		mustSend(t, client, core.Frame{Kind: core.KindCommand, Body: []byte("later")})
		if frame := mustReceive(t, server); frame.body != "later" {
			t.Errorf("got %+v", frame)
		}
	})
}

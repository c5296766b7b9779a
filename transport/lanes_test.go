package transport

import (
	"bytes"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/edict-go/edict/core"
)

// sendLarge sends a message with a body of its own buffer.
func sendLarge(t *testing.T, conn *Conn, kind core.Kind, flags core.Flags, sequence core.Sequence, size int) core.Position {
	t.Helper()
	body, buffer := large(size, byte(sequence))
	return mustSend(t, conn, core.Frame{Kind: kind, Flags: flags, Sequence: sequence, Body: body, Buffer: buffer})
}

// order returns the kinds and calls of the frames on the wire, after skip bytes: those are written "kind.call", with a
// + where more of the message follows.
func order(t *testing.T, far io.Reader, skip, count int) []string {
	t.Helper()
	if _, err := io.CopyN(io.Discard, far, int64(skip)); err != nil {
		t.Fatal(err)
	}
	var text []string
	for range count {
		var header [HeaderSize]byte
		if _, err := io.ReadFull(far, header[:]); err != nil {
			t.Fatal(err)
		}
		var frame core.Frame
		length := parseHeader(header[:], &frame)
		if length > maxFragment+100 && frame.Kind != uncut {
			t.Errorf("a frame of %d bytes", length)
		}
		if _, err := io.CopyN(io.Discard, far, int64(length)); err != nil {
			t.Fatal(err)
		}
		more := ""
		if frame.Flags&core.FlagMore != 0 {
			more = "+"
		}
		text = append(text, frame.Kind.String()+"."+string(rune('0'+frame.Sequence))+more)
	}
	return text
}

func wantOrder(t *testing.T, got []string, want string) {
	t.Helper()
	if text := strings.Join(got, " "); text != want {
		t.Errorf("the order on the wire is\n%s, want\n%s", text, want)
	}
}

// Small frames go before large ones, large ones take turns, and those of a call keep their order.
func TestLargeMessagesGiveWay(t *testing.T) {
	inBubble(t, Config{QueueBytes: 1 << 20}, func(t *testing.T, client *Conn, far net.Conn) {
		skip := jam(t, client)
		sendLarge(t, client, core.KindResult, 0, 1, 3*maxFragment)
		sendLarge(t, client, core.KindResult, 0, 2, 2*maxFragment)
		sendLarge(t, client, core.KindResult, 0, 3, core.LargeBody)
		mustSend(t, client, core.Frame{Kind: core.KindEnd, Sequence: 1}) // waits for its results
		mustSend(t, client, core.Frame{Kind: core.KindResult, Sequence: 4, Body: []byte("small")})
		mustSend(t, client, core.Frame{Kind: core.KindCancel, Sequence: 1}) // overtakes
		if err := client.Post(core.Frame{Kind: core.KindPing}); err != nil {
			t.Fatal(err)
		}
		wantOrder(t, order(t, far, skip, 10), "RESULT.4 CANCEL.1 PING.0 RESULT.1+ RESULT.2+ RESULT.3 RESULT.1+ RESULT.2 RESULT.1 END.1")
	})
}

// Frames marked as bulk give way though they are small.
func TestBulkFramesGiveWay(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, client *Conn, far net.Conn) {
		skip := jam(t, client)
		mustSend(t, client, core.Frame{Kind: core.KindResult, Sequence: 1, Bulk: true, Body: []byte("bulk")})
		mustSend(t, client, core.Frame{Kind: core.KindResult, Sequence: 1, Bulk: true, Body: []byte("bulk too")})
		mustSend(t, client, core.Frame{Kind: core.KindResult, Sequence: 2, Body: []byte("quick")})
		wantOrder(t, order(t, far, skip, 3), "RESULT.2 RESULT.1 RESULT.1")
	})
}

// No more than maxParts messages are under way in parts.
func TestPartsAreBounded(t *testing.T) {
	inBubble(t, Config{QueueBytes: 100 << 20}, func(t *testing.T, client *Conn, far net.Conn) {
		jam(t, client)
		const calls = 3 * maxParts
		for call := range calls {
			sendLarge(t, client, core.KindResult, core.FlagLast, core.Sequence(call+1), 2*maxFragment+call)
		}
		server := NewConn(far, Config{}) // which counts them too
		mustReceive(t, server)
		arrived := map[core.Sequence]bool{}
		for range calls {
			frame := mustReceive(t, server)
			if len(frame.body) != 2*maxFragment+int(frame.sequence)-1 || strings.Trim(frame.body, string(rune(frame.sequence))) != "" || frame.flags != core.FlagLast {
				t.Errorf("call %d is damaged: %d bytes, flags %x", frame.sequence, len(frame.body), frame.flags)
			}
			arrived[frame.sequence] = true
		}
		if len(arrived) != calls {
			t.Errorf("%d of %d arrived", len(arrived), calls)
		}
		if client.writer.lanes.size != 0 || client.writer.lanes.parts != 0 || len(client.writer.lanes.turns) != 0 {
			t.Errorf("the lanes are not empty: %+v", client.writer.lanes)
		}
	})
}

// A large COMMAND has its position, and waits when too many messages are under way in parts.
func TestLargeCommands(t *testing.T) {
	inBubble(t, Config{QueueBytes: 100 << 20}, func(t *testing.T, client *Conn, far net.Conn) {
		jammed := core.Position(jam(t, client))
		for call := range maxParts {
			position := sendLarge(t, client, core.KindCommand, 0, core.Sequence(call), 2*maxFragment)
			if want := jammed + core.Position(call*(maxFragment+HeaderSize)); position != want {
				t.Errorf("COMMAND %d is at %d, want %d", call, position, want)
			}
		}
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			sendLarge(t, client, core.KindCommand, 0, 99, 2*maxFragment)
		}()
		synctest.Wait()
		select {
		case <-sent:
			t.Error("a ninth message is under way in parts")
		default:
		}
		server := NewConn(far, Config{})
		for range 1 + maxParts + 1 {
			mustReceive(t, server)
		}
		<-sent
	})
}

// A COMMAND that is taken back while parts of it are under way never arrives, and what follows does.
func TestACommandInPartsIsWithdrawn(t *testing.T) {
	for _, fragments := range []int{0, 1, 2} { // that are written before
		inBubble(t, Config{}, func(t *testing.T, client *Conn, far net.Conn) {
			skip := 0
			if fragments < 2 {
				skip = jam(t, client)
			}
			position := sendLarge(t, client, core.KindCommand, 0, 5, 4*maxFragment)
			mustSend(t, client, core.Frame{Kind: core.KindInput, Sequence: 5, Body: []byte("behind it")})
			synctest.Wait()
			server := NewConn(far, Config{})
			if fragments == 1 { // let the first part go, but not the rest
				if _, err := io.CopyN(io.Discard, far, int64(skip)); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				server.reader.position = core.Position(skip)
			}
			if !client.Withdraw(5, position) {
				t.Error("it can't be withdrawn")
			}
			mustSend(t, client, core.Frame{Kind: core.KindPing})
			go flush(t, client)
			if fragments == 0 {
				mustReceive(t, server) // what jams the connection
			}
			if frame := mustReceive(t, server); frame.kind != core.KindPing {
				t.Errorf("got %v", frame.kind)
			}
			if _, err := server.Receive(); err != io.EOF {
				t.Errorf("then %v", err)
			}
			if len(server.reader.partials) != 0 || client.writer.lanes.parts != 0 || client.writer.lanes.size != 0 {
				t.Errorf("left behind: %v, %+v", server.reader.partials, client.writer.lanes)
			}
		})
	}
}

// Drop drops results that nobody wants, but never the frame that ends the call.
func TestDrop(t *testing.T) {
	inBubble(t, Config{QueueBytes: 4 << 20}, func(t *testing.T, client *Conn, far net.Conn) {
		jam(t, client)
		sendLarge(t, client, core.KindResult, 0, 1, 3*maxFragment)
		mustSend(t, client, core.Frame{Kind: core.KindEnd, Sequence: 1})
		sendLarge(t, client, core.KindResult, core.FlagLast, 2, maxFragment)
		sendLarge(t, client, core.KindResult, 0, 3, maxFragment)
		failure := core.AppendError(nil, &core.Error{Code: core.DataLoss, Outcome: core.Executed})
		mustSend(t, client, core.Frame{Kind: core.KindError, Sequence: 3, Body: failure})
		mustSend(t, client, core.Frame{Kind: core.KindEnd, Sequence: 4, Bulk: true})
		for sequence := range core.Sequence(6) { // 0 and 5 have nothing
			client.Drop(sequence)
		}
		server := NewConn(far, Config{})
		mustReceive(t, server)
		got := make(map[core.Sequence]seen)
		for range 4 {
			frame := mustReceive(t, server)
			got[frame.sequence] = frame
		}
		// A stream of which results are missing must not end as if it were complete.
		for sequence, code := range map[core.Sequence]core.Code{1: core.Canceled, 2: core.Canceled, 3: core.DataLoss} {
			if got[sequence].kind != core.KindError {
				t.Errorf("call %v ends with %v", sequence, got[sequence].kind)
			} else if e := core.DecodeError([]byte(got[sequence].body)); e.Code != code || e.Outcome != core.Executed {
				t.Errorf("call %v ends with %v, %v", sequence, e, e.Outcome)
			}
		}
		if got[4].kind != core.KindEnd {
			t.Errorf("a call without results to drop ends with %v", got[4].kind)
		}
	})
}

// A CANCEL or CREDIT whose COMMAND goes in parts comes after it: the peer would not know the call yet.
func TestCancelBehindItsCommand(t *testing.T) {
	for _, kind := range []core.Kind{core.KindCancel, core.KindCredit} {
		testBehindItsCommand(t, kind)
	}
}

func testBehindItsCommand(t *testing.T, kind core.Kind) {
	inBubble(t, Config{}, func(t *testing.T, client *Conn, far net.Conn) {
		jam(t, client)
		sendLarge(t, client, core.KindCommand, 0, 1, 3*maxFragment)
		if err := client.Post(core.Frame{Kind: kind, Sequence: 1}); err != nil {
			t.Fatal(err)
		}
		server := NewConn(far, Config{})
		mustReceive(t, server)
		if first, second := mustReceive(t, server), mustReceive(t, server); first.kind != core.KindCommand || second.kind != kind {
			t.Errorf("got %v, then %v", first.kind, second.kind)
		}
	})
}

func part(kind core.Kind, flags core.Flags, sequence core.Sequence, body string) []byte {
	return AppendFrame(nil, core.Frame{Kind: kind, Flags: flags, Sequence: sequence, Body: []byte(body)})
}

// Parts are put together, whatever comes in between.
func TestPartsArePutTogether(t *testing.T) {
	stream := bytes.Join([][]byte{
		AppendFrame(nil, core.Frame{
			Kind: core.KindCommand, Command: 3, Flags: core.FlagMore | core.FlagTimeout | core.FlagMetadata,
			Timeout: 5, Metadata: []byte("m"), Sequence: 1, Body: []byte("a"),
		}),
		part(core.KindResult, core.FlagMore|core.FlagLast, 2, ""),
		part(core.KindCancel, 0, 1, ""),
		part(core.KindCommand, core.FlagMore, 1, strings.Repeat("b", 40_000)),
		part(core.KindInput, core.FlagMore, 3, "given up"),
		part(core.KindResult, 0, 2, "result"),
		part(core.KindAbort, 0, 3, ""),
		part(core.KindInput, 0, 3, "whole"),
		part(core.KindResult, core.FlagMore, 4, strings.Repeat("too long", 20_000)),
		part(core.KindResult, core.FlagMore, 4, "x"),
		part(core.KindPing, 0, 4, ""),
		part(core.KindResult, 0, 4, "x"),
		part(core.KindCommand, 0, 1, "c"),
	}, nil)
	want := []seen{
		{kind: core.KindCancel, sequence: 1},
		{kind: core.KindResult, flags: core.FlagLast, sequence: 2, body: "result"},
		{kind: core.KindInput, sequence: 3, body: "whole"},
		{kind: core.KindPing, sequence: 4},
		{kind: core.KindResult, sequence: 4, oversize: true},
		{
			kind: core.KindCommand, command: 3, flags: core.FlagTimeout | core.FlagMetadata, timeout: 5, metadata: "m",
			sequence: 1, body: "a" + strings.Repeat("b", 40_000) + "c",
		},
	}
	for _, receive := range []func(*Conn) ([]seen, error){receiveAll, receiveEach} {
		got, err := receive(reading(bytes.NewReader(stream), Config{MaxReceive: 100_000}))
		if err != io.EOF || len(got) == 0 || got[len(got)-1].end != core.Position(len(stream)) {
			t.Errorf("%v at %d of %d", err, got[len(got)-1].end, len(stream))
		}
		for i := range got {
			got[i].end = 0
		}
		if !slices.Equal(got, want) {
			t.Errorf("got\n%.100v, want\n%.100v", got, want)
		}
	}
}

func TestPartsThatBreakTheProtocol(t *testing.T) {
	var many []byte
	for call := range maxParts + 1 {
		many = append(many, part(core.KindInput, core.FlagMore, core.Sequence(call), "x")...)
	}
	begun := part(core.KindResult, core.FlagMore, 1, "x")
	for problem, stream := range map[string][]byte{
		"more than 8 messages in parts at a time":       many,
		"PING frame in parts":                           part(core.KindPing, core.FlagMore, 1, ""),
		"ABORT of a message that was not begun":         part(core.KindAbort, 0, 1, ""),
		"END frame in parts, or within a message":       append(bytes.Clone(begun), part(core.KindEnd, 0, 1, "")...),
		"INPUT frame within a RESULT message in parts":  append(bytes.Clone(begun), part(core.KindInput, 0, 1, "")...),
		"RESULT frame within a RESULT message in parts": append(bytes.Clone(begun), part(core.KindResult, core.FlagLast, 1, "")...),
		"COMMAND frame too short for its timeout":       append(part(core.KindCommand, core.FlagMore, 1, ""), part(core.KindCommand, 0, 1, "")...),
		"that was not begun":                            append(bytes.Clone(begun), AppendFrame(nil, core.Frame{Kind: core.KindAbort, Sequence: 1, Body: []byte("x")})...),
	} {
		if strings.Contains(problem, "timeout") {
			stream = append(AppendFrame(nil, core.Frame{Kind: core.KindResult}), 4, 0, 0, 0, byte(core.KindCommand), byte(core.FlagMore|core.FlagTimeout), 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4)
			stream = append(stream, part(core.KindCommand, 0, 1, "")...)
		}
		_, err := receiveAll(reading(bytes.NewReader(stream), Config{}))
		if violation, ok := errors.AsType[*ProtocolError](err); !ok || !strings.Contains(violation.Problem, problem) {
			t.Errorf("%s: %v", problem, err)
		}
	}
	if _, err := receiveAll(reading(bytes.NewReader(begun), Config{})); err != io.ErrUnexpectedEOF {
		t.Errorf("the end within a message in parts is %v", err)
	}
}

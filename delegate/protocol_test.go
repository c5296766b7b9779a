package delegate

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/edict-go/edict/auth"
	"github.com/edict-go/edict/codec"
	"github.com/edict-go/edict/compression/s2"
	"github.com/edict-go/edict/compression/zstd"
	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/internal/vectors"
	"github.com/edict-go/edict/transport"
)

const document = "../docs/protocol.md"

// The values that the vectors of docs/protocol.md stand for.
var (
	vectorShape = codec.Shape{"unary", ". struct", "A int", "B int", "> int"}
	vectorError = core.Error{
		Code: core.FailedPrecondition, Outcome: core.Executed, RetryAfter: 1500 * time.Millisecond,
		Reason: "insufficient-funds", Message: "balance is 5",
		Details: []core.Detail{{Type: "Balance", JSON: []byte(`{"Have":5}`)}},
	}
	vectorMetadata = core.Metadata{"tenant": {"7", "8"}, "trace": {"ab"}}
	vectorHello    = hello{
		name: "till", codecs: []string{"mus", "json"},
		commands: []commandID{{"Add", vectorShape.Fingerprint()}, {"Count", 0x1122334455667788}},
		maxFrame: 4 << 20, window: 256 << 10, compressions: []string{"zstd", "s2"}, keepalive: 15_000,
	}
	vectorHelloToken = hello{name: "till", codecs: []string{"json"}, maxFrame: 4 << 20, window: 256 << 10, token: auth.NewToken("open sesame")}
	vectorWelcome    = welcome{
		name: "bank", codec: "json", maxFrame: 4 << 20, maxInFlight: 16_384, window: 256 << 10, compression: "s2", keepalive: 16_000,
		differences: []difference{{1, ""}, {300, "stream\n. struct\n> int"}},
	}
	vectorTicket      = ticketFrom(0x80)
	vectorNextTicket  = withTTL(ticketFrom(0xa0), 30*time.Second)
	vectorTicketKept  = withTTL(vectorTicket, 30*time.Second)
	vectorHelloResume = hello{
		name: "till", codecs: []string{"json"}, maxFrame: 4 << 20, window: 256 << 10,
		resume: &vectorTicket, resumes: true, received: 300,
	}
	vectorWelcomeResumed = welcome{
		name: "bank", codec: "json", maxFrame: 4 << 20, maxInFlight: 16_384, window: 256 << 10,
		session: &vectorNextTicket, resumed: true, received: 312,
	}
	vectorChallenge = core.Challenge{
		Journal: core.JournalID([]byte("\x60abcdefghijklmno")), Nonce: [16]byte([]byte("pqrstuvwxyz{|}~\x7f")),
	}
	vectorWelcomeJournal = welcome{
		name: "bank", codec: "json", maxFrame: 4 << 20, maxInFlight: 16_384, window: 256 << 10,
		session: &vectorTicketKept, challenge: vectorChallenge,
	}
	vectorKey = ed25519.NewKeyFromSeed([]byte("\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f" +
		"\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f"))
	// What compresses twenty times "a" in the document; encoders may do it otherwise.
	vectorCompressed = map[core.Compression]string{
		s2.Compression:   "\x14\x00a\x4a\x01\x00",
		zstd.Compression: "\x28\xb5\x2f\xfd\x20\x14\xa3\x00\x00a",
	}
	vectorFarewell = core.Error{Code: core.Unavailable, Message: "bye"}
	sequence       = core.MakeSequence(2, 5)
)

// ticketFrom returns a ticket with the ID 00 01 …, and a secret of bytes from first on.
func ticketFrom(first byte) Ticket {
	var t Ticket
	for i := range t.ID {
		t.ID[i] = byte(i)
	}
	for i := range t.Secret {
		t.Secret[i] = first + byte(i)
	}
	return t
}

func withTTL(t Ticket, ttl time.Duration) Ticket {
	t.TTL = ttl
	return t
}

func encodedMetadata() []byte {
	encoded, err := core.AppendMetadata(nil, vectorMetadata)
	if err != nil {
		panic(err)
	}
	return encoded
}

// vectorFrames has, by the name of the vector, each kind of frame.
func vectorFrames() map[string]core.Frame {
	return map[string]core.Frame{
		"hello":       {Kind: core.KindHello, Body: appendHello(nil, vectorHello)},
		"hello-token": {Kind: core.KindHello, Body: appendHello(nil, vectorHelloToken)},
		"input":       {Kind: core.KindInput, Sequence: sequence, Body: []byte("42")},
		"input-end":   {Kind: core.KindInputEnd, Sequence: sequence},
		"welcome":     {Kind: core.KindWelcome, Body: appendWelcome(nil, vectorWelcome)},
		"reject":      {Kind: core.KindReject, Body: appendReject(nil, &vectorFarewell)},
		"command":     {Kind: core.KindCommand, Command: 1, Sequence: sequence, Body: []byte("{}")},
		"command-full": {
			Kind: core.KindCommand, Command: 0x0203, Sequence: sequence,
			Flags:   core.FlagTimeout | core.FlagMetadata | core.FlagStream,
			Timeout: 1500 * time.Millisecond, Metadata: encodedMetadata(), Body: []byte("{}"),
		},
		"result":          {Kind: core.KindResult, Sequence: sequence, Body: []byte("42")},
		"result-last":     {Kind: core.KindResult, Flags: core.FlagLast, Sequence: sequence, Body: []byte("42")},
		"end":             {Kind: core.KindEnd, Sequence: sequence},
		"end-metadata":    {Kind: core.KindEnd, Flags: core.FlagMetadata, Sequence: sequence, Metadata: encodedMetadata()},
		"error":           {Kind: core.KindError, Sequence: sequence, Body: core.AppendError(nil, &vectorError)},
		"cancel":          {Kind: core.KindCancel, Sequence: sequence},
		"credit":          {Kind: core.KindCredit, Sequence: sequence, Body: binary.LittleEndian.AppendUint32(nil, 131_072)},
		"ping":            {Kind: core.KindPing, Body: []byte("ab")},
		"pong":            {Kind: core.KindPong, Body: []byte("ab")},
		"goaway":          {Kind: core.KindGoAway, Body: core.AppendError(binary.LittleEndian.AppendUint64(nil, 312), &vectorFarewell)},
		"goaway-last":     {Kind: core.KindGoAway, Flags: core.FlagLast},
		"ack":             {Kind: core.KindAck, Body: binary.LittleEndian.AppendUint64(nil, 312)},
		"forget":          {Kind: core.KindForget, Body: core.AppendForgotten(nil, []uint64{7, 300})},
		"hello-resume":    {Kind: core.KindHello, Body: appendHello(nil, vectorHelloResume)},
		"welcome-resumed": {Kind: core.KindWelcome, Body: appendWelcome(nil, vectorWelcomeResumed)},
		"welcome-journal": {Kind: core.KindWelcome, Body: appendWelcome(nil, vectorWelcomeJournal)},
		"identity":        {Kind: core.KindIdentity, Body: vectorChallenge.Prove(vectorKey)},
		"command-unrecorded": {
			Kind: core.KindCommand, Flags: core.FlagNumbered, Number: 7 | core.Unrecorded, Command: 1, Sequence: sequence, Body: []byte("{}"),
		},
		"command-numbered": {
			Kind: core.KindCommand, Flags: core.FlagNumbered, Number: 7, Command: 1, Sequence: sequence, Body: []byte("{}"),
		},
		"padding":       {Kind: core.KindPadding, Command: 1, Sequence: sequence, Body: []byte("{}")},
		"empty-timeout": {Kind: core.KindCommand, Flags: core.FlagTimeout, Sequence: sequence},
	}
}

// TestTheCompressedVectors decodes the bodies of the document, and what our encoders make of them.
func TestTheCompressedVectors(t *testing.T) {
	text := strings.Repeat("a", 20)
	for compression, body := range vectorCompressed {
		for _, encoded := range [][]byte{[]byte(body), compression.Append(nil, []byte(text))} {
			decoded := make([]byte, 20)
			if size, err := compression.DecodedLen(encoded); size != 20 || err != nil {
				t.Errorf("%s: % x announces %d bytes, %v", compression.Name(), encoded, size, err)
			}
			if err := compression.Decode(decoded, encoded); err != nil || string(decoded) != text {
				t.Errorf("%s: % x is decoded to %q, %v", compression.Name(), encoded, decoded, err)
			}
		}
	}
}

// TestTheVectorsOfTheDocument checks each vector against the encoder and the decoder.
func TestTheVectorsOfTheDocument(t *testing.T) {
	found, err := vectors.Parse(document)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]byte{}
	for name, frame := range vectorFrames() {
		want[name] = transport.AppendFrame(nil, frame)
	}
	first, chosen, refused := preface(MinVersion, MaxVersion), preface(1, 1), preface(1, 3)
	want["preface-client"], want["preface-chosen"], want["preface-range"] = first[:], chosen[:], refused[:]
	id := core.ClientIDOf(vectorKey.Public().(ed25519.PublicKey))
	want["client-id"] = id[:]
	want["metadata"] = encodedMetadata()
	want["error-body"] = core.AppendError(nil, &vectorError)
	want["shape"] = append([]byte(vectorShape.String()), '\n')
	want["fingerprint"] = binary.LittleEndian.AppendUint64(nil, vectorShape.Fingerprint())

	want["parts"] = slices.Concat(
		transport.AppendFrame(nil, core.Frame{Kind: core.KindResult, Flags: core.FlagMore | core.FlagLast, Sequence: sequence, Body: []byte("4")}),
		transport.AppendFrame(nil, core.Frame{Kind: core.KindResult, Sequence: sequence, Body: []byte("2")}))
	want["abort"] = slices.Concat(
		transport.AppendFrame(nil, core.Frame{Kind: core.KindInput, Flags: core.FlagMore, Sequence: sequence, Body: []byte("4")}),
		transport.AppendFrame(nil, core.Frame{Kind: core.KindAbort, Sequence: sequence}))

	for compression, body := range vectorCompressed {
		want["compressed-"+compression.Name()] = transport.AppendFrame(nil, core.Frame{
			Kind: core.KindResult, Flags: core.FlagLast | core.FlagCompressed, Sequence: sequence, Body: []byte(body),
		})
	}

	for name, encoded := range want {
		if !bytes.Equal(found[name], encoded) {
			t.Errorf("vector %s is\n% x\nin the document, the encoder gives\n% x", name, found[name], encoded)
		}
	}
	for name := range found {
		if _, known := want[name]; !known && name != "session-client" && name != "session-server" {
			t.Errorf("vector %s is in the document, but nothing checks it", name)
		}
	}

	for name, frame := range vectorFrames() {
		frame.End = core.Position(len(found[name]))
		checkFrame(t, name, found[name], frame)
	}
	checkFrame(t, "parts", found["parts"], core.Frame{
		Kind: core.KindResult, Flags: core.FlagLast, Sequence: sequence, Body: []byte("42"), End: core.Position(len(found["parts"])),
	})
	after := core.Frame{Kind: core.KindPing, Body: []byte("ab"), End: core.Position(len(found["abort"]) + len(found["ping"]))}
	checkFrame(t, "abort", slices.Concat(found["abort"], found["ping"]), after)
	check := func(what string, got, want any, err error) {
		t.Helper()
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s is decoded to %+v and %v, want %+v", what, got, err, want)
		}
	}
	body := func(name string) []byte { return found[name][min(transport.HeaderSize, len(found[name])):] }
	h, err := decodeHello(body("hello"))
	check("hello", h, vectorHello, err)
	h, err = decodeHello(body("hello-token"))
	check("hello-token", h, vectorHelloToken, err)
	w, err := decodeWelcome(body("welcome"))
	check("welcome", w, vectorWelcome, err)
	h, err = decodeHello(body("hello-resume"))
	check("hello-resume", h, vectorHelloResume, err)
	w, err = decodeWelcome(body("welcome-resumed"))
	check("welcome-resumed", w, vectorWelcomeResumed, err)
	w, err = decodeWelcome(body("welcome-journal"))
	check("welcome-journal", w, vectorWelcomeJournal, err)
	client, err := vectorChallenge.Verify(body("identity"))
	check("identity", client, id, err)
	numbers, err := core.DecodeForgotten(body("forget"))
	check("forget", numbers, []uint64{7, 300}, err)
	m, err := core.DecodeMetadata(found["metadata"])
	check("metadata", m, vectorMetadata, err)
	remote := vectorError
	remote.Remote = true
	check("error-body", *core.DecodeError(found["error-body"]), remote, nil)
	remote = vectorFarewell
	remote.Remote = true
	r, err := decodeReject(body("reject"))
	check("reject", *r, remote, err)
}

// reading is a connection that gives what source has.
type reading struct {
	net.Conn
	source io.Reader
}

func (r reading) Read(target []byte) (int, error) { return r.source.Read(target) }

// checkFrame checks that encoded is decoded to want, except that PADDING is skipped.
func checkFrame(t *testing.T, name string, encoded []byte, want core.Frame) {
	t.Helper()
	got, err := transport.NewConn(reading{source: bytes.NewReader(encoded)}, transport.Config{}).Receive()
	if got.Buffer != nil {
		got.Body = got.Buffer.Join()
	}
	if want.Kind == core.KindPadding {
		if err != io.EOF {
			t.Errorf("vector %s is decoded to %+v and %v, want it to be skipped", name, got, err)
		}
		return
	}
	if err != nil || got.Kind != want.Kind || got.Flags != want.Flags || got.Command != want.Command || got.Sequence != want.Sequence ||
		got.Number != want.Number || got.Timeout != want.Timeout || !bytes.Equal(got.Metadata, want.Metadata) || !bytes.Equal(got.Body, want.Body) || got.End != want.End {
		t.Errorf("vector %s is decoded to %+v and %v, want %+v", name, got, err, want)
	}
}

// TestTheTablesOfTheDocument checks the numbers in the tables of kinds, flags, codes and fields.
func TestTheTablesOfTheDocument(t *testing.T) {
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]uint8{}
	for _, row := range regexp.MustCompile("(?m)^\\| `0x([0-9a-f]{2})` \\| ([A-Z_]+) \\|").FindAllStringSubmatch(string(text), -1) {
		number, _ := strconv.ParseUint(row[1], 16, 8)
		kinds[row[2]] = uint8(number)
	}
	flags := map[string]core.Flags{
		"LAST": core.FlagLast, "TIMEOUT": core.FlagTimeout, "METADATA": core.FlagMetadata, "STREAM": core.FlagStream, "INPUTS": core.FlagInputs,
		"MORE": core.FlagMore, "BULK": core.FlagBulk, "COMPRESSED": core.FlagCompressed, "NUMBERED": core.FlagNumbered,
	}
	for name, flag := range flags {
		if kinds[name] != uint8(flag) {
			t.Errorf("the flag %s is %#02x in the document, %#02x in the code", name, kinds[name], flag)
		}
		delete(kinds, name)
	}
	for number := range 256 {
		kind := core.Kind(number)
		if name := kind.String(); regexp.MustCompile(`^[A-Z_]+$`).MatchString(name) && kinds[name] != uint8(kind) {
			t.Errorf("%s is %#02x in the document, %#02x in the code", name, kinds[name], number)
		}
	}
	if len(kinds) != 19 {
		t.Errorf("the document has %d kinds of frame, the code 19: %v", len(kinds), slices.Sorted(func(yield func(string) bool) {
			for name := range kinds {
				if !yield(name) {
					return
				}
			}
		}))
	}
	for code := core.Canceled; code.Valid(); code++ {
		if row := fmt.Sprintf("| %d | %s |", code, code); !bytes.Contains(text, []byte(row)) {
			t.Errorf("the document has no row %q", row)
		}
	}
	for outcome := core.OutcomeUnknown; outcome <= core.Executed; outcome++ {
		if row := fmt.Sprintf("| %d | %s |", outcome, outcome); !bytes.Contains(text, []byte(row)) {
			t.Errorf("the document has no row %q", row)
		}
	}
	for row, number := range map[string]int{
		"HELLO `name`": helloName, "HELLO `codec`": helloCodec, "HELLO `command`": helloCommand,
		"HELLO `maxFrame`": helloMaxFrame, "HELLO `window`": helloWindow, "HELLO `compression`": helloCompression,
		"HELLO `token`": helloToken, "HELLO `session`": helloSession,
		"WELCOME `session`": welcomeSession, "WELCOME `received`": welcomeReceived, "WELCOME `lost`": welcomeLost, "WELCOME `journal`": welcomeJournal,
		"WELCOME `name`": welcomeName, "WELCOME `codec`": welcomeCodec, "WELCOME `difference`": welcomeCommand,
		"WELCOME `maxFrame`": welcomeMaxFrame, "WELCOME `maxInFlight`": welcomeMaxInFlight, "WELCOME `window`": welcomeWindow,
		"WELCOME `compression`": welcomeCompression, "REJECT `error`": rejectError,
	} {
		if row := fmt.Sprintf("| %d | %s |", number, row); !bytes.Contains(text, []byte(row)) {
			t.Errorf("the document has no row %q", row)
		}
	}
	for what, number := range map[string]int{
		"ResultOverhead": core.ResultOverhead, "MaxPingBody": core.MaxPingBody, "minFrame": minFrame,
		"maxCodecs": maxCodecs, "maxCompressions": maxCompressions, "maxCommands": maxCommands, "maxName": maxName, "MaxToken": auth.MaxToken,
		"MaxMetadataBytes": core.MaxMetadataBytes, "MaxMetadataEntries": core.MaxMetadataEntries, "MaxSlots": core.MaxSlots,
		"DefaultHandshakeBytes": DefaultHandshakeBytes, "DefaultMaxFrame": DefaultMaxFrame,
		"DefaultMaxInFlight": core.DefaultMaxInFlight, "DefaultWindow": core.DefaultWindow, "DefaultMaxWindow": core.DefaultMaxWindow,
		"NoLimit": transport.NoLimit, "AckEvery": transport.AckEvery, "MaxForgotten": core.MaxForgotten,
	} {
		if cell := fmt.Sprintf("| %d | `%s` |", number, what); !bytes.Contains(text, []byte(cell)) {
			t.Errorf("the document has no cells %q", cell)
		}
	}
}

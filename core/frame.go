package core

import (
	"context"
	"fmt"
	"time"
)

// Kind says what a frame means. docs/protocol.md has the layout of each.
type Kind uint8

// The kinds of frame. The first group is exchanged once, when the connection opens.
const (
	KindHello   Kind = 0x01
	KindWelcome Kind = 0x02
	KindReject  Kind = 0x03

	KindCommand  Kind = 0x10 // client to server: starts a call
	KindInput    Kind = 0x11 // client to server: one input
	KindInputEnd Kind = 0x12 // client to server: no more inputs
	KindResult   Kind = 0x13 // server to client: one result
	KindEnd      Kind = 0x14 // server to client: the call ended well
	KindError    Kind = 0x15 // server to client: the call ended with an error
	KindCancel   Kind = 0x16 // client to server: the caller gave up
	KindCredit   Kind = 0x17 // room for more results, from the client, or inputs, from the server
	KindAck      Kind = 0x18 // what has come up to a position need not be kept for a resume
	KindAbort    Kind = 0x19 // the message of which a part was sent is given up
	KindForget   Kind = 0x1a // client to server: what became of these numbered commands is known
	KindIdentity Kind = 0x1b // client to server: who it is that numbers commands, with a proof

	KindPing    Kind = 0x20
	KindPong    Kind = 0x21
	KindGoAway  Kind = 0x22
	KindPadding Kind = 0x23 // ignored; a frame withdrawn before it was written
)

var kindNames = map[Kind]string{
	KindHello: "HELLO", KindWelcome: "WELCOME", KindReject: "REJECT",
	KindCommand: "COMMAND", KindInput: "INPUT", KindInputEnd: "INPUT_END", KindResult: "RESULT",
	KindEnd: "END", KindError: "ERROR", KindCancel: "CANCEL", KindCredit: "CREDIT", KindAck: "ACK", KindAbort: "ABORT", KindForget: "FORGET", KindIdentity: "IDENTITY",
	KindPing: "PING", KindPong: "PONG", KindGoAway: "GOAWAY", KindPadding: "PADDING",
}

// String returns the kind's name in docs/protocol.md, as in "COMMAND".
func (k Kind) String() string {
	if name, ok := kindNames[k]; ok {
		return name
	}
	return fmt.Sprintf("kind(%#02x)", uint8(k))
}

// Flags qualify a frame.
type Flags uint8

const (
	// FlagLast on a RESULT: it is the last one and the call ended well; no END follows.
	FlagLast Flags = 1 << 0
	// FlagNumbered on a COMMAND: its number comes first, 8 bytes; see Frame.Number.
	FlagNumbered Flags = 1 << 0
	// FlagTimeout: the body is preceded by the time left, 8 bytes of nanoseconds.
	FlagTimeout Flags = 1 << 1
	// FlagMetadata: the body is preceded by metadata, with its length in 4 bytes.
	FlagMetadata Flags = 1 << 2
	// FlagStream on a COMMAND: the caller expects any number of results, under flow control.
	FlagStream Flags = 1 << 3
	// FlagInputs on a COMMAND: inputs follow, under flow control.
	FlagInputs Flags = 1 << 4

	// FlagMore: the message goes on in the next frame of its kind and call. The transport cuts messages
	// and puts them together.
	FlagMore Flags = 1 << 5
	// FlagBulk on a COMMAND: the call gives way to others.
	FlagBulk Flags = 1 << 6
	// FlagCompressed on a COMMAND, INPUT or RESULT: the body is compressed, as the handshake has agreed on.
	FlagCompressed Flags = 1 << 7

	knownFlags = FlagLast | FlagTimeout | FlagMetadata | FlagStream | FlagInputs | FlagBulk
)

// Known reports whether f has only flags of this version of the protocol, on a connection that has agreed
// on a compression or has not.
func (f Flags) Known(compression bool) bool {
	known := knownFlags
	if compression {
		known |= FlagCompressed
	}
	return f&^known == 0
}

// Sequence names a call on its connection: the slot in which the client keeps it (low 24 bits) and
// how many calls the slot has had before (high 40 bits), so that a late frame for a slot that has
// been reused is told apart.
type Sequence uint64

// slotBits is the number of low bits of a Sequence that hold the slot.
const slotBits = 24

// MaxSlots is the largest number of calls that one connection can have in flight.
const MaxSlots = 1 << slotBits

// MakeSequence joins a slot and its generation.
func MakeSequence(slot uint32, generation uint64) Sequence {
	return Sequence(generation<<slotBits | uint64(slot)&(MaxSlots-1))
}

// Slot returns the slot's number.
func (s Sequence) Slot() uint32 { return uint32(s & (MaxSlots - 1)) }

// Generation returns the number of calls that the slot has had before.
func (s Sequence) Generation() uint64 { return uint64(s >> slotBits) }

// String returns "slot.generation".
func (s Sequence) String() string { return fmt.Sprintf("%d.%d", s.Slot(), s.Generation()) }

// MaxPingBody is the largest body of a PING, in bytes, which its PONG repeats.
const MaxPingBody = 64

// Position is a place in one direction of a connection: the number of bytes of frames before it.
// It orders frames: what the peer says it has read up to a position tells which commands it saw.
type Position uint64

// Frame is the unit that a Transport carries.
type Frame struct {
	Kind    Kind
	Flags   Flags
	Command uint16 // COMMAND: the number that the handshake gave to the command's name

	// Bulk, on a frame to be sent, lets others go first: those of other calls that are not Bulk. Bodies
	// of LargeBody and more are Bulk in any case. The frames of a call keep their order, but for CANCEL
	// and CREDIT.
	Bulk bool
	// Whole, on a COMMAND to be sent, keeps it from going in parts, between which others would overtake it.
	Whole bool
	// Oversize is set on a received frame that was longer than allowed: its body was skipped and
	// Body is empty.
	Oversize bool
	// NoRoom is set with Oversize if the reason is that the connection's budget had no room for the frame.
	NoRoom bool

	Sequence Sequence
	Number   uint64        // COMMAND: with FlagNumbered, its number in its ID, with Unrecorded or without; 0 is none
	Timeout  time.Duration // COMMAND: time left, with FlagTimeout; 0 or less is already over
	Metadata []byte        // encoded, with FlagMetadata
	Body     []byte

	// Buffer, if not nil, holds Body and belongs to whoever has the frame: the sender gives it to
	// the transport, the transport gives it to the receiver. The Body of a received frame may then be
	// the first part only: Buffer.Join has all of it. Without it Body and Metadata are
	// borrowed: the sender may reuse them after Send, the receiver must copy what it keeps before
	// Run's next call of its handler.
	Buffer *Buffer

	// End is the position after a received frame.
	End Position
	// More is set on a received frame if the next one has arrived whole: Run will call its handler
	// again at once, before it reads. Handlers use it to take their locks once for several frames.
	More bool
}

// Size returns the length of the body, of all its parts.
func (f *Frame) Size() int {
	if f.Buffer != nil {
		return f.Buffer.Len()
	}
	return len(f.Body)
}

// TakeBody returns the body in a buffer that belongs to the caller: the frame's own, which the frame has no
// more then, or a copy.
func (f *Frame) TakeBody() *Buffer {
	buffer := f.Buffer
	if buffer == nil {
		buffer = GetBuffer(len(f.Body))
		buffer.Bytes = append(buffer.Bytes, f.Body...)
	}
	f.Buffer = nil
	buffer.Compressed = f.Flags&FlagCompressed != 0
	return buffer
}

// Transport carries frames over one connection, in order. core.Client and the server's side of a
// connection need no more of it, so a foreign wire protocol takes part by implementing it.
type Transport interface {
	// Send queues frame and returns its position, without waiting for it to be written, except
	// that it waits for room if too much is queued already: until ctx ends or the transport fails.
	// After an error nothing was queued. It may write to the network in the caller's goroutine,
	// for itself and for others, but never past ctx.
	Send(ctx context.Context, frame Frame) (Position, error)
	// Post is Send for those that must never wait (read loops): where Send would wait it still
	// queues, up to a hard limit, beyond which the transport fails.
	Post(frame Frame) error
	// Withdraw takes back the COMMAND of a call, which Send has put at a position, if it was not handed to
	// the network or only in part, and reports whether it did: true means that the peer never sees it.
	// In any case it drops what else of the call is queued.
	Withdraw(sequence Sequence, position Position) bool
	// Drop drops what is queued of a call and not yet written, but for the frame that ends it. If that
	// has a large result, an error takes its place.
	Drop(sequence Sequence)
	// Attempted returns the position up to which bytes were handed to the network. It does not
	// advance after the transport has failed.
	Attempted() Position
	// Received returns how many bytes have been read from the network. Whole frames need not have come of
	// them: it is by this that Keepalive knows that the peer is there.
	Received() Position
	// Run calls handle with each frame that arrives, in order, in its own goroutine, until handle or
	// the connection fails, and returns that error; io.EOF is the peer's orderly end. The frame is
	// valid during the call only. PADDING frames are skipped. handle must not wait for anything.
	Run(handle func(*Frame) error) error
	// Flush waits until everything queued has been written, then ends the sending side, as TCP's
	// half-close does where there is one. It gives up when ctx ends.
	Flush(ctx context.Context) error
	// Close closes the connection at once and makes every other method return. cause is what they
	// return as their error; the first cause stays. It waits for no one.
	Close(cause error)
	// Wait waits until the goroutines that the transport started have ended, after Close and after Run has
	// returned.
	Wait()
}

// Resumable is an optional interface of Transports that survive the loss of the connection underneath. To its user
// such a loss is nothing but a slow network.
type Resumable interface {
	// Attached reports whether there is a connection underneath at present.
	Attached() bool
	// Break gives up the connection underneath, because of cause. If it can't be resumed that closes the Transport.
	Break(cause error)
}

// Budgeted is an optional interface of Transports that keep what they hold within a budget: messages of which
// a part has come, and what waits to be written.
type Budgeted interface {
	// SetBudget sets the account of the connection. reserved tells, for a RESULT or INPUT that is coming, how
	// many of its bytes were taken from the account already, because its call has credit; it runs where Run's
	// handler does. No other method may run meanwhile.
	SetBudget(account *Account, reserved func(*Frame) int)
}

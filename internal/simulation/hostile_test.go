package simulation

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"testing/synctest"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/codec"
	"github.com/edict-go/edict/compression/s2"
	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/delegate"
	"github.com/edict-go/edict/edicttest"
	"github.com/edict-go/edict/transport"
)

// hostile is a client that keeps to no rule, beside those that do. All that it does is one step of the driver: it
// connects, attacks, is told what the server thinks of it, and leaves. So the model need not follow it; that the
// others don't notice is what the model checks anyway.
type hostile struct {
	s          *simulation
	number     int
	connection *edicttest.Connection
	conn       *transport.Conn
	frames     []core.Frame // from the server, after the handshake
	connected  bool
	ended      error // why no more come
}

// attack is what a hostile client does.
type attack int

const (
	announcedBomb  attack = iota // a command that says that it is too long when it is inflated
	lyingBomb                    // one that is longer than it says
	bombOfInputs                 // an input that says that it is too long
	floodOfPings                 // more than anyone needs
	floodOfCancels               // of calls that there are not
	floodOfCredit                // for calls that there are not
	floodOfInputs                // for calls that there are not
	creditBeyond                 // more credit than there may be
	creditForOne                 // for a call of one result
	inputForNobody               // for a call that takes none
	inputAfterEnd                // behind INPUT_END
	inputNotAgreed               // compressed, where that was not agreed on
	slotInUse                    // a second command in the same slot
	longPing                     // a PING with too long a body
	unknownToAll                 // a frame that only servers send
	attacks        = iota
)

func (a attack) String() string {
	return [...]string{
		"announced bomb", "lying bomb", "bomb of inputs", "flood of PINGs", "flood of CANCELs", "flood of CREDIT", "flood of INPUTs", "credit beyond",
		"credit for one", "input for nobody", "input after the end", "input not agreed on", "slot in use", "long PING", "unknown to all",
	}[a]
}

// firstHostileCall is the number of the first call of a hostile client.
const firstHostileCall = 1_000_000

// attackServer lets a hostile client come, if some are left in this life.
func (s *simulation) attackServer() action {
	a := attack(s.random.IntN(attacks))
	compresses := a == announcedBomb || a == lyingBomb || a == bombOfInputs
	flood := a >= floodOfPings && a <= floodOfInputs
	switch {
	case s.config.hostile == 0 || s.draining || s.server.InFlight() >= s.config.maxInFlightServer:
		return action{}
	case compresses && len(s.config.compressions) == 0:
		return action{}
	case flood && (s.config.buffer < 2000 || !s.one(4)): // it takes long
		return action{}
	}
	return action{name: fmt.Sprintf("a hostile client: %v", a), claims: alone, do: func() {
		s.config.hostile--
		h := &hostile{s: s, number: s.counted.attacks}
		s.counted.attacks++
		h.connect(compresses)
		defer h.leave()
		h.attack(a)
	}}
}

// connect makes a connection, with the first compression that the server has if so wanted.
func (h *hostile) connect(compresses bool) {
	config := delegate.Config{Name: "hostile", Codecs: []string{"a"}, Window: 1, KeepaliveInterval: -1}
	for i := range fullCommands.Len() {
		config.Commands = append(config.Commands, delegate.Command{Name: fullCommands.At(i).Name(), Shape: fullCommands.At(i).Shape()})
	}
	if compresses {
		config.Compressions = []string{h.s.config.compressions[0].Name()}
	}
	dial := h.s.network.Dialer("server")
	go func() {
		raw, err := dial(context.Background())
		looked.Load()
		if err != nil {
			h.ended = err
			return
		}
		h.conn = transport.NewConn(raw, transport.Config{})
		if _, err = delegate.Connect(context.Background(), h.conn, config); err != nil {
			h.ended = err
			return
		}
		h.connected = true
		for {
			frame, err := h.conn.Receive()
			looked.Load()
			if err != nil {
				h.ended = err
				return
			}
			h.frames = append(h.frames, core.Frame{Kind: frame.Kind, Flags: frame.Flags, Sequence: frame.Sequence, Body: append([]byte(nil), frame.Body...)})
			frame.Buffer.Release()
		}
	}()
	synctest.Wait()
	<-h.s.accepted
	all := h.s.network.Connections()
	h.connection = all[len(all)-1]
	h.move()
	if !h.connected {
		h.s.violated("a client of which nobody knows yet that it is hostile could not connect: %v", h.ended)
	}
}

// move lets all that is under way arrive, until nothing is.
func (h *hostile) move() {
	synctest.Wait()
	for h.underWay(edicttest.ToServer) || h.underWay(edicttest.ToClient) {
		for _, d := range []edicttest.Direction{edicttest.ToServer, edicttest.ToClient} {
			h.connection.Deliver(d, 1<<20)
			synctest.Wait()
		}
	}
}

func (h *hostile) underWay(d edicttest.Direction) bool {
	return h.connection.Pending(d) > 0 || h.connection.EndPending(d)
}

// leave closes the connection and lets its commands end.
func (h *hostile) leave() {
	h.conn.Close(nil)
	h.move()
	if r := h.s.lab.runs[h.call()]; r != nil && r.state == resting {
		r.orders <- order{kind: orderFinish}
	}
	synctest.Wait()
	h.conn.Wait()
}

func (h *hostile) call() int { return firstHostileCall + h.number }

// post sends frames, which arrive before it returns.
func (h *hostile) post(frames ...core.Frame) {
	for _, frame := range frames {
		_ = h.conn.Post(frame) // an error means that the server has ended the connection, which is looked at
	}
	h.move()
}

// command returns the COMMAND of a sound letter.
func (h *hostile) command(name string, flags core.Flags) core.Frame {
	body, err := codec.Codec(plain{}).Append(nil, letter{Call: h.call()})
	if err != nil {
		h.s.violated("%v", err)
	}
	for i := range fullCommands.Len() {
		if fullCommands.At(i).Name() == name {
			return core.Frame{Kind: core.KindCommand, Command: uint16(i), Flags: flags, Sequence: hostileSequence, Body: body}
		}
	}
	panic("there is no command " + name)
}

var (
	hostileSequence = core.MakeSequence(0, 7)
	strangeSequence = core.MakeSequence(0, 6)
)

// run returns the run of the command that was sent.
func (h *hostile) run() *run {
	r := h.s.lab.runs[h.call()]
	if r == nil || r.state != resting {
		h.s.violated("the command of a hostile client does not run")
	}
	return r
}

func (h *hostile) attack(a attack) {
	input := core.Frame{Kind: core.KindInput, Sequence: hostileSequence, Body: []byte{1, 2, 3}}
	credit := core.Frame{Kind: core.KindCredit, Sequence: hostileSequence, Body: core.CreditBody(1<<31 - 1)}
	switch a {
	case announcedBomb:
		bomb := h.command("ask", core.FlagCompressed)
		bomb.Body = h.bomb(h.s.config.maxFrame+1, 0)
		h.post(bomb)
		h.wantRefused(core.ResourceExhausted, "when it is inflated")
	case lyingBomb:
		bomb := h.command("ask", core.FlagCompressed)
		bomb.Body = h.bomb(1000, 500)
		h.post(bomb)
		h.wantRefused(core.InvalidArgument, "can't inflate")
	case bombOfInputs:
		input.Flags, input.Body = core.FlagCompressed, h.bomb(h.s.config.maxFrame+1, 0)
		h.post(h.command("talk", core.FlagStream|core.FlagInputs), input)
		r := h.run()
		r.orders <- order{kind: orderTake}
		synctest.Wait()
		if edict.CodeOf(r.stopped) != edict.ResourceExhausted || r.state != resting {
			h.s.violated("a bomb for an input: the command got %v", r.stopped)
		}
	case floodOfPings:
		h.flood(core.Frame{Kind: core.KindPing})
	case floodOfCancels:
		h.flood(core.Frame{Kind: core.KindCancel, Sequence: strangeSequence})
	case floodOfCredit:
		h.flood(core.Frame{Kind: core.KindCredit, Sequence: strangeSequence, Body: core.CreditBody(1)})
	case floodOfInputs:
		h.flood(core.Frame{Kind: core.KindInput, Sequence: strangeSequence})
	case creditBeyond:
		h.post(h.command("list", core.FlagStream), credit)
		h.wantGoAway(core.Internal, "CREDIT out of range")
	case creditForOne:
		h.post(h.command("ask", 0), credit)
		h.wantGoAway(core.Internal, "CREDIT out of range")
	case inputForNobody:
		h.post(h.command("list", core.FlagStream), input)
		h.wantGoAway(core.Internal, "takes no inputs")
	case inputAfterEnd:
		h.post(h.command("talk", core.FlagStream|core.FlagInputs), core.Frame{Kind: core.KindInputEnd, Sequence: hostileSequence}, input)
		h.wantGoAway(core.Internal, "after INPUT_END")
	case inputNotAgreed:
		input.Flags = core.FlagCompressed
		h.post(h.command("talk", core.FlagStream|core.FlagInputs), input)
		h.wantGoAway(core.Internal, "not agreed on")
	case slotInUse:
		second := h.command("ask", 0)
		second.Sequence = strangeSequence
		h.post(h.command("ask", 0), second)
		h.wantGoAway(core.Internal, "slot is in use")
	case longPing:
		h.post(core.Frame{Kind: core.KindPing, Body: make([]byte, core.MaxPingBody+1)})
		h.wantGoAway(core.Internal, "PING frame too long")
	case unknownToAll:
		h.post(core.Frame{Kind: core.KindResult, Sequence: hostileSequence})
		h.wantGoAway(core.Internal, "unexpected RESULT")
	}
}

// bomb returns size zeros, compressed as the connection has it; if says is not 0 it says that it has so many.
func (h *hostile) bomb(size, says int) []byte {
	compression := h.s.config.compressions[0]
	body := compression.Append(nil, make([]byte, size))
	switch {
	case says == 0:
	case compression == s2.Compression:
		_, n := binary.Uvarint(body)
		body = append(binary.AppendUvarint(nil, uint64(says)), body[n:]...)
	default: // zstd: magic, a byte, and the size in two bytes, 256 less
		binary.LittleEndian.PutUint16(body[5:], uint16(says-256))
	}
	if n, err := compression.DecodedLen(body); err != nil || says != 0 && n != says || says == 0 && n != size {
		h.s.violated("the bomb is none: %d, %v", n, err)
	}
	return body
}

// flood sends frames for nothing until the server has enough.
func (h *hostile) flood(frame core.Frame) {
	before := h.s.server.Stats().Total
	sent := 0
	for ; h.ended == nil && sent < 50_000; sent += 500 {
		for range 500 {
			_ = h.conn.Post(frame)
		}
		h.move()
	}
	if sent < 10_000 {
		h.s.violated("the server had enough after %d of %v", sent, frame.Kind)
	}
	h.wantGoAway(core.ResourceExhausted, "flood")
	after := h.s.server.Stats().Total
	if counted := after.Pings + after.Ignored - before.Pings - before.Ignored; counted < 10_000 || counted > uint64(sent) {
		h.s.violated("the server has counted %d of %d frames for nothing", counted, sent)
	}
}

// wantRefused checks that the command was refused, that it did not run, and that nothing else has happened.
func (h *hostile) wantRefused(code core.Code, why string) {
	if len(h.frames) != 1 || h.frames[0].Kind != core.KindError || h.ended != nil {
		h.s.violated("a bomb was answered with %+v, %v", h.frames, h.ended)
	}
	if e := core.DecodeError(h.frames[0].Body); e.Code != code || e.Outcome != core.Refused || !strings.Contains(e.Message, why) || h.s.lab.runs[h.call()] != nil {
		h.s.violated("a bomb was answered with %v, %v", e, e.Outcome)
	}
}

// wantGoAway checks that the server has said why it ends the connection, and has ended it.
func (h *hostile) wantGoAway(code core.Code, why string) {
	if h.ended != io.EOF {
		h.s.violated("the server has not ended the connection of a hostile client: %v", h.ended)
	}
	for _, frame := range h.frames {
		if frame.Kind != core.KindGoAway {
			continue
		}
		if e := core.DecodeError(frame.Body[8:]); e.Code != code || !strings.Contains(e.Message, why) {
			h.s.violated("the server has told a hostile client: %v; it should name %q", e, why)
		}
		return
	}
	h.s.violated("the server has not told a hostile client why it ends the connection")
}

package delegate

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/edict-go/edict/auth"
	"github.com/edict-go/edict/core"
)

// The fields of HELLO, WELCOME and REJECT. Each is a tag, a length (both uvarint) and that many
// bytes. A field that is not listed is skipped; one that may occur once counts by its last value.
const (
	helloName     = 1 // text: what the client calls itself
	helloCodec    = 2 // text: a codec; repeated, in order of preference
	helloCommand  = 3 // 8 bytes of fingerprint, then text: the name; repeated, numbered from 0
	helloMaxFrame = 4 // uvarint: the largest payload that the client accepts
	helloWindow   = 5 // uvarint: how many bytes of results a stream may have under way
	// text: a compression; repeated, in order of preference
	helloCompression = 6
	// uvarint: after how many milliseconds without a byte the client would send a PING; absent if never
	helloKeepalive = 7
	helloToken     = 8 // bytes: what the client authenticates itself with; absent or empty if there is none
	// empty: the client would like a session that can be resumed; else the one to resume: ID, secret, uvarint: the
	// position up to which it has received
	helloSession = 9

	welcomeName        = 1 // text: what the server calls itself
	welcomeCodec       = 2 // text: the codec that it chose
	welcomeCommand     = 3 // a command that is not as the client has it; repeated: see difference
	welcomeMaxFrame    = 4 // uvarint: the largest payload that the server accepts
	welcomeMaxInFlight = 5 // uvarint: how many commands may be in flight
	welcomeWindow      = 6 // uvarint: how many bytes of inputs a command may have under way
	// text: the compression that the server chose; absent if there is none
	welcomeCompression = 7
	// uvarint: after how many milliseconds the client may send one; absent if it has not asked
	welcomeKeepalive = 8
	welcomeSession   = 9  // the client's session: ID, secret for the next time, uvarint: milliseconds that it is kept
	welcomeReceived  = 10 // uvarint: the session is resumed; the server has received up to this position
	welcomeLost      = 11 // text: why the session can't be resumed that the client has asked for
	welcomeJournal   = 12 // 16 bytes: the name of the server's journal, 16 bytes: a nonce; see core.Challenge

	rejectError = 1 // as the body of an ERROR frame
)

// Bounds on what one message may hold, beside its size.
const (
	maxCodecs       = 64
	maxCompressions = 64
	maxCommands     = 1 << 16 // numbers have 16 bits
	maxName         = 1024
)

// hello is what a client says first.
type hello struct {
	version      int // the newest that both sides speak; from the prefaces, not a field
	name         string
	codecs       []string
	compressions []string
	commands     []commandID
	maxFrame     uint64
	window       uint64
	token        auth.Token
	keepalive    uint64  // milliseconds; 0 is none
	resume       *Ticket // not nil: the client would like a session
	resumes      bool    // this one, of which it has received up to
	received     uint64
}

// commandID is a command as HELLO names it; its index is its number.
type commandID struct {
	name        string
	fingerprint uint64
}

// welcome is the server's answer to it.
type welcome struct {
	name        string
	codec       string
	compression string
	differences []difference
	maxFrame    uint64
	maxInFlight uint64
	window      uint64
	keepalive   uint64  // milliseconds; 0 is none
	session     *Ticket // nil if the connection can't be resumed
	resumed     bool
	received    uint64 // with resumed
	lost        string
	challenge   core.Challenge // zero if there is no journal
}

// difference is a command that the server does not have, or has in another shape. On the wire: the
// number (uvarint), then the shape as text, which is empty if the command is unknown.
type difference struct {
	number uint64
	shape  string
}

func appendField(dst []byte, tag uint64, value []byte) []byte {
	dst = binary.AppendUvarint(dst, tag)
	dst = binary.AppendUvarint(dst, uint64(len(value)))
	return append(dst, value...)
}

func appendText(dst []byte, tag uint64, value string) []byte {
	dst = binary.AppendUvarint(dst, tag)
	dst = binary.AppendUvarint(dst, uint64(len(value)))
	return append(dst, value...)
}

func appendNumber(dst []byte, tag, value uint64) []byte {
	return appendField(dst, tag, binary.AppendUvarint(nil, value))
}

func appendHello(dst []byte, h hello) []byte {
	dst = appendText(dst, helloName, h.name)
	for _, codec := range h.codecs {
		dst = appendText(dst, helloCodec, codec)
	}
	for _, command := range h.commands {
		value := binary.LittleEndian.AppendUint64(nil, command.fingerprint)
		dst = appendField(dst, helloCommand, append(value, command.name...))
	}
	dst = appendNumber(dst, helloMaxFrame, h.maxFrame)
	dst = appendNumber(dst, helloWindow, h.window)
	for _, compression := range h.compressions {
		dst = appendText(dst, helloCompression, compression)
	}
	if h.keepalive > 0 {
		dst = appendNumber(dst, helloKeepalive, h.keepalive)
	}
	if !h.token.IsZero() {
		dst = appendText(dst, helloToken, h.token.Reveal())
	}
	switch {
	case h.resumes:
		dst = appendField(dst, helloSession, appendTicket(nil, *h.resume, h.received))
	case h.resume != nil:
		dst = appendField(dst, helloSession, nil)
	}
	return dst
}

func decodeHello(src []byte) (hello, error) {
	var h hello
	err := eachField(src, func(tag uint64, value []byte) (err error) {
		switch tag {
		case helloName:
			h.name, err = text(value)
		case helloCodec:
			var codec string
			if codec, err = text(value); err == nil && len(h.codecs) == maxCodecs {
				err = fmt.Errorf("more than %d codecs", maxCodecs)
			}
			h.codecs = append(h.codecs, codec)
		case helloCommand:
			if len(value) < 8 || len(value) > 8+maxName {
				return fmt.Errorf("a command of %d bytes", len(value))
			}
			if len(h.commands) == maxCommands {
				return fmt.Errorf("more than %d commands", maxCommands)
			}
			h.commands = append(h.commands, commandID{string(value[8:]), binary.LittleEndian.Uint64(value)})
		case helloMaxFrame:
			h.maxFrame, err = number(value)
		case helloWindow:
			h.window, err = number(value)
		case helloCompression:
			var compression string
			if compression, err = text(value); err == nil && len(h.compressions) == maxCompressions {
				err = fmt.Errorf("more than %d compressions", maxCompressions)
			}
			h.compressions = append(h.compressions, compression)
		case helloToken:
			if len(value) > auth.MaxToken {
				return fmt.Errorf("a token of %d bytes, at most %d are allowed", len(value), auth.MaxToken)
			}
			h.token = auth.NewToken(string(value))
		case helloKeepalive:
			h.keepalive, err = number(value)
		case helloSession:
			h.resume, h.resumes = new(Ticket), len(value) > 0
			if h.resumes {
				*h.resume, h.received, err = decodeTicket(value)
			}
		}
		return err
	})
	return h, err
}

func appendWelcome(dst []byte, w welcome) []byte {
	dst = appendText(dst, welcomeName, w.name)
	dst = appendText(dst, welcomeCodec, w.codec)
	dst = appendNumber(dst, welcomeMaxFrame, w.maxFrame)
	dst = appendNumber(dst, welcomeMaxInFlight, w.maxInFlight)
	dst = appendNumber(dst, welcomeWindow, w.window)
	if w.compression != "" {
		dst = appendText(dst, welcomeCompression, w.compression)
	}
	if w.keepalive > 0 {
		dst = appendNumber(dst, welcomeKeepalive, w.keepalive)
	}
	if w.session != nil {
		dst = appendField(dst, welcomeSession, appendTicket(nil, *w.session, milliseconds(w.session.TTL)))
	}
	if w.resumed {
		dst = appendNumber(dst, welcomeReceived, w.received)
	}
	if w.lost != "" {
		dst = appendText(dst, welcomeLost, w.lost)
	}
	if w.challenge != (core.Challenge{}) {
		dst = appendField(dst, welcomeJournal, append(w.challenge.Journal[:], w.challenge.Nonce[:]...))
	}
	for _, d := range w.differences {
		value := binary.AppendUvarint(nil, d.number)
		dst = appendField(dst, welcomeCommand, append(value, d.shape...))
	}
	return dst
}

func decodeWelcome(src []byte) (welcome, error) {
	var w welcome
	err := eachField(src, func(tag uint64, value []byte) (err error) {
		switch tag {
		case welcomeName:
			w.name, err = text(value)
		case welcomeCodec:
			w.codec, err = text(value)
		case welcomeCommand:
			number, n := binary.Uvarint(value)
			if n <= 0 || number >= maxCommands {
				return fmt.Errorf("a malformed command number")
			}
			if len(w.differences) == maxCommands {
				return fmt.Errorf("more than %d commands", maxCommands)
			}
			w.differences = append(w.differences, difference{number, string(value[n:])})
		case welcomeMaxFrame:
			w.maxFrame, err = number(value)
		case welcomeMaxInFlight:
			w.maxInFlight, err = number(value)
		case welcomeWindow:
			w.window, err = number(value)
		case welcomeCompression:
			w.compression, err = text(value)
		case welcomeKeepalive:
			w.keepalive, err = number(value)
		case welcomeSession:
			var ttl uint64
			w.session = new(Ticket)
			*w.session, ttl, err = decodeTicket(value)
			w.session.TTL = time.Duration(min(ttl, uint64(maxSessionTTL/time.Millisecond))) * time.Millisecond
		case welcomeReceived:
			w.resumed = true
			w.received, err = number(value)
		case welcomeLost:
			w.lost, err = text(value)
		case welcomeJournal:
			if len(value) != len(w.challenge.Journal)+len(w.challenge.Nonce) {
				return fmt.Errorf("%d bytes", len(value))
			}
			copy(w.challenge.Nonce[:], value[copy(w.challenge.Journal[:], value):])
		}
		return err
	})
	return w, err
}

func appendReject(dst []byte, e *core.Error) []byte {
	return appendField(dst, rejectError, core.AppendError(nil, e))
}

func decodeReject(src []byte) (*core.Error, error) {
	e := &core.Error{Code: core.Unavailable, Message: "no reason given", Remote: true}
	err := eachField(src, func(tag uint64, value []byte) error {
		if tag == rejectError {
			e = core.DecodeError(value)
		}
		return nil
	})
	return e, err
}

// eachField calls visit for each field of src, until one is malformed.
func eachField(src []byte, visit func(tag uint64, value []byte) error) error {
	for len(src) > 0 {
		tag, n := binary.Uvarint(src)
		if n <= 0 {
			return fmt.Errorf("a malformed tag")
		}
		src = src[n:]
		length, n := binary.Uvarint(src)
		if n <= 0 || length > uint64(len(src)-n) {
			return fmt.Errorf("field %d is malformed", tag)
		}
		src = src[n:]
		if err := visit(tag, src[:length:length]); err != nil {
			return fmt.Errorf("field %d: %w", tag, err)
		}
		src = src[length:]
	}
	return nil
}

func text(value []byte) (string, error) {
	if len(value) > maxName {
		return "", fmt.Errorf("text of %d bytes, at most %d are allowed", len(value), maxName)
	}
	return string(value), nil
}

func number(value []byte) (uint64, error) {
	n, size := binary.Uvarint(value)
	if size <= 0 || size != len(value) {
		return 0, fmt.Errorf("a malformed number")
	}
	return n, nil
}

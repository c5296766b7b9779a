package delegate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/edict-go/edict/auth"
	"github.com/edict-go/edict/codec"
	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/transport"
)

// Connect performs the client's part of the handshake on a new connection. It gives up when ctx ends
// or after the handshake's timeout. Its errors are *core.Error with the outcome NotSent; after one
// the connection is of no use, and the caller closes it.
func Connect(ctx context.Context, conn *transport.Conn, config Config) (Agreement, error) {
	config = config.WithDefaults()
	if err := config.checkToken(conn.NetConn()); err != nil {
		return Agreement{}, err
	}
	if err := conn.SetDeadline(time.Now().Add(config.HandshakeTimeout)); err != nil {
		return Agreement{}, failed(core.Unavailable, err)
	}
	interrupt := context.AfterFunc(ctx, func() { conn.Close(context.Cause(ctx)) })
	agreement, err := connect(conn, config)
	if !interrupt() && ctx.Err() != nil {
		return Agreement{}, failed(core.CodeOf(ctx.Err()), context.Cause(ctx))
	}
	if err == nil {
		if deadlineErr := conn.SetDeadline(time.Time{}); deadlineErr != nil {
			err = failed(core.Unavailable, deadlineErr)
		}
	}
	return agreement, err
}

// failed describes a handshake that failed on this side.
func failed(code core.Code, cause error) *core.Error {
	return &core.Error{Code: code, Outcome: core.NotSent, Message: "handshake: " + cause.Error(), Cause: cause}
}

func connect(conn *transport.Conn, config Config) (Agreement, error) {
	conn.SetLimits(config.HandshakeBytes, transport.NoLimit)
	conn.SendPreface(preface(MinVersion, MaxVersion))
	greeting := hello{
		name: config.Name, codecs: config.Codecs, compressions: config.Compressions,
		maxFrame: uint64(config.MaxFrame), window: uint64(config.Window), token: config.Token,
		keepalive: milliseconds(config.KeepaliveInterval),
	}
	if config.Resumes {
		greeting.resume = new(Ticket)
	}
	if config.Resume != nil {
		greeting.resume, greeting.resumes, greeting.received = config.Resume, true, uint64(config.Received)
	}
	for _, command := range config.Commands {
		greeting.commands = append(greeting.commands, commandID{command.Name, command.Shape.Fingerprint()})
	}
	asked := time.Now()
	if err := conn.Post(core.Frame{Kind: core.KindHello, Body: appendHello(nil, greeting)}); err != nil {
		return Agreement{}, failed(core.Unavailable, err)
	}
	answer, err := conn.ReceivePreface()
	if err != nil {
		return Agreement{}, failed(core.Unavailable, noAnswer(err, config.HandshakeTimeout))
	}
	if string(answer[:len(magic)]) != magic {
		return Agreement{}, failed(core.Unavailable, fmt.Errorf("the server does not speak Edict: it sent %q", answer))
	}
	frame, err := conn.Receive()
	if err != nil {
		return Agreement{}, failed(core.Unavailable, noAnswer(err, config.HandshakeTimeout))
	}
	defer frame.Buffer.Release()
	switch {
	case frame.Oversize:
		return Agreement{}, failed(core.Internal, fmt.Errorf("the server's answer is larger than %d bytes (HandshakeBytes)", config.HandshakeBytes))
	case frame.Kind == core.KindReject:
		return Agreement{}, rejected(frame.Body, config.Token)
	case frame.Kind != core.KindWelcome:
		return Agreement{}, failed(core.Internal, fmt.Errorf("the server answered with a %v frame", frame.Kind))
	case answer[6] != answer[7] || answer[6] < MinVersion || answer[6] > MaxVersion:
		return Agreement{}, failed(core.FailedPrecondition, fmt.Errorf("the server chose version %d of the protocol; this client speaks %d to %d", answer[6], MinVersion, MaxVersion))
	}
	reply, err := decodeWelcome(frame.Body)
	if err != nil {
		return Agreement{}, failed(core.Internal, fmt.Errorf("the server's WELCOME: %w", err))
	}
	agreement, err := settle(conn, config, int(answer[6]), reply)
	agreement.RoundTripTime = time.Since(asked)
	return agreement, err
}

// noAnswer says for people why a handshake has ended early.
func noAnswer(err error, timeout time.Duration) error {
	switch {
	case transport.IsTimeout(err):
		return fmt.Errorf("no answer from the server within %v", timeout)
	case err == io.EOF, errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("the server closed the connection: %w", err)
	}
	return err
}

// rejected returns the error that a REJECT carries, without the token, which a server may have repeated.
func rejected(body []byte, token auth.Token) error {
	e, err := decodeReject(body)
	if err != nil {
		return failed(core.Internal, fmt.Errorf("the server's REJECT: %w", err))
	}
	e = token.RedactError(e)
	e.Outcome = core.NotSent
	e.Message = "the server rejected the connection: " + e.Message
	return e
}

// settle checks the server's answer and puts it into force.
func settle(conn *transport.Conn, config Config, version int, reply welcome) (Agreement, error) {
	if !slices.Contains(config.Codecs, reply.codec) {
		return Agreement{}, failed(core.Internal, fmt.Errorf("the server chose the codec %q, which was not offered", reply.codec))
	}
	if reply.compression != "" && !slices.Contains(config.Compressions, reply.compression) {
		return Agreement{}, failed(core.Internal, fmt.Errorf("the server chose the compression %q, which was not offered", reply.compression))
	}
	if reply.maxFrame < minFrame || reply.maxFrame > transport.NoLimit || reply.maxInFlight == 0 || reply.window == 0 {
		return Agreement{}, failed(core.Internal, errors.New("the server's limits are out of range"))
	}
	a := Agreement{
		Version: version, Codec: reply.codec, Compression: reply.compression, PeerName: reply.name, Window: config.Window,
		MaxReceive: config.MaxFrame, MaxSend: int(reply.maxFrame),
		MaxInFlight:       int(min(uint64(config.MaxInFlight), reply.maxInFlight)),
		InputWindow:       int(min(reply.window, maxWindow)),
		KeepaliveInterval: grantedKeepalive(config.KeepaliveInterval, reply.keepalive), KeepaliveTimeout: config.KeepaliveTimeout,
		Ticket: reply.session, Resumed: reply.resumed, PeerReceived: core.Position(reply.received), Lost: reply.lost,
		Challenge: reply.challenge,
	}
	switch {
	case reply.session != nil && !config.Resumes, reply.challenge != core.Challenge{} && reply.session == nil:
		return Agreement{}, failed(core.Internal, errors.New("the server gave a session that was not asked for"))
	case reply.resumed && (config.Resume == nil || reply.session == nil || reply.session.ID != config.Resume.ID):
		return Agreement{}, failed(core.Internal, errors.New("the server resumed a session that was not asked for"))
	}
	if len(reply.differences) > 0 {
		a.Unusable = map[int]*core.Error{}
	}
	var differing []error
	for _, d := range reply.differences {
		if d.number >= uint64(len(config.Commands)) {
			return Agreement{}, failed(core.Internal, errors.New("the server's WELCOME has a command number out of range"))
		}
		command := config.Commands[d.number]
		if d.shape == "" {
			a.Unusable[int(d.number)] = &core.Error{
				Code: core.Unimplemented, Outcome: core.NotSent, Message: fmt.Sprintf("the server has no command %q", command.Name),
			}
			continue
		}
		text := command.Shape.Difference(codec.ParseShape(d.shape), "server")
		if text == "" {
			text = "its shape differs"
		}
		differing = append(differing, fmt.Errorf("command %s: %s", command.Name, text))
		if config.NamesFields == nil || !config.NamesFields(reply.codec) {
			a.Unusable[int(d.number)] = &core.Error{
				Code: core.FailedPrecondition, Outcome: core.NotSent, Message: text + ", and the codec " + reply.codec + " does not name fields",
			}
		}
	}
	if len(differing) > 0 && !config.AllowDifferences {
		err := failed(core.FailedPrecondition, errors.Join(differing...))
		err.Reason = ReasonShape
		farewell := core.AppendError(make([]byte, 8), err)
		_ = conn.Post(core.Frame{Kind: core.KindGoAway, Body: farewell}) // for the server's log
		return Agreement{}, err
	}
	conn.SetLimits(a.MaxReceive, a.MaxSend)
	return a, nil
}

// ReasonShape is the Reason of the error with which Connect fails because commands have another
// shape on the server.
const ReasonShape = "shape-differs"

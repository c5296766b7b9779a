package delegate

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/transport"
)

// Acceptor performs the server's part of handshakes.
type Acceptor struct {
	config Config
	byName map[string]int
}

// NewAcceptor returns an Acceptor for a server with these settings.
func NewAcceptor(config Config) *Acceptor {
	a := &Acceptor{config: config.WithDefaults(), byName: map[string]int{}}
	for i, command := range config.Commands {
		a.byName[command.Name] = i
	}
	return a
}

// Accept performs the handshake on a new connection, within the handshake's timeout. If full is
// not nil, the client is rejected with it. An authenticator is asked after that, before the client is
// told anything. After an error the caller closes the connection; if the
// client could be told why, it has been, and had time to read it.
func (a *Acceptor) Accept(conn *transport.Conn, full *core.Error) (Agreement, error) {
	deadline := time.Now().Add(a.config.HandshakeTimeout)
	if err := conn.SetDeadline(deadline); err != nil {
		return Agreement{}, err
	}
	greeting, err := a.receiveHello(conn)
	if err == nil && full != nil && !a.config.Sessions.known(&greeting) { // one that is counted in comes back
		err = full
	}
	var principal *core.Principal
	if err == nil && a.config.Authenticator != nil {
		principal, err = a.authenticate(conn, greeting, deadline)
	}
	var agreement Agreement
	if err == nil { // who is not let in learns nothing of what the server has
		agreement, err = a.answer(conn, greeting, principal, deadline)
		agreement.Principal = principal
	}
	switch e := err.(type) {
	case nil:
		if agreement.Resumed { // then the connection is another Conn's
			return agreement, nil
		}
		if err = conn.SetDeadline(time.Time{}); err == nil {
			return agreement, nil
		}
	case *core.Error: // a reason that the client can be told
		a.reject(conn, e)
	case *refusal:
		a.reject(conn, e.told)
	}
	if agreement.Session != nil {
		agreement.Session.End(err)
	}
	return Agreement{}, err
}

// receiveHello returns what the client says first. An error that is a *core.Error is for the client
// too; others mean that there is no one who would understand it.
func (a *Acceptor) receiveHello(conn *transport.Conn) (hello, error) {
	conn.SetLimits(a.config.HandshakeBytes, transport.NoLimit)
	first, err := conn.ReceivePreface()
	if err != nil {
		return hello{}, silence(err, a.config.HandshakeTimeout)
	}
	if string(first[:len(magic)]) != magic {
		return hello{}, fmt.Errorf("the client does not speak Edict: it sent %q", first)
	}
	if oldest, newest := first[6], first[7]; oldest > MaxVersion || newest < MinVersion {
		return hello{}, core.Errorf(core.FailedPrecondition,
			"the client speaks the versions %d to %d of the protocol, the server %d to %d", oldest, newest, MinVersion, MaxVersion)
	}
	frame, err := conn.Receive()
	if err != nil {
		return hello{}, silence(err, a.config.HandshakeTimeout)
	}
	defer frame.Buffer.Release()
	if frame.Kind != core.KindHello {
		return hello{}, core.Errorf(core.InvalidArgument, "a HELLO frame is wanted first, not %v", frame.Kind)
	}
	if frame.Oversize {
		return hello{}, core.Errorf(core.ResourceExhausted, "the HELLO is larger than %d bytes (HandshakeBytes of the server)", a.config.HandshakeBytes)
	}
	greeting, err := decodeHello(frame.Body)
	if err != nil {
		return hello{}, core.Errorf(core.InvalidArgument, "malformed HELLO: %v", err)
	}
	greeting.version = int(min(MaxVersion, first[7]))
	if greeting.maxFrame < minFrame || greeting.maxFrame > transport.NoLimit || greeting.window == 0 {
		return hello{}, core.Errorf(core.InvalidArgument, "the client's limits are out of range")
	}
	return greeting, nil
}

// silence says for people why a client was given up.
func silence(err error, timeout time.Duration) error {
	switch {
	case transport.IsTimeout(err):
		return fmt.Errorf("the client did not complete its handshake within %v", timeout)
	case err == io.EOF, err == io.ErrUnexpectedEOF:
		return fmt.Errorf("the client closed the connection during the handshake: %w", io.ErrUnexpectedEOF)
	}
	return err
}

// answer chooses what both sides can do and tells the client.
func (a *Acceptor) answer(conn *transport.Conn, greeting hello, principal *core.Principal, deadline time.Time) (Agreement, error) {
	agreement := Agreement{
		Version: greeting.version, PeerName: greeting.name,
		MaxInFlight: a.config.MaxInFlight, Window: int(min(greeting.window, maxWindow)), InputWindow: a.config.Window,
		MaxReceive: a.config.MaxFrame, MaxSend: int(greeting.maxFrame),
		KeepaliveInterval: a.config.KeepaliveInterval, KeepaliveTimeout: a.config.KeepaliveTimeout,
		Compression: firstCommon(greeting.compressions, a.config.Compressions),
		Codec:       firstCommon(greeting.codecs, a.config.Codecs),
	}
	if agreement.Codec == "" {
		return Agreement{}, core.Errorf(core.FailedPrecondition, "no common codec: the client offers %s, the server has %s",
			list(greeting.codecs), list(a.config.Codecs))
	}
	reply := welcome{
		name: a.config.Name, codec: agreement.Codec, compression: agreement.Compression,
		maxFrame: uint64(a.config.MaxFrame), maxInFlight: uint64(a.config.MaxInFlight),
		window: uint64(a.config.Window), keepalive: grantKeepalive(greeting.keepalive),
	}
	room := a.config.HandshakeBytes / 2 // for shapes: a client has the same limit on the answer
	for number, command := range greeting.commands {
		index, known := a.byName[command.name]
		if !known {
			index = -1
			reply.differences = append(reply.differences, difference{number: uint64(number)})
		} else if shape := a.config.Commands[index].Shape; shape.Fingerprint() != command.fingerprint {
			text := shape.String()
			if room -= len(text); room < 0 {
				text = shape[0] // the client learns that there is a difference, if not which
			}
			reply.differences = append(reply.differences, difference{uint64(number), text})
		}
		agreement.Commands = append(agreement.Commands, index)
		agreement.Names = append(agreement.Names, command.name)
	}
	var resumed *Session
	if greeting.resume != nil && a.config.Sessions != nil {
		ctx, cancel := context.WithDeadline(context.Background(), deadline)
		defer cancel()
		if resumed = a.settleSession(ctx, conn, &greeting, principal, &reply, &agreement); resumed != nil {
			defer resumed.release()
		}
	}
	conn.SendPreface(preface(byte(agreement.Version), byte(agreement.Version)))
	if err := conn.Post(core.Frame{Kind: core.KindWelcome, Body: appendWelcome(nil, reply)}); err != nil {
		return agreement, err
	}
	if resumed != nil {
		return agreement, resumed.attach(conn, core.Position(greeting.received))
	}
	conn.SetLimits(agreement.MaxReceive, agreement.MaxSend)
	return agreement, nil
}

// settleSession gives the client the session that it wants to resume, which is returned suspended, or a new one.
func (a *Acceptor) settleSession(ctx context.Context, conn *transport.Conn, greeting *hello, principal *core.Principal, reply *welcome, agreement *Agreement) *Session {
	sessions := a.config.Sessions
	if greeting.resumes {
		session, lost := sessions.find(*greeting.resume, principal)
		if session != nil {
			received, ticket, err := session.suspend(ctx, greeting.resume.Secret, principal, core.Position(greeting.received))
			if err == nil {
				reply.session, reply.resumed, reply.received = &ticket, true, uint64(received)
				agreement.Resumed = true
				return session
			}
			lost = err.Error()
		}
		reply.lost = lost[:min(len(lost), maxName)]
	}
	session, ticket := sessions.begin(principal, conn)
	reply.session, agreement.Session = &ticket, session
	if sessions.config.Journal != (core.JournalID{}) {
		reply.challenge.Journal = sessions.config.Journal
		rand.Read(reply.challenge.Nonce[:]) // never fails: see crypto/rand
		agreement.Challenge = reply.challenge
	}
	return nil
}

// firstCommon returns the first name of offered that is among own, or "" if there is none.
func firstCommon(offered, own []string) string {
	for _, name := range offered {
		if slices.Contains(own, name) {
			return name
		}
	}
	return ""
}

func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// rejectLinger is how long a rejected client may take to read why and close the connection.
const rejectLinger = time.Second

// reject tells the client why it can't connect, then waits until it closes: closing first, with
// bytes of it unread, would destroy the answer on its way.
func (a *Acceptor) reject(conn *transport.Conn, e *core.Error) {
	e.Outcome = core.Refused
	conn.SendPreface(preface(MinVersion, MaxVersion))
	if conn.Post(core.Frame{Kind: core.KindReject, Body: appendReject(nil, e)}) != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), rejectLinger)
	defer cancel()
	if conn.SetDeadline(time.Now().Add(rejectLinger)) != nil || conn.Flush(ctx) != nil {
		return
	}
	for range rejectFrames {
		frame, err := conn.Receive()
		if err != nil {
			return
		}
		frame.Buffer.Release()
	}
}

// rejectFrames bounds what is read of a rejected client: its HELLO, and what it sent without waiting
// for the answer.
const rejectFrames = 16

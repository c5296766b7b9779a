package edict

import (
	"context"
	"slices"
	"time"

	"github.com/edict-go/edict/auth"
	"github.com/edict-go/edict/codec/json"
	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/delegate"
	"github.com/edict-go/edict/handler"
	"github.com/edict-go/edict/text"
)

// textMode is what a server with AllowText needs for it.
type textMode struct {
	commands  map[string]text.Command
	names     []string
	executors []core.Executor
}

// newTextMode returns what lines can call: what has its encoding from the codec json, and what the server has of itself.
func (s *Server) newTextMode(commands []delegate.Command, descriptions []CommandDescription) textMode {
	if s.executors[json.Codec.Name()] == nil && s.problem == nil {
		s.problem = &Error{Code: FailedPrecondition, Message: "ServerConfig.AllowText needs the codec json among the server's codecs"}
		return textMode{}
	}
	if s.problem != nil {
		return textMode{} // it will not serve
	}
	mode := textMode{commands: map[string]text.Command{}, executors: s.executors[json.Codec.Name()]}
	for i, command := range commands {
		mode.names = append(mode.names, command.Name)
		foreign := slices.ContainsFunc(descriptions, func(d CommandDescription) bool { return d.Name == command.Name && d.Format != "" })
		if executor := mode.executors[i]; !foreign {
			mode.commands[command.Name] = text.Command{Number: uint16(i), Stream: executor.Stream(), Inputs: executor.Inputs()}
		}
	}
	return mode
}

// isText reports whether the connection begins with a line of JSON, which the binary protocol never does.
func (s *session) isText() (bool, error) {
	if !s.server.settings.config.AllowText {
		return false, nil
	}
	if err := s.carrier.SetDeadline(time.Now().Add(s.server.acceptor.Settings().HandshakeTimeout)); err != nil {
		return false, err
	}
	first, err := s.carrier.Peek()
	if err != nil {
		return false, s.server.acceptor.Silence(err)
	}
	return first == '{', nil
}

// serveText is Serve for a connection in text mode.
func (s *session) serveText(account *core.Account, refusal *core.Error) {
	settings, conn := s.server.acceptor.Settings(), s.carrier.NetConn()
	lines := text.NewConn(conn, s.carrier.TakeOver(), text.Config{
		Commands: s.server.text.commands, MaxLine: settings.MaxFrame, MaxInFlight: settings.MaxInFlight,
		WriteTimeout: orDefault(s.server.settings.config.WriteTimeout), LineTimeout: orDefault(s.server.settings.config.FrameTimeout),
		Account: account, Close: s.carrier.Close,
		Malformed: func(problem *core.Error) {
			s.server.failures.Note(Failure{Code: core.FailureTextLine, Text: problem.Message, Peer: addressText(conn.RemoteAddr())})
		},
	})
	defer lines.Wait()
	principal, name, err := s.admitText(lines, refusal)
	if err == nil {
		err = s.carrier.SetDeadline(time.Time{})
	}
	if err != nil {
		s.server.settings.log().Warn("edict: handshake failed", "peer", conn.RemoteAddr(), "error", err)
		s.server.noteHandshake(s.carrier, err)
		lines.Close(err)
		return
	}
	agreement := delegate.Agreement{
		Codec: json.Codec.Name(), PeerName: name, Principal: principal, MaxInFlight: settings.MaxInFlight,
		MaxReceive: settings.MaxFrame, MaxSend: settings.MaxFrame, Window: text.Window, InputWindow: core.DefaultWindow,
	}
	settleAccount(account, s.server.settings.config.ConnectionBytes, agreement)
	connection := s.server.invoker.NewConnection(lines, handler.ConnectionConfig{
		Executors: s.server.text.executors, Names: s.server.text.names, MaxInFlight: agreement.MaxInFlight,
		Window: agreement.Window, InputWindow: agreement.InputWindow, Account: account, Peer: peerOf(conn, agreement),
	})
	s.settle(connection)
	s.server.opened(connection, s.carrier, agreement)
	defer s.server.closed(connection)
	if err := connection.Serve(); !connection.OrderlyEnd(err) {
		s.server.noteEnd(connection, err)
		s.server.settings.log().Warn("edict: connection broke", "peer", conn.RemoteAddr(), "client", name, "error", err)
	}
}

// admitText finds out who the client is. One that is not let in is told so.
func (s *session) admitText(lines *text.Conn, refusal *core.Error) (*Principal, string, error) {
	greeting, problem := lines.First()
	if problem == nil && refusal != nil {
		problem = refusal
	}
	if problem != nil {
		lines.Refuse(problem)
		return nil, "", problem
	}
	credentials := auth.CredentialsOf(s.carrier.NetConn())
	credentials.Token, credentials.Name = auth.NewToken(greeting.Token), greeting.Name
	ctx, cancel := context.WithTimeout(context.Background(), s.server.acceptor.Settings().HandshakeTimeout)
	defer cancel()
	principal, err := s.server.acceptor.Admit(ctx, credentials, lines.Refuse)
	return principal, greeting.Name, err
}

// orDefault returns a timeout of the transport's, which has the same default for both.
func orDefault(timeout time.Duration) time.Duration {
	if timeout <= 0 {
		return 30 * time.Second
	}
	return timeout
}

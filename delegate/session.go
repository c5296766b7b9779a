package delegate

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/transport"
)

// Defaults of sessions.
const (
	DefaultSessionTTL  = 30 * time.Second
	DefaultReplayBytes = 1 << 20
	DefaultMaxDetached = 1024

	maxSessionTTL = 24 * time.Hour
)

// SessionID names a session of a server: a client of its, beyond the end of connections. It is no secret.
type SessionID [16]byte

// Secret is what a client shows to resume its session. It prints as "[secret]".
type Secret [32]byte

// String implements fmt.Stringer.
func (Secret) String() string { return "[secret]" }

// GoString implements fmt.GoStringer.
func (Secret) GoString() string { return "[secret]" }

// Ticket is what a client needs to resume a session, once.
type Ticket struct {
	ID     SessionID
	Secret Secret
	// TTL is how long the server keeps the session of a client that is away.
	TTL time.Duration
}

// renewed returns a ticket of the same session with a new secret.
func (t Ticket) renewed() Ticket {
	rand.Read(t.Secret[:]) // never fails: see crypto/rand
	return t
}

// ticketSize is the least size of a ticket on the wire: what follows ID and secret is a uvarint.
const ticketSize = len(SessionID{}) + len(Secret{}) + 1

func appendTicket(dst []byte, t Ticket, number uint64) []byte {
	dst = append(append(dst, t.ID[:]...), t.Secret[:]...)
	return binary.AppendUvarint(dst, number)
}

func decodeTicket(value []byte) (t Ticket, n uint64, err error) {
	if len(value) < ticketSize {
		return t, 0, errors.New("a malformed session")
	}
	copy(t.ID[:], value)
	copy(t.Secret[:], value[len(t.ID):])
	n, err = number(value[ticketSize-1:])
	return t, n, err
}

// SessionsConfig has the settings of a server's Sessions. The zero value works.
type SessionsConfig struct {
	// TTL is how long the session of a client that is away is kept; 0 is 30 s.
	TTL time.Duration
	// ReplayBytes is how much is kept for one client before what sends to it waits; 0 is 1 MiB, 128 KiB is the least.
	ReplayBytes int
	// MaxDetached is how many clients that are away are waited for; 0 is 1,024. Beyond, the one that is away for
	// longest is given up.
	MaxDetached int
	// Journal is the name of what remembers what becomes of commands beyond the end of the server; zero if nothing does.
	Journal core.JournalID
}

// Sessions are a server's connections that can be resumed. Safe for concurrent use.
type Sessions struct {
	config SessionsConfig

	mu       sync.Mutex // guards the following; held briefly
	byID     map[SessionID]*Session
	detached []*Session           // the one that is away for longest first
	gone     map[SessionID]string // why some of late are not there any more
	goneIDs  []SessionID          // in order
}

// maxGone is of how many sessions it is known why they have ended.
const maxGone = 1024

// NewSessions returns Sessions.
func NewSessions(config SessionsConfig) *Sessions {
	if config.TTL <= 0 {
		config.TTL = DefaultSessionTTL
	}
	config.TTL = min(config.TTL, maxSessionTTL)
	if config.ReplayBytes <= 0 {
		config.ReplayBytes = DefaultReplayBytes
	}
	if config.MaxDetached <= 0 {
		config.MaxDetached = DefaultMaxDetached
	}
	return &Sessions{config: config, byID: map[SessionID]*Session{}, gone: map[SessionID]string{}}
}

// Session is a connection of a server that can be resumed, from its first handshake to its end. Safe for
// concurrent use.
type Session struct {
	sessions *Sessions
	id       SessionID
	carrier  *transport.Conn // that of the first handshake, which lives as long as the session

	begun    chan struct{} // closed by Begin
	resuming chan struct{} // has an element while the session is being resumed

	scheme, name string // of the client's Principal, empty if there is no authenticator; constant

	// Guarded by sessions.mu.
	current Secret      // that the client has certainly got
	offered Ticket      // what it was told since
	timer   *time.Timer // gives the session up; nil while the client is there
	over    bool
	resumed int
}

// Resumed returns how many times the session was resumed.
func (s *Session) Resumed() int {
	s.sessions.mu.Lock()
	defer s.sessions.mu.Unlock()
	return s.resumed
}

// errAway ends the session of a client that has not come back.
func errAway(ttl time.Duration) error {
	return fmt.Errorf("the client was away for %v", ttl)
}

// begin makes a session of a connection whose handshake goes on, and returns it with the client's first ticket.
func (s *Sessions) begin(principal *core.Principal, carrier *transport.Conn) (*Session, Ticket) {
	ticket := Ticket{TTL: s.config.TTL}.renewed()
	rand.Read(ticket.ID[:])
	session := &Session{
		sessions: s, id: ticket.ID, carrier: carrier, begun: make(chan struct{}), resuming: make(chan struct{}, 1),
		current: ticket.Secret, offered: ticket,
	}
	session.scheme, session.name = nameOf(principal)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byID[session.id] = session
	return session, ticket
}

func nameOf(principal *core.Principal) (scheme, name string) {
	if principal == nil {
		return "", ""
	}
	return principal.Scheme, principal.Name
}

// Begin puts the session into force, when the handshake is done and before frames are exchanged.
func (s *Session) Begin() {
	s.carrier.Resumable(s.sessions.config.ReplayBytes, func(error) { s.settle() })
	close(s.begun)
}

// settle starts or stops the clock, as the client is away or there.
func (s *Session) settle() {
	sessions := s.sessions
	sessions.mu.Lock()
	away := !s.carrier.Attached() && !s.over
	switch {
	case away && s.timer == nil:
		s.timer = time.AfterFunc(sessions.config.TTL, func() { s.giveUp(errAway(sessions.config.TTL)) })
		sessions.detached = append(sessions.detached, s)
	case !away:
		s.stopClockLocked()
	}
	var surplus *Session
	if len(sessions.detached) > sessions.config.MaxDetached {
		surplus = sessions.detached[0]
	}
	sessions.mu.Unlock()
	if surplus != nil {
		surplus.giveUp(fmt.Errorf("more than %d clients are away", sessions.config.MaxDetached))
	}
}

func (s *Session) stopClockLocked() {
	if s.timer == nil {
		return
	}
	s.timer.Stop()
	s.timer = nil
	s.sessions.detached = slices.DeleteFunc(s.sessions.detached, func(other *Session) bool { return other == s })
}

// giveUp ends the session of a client that is away.
func (s *Session) giveUp(reason error) {
	if !s.carrier.Attached() {
		s.carrier.Close(reason)
	}
}

// End forgets the session, when its connection has ended with err.
func (s *Session) End(err error) {
	sessions := s.sessions
	sessions.mu.Lock()
	defer sessions.mu.Unlock()
	s.over = true
	s.stopClockLocked()
	if sessions.byID[s.id] == s {
		delete(sessions.byID, s.id)
	}
	if err == nil {
		return
	}
	if len(sessions.goneIDs) == maxGone {
		delete(sessions.gone, sessions.goneIDs[0])
		sessions.goneIDs = sessions.goneIDs[1:]
	}
	if _, known := sessions.gone[s.id]; !known {
		sessions.goneIDs = append(sessions.goneIDs, s.id)
	}
	sessions.gone[s.id] = err.Error()
}

// find returns the session that a client may resume, or why there is none.
func (s *Sessions) find(ticket Ticket, principal *core.Principal) (*Session, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	session, known := s.byID[ticket.ID]
	switch {
	case known && session.admitsLocked(ticket.Secret, principal):
		return session, ""
	case known: // it is not for strangers to know that there is one
		return nil, unknownSession
	}
	if reason, known := s.gone[ticket.ID]; known {
		return nil, "the server has given the session up: " + reason
	}
	return nil, unknownSession
}

const unknownSession = "the server does not know the session: it was restarted, or it is another one"

// known reports whether a client that says so has a session here. Its secret is looked at later.
func (s *Sessions) known(greeting *hello) bool {
	if s == nil || greeting.resume == nil || !greeting.resumes {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, known := s.byID[greeting.resume.ID]
	return known
}

// admitsLocked reports whether a client that shows secret may resume the session. A secret is of no use any more
// when the client has shown, by saying something, that it has the next one.
func (s *Session) admitsLocked(secret Secret, principal *core.Principal) bool {
	if s.carrier.Heard() {
		s.current = s.offered.Secret
	}
	// Both are compared in any case, so that the time tells nothing.
	good := subtle.ConstantTimeCompare(s.current[:], secret[:]) | subtle.ConstantTimeCompare(s.offered.Secret[:], secret[:])
	scheme, name := nameOf(principal)
	return good == 1 && scheme == s.scheme && name == s.name
}

// suspend takes the session off its old connection, for a client that has received up to a position. It returns how
// much has come from it, and the ticket for the next time. Until release, nobody else resumes the session.
func (s *Session) suspend(ctx context.Context, secret Secret, principal *core.Principal, peerReceived core.Position) (received core.Position, next Ticket, err error) {
	select {
	case <-s.begun: // the client may be quicker
	case <-ctx.Done():
		return 0, next, context.Cause(ctx)
	}
	select {
	case s.resuming <- struct{}{}:
	case <-ctx.Done():
		return 0, next, context.Cause(ctx)
	}
	defer func() {
		if err != nil {
			s.release()
		}
	}()
	s.sessions.mu.Lock()
	admitted := s.admitsLocked(secret, principal) // maybe another one was quicker
	s.sessions.mu.Unlock()
	if !admitted {
		return 0, next, errors.New(unknownSession)
	}
	if received, err = s.carrier.Suspend(ctx); err != nil {
		return 0, next, err
	}
	if err = s.carrier.CanResume(peerReceived); err != nil {
		s.carrier.Close(err)
		s.End(err) // no more to be found, also before its connection has come to its end
		return 0, next, err
	}
	return received, s.renew(secret), nil
}

func (s *Session) release() { <-s.resuming }

// renew returns the ticket for the next time. The one that was used goes on working until the client has
// certainly got this one. A client that shows it once more gets the same answer: it has tried several times, and
// nobody knows which of the answers comes to it.
func (s *Session) renew(used Secret) Ticket {
	s.sessions.mu.Lock()
	defer s.sessions.mu.Unlock()
	if s.offered.Secret == used {
		s.current, s.offered = used, s.offered.renewed()
	}
	return s.offered
}

// attach lets the session go on with the connection of conn, whose client has received up to a position.
func (s *Session) attach(conn *transport.Conn, received core.Position) error {
	ctx, cancel := context.WithTimeout(context.Background(), attachTimeout)
	defer cancel()
	err := s.carrier.Attach(ctx, conn, received)
	if err == nil {
		s.sessions.mu.Lock()
		s.resumed++
		s.sessions.mu.Unlock()
	}
	s.settle()
	return err
}

// attachTimeout bounds how long the answer to a client that comes back may take to be written.
const attachTimeout = 5 * time.Second

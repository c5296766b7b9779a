package delegate

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/transport"
)

// NothingKept as Config.Received asks for a session that the client itself can't go on with, because a server
// may know what became of its commands.
const NothingKept = core.Position(1<<64 - 1)

// Defaults of sessions.
const (
	DefaultSessionTTL  = 30 * time.Second
	DefaultReplayBytes = 1 << 20
	DefaultMaxDetached = 1024

	maxSessionTTL = 24 * time.Hour
)

// Secret is what a client shows to resume its session. It prints as "[secret]".
type Secret [32]byte

// String implements fmt.Stringer.
func (Secret) String() string { return "[secret]" }

// GoString implements fmt.GoStringer.
func (Secret) GoString() string { return "[secret]" }

// Ticket is what a client needs to resume a session, once.
type Ticket struct {
	ID     core.SessionID
	Secret Secret
	// TTL is how long the server keeps the session of a client that is away.
	TTL time.Duration
}

// newTicket returns a ticket with a new secret, for a new session if id is zero.
func newTicket(id core.SessionID, ttl time.Duration) Ticket {
	t := Ticket{ID: id, TTL: ttl}
	if id == (core.SessionID{}) {
		rand.Read(t.ID[:]) // never fails: see crypto/rand
	}
	rand.Read(t.Secret[:])
	return t
}

// ticketSize is the least size of a ticket on the wire: what follows ID and secret is a uvarint.
const ticketSize = len(core.SessionID{}) + len(Secret{}) + 1

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
	// Journal, if not nil, remembers sessions and commands beyond the end of the server.
	Journal core.Journal
}

func identityOf(principal *core.Principal) core.Identity {
	if principal == nil {
		return core.Identity{}
	}
	return core.Identity{Scheme: principal.Scheme, Name: principal.Name}
}

// admits reports whether a client that shows secret may have the session.
func admits(i *core.Identity, secret Secret, principal *core.Principal) bool {
	hash := core.HashSecret(secret[:])
	// Both are compared in any case, so that the time tells nothing.
	current, offered := i.Current.Equal(hash), i.Offered.Equal(hash)
	who := identityOf(principal)
	return (current || offered) && who.Scheme == i.Scheme && who.Name == i.Name
}

// Sessions are a server's connections that can be resumed. Safe for concurrent use.
type Sessions struct {
	config SessionsConfig

	mu       sync.Mutex // guards the following; held briefly
	byID     map[core.SessionID]*Session
	detached []*Session                // the one that is away for longest first
	gone     map[core.SessionID]string // why some of late are not there any more
	goneIDs  []core.SessionID          // in order
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
	return &Sessions{config: config, byID: map[core.SessionID]*Session{}, gone: map[core.SessionID]string{}}
}

// Session is a connection of a server that can be resumed, from its first handshake to its end. Safe for
// concurrent use.
type Session struct {
	sessions *Sessions
	id       core.SessionID
	carrier  *transport.Conn // that of the first handshake, which lives as long as the session

	begun    chan struct{} // closed by Begin
	resuming chan struct{} // has an element while the session is being resumed

	// Guarded by sessions.mu.
	identity core.Identity
	offered  Ticket      // what identity.Offered is of
	timer    *time.Timer // gives the session up; nil while the client is there
	over     bool
	renewed  bool // identity.Current is of this session, and not of an earlier one with its ID
	resumed  int
}

// ID returns the session's ID.
func (s *Session) ID() core.SessionID { return s.id }

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

// begin makes a session of a connection whose handshake goes on.
func (s *Sessions) begin(ticket Ticket, identity core.Identity, carrier *transport.Conn) *Session {
	session := &Session{
		sessions: s, id: ticket.ID, carrier: carrier, begun: make(chan struct{}), resuming: make(chan struct{}, 1),
		identity: identity, offered: ticket,
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byID[session.id] = session
	return session
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
		s.identity.Current = s.identity.Offered
	}
	return admits(&s.identity, secret, principal)
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
	stranger := !s.renewed && !s.identity.Offered.Equal(core.HashSecret(secret[:]))
	s.sessions.mu.Unlock()
	switch {
	case !admitted:
		return 0, next, errors.New(unknownSession)
	case stranger: // it goes on with an earlier session with this ID, and does not know of this one
		err = errNotBegun
		s.carrier.Close(err)
		s.End(err)
		return 0, next, err
	}
	if received, err = s.carrier.Suspend(ctx); err != nil {
		return 0, next, err
	}
	if err = s.carrier.CanResume(peerReceived); err != nil {
		s.carrier.Close(err)
		s.End(err) // no more to be found, also before its connection has come to its end
		return 0, next, err
	}
	next, err = s.renew(secret)
	return received, next, err
}

// errNotBegun ends a session that a restarted server has begun, and whose client does not know that.
var errNotBegun = errors.New("the client has not got the answer with which it began")

func (s *Session) release() { <-s.resuming }

// offers reports whether secret is the one that the client was given last.
func (s *Session) offers(secret Secret) bool {
	s.sessions.mu.Lock()
	defer s.sessions.mu.Unlock()
	return s.identity.Offered.Equal(core.HashSecret(secret[:]))
}

// renew returns the ticket for the next time. The one that was used goes on working until the client has
// certainly got this one. A client that shows it once more gets the same answer: it has tried several times, and
// nobody knows which of the answers comes to it.
func (s *Session) renew(used Secret) (Ticket, error) {
	current := core.HashSecret(used[:])
	s.sessions.mu.Lock()
	if !s.identity.Offered.Equal(current) {
		defer s.sessions.mu.Unlock()
		return s.offered, nil
	}
	ticket := newTicket(s.id, s.sessions.config.TTL)
	s.identity.Current, s.identity.Offered, s.offered, s.renewed = current, core.HashSecret(ticket.Secret[:]), ticket, true
	identity := s.identity
	s.sessions.mu.Unlock()
	if remembers := s.sessions.config.Journal; remembers != nil {
		return ticket, remembers.SetIdentity(s.id, identity)
	}
	return ticket, nil
}

// issue returns the ticket of a new session: one that goes on with the commands of an earlier one, if
// that is remembered. before is a session that the client could not resume, nil if there was none.
func (s *Sessions) issue(greeting *hello, principal *core.Principal, before *Session) (Ticket, core.Identity, error) {
	var id core.SessionID
	identity := identityOf(principal)
	if greeting.resumes && s.config.Journal != nil {
		known, ok := s.config.Journal.Identity(greeting.resume.ID)
		if ok && admits(&known, greeting.resume.Secret, principal) && !s.has(greeting.resume.ID) {
			id, identity.Current = greeting.resume.ID, core.HashSecret(greeting.resume.Secret[:])
		}
	}
	ticket := newTicket(id, s.config.TTL)
	if before != nil && before.id == id && !before.offers(greeting.resume.Secret) {
		ticket = before.offered // as in renew
	}
	identity.Offered = core.HashSecret(ticket.Secret[:])
	if s.config.Journal != nil {
		return ticket, identity, s.config.Journal.SetIdentity(ticket.ID, identity)
	}
	return ticket, identity, nil
}

func (s *Sessions) has(id core.SessionID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byID[id] != nil
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

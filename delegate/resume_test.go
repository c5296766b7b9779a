package delegate

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict/auth"
	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/edicttest"
	"github.com/edict-go/edict/transport"
)

// inn is a server of sessions on a network in memory, whose connections echo PINGs. Time is fake.
type inn struct {
	t        *testing.T
	network  *edicttest.Network
	acceptor *Acceptor
	sessions *Sessions
	ended    chan error // why sessions have ended
	guests   []*guest
}

func atInn(t *testing.T, config SessionsConfig, story func(t *testing.T, i *inn)) {
	synctest.Test(t, func(t *testing.T) {
		i := &inn{t: t, network: edicttest.New(edicttest.Config{}), sessions: NewSessions(config), ended: make(chan error, 2000)}
		i.acceptor = i.open("inn", i.sessions)
		story(t, i)
		for _, g := range i.guests {
			g.carrier.Close(nil)
		}
		for _, connection := range i.network.Connections() {
			connection.Cut()
		}
		time.Sleep(25 * time.Hour) // no session is kept for longer
	})
}

// open lets a server accept connections, until the test ends.
func (i *inn) open(name string, sessions *Sessions) *Acceptor {
	listener, err := i.network.Listen(name)
	if err != nil {
		i.t.Fatal(err)
	}
	acceptor := NewAcceptor(Config{Codecs: []string{"json"}, Sessions: sessions, Authenticator: whoSaysSo})
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go i.serve(acceptor, transport.NewConn(conn, transport.Config{}))
		}
	}()
	i.t.Cleanup(func() { _ = listener.Close() })
	return acceptor
}

// whoSaysSo takes the token for the name.
func whoSaysSo(_ context.Context, credentials auth.Credentials) (core.Principal, error) {
	return core.Principal{Scheme: "says so", Name: credentials.Token.Reveal()}, nil
}

func (i *inn) serve(acceptor *Acceptor, carrier *transport.Conn) {
	defer carrier.Wait()
	agreement, err := acceptor.Accept(carrier, nil)
	if err != nil {
		carrier.Close(err)
		return
	}
	if agreement.Resumed {
		return
	}
	agreement.Session.Begin()
	err = carrier.Run(func(frame *core.Frame) error {
		return carrier.Post(core.Frame{Kind: core.KindPong, Body: frame.Body})
	})
	carrier.Close(err)
	agreement.Session.End(err)
	i.ended <- err
}

// guest is a client whose only frames are PINGs.
type guest struct {
	*inn
	name    string
	carrier *transport.Conn
	ticket  Ticket
	pongs   chan string
}

func (i *inn) connect(server, name string, resume *Ticket, received core.Position) (*transport.Conn, Agreement, error) {
	conn, err := i.network.Dial(i.t.Context(), server)
	if err != nil {
		i.t.Fatal(err)
	}
	carrier := transport.NewConn(conn, transport.Config{})
	agreement, err := Connect(i.t.Context(), carrier, Config{
		Codecs: []string{"json"}, Resumes: true, Resume: resume, Received: received, Token: auth.NewToken(name), InsecureToken: true,
	})
	return carrier, agreement, err
}

// arrive begins a session.
func (i *inn) arrive(name string) *guest {
	i.t.Helper()
	carrier, agreement, err := i.connect("inn", name, nil, 0)
	if err != nil || agreement.Ticket == nil || agreement.Resumed || agreement.Ticket.TTL != i.sessions.config.TTL {
		i.t.Fatal(agreement, err)
	}
	g := &guest{inn: i, name: name, carrier: carrier, ticket: *agreement.Ticket, pongs: make(chan string, 10)}
	i.guests = append(i.guests, g)
	carrier.Resumable(0, func(error) {})
	go func() {
		carrier.Close(carrier.Run(func(frame *core.Frame) error {
			g.pongs <- string(frame.Body)
			return nil
		}))
		carrier.Wait()
	}()
	return g
}

// ping posts a PING, and pong waits for what comes back.
func (g *guest) ping(text string) {
	g.t.Helper()
	if err := g.carrier.Post(core.Frame{Kind: core.KindPing, Body: []byte(text)}); err != nil {
		g.t.Error(err)
	}
}

func (g *guest) pong(want string) {
	g.t.Helper()
	if got := <-g.pongs; got != want {
		g.t.Errorf("%q came back, want %q", got, want)
	}
}

// comeBack resumes the session.
func (g *guest) comeBack() {
	g.t.Helper()
	received, err := g.carrier.Suspend(g.t.Context())
	if err != nil {
		g.t.Fatal(err)
	}
	from, agreement, err := g.connect("inn", g.name, &g.ticket, received)
	if err != nil || !agreement.Resumed {
		g.t.Fatal(agreement.Lost, err)
	}
	g.ticket = *agreement.Ticket
	if err := g.carrier.Attach(g.t.Context(), from, agreement.PeerReceived); err != nil {
		g.t.Error(err)
	}
	synctest.Wait()
}

// refused checks that someone can't have the session.
func (i *inn) refused(why, server, name string, ticket Ticket, received core.Position) {
	i.t.Helper()
	carrier, agreement, err := i.connect(server, name, &ticket, received)
	if err != nil || agreement.Resumed || !strings.Contains(agreement.Lost, why) || agreement.Ticket.ID == ticket.ID {
		i.t.Errorf("%+v, %v", agreement, err)
	}
	carrier.Close(nil)
	carrier.Wait()
}

func TestResumed(t *testing.T) {
	atInn(t, SessionsConfig{}, func(t *testing.T, i *inn) {
		g := i.arrive("till")
		g.ping("one")
		g.pong("one")
		i.network.Connections()[0].Stall(edicttest.ToServer)
		g.ping("two") // on its way when the connection breaks
		synctest.Wait()
		i.network.Connections()[0].Cut()
		synctest.Wait()
		g.ping("three")
		first := g.ticket
		time.Sleep(29 * time.Second)
		g.comeBack()
		g.pong("two")
		g.pong("three")
		if g.ticket.ID != first.ID || g.ticket.Secret == first.Secret {
			t.Error("the ticket is the old one")
		}
		time.Sleep(time.Hour) // the clock has stopped
		g.ping("four")
		g.pong("four")
	})
}

// A ticket that was used is of no use to others, wherever they have it from.
func TestStolenTickets(t *testing.T) {
	atInn(t, SessionsConfig{}, func(t *testing.T, i *inn) {
		g := i.arrive("till")
		first := g.ticket
		i.network.Connections()[0].Cut()
		synctest.Wait()

		wrong := first
		wrong.Secret[31] ^= 1
		i.refused("does not know", "inn", "till", wrong, 0)
		i.refused("does not know", "inn", "mallory", first, 0)
		i.open("other", NewSessions(SessionsConfig{}))
		i.refused("does not know", "other", "till", first, 0)
		unknown := first
		unknown.ID[0] ^= 1
		i.refused("does not know", "inn", "till", unknown, 0)

		g.comeBack()
		i.refused("does not know", "inn", "till", first, 0) // replayed
		g.ping("still there")
		g.pong("still there")
		if text := fmt.Sprintf("%v %+v %#v %s", g.ticket, g.ticket, g.ticket, g.ticket.Secret); !strings.Contains(text, "[secret]") ||
			strings.Contains(text, fmt.Sprint(g.ticket.Secret[0], g.ticket.Secret[1])) || strings.Contains(text, fmt.Sprintf("%x", g.ticket.Secret[:4])) {
			t.Errorf("the secret prints itself: %s", text)
		}
	})
}

// A client whose WELCOME is lost may come again with the ticket that it has.
func TestWelcomeIsLost(t *testing.T) {
	atInn(t, SessionsConfig{}, func(t *testing.T, i *inn) {
		g := i.arrive("till")
		i.network.Connections()[0].Cut()
		synctest.Wait()
		for range 3 {
			received, err := g.carrier.Suspend(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			carrier, agreement, err := i.connect("inn", "till", &g.ticket, received)
			if err != nil || !agreement.Resumed {
				t.Fatal(agreement.Lost, err)
			}
			i.network.Connections()[0].Cut() // before the client has said anything
			carrier.Close(nil)
			carrier.Wait()
			synctest.Wait()
		}
		g.comeBack()
		g.ping("at last")
		g.pong("at last")
	})
}

// A WELCOME that was never written does not use up the ticket, whatever was heard on the connections before.
func TestWelcomeIsNotWritten(t *testing.T) {
	atInn(t, SessionsConfig{}, func(t *testing.T, i *inn) {
		g := i.arrive("till")
		cut := func() {
			i.network.Connections()[0].Cut()
			synctest.Wait()
		}
		cut()
		g.comeBack()
		g.ping("once")
		g.pong("once")
		cut()
		received, err := g.carrier.Suspend(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		i.network.SetLink(edicttest.Link{Buffer: 50}) // there is no room for it, and nothing gets through
		stalls := true
		i.network.OnConnect(func(c *edicttest.Connection) {
			if stalls {
				c.Stall(edicttest.ToClient)
			}
		})
		if carrier, _, err := i.connect("inn", "till", &g.ticket, received); err == nil {
			t.Error("the handshake succeeds")
		} else {
			carrier.Close(nil)
			carrier.Wait()
		}
		i.network.SetLink(edicttest.Link{})
		stalls = false
		g.comeBack()
		g.ping("at last")
		g.pong("at last")
	})
}

// Two that come at once with the same ticket never have the session both.
func TestResumedTwiceAtOnce(t *testing.T) {
	atInn(t, SessionsConfig{}, func(t *testing.T, i *inn) {
		g := i.arrive("till")
		i.network.Connections()[0].Cut()
		synctest.Wait()
		received, err := g.carrier.Suspend(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		resumed := make(chan bool, 2)
		for range 2 {
			go func() {
				carrier, agreement, err := i.connect("inn", "till", &g.ticket, received)
				if err != nil {
					t.Error(err)
				}
				_, err = carrier.Receive() // the winner's ACK; EOF for one that was replaced
				resumed <- agreement.Resumed && err == nil
				carrier.Close(nil)
				carrier.Wait()
			}()
		}
		<-resumed
		<-resumed
		g.carrier.Close(nil)
		if err := <-i.ended; err.Error() != "the client was away for 30s" {
			t.Error(err)
		}
	})
}

// One that claims to have received what it can't have ends the session, not the server.
func TestResumedFromNowhere(t *testing.T) {
	for _, received := range []core.Position{1 << 40, 1<<64 - 1} {
		atInn(t, SessionsConfig{}, func(t *testing.T, i *inn) {
			g := i.arrive("till")
			i.refused("which it has acknowledged or was never sent", "inn", "till", g.ticket, received)
			if err := <-i.ended; !strings.Contains(err.Error(), "which it has acknowledged") {
				t.Error(err)
			}
			g.carrier.Close(nil)
			i.arrive("till").carrier.Close(nil)
		})
	}
}

func TestAwayTooLong(t *testing.T) {
	atInn(t, SessionsConfig{TTL: time.Minute}, func(t *testing.T, i *inn) {
		g := i.arrive("till")
		i.network.Connections()[0].Cut()
		began := time.Now()
		if err := <-i.ended; time.Since(began) != time.Minute || err.Error() != "the client was away for 1m0s" {
			t.Error(time.Since(began), err)
		}
		i.refused("given the session up: the client was away for 1m0s", "inn", "till", g.ticket, 0)
		g.carrier.Close(nil)
	})
}

// Clients that come and vanish are not all waited for.
func TestManyAway(t *testing.T) {
	atInn(t, SessionsConfig{MaxDetached: 10}, func(t *testing.T, i *inn) {
		var last *guest
		for range 50 {
			last = i.arrive("till")
			i.network.Connections()[0].Cut()
			synctest.Wait()
			last.carrier.Forgo(core.ErrClosed)
		}
		for range 40 {
			if err := <-i.ended; err.Error() != "more than 10 clients are away" {
				t.Error(err)
			}
		}
		i.sessions.mu.Lock()
		defer i.sessions.mu.Unlock()
		if away, all := len(i.sessions.detached), len(i.sessions.byID); away != 10 || all != 10 {
			t.Errorf("%d away of %d", away, all)
		}
	})
}

// One that says goodbye is not waited for.
func TestLeaving(t *testing.T) {
	atInn(t, SessionsConfig{}, func(t *testing.T, i *inn) {
		g := i.arrive("till")
		synctest.Wait()
		began := time.Now()
		g.carrier.Close(core.ErrClosed)
		if err := <-i.ended; err.Error() != "EOF" || time.Since(began) > 0 {
			t.Error(err, time.Since(began))
		}
	})
}

// A client that was resumed before, and whose next attempt comes to nothing, may come with the same ticket.
func TestResumingComesToNothing(t *testing.T) {
	atInn(t, SessionsConfig{}, func(t *testing.T, i *inn) {
		g := i.arrive("till")
		i.network.Connections()[0].Cut()
		g.comeBack()
		g.ping("back") // so the server knows that the ticket has come
		g.pong("back")
		received, err := g.carrier.Suspend(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		session := i.sessions.byID[g.ticket.ID]
		principal := &core.Principal{Scheme: "says so", Name: "till"}
		if _, _, err := session.suspend(t.Context(), g.ticket.Secret, principal, received); err != nil {
			t.Fatal(err)
		}
		session.release() // the client is gone before it has an answer
		g.comeBack()
		g.ping("back again")
		g.pong("back again")
	})
}

// A client may have the answer to an attempt that the server takes for an earlier one.
func TestAnswersThatOvertake(t *testing.T) {
	atInn(t, SessionsConfig{}, func(t *testing.T, i *inn) {
		g := i.arrive("till")
		i.network.Connections()[0].Cut()
		synctest.Wait()
		received, err := g.carrier.Suspend(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var next Ticket
		for attempt := range 2 {
			carrier, agreement, err := i.connect("inn", "till", &g.ticket, received)
			if err != nil || !agreement.Resumed {
				t.Fatal(agreement.Lost, err)
			}
			if attempt == 0 {
				next = *agreement.Ticket
			}
			carrier.Close(nil)
			carrier.Wait()
			synctest.Wait()
		}
		g.ticket = next
		g.comeBack()
		g.ping("back")
		g.pong("back")
	})
}

// A client is told the name of the journal with the session, and another nonce with each.
func TestChallenge(t *testing.T) {
	journal := core.JournalID{1, 2, 3}
	atInn(t, SessionsConfig{Journal: journal}, func(t *testing.T, i *inn) {
		nonces := map[[16]byte]bool{}
		for range 3 {
			carrier, agreement, err := i.connect("inn", "till", nil, 0)
			if err != nil || agreement.Challenge.Journal != journal || nonces[agreement.Challenge.Nonce] {
				t.Error(agreement.Challenge, err)
			}
			nonces[agreement.Challenge.Nonce] = true
			carrier.Close(nil)
			carrier.Wait()
		}
		g := i.arrive("till")
		received, err := g.carrier.Suspend(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		carrier, agreement, err := i.connect("inn", "till", &g.ticket, received)
		if err != nil || !agreement.Resumed || agreement.Challenge != (core.Challenge{}) {
			t.Errorf("%+v, %v", agreement, err)
		}
		carrier.Close(nil)
		carrier.Wait()
	})
}

package simulation

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/edicttest"
)

// abandon brings everything to an end after a violation, without looking.
func (s *simulation) abandon() {
	for range 3 {
		_ = s.server.Close()
		for _, l := range s.links {
			l.giveUp()
			l.shared.end(context.Canceled, nil, func() {})
			if l.connection != nil {
				l.connection.Cut()
			}
			if l.client != nil {
				go func() { _ = l.client.Close() }()
			}
		}
		for _, c := range s.calls {
			if c.own != nil {
				c.own.end(context.Canceled, nil, func() {})
			}
		}
		synctest.Wait()
		for _, c := range s.calls {
			if c.waitsForDriver() {
				c.next <- false
			}
			if c.feeds != nil && !c.feeding && c.over {
				close(c.feeds)
				c.feeds = nil
			}
			if r := s.lab.runs[c.id]; r != nil && r.state == resting {
				r.orders <- order{kind: orderFinish}
			}
			synctest.Wait()
		}
		for again := true; again; { // those that waited for their turn, and of hostile clients
			again = false
			for _, r := range s.lab.runs {
				if r.state == resting {
					r.orders <- order{kind: orderFinish}
					synctest.Wait()
					again = true
				}
			}
		}
		for _, o := range s.jobs {
			if o.cancel != nil {
				o.cancel()
			}
		}
		time.Sleep(time.Minute)
		synctest.Wait()
	}
	_ = s.server.Shutdown(context.Background())
}

// heal lets all that has begun come to its end: everything arrives, commands finish, callers take.
func (s *simulation) heal() {
	for rounds := 0; ; rounds++ {
		if rounds > 100 {
			s.violated("it does not come to an end")
		}
		moved := false
		try := func(a action) {
			if a.do != nil {
				moved = true
				s.act(a)
			}
		}
		for _, l := range s.links {
			for _, d := range []edicttest.Direction{edicttest.ToServer, edicttest.ToClient} {
				for a := s.deliver(l.number, d); a.do != nil; a = s.deliver(l.number, d) {
					try(a)
				}
			}
		}
		for _, c := range s.calls {
			if r := s.lab.runs[c.id]; r != nil && r.state == resting {
				try(s.order(c, order{kind: orderFinish, size: c.id % 50}))
			}
			if c.mayFeed() {
				try(s.endInputs(c))
			}
			if c.waitsForDriver() {
				try(s.take(c))
			}
		}
		if !moved {
			break
		}
	}
	for _, c := range s.calls {
		if !c.over {
			s.violated("%v does not end", c)
		}
	}
}

// finish ends all clients and the server and checks that nothing is left.
func (s *simulation) finish() {
	for _, l := range s.links {
		if !l.dial.ended {
			s.act(action{name: fmt.Sprintf("give up dialling %d", l.number), do: l.giveUp})
		}
		if l.client != nil {
			s.act(action{name: fmt.Sprintf("close client %d", l.number), do: l.close})
		}
		l.giveUp()
	}
	s.act(action{name: "shut the server down", do: s.shutServerDown})
	for _, l := range s.links {
		for _, d := range []edicttest.Direction{edicttest.ToServer, edicttest.ToClient} {
			if a := s.deliver(l.number, d); a.do != nil {
				s.act(a)
			}
		}
	}
	for again := true; again; { // those whose end nobody waited for, and then those that waited for their turn
		again = false
		for _, c := range s.calls {
			if r := s.lab.runs[c.id]; r != nil && r.state == resting {
				s.act(s.order(c, order{kind: orderFinish}))
				again = true
			}
		}
	}
	s.act(action{name: "a while passes", do: func() { time.Sleep(10 * time.Second) }})
	for _, o := range s.jobs {
		if !o.ended {
			s.violated("%s does not return", o.name)
		}
		if o.cancel != nil {
			o.cancel()
		}
	}
	if !errors.Is(s.served.err, edict.ErrClosed) || !errors.Is(s.served.err, net.ErrClosed) {
		s.violated("Serve returned %v", s.served.err)
	}
	if n := s.server.Connections(); n != 0 {
		s.violated("%d connections are left", n)
	}
	if n := s.server.InFlight(); n != 0 {
		s.violated("%d commands are left on the server", n)
	}
	for _, c := range s.calls {
		if c.feeds != nil {
			close(c.feeds)
		}
	}
	for _, l := range s.links {
		if l.client != nil && (l.alive() || l.client.InFlight() != 0) {
			s.violated("client %d goes on, %d in flight", l.number, l.client.InFlight())
		}
	}
	if used := s.budget.Used(); used != s.calmShare {
		s.violated("%d bytes of the budget are in use at the end", used-s.calmShare)
	}
	s.count()
}

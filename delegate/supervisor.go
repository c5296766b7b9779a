package delegate

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/edict-go/edict/core"
)

// Link is one connection, as a Supervisor sees it. Safe for concurrent use.
type Link interface {
	// Done is closed when the connection has ended.
	Done() <-chan struct{}
	// GoingAway is closed when it takes no more calls, while those on it go on.
	GoingAway() <-chan struct{}
	// Err returns why it has ended or goes away.
	Err() error
	// Shutdown waits until the calls on it have ended and closes it: at once if ctx ends.
	Shutdown(ctx context.Context) error
	// Close closes it at once. Both wait for its goroutines.
	Close() error
	// Lost is closed when the connection underneath is lost, and Connect may resume the link; it is another channel
	// after that. nil is a link that ends with its connection.
	Lost() <-chan struct{}
	// Forgo lets the link end, because of cause, if its connection is lost now or later.
	Forgo(cause error)
}

// SupervisorConfig has what a Supervisor needs.
type SupervisorConfig[L Link] struct {
	// Connect makes a connection. It calls handshaking when it has reached the server, gives up when ctx
	// ends, and is called anew for each attempt, so it can ask for what may have changed (an address, a token).
	// If lost is not zero it is a link that may be resumed: Connect returns it if it was, or else lets it end.
	Connect func(ctx context.Context, lost L, handshaking func()) (L, error)
	// States is where the state is kept; nil is a new one.
	States *States
	// Ready is called with each new connection, before the state is Ready. It must not wait.
	Ready func(L)
	// Reconnect says when to connect again.
	Reconnect Reconnect
}

// Supervisor keeps a connection: it makes one, another one when that is lost, and another one when the server
// goes away, while the calls on the old one come to their end. It knows nothing of the protocol. Safe for
// concurrent use.
type Supervisor[L interface {
	comparable
	Link
}] struct {
	*States
	config SupervisorConfig[L]
	pauses *backoff.ExponentialBackOff // owned by run, like
	once   bool                        // there was a connection

	// Links are closed when alive ends; no more are made when leaving, which is derived from it, ends.
	alive   context.Context
	close   context.CancelFunc
	leaving context.Context
	leave   context.CancelFunc

	done    chan struct{} // closed when all is over
	retired sync.WaitGroup

	mu      sync.Mutex // guards the following; held briefly
	present L          // where calls go; the zero L if there is no such link
	links   []L        // the present one and those whose calls come to their end
	over    *core.Error
	changed signal // raised when present or over has changed
}

// NewSupervisor returns a Supervisor that connects in the background. It starts one goroutine, run, which ends
// after Close or Shutdown, or when Reconnect says so; they wait for it.
func NewSupervisor[L interface {
	comparable
	Link
}](config SupervisorConfig[L],
) *Supervisor[L] {
	config.Reconnect = config.Reconnect.withDefaults()
	if config.States == nil {
		config.States = new(States)
	}
	s := &Supervisor[L]{States: config.States, config: config, pauses: config.Reconnect.pauses(), done: make(chan struct{})}
	s.alive, s.close = context.WithCancel(context.Background())
	s.leaving, s.leave = context.WithCancel(s.alive)
	go s.run()
	return s
}

// run keeps the connection, until there will be none.
func (s *Supervisor[L]) run() {
	defer close(s.done)
	defer s.close()
	err := s.keep()
	s.finish(err)
	s.retired.Wait()
	s.Set(Closed, 0, err)
}

// keep returns why there will be no more connections.
func (s *Supervisor[L]) keep() error {
	var none, lost L // lost can be resumed
	var cause error  // why the last connection is not there any more
	for {
		link, attempt, err := s.connect(lost, cause)
		if lost != none && link != lost { // it has ended, or does now
			lost.Forgo(err)
			s.dismiss(lost)
		}
		if err != nil {
			return err
		}
		began := time.Now()
		if link == lost {
			s.Set(Ready, attempt, nil)
		} else {
			s.begin(link, attempt)
		}
		select {
		case <-link.Lost():
		case <-link.Done():
		case <-link.GoingAway():
		case <-s.leaving.Done():
		}
		if time.Since(began) >= s.config.Reconnect.Max {
			s.pauses.Reset()
		}
		if isClosed(link.Done()) || isClosed(link.GoingAway()) || s.leaving.Err() != nil {
			cause, lost = s.retire(link), none
		} else {
			cause, lost = link.Err(), link
			s.Set(Reconnecting, 0, cause)
		}
	}
}

// connect makes a connection: in as many attempts as it takes, with a pause before each but the very first.
func (s *Supervisor[L]) connect(lost L, cause error) (link L, attempt int, err error) {
	var none L
	for attempt = 1; ; attempt++ {
		if cause != nil && !s.pause(cause) {
			return none, 0, closed()
		}
		s.Set(Connecting, attempt, cause)
		link, err = s.attempt(lost, attempt)
		switch {
		case err == nil:
			return link, attempt, nil
		case s.leaving.Err() != nil:
			return none, 0, closed()
		case s.config.Reconnect.stops(attempt, err, s.once):
			return none, 0, err
		}
		cause = err
		s.Set(Reconnecting, attempt, cause)
	}
}

// pause waits before an attempt, and reports whether there is to be one.
func (s *Supervisor[L]) pause(cause error) bool {
	pause := s.pauses.NextBackOff()
	if e, ok := errors.AsType[*core.Error](cause); ok {
		pause += min(max(e.RetryAfter, 0), maxRetryAfter)
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.leaving.Done():
		return false
	}
}

func (s *Supervisor[L]) attempt(lost L, number int) (L, error) {
	ctx, cancel := context.WithTimeout(s.leaving, s.config.Reconnect.Timeout)
	defer cancel()
	return s.config.Connect(ctx, lost, func() { s.Set(Handshaking, number, nil) })
}

// begin lets calls go to link.
func (s *Supervisor[L]) begin(link L, attempt int) {
	s.once = true
	s.config.Ready(link)
	s.mu.Lock()
	s.present = link
	s.links = append(s.links, link)
	s.changed.raise()
	s.mu.Unlock()
	s.Set(Ready, attempt, nil)
}

// retire lets no more calls go to link, and returns why. Calls that link has accepted go on.
func (s *Supervisor[L]) retire(link L) error {
	defer s.dismiss(link)
	cause := link.Err()
	link.Forgo(cause) // nobody would resume it
	if s.leaving.Err() != nil {
		cause = closed()
		s.drainingFor(cause)
	} else {
		if isClosed(link.GoingAway()) { // also if it has ended by now
			s.Set(Draining, 0, cause)
		}
		if isClosed(link.Done()) {
			s.Set(Reconnecting, 0, cause)
		}
	}
	return cause
}

// dismiss lets no more calls go to link, and brings it to its end.
func (s *Supervisor[L]) dismiss(link L) {
	var none L
	s.mu.Lock()
	s.present = none
	s.changed.raise()
	s.mu.Unlock()
	s.retired.Go(func() { s.drain(link) })
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// drainingFor makes the state Draining, if it makes a difference.
func (s *Supervisor[L]) drainingFor(cause error) {
	if s.alive.Err() == nil && s.Present().To != Draining {
		s.Set(Draining, 0, cause)
	}
}

// drain brings a link to its end. Started by dismiss; ends with the calls on the link, or at Close; run waits
// for it.
func (s *Supervisor[L]) drain(link L) {
	_ = link.Shutdown(s.alive) // an error says that there were calls left when alive has ended
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.links {
		if s.links[i] == link {
			s.links = append(s.links[:i], s.links[i+1:]...)
			break
		}
	}
}

// finish tells who waits for a connection that there will be none.
func (s *Supervisor[L]) finish(err error) {
	s.mu.Lock()
	s.over = core.AsError(err)
	s.over.Outcome = core.NotSent
	draining := len(s.links) > 0
	s.changed.raise()
	s.mu.Unlock()
	if draining {
		s.drainingFor(err)
	}
}

// Await returns a connection other than not, which the caller has found to be of no use; the zero L is none.
// If there is none it waits, until there is one, ctx ends, or there will never be one. Its errors are
// *core.Error with the outcome NotSent.
func (s *Supervisor[L]) Await(ctx context.Context, not L) (L, error) {
	for {
		link, changed, err := s.look(not)
		if changed == nil {
			return link, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return link, noConnection(ctx, s.Present().Cause)
		}
	}
}

// Try is Await that does not wait.
func (s *Supervisor[L]) Try(not L) (L, error) {
	link, changed, err := s.look(not)
	if changed != nil {
		return link, noConnection(context.Background(), s.Present().Cause)
	}
	return link, err
}

// look returns the present link, or an error if there will be none, or what to wait for.
func (s *Supervisor[L]) look(not L) (link L, changed <-chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.present != link && s.present != not {
		return s.present, nil, nil
	}
	if s.over != nil {
		copied := *s.over
		return link, nil, &copied
	}
	return link, s.changed.wait(), nil
}

// Links returns the connections there are: where calls go, and those whose calls come to their end.
func (s *Supervisor[L]) Links() []L {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]L(nil), s.links...)
}

// Done is closed when the state is Closed and all goroutines have ended.
func (s *Supervisor[L]) Done() <-chan struct{} { return s.done }

// Err returns why there will be no more connections, nil while there may be some.
func (s *Supervisor[L]) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over == nil {
		return nil
	}
	return s.over
}

// Close closes all connections at once and makes no more. It waits for all goroutines, and may be called
// again.
func (s *Supervisor[L]) Close() error {
	s.close()
	<-s.done
	return nil
}

// Shutdown makes no more connections, waits until the calls on those there are have ended, and closes them. If
// ctx ends first it closes at once and returns ctx's error.
func (s *Supervisor[L]) Shutdown(ctx context.Context) error {
	s.leave()
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		return errors.Join(context.Cause(ctx), s.Close())
	}
}

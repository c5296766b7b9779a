package group

import (
	"log/slog"
	"time"
)

// Config has a group's settings. Only Endpoints must be set; the zero value of everything else works.
type Config struct {
	// Endpoints tells where the servers are, and when that changes: Static, DNS, or your own.
	Endpoints Resolver
	// Strategy chooses the endpoint of each command; nil is RoundRobin. A Strategy that keeps something
	// belongs to one group.
	Strategy Strategy

	// Min and Max bound the connections per endpoint. 0 is 1 for Min, and Min for Max: the number is fixed.
	Min, Max int
	// GrowAt is how many calls must be in flight on each connection of an endpoint for another one to be
	// made; 0 is 128.
	GrowAt int
	// IdleAfter is how long an endpoint must do with half the load of one connection less before it loses
	// one; 0 is 1 minute.
	IdleAfter time.Duration
	// MaxAge is how long a connection is used at most. Each gets its own age, between three quarters of
	// MaxAge and MaxAge, so that they don't end together. A new one is ready before an old one goes, and the
	// calls on the old one end by themselves. So servers that were added behind one address get their part.
	// 0 is 30 minutes, negative is no limit.
	MaxAge time.Duration
	// DrainTimeout is how long the calls on a connection that the group gives up, for its age or because
	// its endpoint is no longer listed, may go on. 0 is as long as they like.
	DrainTimeout time.Duration

	// Retry, Breaker and Hedge are what the group does about failures and slowness.
	Retry   Retry
	Breaker Breaker
	Hedge   Hedge

	// Logger gets what goes wrong beside calls: failed lookups, endpoints that can't be used, breakers that
	// open. nil is slog.Default().
	Logger *slog.Logger
}

// Retry says when a failed call is tried again. What may be tried again at all follows from the Outcome of
// its error: see the package's documentation.
type Retry struct {
	// MaxAttempts is how many times a command is sent at most, the first one included; 0 is 3, 1 is no retry.
	// Attempts that never left this process don't count, nor does the first refusal by a server that shuts
	// down: those go on as long as the call's context allows, like a call for which there is no connection.
	MaxAttempts int
	// Initial and Max bound the backoff: before the first retry the call waits between 0 and Initial, and
	// twice as long before each further one, up to Max. 0 is 25 ms and 1 s. A server's RetryAfter is
	// waited for if it is longer.
	Initial, Max time.Duration
	// Ratio is how many retries and hedges each call pays for; 0 is 0.1. PerSecond are granted besides;
	// 0 is 10. Reserve is how many may be saved up; 0 is 100. The group begins with all of them.
	// Negative is none.
	Ratio     float64
	PerSecond float64
	Reserve   float64
}

// Breaker says when an endpoint that fails is left alone for a while.
type Breaker struct {
	// Disabled is for groups without breakers.
	Disabled bool
	// Requests and Ratio: a breaker opens if of the calls of the last Interval, which are at least
	// Requests, at least the part Ratio has failed. 0 is 20 requests, 0.5, and 10 s.
	Requests int
	Ratio    float64
	Interval time.Duration
	// OpenFor is how long an open breaker lets nothing through; 0 is 5 s. Then it lets Probes calls
	// through; 0 is 1. If they succeed it closes, else it is open again.
	OpenFor time.Duration
	Probes  int
}

// Hedge says when a command that takes long is sent to a second endpoint too. It is for commands that are
// Idempotent and have one result, and is off by default.
type Hedge struct {
	// Quantile is how many of the latest calls of the same type must have been quicker than this one has
	// taken already, as in 0.95 for all but the slowest twentieth. 0 is no hedging.
	Quantile float64
	// MinDelay is how long it must have taken in any case; 0 is 1 ms.
	MinDelay time.Duration
}

func (c *Config) setDefaults() {
	setDefault(&c.Min, 1)
	c.Max = max(c.Max, c.Min)
	setDefault(&c.GrowAt, 128)
	setDefault(&c.IdleAfter, time.Minute)
	if c.MaxAge == 0 {
		c.MaxAge = 30 * time.Minute
	}
	if c.Strategy == nil {
		c.Strategy = RoundRobin()
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	setDefault(&c.Retry.MaxAttempts, 3)
	setDefault(&c.Retry.Initial, 25*time.Millisecond)
	setDefault(&c.Retry.Max, time.Second)
	setDefaultOrNone(&c.Retry.Ratio, 0.1)
	setDefaultOrNone(&c.Retry.PerSecond, 10)
	setDefaultOrNone(&c.Retry.Reserve, 100)
	setDefault(&c.Breaker.Requests, 20)
	setDefault(&c.Breaker.Ratio, 0.5)
	setDefault(&c.Breaker.Interval, 10*time.Second)
	setDefault(&c.Breaker.OpenFor, 5*time.Second)
	setDefault(&c.Breaker.Probes, 1)
	setDefault(&c.Hedge.MinDelay, time.Millisecond)
}

func setDefault[N int | float64 | time.Duration](value *N, otherwise N) {
	if *value <= 0 {
		*value = otherwise
	}
}

// setDefaultOrNone is setDefault where negative is none.
func setDefaultOrNone(value *float64, otherwise float64) {
	if *value == 0 {
		*value = otherwise
	}
	*value = max(*value, 0)
}

package group

import (
	"slices"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/delegate"
)

// Stats is a look at a group.
type Stats struct {
	Endpoints []EndpointStats
	// Leaving are connections that are drained: they get no more commands.
	Leaving []ConnectionStats
	// Retries and Hedges were sent so far; HedgesWon had their answer first.
	Retries, Hedges, HedgesWon int64
	// Budget is how many retries and hedges are allowed at the moment.
	Budget float64
	// Clients is what all connections have counted so far, those that have left too; as far as they are Edict's.
	Clients edict.ClientStats
}

// EndpointStats is a look at an endpoint.
type EndpointStats struct {
	Address     string
	Breaker     string // closed, open or half-open; empty if there is none
	InFlight    int
	Latency     time.Duration // see Endpoint.Latency
	Connections []ConnectionStats
}

// ConnectionStats is a look at a connection.
type ConnectionStats struct {
	Address       string
	State         delegate.State
	InFlight      int           // calls of the group
	RoundTripTime time.Duration // 0 if it was not measured
	Since         time.Time     // when it became ready; zero if it never was
	Client        edict.ClientStats
}

// Stats returns a look at the group. It is for people and their instruments, not for each call.
func (g *Group[T]) Stats() Stats {
	s := Stats{
		Retries: g.retries.Load(), Hedges: g.hedges.Load(), HedgesWon: g.hedgesWon.Load(), Budget: g.budget.left(),
	}
	for _, e := range g.pool.view.Load().listed {
		endpoint := EndpointStats{Address: e.address, InFlight: e.InFlight(), Latency: e.Latency()}
		if e.breaker != nil {
			endpoint.Breaker = e.breaker.State().String()
		}
		for _, m := range e.members {
			endpoint.Connections = append(endpoint.Connections, m.stats())
		}
		s.Endpoints = append(s.Endpoints, endpoint)
	}
	g.pool.mu.Lock()
	leaving := slices.Clone(g.pool.leaving)
	known := slices.Clone(g.pool.known)
	s.Clients = g.pool.left
	g.pool.mu.Unlock()
	for _, m := range leaving {
		s.Leaving = append(s.Leaving, m.stats())
	}
	for _, m := range known {
		s.Clients.Add(m.clientStats())
	}
	return s
}

// clientStats returns what the connection has counted, if it does count.
func (m *member[T]) clientStats() edict.ClientStats {
	if counting, ok := m.sender.(interface{ Stats() edict.ClientStats }); ok {
		return counting.Stats()
	}
	return edict.ClientStats{}
}

func (m *member[T]) stats() ConnectionStats {
	s := ConnectionStats{
		Address: m.endpoint.address, State: m.sender.State(), InFlight: int(m.inFlight.Load()), RoundTripTime: m.sender.RoundTripTime(),
		Client: m.clientStats(),
	}
	if since := m.ready.Load(); since != 0 {
		s.Since = time.Unix(0, since)
	}
	return s
}

package edict

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/edict-go/edict/handler"
	"github.com/edict-go/edict/transport"
)

// CommandStats counts what clients have sent. See [handler.Stats].
type CommandStats = handler.Stats

// TransportStats counts what connections have carried. See [transport.Stats].
type TransportStats = transport.Stats

// ServerStats is a snapshot of a Server.
type ServerStats struct {
	// Total counts what all clients have sent so far, those included that have gone.
	Total CommandStats
	// Traffic is what all their connections have carried.
	Traffic TransportStats
	// Connections has the open ones whose handshake is done, in the order of their peers' addresses.
	Connections []ConnectionStats
	// InFlight is how many commands run or wait to.
	InFlight int
	// BudgetUsed and BudgetLimit are those of the server's Budget, in bytes, which others may share.
	BudgetUsed, BudgetLimit int64
}

// ConnectionStats is a snapshot of one connection of a server.
type ConnectionStats struct {
	Peer Peer
	CommandStats
	Traffic TransportStats
	// RoundTripTime is that of the last PING to the client; 0 if there was no reason to send one yet.
	RoundTripTime time.Duration
	// InFlight is how many commands run or wait to.
	InFlight int
	// BudgetUsed is what the connection has taken of the Budget, in bytes.
	BudgetUsed int64
}

// Stats returns a snapshot. Its parts are of slightly different moments. It takes time in proportion to the number
// of connections: call it each second, not for each command.
func (s *Server) Stats() ServerStats {
	s.mu.Lock()
	stats := ServerStats{Total: s.ended, Traffic: s.endedTraffic}
	open := maps.Clone(s.open)
	s.mu.Unlock()
	for connection, carrier := range open {
		c := ConnectionStats{
			Peer: connection.Peer(), CommandStats: connection.Stats(), InFlight: connection.InFlight(), BudgetUsed: connection.Used(),
			Traffic: carrier.Stats(), RoundTripTime: connection.RoundTripTime(),
		}
		stats.Total.Add(c.CommandStats)
		stats.Traffic.Add(c.Traffic)
		stats.Connections = append(stats.Connections, c)
	}
	slices.SortFunc(stats.Connections, func(a, b ConnectionStats) int {
		return cmp.Compare(fmt.Sprint(a.Peer.Address), fmt.Sprint(b.Peer.Address))
	})
	stats.InFlight = s.InFlight()
	budget := s.settings.theBudget()
	stats.BudgetUsed, stats.BudgetLimit = budget.Used(), budget.Limit()
	return stats
}

func (s *Server) opened(connection *handler.Connection, carrier *transport.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = map[*handler.Connection]*transport.Conn{}
	}
	s.open[connection] = carrier
}

func (s *Server) closed(connection *handler.Connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endedTraffic.Add(s.open[connection].Stats())
	delete(s.open, connection)
	s.ended.Add(connection.Stats())
}

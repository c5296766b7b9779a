package edict

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/edict-go/edict/handler"
)

// CommandStats counts what clients have sent. See [handler.Stats].
type CommandStats = handler.Stats

// ServerStats is a snapshot of a Server.
type ServerStats struct {
	// Total counts what all clients have sent so far, those included that have gone.
	Total CommandStats
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
	// InFlight is how many commands run or wait to.
	InFlight int
	// BudgetUsed is what the connection has taken of the Budget, in bytes.
	BudgetUsed int64
}

// Stats returns a snapshot. Its parts are of slightly different moments. It takes time in proportion to the number
// of connections: call it each second, not for each command.
func (s *Server) Stats() ServerStats {
	s.mu.Lock()
	stats := ServerStats{Total: s.ended}
	connections := make([]*handler.Connection, 0, len(s.open))
	for connection := range s.open {
		connections = append(connections, connection)
	}
	s.mu.Unlock()
	for _, connection := range connections {
		c := ConnectionStats{
			Peer: connection.Peer(), CommandStats: connection.Stats(), InFlight: connection.InFlight(), BudgetUsed: connection.Used(),
		}
		stats.Total.Add(c.CommandStats)
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

func (s *Server) opened(connection *handler.Connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = map[*handler.Connection]bool{}
	}
	s.open[connection] = true
}

func (s *Server) closed(connection *handler.Connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, connection)
	s.ended.Add(connection.Stats())
}

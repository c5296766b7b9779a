package edict

import (
	"cmp"
	"slices"
	"time"

	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/handler"
	"github.com/edict-go/edict/transport"
)

// CommandStats counts what clients have sent. See [handler.Stats].
type CommandStats = handler.Stats

// TransportStats counts what connections have carried. See [transport.Stats].
type TransportStats = transport.Stats

// ServerStats is a snapshot of a Server. In JSON its fields have names that stay as they are, durations are in
// nanoseconds, and there is nothing of what a Principal's Value has.
type ServerStats struct {
	ServerDetails
	// Total counts what all clients have sent so far, those included that have gone.
	Total CommandStats `json:"total"`
	// Traffic is what all their connections have carried.
	Traffic TransportStats `json:"traffic"`
	// Connections has the open ones whose handshake is done, in the order of their peers' addresses.
	Connections []ConnectionStats `json:"connections"`
	// InFlight is how many commands run or wait to.
	InFlight int `json:"in_flight"`
	// BudgetUsed and BudgetLimit are those of the server's Budget, in bytes, which others may share.
	BudgetUsed  int64 `json:"budget_used"`
	BudgetLimit int64 `json:"budget_limit"`
	// Away is how many of Connections are those of clients that are away, for which they wait (WithResume), and AwayBytes
	// what is kept for these clients: what they may not have got of what was sent, and what is to be sent.
	Away      int   `json:"away"`
	AwayBytes int64 `json:"away_bytes"`
	// Journal is how much there is in the server's Journal; nil without one, and if it does not tell. Servers may share it.
	Journal *JournalSize `json:"journal,omitempty"`
}

// JournalSize is how much there is in a Journal. See [core.JournalSize].
type JournalSize = core.JournalSize

// ConnectionStats is a snapshot of one connection of a server.
type ConnectionStats struct {
	ServerConnectionDetails
	Peer Peer `json:"-"`
	CommandStats
	Traffic TransportStats `json:"traffic"`
	// RoundTripTime is that of the last PING to the client; 0 if there was no reason to send one yet.
	RoundTripTime time.Duration `json:"round_trip_time_ns"`
	// InFlight is how many commands run or wait to.
	InFlight int `json:"in_flight"`
	// BudgetUsed is what the connection has taken of the Budget, in bytes.
	BudgetUsed int64 `json:"budget_used"`
}

// Stats returns a snapshot. Its parts are of slightly different moments. It takes time in proportion to the number
// of connections: call it each second, not for each command.
func (s *Server) Stats() ServerStats {
	s.mu.Lock()
	stats := ServerStats{Total: s.ended, Traffic: s.endedTraffic, Connections: []ConnectionStats{}}
	s.mu.Unlock()
	stats.ServerDetails = s.details()
	for _, open := range s.connections() {
		connection := open.connection
		c := ConnectionStats{
			ServerConnectionDetails: open.details(),
			Peer:                    connection.Peer(), CommandStats: connection.Stats(), InFlight: connection.InFlight(), BudgetUsed: connection.Used(),
			Traffic: open.carrier.Stats(), RoundTripTime: connection.RoundTripTime(),
		}
		if c.Detached {
			stats.Away++
			stats.AwayBytes += int64(open.carrier.Kept() + c.WriteQueue)
		}
		stats.Total.Add(c.CommandStats)
		stats.Traffic.Add(c.Traffic)
		stats.Connections = append(stats.Connections, c)
	}
	slices.SortFunc(stats.Connections, func(a, b ConnectionStats) int {
		return cmp.Compare(a.Address, b.Address)
	})
	stats.InFlight = s.InFlight()
	budget := s.settings.theBudget()
	stats.BudgetUsed, stats.BudgetLimit = budget.Used(), budget.Limit()
	stats.Journal = s.settings.journalSize()
	return stats
}

// journalSize returns how much there is in the journal, nil if nobody knows.
func (s *serverSettings) journalSize() *JournalSize {
	if s.resume == nil {
		return nil
	}
	sized, ok := s.resume.Journal.(core.SizedJournal)
	if !ok {
		return nil
	}
	size := sized.Size()
	return &size
}

func (s *Server) closed(connection *handler.Connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endedTraffic.Add(s.open[connection].carrier.Stats())
	delete(s.open, connection)
	s.ended.Add(connection.Stats())
}

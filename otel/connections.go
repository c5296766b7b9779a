package edictotel

import (
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/group"
)

// Client is what ObserveClient needs: an *edict.Client.
type Client interface {
	State() edict.State
	Stats() edict.ClientStats
	InFlight() int
	RoundTripTime() time.Duration
}

// Server is what ObserveServer needs: an *edict.Server.
type Server interface {
	Stats() edict.ServerStats
}

// Group is what ObserveGroup needs: a *group.Group.
type Group interface {
	Stats() group.Stats
}

// ObserveClient lets readers of metrics see the client's connection, under a name. Those with the same name are added up.
// stop ends that; what was counted stays.
func (t *Telemetry) ObserveClient(name string, client Client) (stop func()) {
	return t.observe(&observed{name: name, look: func(sum *totals) {
		sum.isClient = true
		sum.states[client.State()]++
		sum.client.Add(client.Stats())
		sum.inFlight += int64(client.InFlight())
		sum.roundTrip = max(sum.roundTrip, client.RoundTripTime())
	}})
}

// ObserveServer is ObserveClient for a server.
func (t *Telemetry) ObserveServer(name string, server Server) (stop func()) {
	return t.observe(&observed{name: name, look: func(sum *totals) {
		sum.isServer = true
		stats := server.Stats()
		sum.commands.Add(stats.Total)
		sum.traffic.Add(stats.Traffic)
		sum.served += int64(len(stats.Connections))
		sum.running += int64(stats.InFlight)
		sum.budgetUsed = max(sum.budgetUsed, stats.BudgetUsed) // servers may share one
		sum.budgetLimit = max(sum.budgetLimit, stats.BudgetLimit)
		sum.away += int64(stats.Away)
		sum.awayBytes += stats.AwayBytes
		if stats.Journal != nil && (sum.journal == nil || sum.journal.Bytes < stats.Journal.Bytes) { // servers may share one
			sum.journal = stats.Journal
		}
		for _, connection := range stats.Connections {
			sum.serverRoundTrip = max(sum.serverRoundTrip, connection.RoundTripTime)
		}
	}})
}

// ObserveGroup is ObserveClient for a group.
func (t *Telemetry) ObserveGroup(name string, g Group) (stop func()) {
	return t.observe(&observed{name: name, look: func(sum *totals) {
		sum.isClient, sum.isGroup = true, true
		stats := g.Stats()
		sum.client.Add(stats.Clients)
		sum.retries += stats.Retries
		sum.hedges += stats.Hedges
		sum.hedgesWon += stats.HedgesWon
		sum.retryBudget += stats.Budget
		for _, endpoint := range stats.Endpoints {
			sum.endpoints = append(sum.endpoints, endpoint)
			for _, connection := range endpoint.Connections {
				sum.connection(connection)
			}
		}
		for _, connection := range stats.Leaving {
			sum.connection(connection)
		}
	}})
}

// observed is a client, a server or a group.
type observed struct {
	name string
	look func(*totals) // adds what it tells
}

// totals is what all with one name tell.
type totals struct {
	isClient, isServer, isGroup bool

	// Counted for ever.
	client                     edict.ClientStats
	commands                   edict.CommandStats
	traffic                    edict.TransportStats // of servers
	retries, hedges, hedgesWon int64

	// As it is now.
	states                  [edict.StateClosed + 1]int64
	inFlight                int64
	roundTrip               time.Duration
	served, running         int64
	budgetUsed, budgetLimit int64
	away, awayBytes         int64
	journal                 *edict.JournalSize // the fullest one; nil if there is none
	serverRoundTrip         time.Duration
	retryBudget             float64
	endpoints               []group.EndpointStats
}

func (sum *totals) connection(c group.ConnectionStats) {
	sum.states[c.State]++
	sum.inFlight += int64(c.InFlight)
	sum.roundTrip = max(sum.roundTrip, c.RoundTripTime)
}

// counted returns what of sum stays when those that it tells of are not there any more.
func (sum *totals) counted() *totals {
	return &totals{
		isClient: sum.isClient, isServer: sum.isServer, isGroup: sum.isGroup,
		client: sum.client, commands: sum.commands, traffic: sum.traffic,
		retries: sum.retries, hedges: sum.hedges, hedgesWon: sum.hedgesWon,
	}
}

// observe adds o to what is looked at.
func (t *Telemetry) observe(o *observed) (stop func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.observed[o] = struct{}{}
	return func() { t.stop(o) }
}

func (t *Telemetry) stop(o *observed) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.observed[o]; !ok {
		return
	}
	delete(t.observed, o)
	sum := t.goneLocked(o.name)
	o.look(sum)
	t.gone[o.name] = sum.counted()
}

func (t *Telemetry) goneLocked(name string) *totals {
	if sum := t.gone[name]; sum != nil {
		return sum.counted()
	}
	return &totals{}
}

// look returns what all that are observed tell, by name.
func (t *Telemetry) look() map[string]*totals {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := map[string]*totals{}
	for name := range t.gone {
		all[name] = t.goneLocked(name)
	}
	for o := range t.observed {
		if all[o.name] == nil {
			all[o.name] = &totals{}
		}
		o.look(all[o.name])
	}
	return all
}

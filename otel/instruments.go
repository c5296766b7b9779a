package edictotel

import (
	"context"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/group"
)

// observer is a metric.Observer for what one name tells.
type observer struct {
	metric.Observer
	name attribute.KeyValue
}

func (o observer) int(instrument metric.Int64Observable, value int64, attributes ...attribute.KeyValue) {
	o.ObserveInt64(instrument, value, metric.WithAttributes(append(attributes, o.name)...))
}

func (o observer) float(instrument metric.Float64Observable, value float64, attributes ...attribute.KeyValue) {
	o.ObserveFloat64(instrument, value, metric.WithAttributes(append(attributes, o.name)...))
}

// traffic are the instruments that both sides have for what their connections carry.
type traffic struct{ frames, io, waits metric.Int64ObservableCounter }

func (i *traffic) observe(o observer, stats edict.TransportStats, credit uint64) {
	o.int(i.frames, int64(stats.FramesSent), semconv.NetworkIODirectionTransmit)
	o.int(i.frames, int64(stats.FramesReceived), semconv.NetworkIODirectionReceive)
	o.int(i.io, int64(stats.BytesSent), semconv.NetworkIODirectionTransmit)
	o.int(i.io, int64(stats.BytesReceived), semconv.NetworkIODirectionReceive)
	o.int(i.waits, int64(stats.QueueWaits), waitKey.String("queue"))
	o.int(i.waits, int64(credit), waitKey.String("credit"))
}

// initInstruments makes the instruments of connections, and the function that observes them.
func (t *Telemetry) initInstruments(m *maker) {
	trafficOf := func(side string) traffic {
		return traffic{
			frames: m.counter("edict."+side+".frames", "{frame}", "Frames sent and received."),
			io:     m.counter("edict."+side+".io", "By", "Bytes sent and received, before encryption."),
			waits:  m.counter("edict."+side+".waits", "{wait}", "How often something had to wait before it could be sent."),
		}
	}

	clientTraffic := trafficOf("client")
	connections := m.number("edict.client.connections", "{connection}", "Connections by their state.")
	connects := m.counter("edict.client.connects", "{connection}", "Connections made.")
	attempts := m.counter("edict.client.connect.attempts", "{attempt}", "Attempts to make a connection.")
	reconnects := m.counter("edict.client.reconnects", "{connection}", "Connections made after the first one.")
	resends := m.counter("edict.client.resends", "{call}", "Calls that were sent again, on another connection.")
	inFlight := m.number("edict.client.in_flight", "{call}", "Calls that the server has not ended.")
	roundTrip := m.gauge("edict.client.round_trip_time", "s", "How long the last PING and its PONG were under way.")
	observeClient := func(o observer, sum *totals) {
		clientTraffic.observe(o, sum.client.Traffic, sum.client.CreditWaits)
		o.int(clientTraffic.waits, int64(sum.client.SlotWaits), waitKey.String("slot"))
		for state, count := range sum.states {
			o.int(connections, count, stateKey.String(edict.State(state).String()))
		}
		o.int(connects, int64(sum.client.Connections))
		o.int(attempts, int64(sum.client.Attempts))
		o.int(reconnects, int64(sum.client.Reconnects))
		o.int(resends, int64(sum.client.Resent))
		o.int(inFlight, sum.inFlight)
		if sum.roundTrip > 0 {
			o.float(roundTrip, sum.roundTrip.Seconds())
		}
	}

	serverTraffic := trafficOf("server")
	served := m.number("edict.server.connections", "{connection}", "Open connections.")
	running := m.number("edict.server.in_flight", "{command}", "Commands that run or wait to.")
	commands := m.counter("edict.server.commands", "{command}", "Commands that came, by what became of them.")
	serverRoundTrip := m.gauge("edict.server.round_trip_time", "s", "How long the last PING to a client and its PONG were under way.")
	budgetUsed := m.number("edict.server.budget.usage", "By", "What is taken of the server's budget.")
	budgetLimit := m.number("edict.server.budget.limit", "By", "The server's budget.")
	away := m.number("edict.server.away", "{client}", "Clients that are away, and whose sessions wait for them.")
	awayUsed := m.number("edict.server.away.usage", "By", "What is kept for clients that are away.")
	journalUsed := m.number("edict.server.journal.usage", "By", "What is kept in the server's journal.")
	journalLimit := m.number("edict.server.journal.limit", "By", "What may be kept in the server's journal.")
	journalRecords := m.number("edict.server.journal.records", "{command}", "Commands in the server's journal.")
	observeServer := func(o observer, sum *totals) {
		serverTraffic.observe(o, sum.traffic, sum.commands.CreditWaits)
		o.int(served, sum.served)
		o.int(running, sum.running)
		o.int(commands, int64(sum.commands.Commands), statusKey.String("accepted"))
		o.int(commands, int64(sum.commands.Refused), statusKey.String("refused"))
		o.int(commands, int64(sum.commands.Canceled), statusKey.String("canceled"))
		if sum.serverRoundTrip > 0 {
			o.float(serverRoundTrip, sum.serverRoundTrip.Seconds())
		}
		o.int(budgetUsed, sum.budgetUsed)
		o.int(budgetLimit, sum.budgetLimit)
		o.int(away, sum.away)
		o.int(awayUsed, sum.awayBytes)
		if sum.journal != nil {
			o.int(journalUsed, sum.journal.Bytes)
			o.int(journalRecords, int64(sum.journal.Records))
			if sum.journal.Limit > 0 {
				o.int(journalLimit, sum.journal.Limit)
			}
		}
	}

	endpoints := m.number("edict.group.endpoints", "{endpoint}", "Endpoints by the state of their breaker.")
	retries := m.counter("edict.group.retries", "{attempt}", "Attempts after a backoff.")
	hedges := m.counter("edict.group.hedges", "{attempt}", "Attempts beside another one.")
	hedgesWon := m.counter("edict.group.hedges_won", "{attempt}", "Hedges that had their answer first.")
	retryBudget := m.gauge("edict.group.retry_budget", "{attempt}", "Retries and hedges that are allowed at the moment.")
	var endpointInFlight metric.Int64ObservableUpDownCounter
	var endpointLatency metric.Float64ObservableGauge
	if t.settings.endpoints {
		endpointInFlight = m.number("edict.group.endpoint.in_flight", "{call}", "The group's calls in flight at an endpoint.")
		endpointLatency = m.gauge("edict.group.endpoint.latency", "s", "The group's average of an endpoint's latencies.")
	}
	observeGroup := func(o observer, sum *totals) {
		o.int(retries, sum.retries)
		o.int(hedges, sum.hedges)
		o.int(hedgesWon, sum.hedgesWon)
		o.float(retryBudget, sum.retryBudget)
		if !t.settings.endpoints {
			for state, count := range breakers(sum.endpoints) {
				o.int(endpoints, count, breakerKey.String(state))
			}
			return
		}
		for _, e := range sum.endpoints {
			endpoint := endpointKey.String(e.Address)
			for state, count := range breakers([]group.EndpointStats{e}) {
				o.int(endpoints, count, breakerKey.String(state), endpoint)
			}
			o.int(endpointInFlight, int64(e.InFlight), endpoint)
			o.float(endpointLatency, e.Latency.Seconds(), endpoint)
		}
	}

	m.callback(func(_ context.Context, o metric.Observer) error {
		for name, sum := range t.look() {
			named := observer{o, nameKey.String(name)}
			if sum.isClient {
				observeClient(named, sum)
			}
			if sum.isServer {
				observeServer(named, sum)
			}
			if sum.isGroup {
				observeGroup(named, sum)
			}
		}
		return nil
	})
}

// breakers counts endpoints by the state of their breaker.
func breakers(endpoints []group.EndpointStats) map[string]int64 {
	count := map[string]int64{"closed": 0, "open": 0, "half_open": 0, "none": 0}
	for _, e := range endpoints {
		state := strings.ReplaceAll(e.Breaker, "-", "_")
		if state == "" {
			state = "none"
		}
		count[state]++
	}
	return count
}

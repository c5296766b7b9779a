// Package edictotel tells OpenTelemetry what Edict does: spans, metrics, and logs that know their trace.
//
//	telemetry, err := edictotel.New(edictotel.WithRatio(0.01))
//
//	server := edict.NewServer(receiver, Commands, telemetry.ServerOption())
//	client, err := edict.Dial(ctx, address, Commands, telemetry.ClientOption())
//
// [Telemetry] watches the calls of both sides, and observes connections (ObserveClient, ObserveServer,
// ObserveGroup). [Sender] puts one span around all attempts of a group's call. The guide is docs/telemetry.md.
//
// # Spans
//
// A call is a CLIENT span on one side and a SERVER span, its child, on the other, named like the command. That holds for
// streams too: they are one span on each side, from the first byte to the last, not a span per result. The names follow
// the semantic conventions for RPC, version 1.43:
//
//	rpc.system.name             "edict"
//	rpc.method                  the command's registered name
//	rpc.response.status_code    OK, NOT_FOUND, DEADLINE_EXCEEDED, …: the code in the spelling of gRPC
//	error.type                  the same, if the status is Error
//	server.address              what WithServerAddress says, on the client only
//
// and in Edict's own words:
//
//	edict.outcome               executed, not_sent, refused or unknown: whether the command ran
//	edict.attempt               the number of a group's attempt, if it is not the first
//	edict.hedge                 true for an attempt that was sent beside another one
//	edict.resent                how many times a reconnecting client has sent the command again
//	edict.attempts              on Sender's span: how many attempts there were
//	edict.request.size          bytes of the encoded command and inputs, before compression
//	edict.response.size         bytes of the encoded results
//
// The status of a client's span is Error for every error; that of a server's span for those that are the server's fault:
// Unknown, DeadlineExceeded, Unimplemented, Internal, Unavailable and DataLoss. A caller that leaves a stream early is no
// error: the code is CANCELLED, the status stays Unset. A panic is Internal.
//
// # Attempts
//
// The client's calls are beneath a group, so each attempt is a span of its own, with edict.attempt. They are
// siblings, below the span that the caller's context has. If it has none, each would begin a trace of its own; Sender
// gives them a parent. A client with WithReconnect is one span, however often it sends the command: edict.resent counts
// that, and each server that ran the command has a span below it.
//
// # Sampling
//
// A call whose parent is not sampled is neither; by default the sampler is not even asked, which is what makes such
// calls cheap. Those of a parent that is recorded all the same (RecordOnly) are. WithUnsampledParents is for samplers
// that decide otherwise than their parents. WithoutRoots leaves calls alone that belong to no trace.
//
// WithRatio begins a trace for a share of the calls that belong to none, and asks the sampler about those only. The other ones
// have no span and send no traceparent. A server with WithRatio follows: it begins no trace, and where none comes nothing that a
// command does is sampled, whoever makes the span. Its context has a trace ID for logs, which is the command's alone. Without
// WithRatio the sampler is asked about each call: a TracerProvider does not tell which one it has. docs/telemetry.md says what that costs.
//
// # Metrics
//
// Of calls:
//
//	rpc.client.call.duration, rpc.server.call.duration     histogram, s
//	rpc.client.request.size, rpc.client.response.size      histogram, By; with WithMessageSizes
//	rpc.server.request.size, rpc.server.response.size      the same
//	edict.client.request.io, edict.client.response.io      bytes so far, By
//	edict.server.request.io, edict.server.response.io      the same
//	edict.server.active_requests                           commands in their interceptors or Exec
//
// Their attributes are rpc.system.name and rpc.method, and those of durations have the status code, the outcome and
// error.type too. A size is that of all messages of a call together. The duration on a server begins when the command has come,
// before it is decoded and has its turn; its span begins after that. Durations counts the two histograms without the SDK.
//
// From what clients, servers and groups count anyway, when a reader asks for it:
//
//	edict.client.connections        by edict.connection.state
//	edict.client.connects           connections made; edict.client.connect.attempts, edict.client.reconnects
//	edict.client.resends            calls sent again on another connection
//	edict.client.in_flight          calls that the server has not ended
//	edict.client.round_trip_time    gauge, s; of several connections the longest
//	edict.client.frames, edict.client.io
//	                                by network.io.direction
//	edict.client.waits              by edict.wait.reason: slot (too many in flight), credit (the command takes no
//	                                more inputs now), queue (the network or the budget)
//	edict.server.connections, edict.server.in_flight, edict.server.round_trip_time
//	edict.server.commands           by edict.command.status: accepted, refused, canceled (of those accepted)
//	edict.server.frames, edict.server.io, edict.server.waits
//	edict.server.budget.usage, edict.server.budget.limit
//	edict.server.away, edict.server.away.usage
//	                                clients that are away, whose sessions wait for them, and what is kept for those, By
//	edict.server.journal.usage, edict.server.journal.limit, edict.server.journal.records
//	                                of a server with a journal: By, By, commands
//	edict.group.endpoints           by edict.breaker.state: closed, open, half_open, none
//	edict.group.retries, edict.group.hedges, edict.group.hedges_won, edict.group.retry_budget
//
// A group also has all of edict.client. They have edict.name, which the program gives to ObserveClient and the others;
// what has the same name is added up.
//
// # What is never recorded
//
// No attribute has a payload, a message of an error, metadata, the address or port of a peer, or any other string that
// comes from outside. So the number of time series is bounded by that of commands, codes and names. WithEndpoints adds
// the addresses of a group's endpoints, which the program's configuration knows.
//
// # Concurrency
//
// A Telemetry is safe for concurrent use, and one is enough for a process. It starts no goroutine.
package edictotel

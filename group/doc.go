// Package group sends commands to a service that runs in more than one place: a [Group] keeps connections to
// all of its endpoints and is an edict.Sender, so that edict.Call, edict.Stream and edict.Start work with it as
// with a client.
//
//	calc, err := group.Dial(ctx, Commands, group.Config{
//		Endpoints: group.Static("tcp://10.0.0.1:9000", "tcp://10.0.0.2:9000"),
//	})
//	sum, err := edict.Call(ctx, calc, Add{2, 3})
//
// A [Strategy] chooses the endpoint of each command, a [Resolver] says where the endpoints are. docs/groups.md
// is a guide: which strategy when, what the settings are for.
//
// # What is tried again
//
// The Outcome of an error decides, and whether the command is edict.Idempotent:
//
//	not sent, unavailable                       on another connection, at once; when all were tried, after
//	                                            a backoff, as long as the context allows
//	refused, unavailable                        the first time like that, then as a retry
//	refused, resource exhausted                 as a retry
//	outcome unknown, with one of these codes    as a retry, if the command is idempotent; if the server has a
//	                                            journal in any case, where that journal is
//	everything else, and everything executed    never
//
// A retry comes after a backoff, which is as long at least as the server has asked for (RetryAfter). It counts
// against [Retry].MaxAttempts and needs a token of the group's budget, so that a service in trouble gets little more
// load for it. A call that has taken a result which is in no journal, or that takes inputs and has begun, is never tried again. If an attempt
// may have run, the error of a later one does not say that the command did not.
//
// # Circuit breakers
//
// Each endpoint has one. Lost connections, Unavailable, calls that got no answer before their deadline, and Internal
// as the server's word are failures of the endpoint; all other answers are not, whatever they say. Calls that
// the caller gave up, and commands that were not sent, count for nothing; nor do those that a server refuses
// because it shuts down. While the breakers of all endpoints are open, calls fail at once: Unavailable, NotSent, with
// a RetryAfter.
//
// # Concurrency
//
// A Group is safe for concurrent use. It has a goroutine for its pool, one for the resolver and one for each
// connection, beside those of the clients; Close and Shutdown wait for all. A call has none, but for the moment of
// a hedge.
package group

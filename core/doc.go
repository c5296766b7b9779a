// Package core has what every other part of Edict agrees on: Command and its shapes, Error with
// Code and Outcome, Metadata, Frame and Transport, the asynchronous [Client] of one connection and
// the accept loop of a [Server].
//
// It imports nothing of ours, and knows neither codecs nor the bytes of a frame: a Client works over
// any Transport, a Server over any kind of Session.
//
// # Cancellation
//
// A call ends when its command does, when its context does, or when its connection does, whichever
// comes first, and what the caller gets says which. Ending a call by its context never disturbs the
// connection: the server is told with a CANCEL, and the call's slot stays taken until the server has
// answered, so that the work running on a server is bounded by the slots of its clients.
//
// # Outcome
//
// Positions decide what a caller is told when a connection breaks. The transport knows up to which
// position bytes were handed to the network: a command beyond it was NotSent. A server that goes
// away says up to which position it accepted commands: one beyond it was Refused. For all others the
// outcome is unknown.
//
// # Locks
//
// Client.mu before call.mu; neither is held while a transport's method runs or while user code does.
package core

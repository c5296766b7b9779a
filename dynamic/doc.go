// Package dynamic calls commands by their names, with JSON, without their Go types: for tools, gateways and scripts.
//
//	client, err := dynamic.Dial(ctx, "tcp://127.0.0.1:9000")
//	result, err := client.Call(ctx, "Add", `{"A":2,"B":3}`) // "5"
//	for result, err := range client.Stream(ctx, "Count", `{"To":3}`) { ... }
//
// The server needs edict.WithReflection, by which [Dial] learns which commands there are, and the codec json among its
// codecs. Everything else is as with any client: limits, deadlines, errors with their outcomes, options of Dial.
//
// # Commands that come and go
//
// A client knows the commands that the server had when it was dialled. One that reconnects (edict.WithReconnect) to a
// server with others finds those that it knows, and their errors say so if they are gone.
package dynamic

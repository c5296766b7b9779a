// Package edict is a framework for the distributed Command Pattern: a client sends typed commands,
// which carry their own execution, over one asynchronous multiplexed connection; a server executes
// them against its receiver; typed results come back.
//
//	type Calc struct{}                 // the receiver, on the server
//
//	type Add struct{ A, B int }        // a command
//
//	func (c Add) Exec(ctx context.Context, calc *Calc) (int, error) { return c.A + c.B, nil }
//
//	var Commands = edict.Commands(edict.Unary[Add]())
//
//	server := edict.NewServer(&Calc{}, Commands)
//	go server.ListenAndServe("tcp://127.0.0.1:9000")
//
//	client, err := edict.Dial(ctx, "tcp://127.0.0.1:9000", Commands)
//	sum, err := edict.Call(ctx, client, Add{2, 3}) // sum is an int
//
// The result's type follows from Exec. A command of another receiver does not compile.
//
// # Errors
//
// Every error has an [*Error] in its chain: with a [Code], and with an [Outcome] that says whether
// the command ran. errors.Is finds codes, context.Canceled and context.DeadlineExceeded, also across
// the wire; errors.AsType[*edict.Error] finds the rest.
//
// # Cancellation
//
// The context of a call is the command's: its deadline travels with the command, and when it ends,
// the context that Exec got ends. Cancelling a call never harms the connection or another call.
//
// # Concurrency
//
// Clients and servers are safe for concurrent use. An [Invocation] belongs to one goroutine at a
// time, but for Cancel.
package edict

// Package edictdebug has a web page that shows what an edict.Server does at the moment: its connections, the calls in
// flight with their ages and what they wait for, what went wrong of late, how long commands take, how many there are a
// second. [Handler] is an http.Handler:
//
//	go http.ListenAndServe("127.0.0.1:6060", edictdebug.Handler(server))
//
// The page is read-only and needs nothing from elsewhere: no scripts, fonts or styles of others. It asks for the
// same as JSON each second, which anyone else may do too: with ?format=json, or a path that ends in /json.
//
// # Who may see it
//
// Whoever the program lets: the handler asks nobody for a password. It shows addresses, names of clients and
// principals, and the texts of errors, but no tokens and none of what commands have in them. Serve it where only
// operators come, as on a loopback address, or behind a handler that asks who is there.
//
// # What it costs
//
// A look takes time in proportion to the number of connections and calls in flight, and shows the busiest
// connections and the oldest calls: see edict.Look.
package edictdebug

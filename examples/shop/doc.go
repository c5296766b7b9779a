// Shop is a small service of three processes, in which something is slow: docs/operating.md finds out what.
//
// A front takes orders from customers and lets one of two warehouses hold the article. It calls them through groups, with
// retries, circuit breakers, and hedges for what only reads. The program starts the three as processes, starts those again
// that end, is the customers itself, and prints each second how long they have waited. With -fixed nothing is slow:
//
//	go run ./examples/shop
//	go run ./examples/shop -fixed
//
// All processes have reflection, statistics, text mode, the debug page, metrics for Prometheus, and profiles, at addresses
// that the program prints (-port chooses others). Their spans go to the program, which shows the slowest traces as trees:
//
//	go run ./examples/shop traces
//
// and to a collector as well, if OTEL_EXPORTER_OTLP_ENDPOINT has its address.
//
// The folder commands has the commands, and what is slow. server.go has the two kinds of servers, telemetry.go what they
// tell of themselves; launcher.go and process.go start and watch them, customers.go calls, traces.go collects the spans,
// and settings.go has the flags.
package main

// Shop is a small service of three processes, in which something is slow: docs/operating.md finds out what.
//
// A front takes orders from customers and lets one of two warehouses hold the article. It calls them through groups, with
// retries, circuit breakers, and hedges for what only reads. The program starts the three as processes, starts those again
// that end, is the customers itself, and prints each second how long they have waited:
//
//	go run ./examples/shop
//
// All processes have reflection, statistics, text mode, the debug page, metrics for Prometheus, and profiles, at addresses
// that the program prints (-port chooses others). Their spans go to the program, which shows the slowest traces as trees:
//
//	go run ./examples/shop traces
//
// and to a collector as well, if OTEL_EXPORTER_OTLP_ENDPOINT has its address.
//
// The folder commands has the commands, and what is slow. front.go and warehouse.go are the two kinds of servers, with
// what both have of telemetry in telemetry.go; launcher.go and process.go start and watch them, customers.go calls,
// traces.go collects the spans. settings.go has the flags.
package main

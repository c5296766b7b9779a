// Otel shows what OpenTelemetry sees of two servers and a client that calls them through a group.
//
//	go run ./examples/otel
//
// It makes some calls, of which one fails and one is refused by the first server and tried again at the other one,
// prints their spans as trees, and a few of the metrics that its Prometheus endpoint has.
//
// -otlp sends spans, metrics and logs to a collector as well, over gRPC, and -listen keeps the Prometheus endpoint up
// until Ctrl-C, with calls going on:
//
//	go run ./examples/otel -otlp 127.0.0.1:4317
//	go run ./examples/otel -listen 127.0.0.1:9464      # and in another terminal:
//	curl http://127.0.0.1:9464/metrics
//
// telemetry.go sets OpenTelemetry up, shop.go starts the servers, whose commands are in the folder commands; main.go has
// the client.
package main

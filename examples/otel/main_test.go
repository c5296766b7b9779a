package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

func TestTour(t *testing.T) {
	var buffer bytes.Buffer
	if err := run(t.Context(), nil, &buffer); err != nil {
		t.Fatalf("%v after:\n%s", err, &buffer)
	}
	for _, want := range []string{
		"Apples: 12\n",
		"Moons: edict: Stock: not found: we don't have that (executed)\n",
		"Pears, while the first shop is full: 7\n",
		"Items: 2\n",
		// The call that was tried again: a tree of five spans.
		`    internal Stock  rpc.response.status_code=OK  edict.outcome=executed  edict.attempts=2
        client Stock  rpc.response.status_code=RESOURCE_EXHAUSTED  edict.outcome=refused
            server Stock  rpc.response.status_code=RESOURCE_EXHAUSTED  edict.outcome=refused
        client Stock  edict.attempt=2  rpc.response.status_code=OK  edict.outcome=executed
            server Stock  rpc.response.status_code=OK  edict.outcome=executed
`,
		`edict_group_endpoints{edict_breaker_state="closed",edict_name="shops"} 2` + "\n",
		`edict_server_commands_total{edict_command_status="accepted",edict_name="first"} 4` + "\n",
		`rpc_client_call_duration_seconds_count{edict_outcome="executed",rpc_method="Stock",rpc_response_status_code="OK"} 2` + "\n",
	} {
		if !strings.Contains(buffer.String(), want) {
			t.Errorf("the output lacks\n%s\n\nit is\n%s", want, &buffer)
		}
	}
}

// With -listen the Prometheus endpoint stays, and calls go on.
func TestPrometheus(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	output, input := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, []string{"-listen", "127.0.0.1:0"}, input)
		input.CloseWithError(err)
		ended <- err
	}()
	line, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	url := regexp.MustCompile(`http://127\.0\.0\.1:\d+/metrics`).FindString(line)
	served := regexp.MustCompile(`(?m)^rpc_server_call_duration_seconds_count\{.*rpc_method="Stock",.*\} [1-9]\d*$`)
	for scraped := ""; !served.MatchString(scraped); {
		response, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != http.StatusOK {
			t.Fatal(response.Status, err)
		}
		scraped = string(body)
		for _, name := range []string{"edict_client_connections", "edict_client_io_bytes_total", "edict_server_budget_limit_bytes", "edict_group_retry_budget"} {
			if !regexp.MustCompile(`(?m)^` + name + `\{`).MatchString(scraped) {
				t.Fatalf("there is no %s in:\n%s", name, scraped)
			}
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestErrorsTellWhatToDo(t *testing.T) {
	for name, arguments := range map[string][]string{"argument": {"x"}, "flag": {"-nonsense"}, "address": {"-listen", "nowhere"}} {
		t.Run(name, func(t *testing.T) {
			if err := run(t.Context(), arguments, io.Discard); err == nil {
				t.Error("there is no error")
			}
		})
	}
	var help bytes.Buffer
	if err := run(t.Context(), []string{"-help"}, &help); err != nil || !strings.Contains(help.String(), "-otlp") {
		t.Errorf("-help: %v, %s", err, &help)
	}
}

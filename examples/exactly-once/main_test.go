package main

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/examples/exactly-once/commands"
	"github.com/edict-go/edict/examples/internal/program"
)

func TestMain(m *testing.M) { program.Main(m, main) }

// startServer starts a server of the bank in a folder and waits until it serves, at the address that is returned.
func startServer(t *testing.T, folder string) (server *program.Program, address string) {
	t.Helper()
	address = "unix://" + filepath.Join(folder, "bank.sock")
	server = program.Start(t, "-serve", address, "-folder", folder)
	if line := server.Line(); !strings.Contains(line, "open at "+address) {
		t.Fatal(line)
	}
	return server, address
}

// ended is what the tour prints at its end.
var ended = regexp.MustCompile(`the server was killed (\d+) times, and (\d+) connections were cut\.
Transfers: (\d+) acknowledged, (\d+) cut off\. Of these (\d+) had been done; (\d+) had not, and were made anew\.
Connections were resumed (\d+) times; (\d+) calls were sent again to another server\.
(\d+) transfers were answered from the journal\.
There was 20000 in all accounts before, and there is 20000 now\.
All is well: each of the (\d+) transfers that the clients know of was done once, and no other one\.
$`)

func TestTour(t *testing.T) {
	var buffer bytes.Buffer
	if err := run(t.Context(), []string{"-for", "2s", "-kill", "200ms", "-cut", "50ms"}, &buffer); err != nil {
		t.Fatalf("%v after:\n%s", err, &buffer)
	}
	match := ended.FindStringSubmatch(buffer.String())
	if match == nil {
		t.Fatalf("no account in:\n%s", &buffer)
	}
	var kills, cuts, acknowledged, cutOff, done, void, resumed, resent, replays, known int
	_, err := fmt.Sscan(strings.Join(match[1:], " "), &kills, &cuts, &acknowledged, &cutOff, &done, &void, &resumed, &resent, &replays, &known)
	if err != nil || cutOff != done+void || known != acknowledged+done {
		t.Errorf("%v, %v", err, match[0])
	}
	// With 15 callers each kill finds some transfers under way.
	if kills < 2 || cuts < 2 || acknowledged < 50 || cutOff < 2 || resumed == 0 || resent < cutOff {
		t.Error(match[0])
	}
}

// Whatever is not as it should be, audit finds.
func TestAudit(t *testing.T) {
	id := func(number uint64) edict.CommandID { return edict.CommandID{Number: number} }
	for name, test := range map[string]struct {
		change func(k *knowledge, after []int64, ledger map[string]commands.Entry)
		want   string
	}{
		"all is well":        {func(*knowledge, []int64, map[string]commands.Entry) {}, ""},
		"money from nowhere": {func(_ *knowledge, after []int64, _ map[string]commands.Entry) { after[0]++ }, "the sum has changed"},
		"a wrong account": {func(_ *knowledge, after []int64, _ map[string]commands.Entry) {
			after[0]--
			after[1]++
		}, "account 0 has"},
		"twice": {func(_ *knowledge, _ []int64, ledger map[string]commands.Entry) {
			ledger[id(1).String()] = commands.Entry{Done: 2}
		}, "was done 2 times"},
		"void, and done": {func(_ *knowledge, _ []int64, ledger map[string]commands.Entry) {
			ledger[id(3).String()] = commands.Entry{Done: 1, Void: true}
		}, "was done 1 times, void: true"},
		"acknowledged, and not done": {func(_ *knowledge, _ []int64, ledger map[string]commands.Entry) {
			delete(ledger, id(1).String())
		}, "was not done"},
		"settled, and not done": {func(_ *knowledge, _ []int64, ledger map[string]commands.Entry) {
			delete(ledger, id(2).String())
		}, "was not done"},
		"not settled": {func(_ *knowledge, _ []int64, ledger map[string]commands.Entry) {
			delete(ledger, id(3).String())
		}, "was not settled"},
		"nobody was told": {func(_ *knowledge, _ []int64, ledger map[string]commands.Entry) {
			ledger[id(4).String()] = commands.Entry{Done: 1}
		}, "the clients were told of 2 transfers, and 3 were done"},
		"failed": {func(k *knowledge, _ []int64, _ map[string]commands.Entry) { k.fail(io.EOF) }, "1 calls have failed"},
	} {
		t.Run(name, func(t *testing.T) {
			k := &knowledge{change: map[int]int64{}}
			k.done(&k.acknowledged, id(1), commands.Transfer{From: 0, To: 1, Amount: 7})
			k.done(&k.settled, id(2), commands.Transfer{From: 1, To: 0, Amount: 2})
			k.void = []edict.CommandID{id(3)}
			after := []int64{95, 105}
			ledger := map[string]commands.Entry{id(1).String(): {Done: 1}, id(2).String(): {Done: 1}, id(3).String(): {Void: true}}
			test.change(k, after, ledger)
			tour := &tour{out: log.New(io.Discard, "", 0)}
			err := tour.audit(k, []int64{100, 100}, after, ledger)
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

// A server that is killed and started again, as processes: what it had done stays done, and calls go on.
func TestServerAndClientsAsProcesses(t *testing.T) {
	folder := t.TempDir()
	server, address := startServer(t, folder)
	client, err := connect(address)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	first, err := edict.Call(t.Context(), client, commands.Transfer{From: 1, To: 2, Amount: 5})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_, _ = server.Rest()
	second := make(chan error, 1)
	go func() {
		_, err := edict.Call(t.Context(), client, commands.Transfer{From: 2, To: 3, Amount: 10})
		second <- err
	}()
	server, _ = startServer(t, folder)
	if err := <-second; err != nil {
		t.Error(err)
	}
	for range 2 {
		if done, err := edict.Call(t.Context(), client, commands.Settle{ID: first}); !done || err != nil {
			t.Error(done, err)
		}
	}

	others := program.Start(t, "-connect", address)
	if line := others.Line(); !strings.Contains(line, "15 callers of 3 clients") {
		t.Error(line)
	}
	others.Interrupt()
	if rest, err := others.Rest(); err != nil || !strings.Contains(rest, " acknowledged, 0 cut off") || strings.Contains(rest, "has failed") {
		t.Errorf("the clients: %q, %v", rest, err)
	}
	server.Interrupt()
	if rest, err := server.Rest(); err != nil || !strings.Contains(rest, "The bank is closed.") {
		t.Errorf("the server: %q, %v", rest, err)
	}
	bank, err := commands.Open(filepath.Join(folder, bankFile), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer bank.Close()
	if balances, err := bank.Balances(); err != nil || sum(balances) != 20*balance {
		t.Error(balances, err)
	}
	if ledger, err := bank.Ledger(); err != nil || ledger[first.String()] != (commands.Entry{Transfer: commands.Transfer{From: 1, To: 2, Amount: 5}, Done: 1}) {
		t.Error(ledger[first.String()], err)
	}
}

func TestErrorsTellWhatToDo(t *testing.T) {
	for name, test := range map[string]struct {
		arguments []string
		want      string
	}{
		"both modes":     {[]string{"-serve", "tcp://127.0.0.1:0", "-folder", "x", "-connect", "tcp://127.0.0.1:9"}, "choose one of -serve and -connect"},
		"no folder":      {[]string{"-serve", "tcp://127.0.0.1:0"}, "-serve needs a -folder"},
		"no port":        {[]string{"-connect", "tcp://127.0.0.1:0"}, "give the one that the server printed"},
		"unknown scheme": {[]string{"-connect", "udp://127.0.0.1:1"}, "unknown scheme"},
		"argument":       {[]string{"x"}, `unexpected argument "x"`},
		"no callers":     {[]string{"-callers", "0"}, "one caller"},
		"no time":        {[]string{"-kill", "-1s"}, "times must be positive"},
		"no such folder": {[]string{"-serve", "tcp://127.0.0.1:0", "-folder", "/no/such/folder"}, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := run(t.Context(), test.arguments, io.Discard); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%q is not in: %v", test.want, err)
			}
		})
	}
	var help bytes.Buffer
	if err := run(t.Context(), []string{"-help"}, &help); err != nil || !strings.Contains(help.String(), "-callers") {
		t.Errorf("-help: %v, %s", err, &help)
	}
}

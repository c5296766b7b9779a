package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/auth"
	"github.com/edict-go/edict/cmd/edict/internal/shop"
)

// serve starts a server with the shop's commands and returns its address.
func serve(t *testing.T, address string, options ...edict.ServerOption) string {
	t.Helper()
	options = append([]edict.ServerOption{
		edict.ServerConfig{Name: "shop"},
		edict.WithReflection(), edict.WithRemoteStats(), edict.WithLatencies(),
		edict.WithLogger(slog.New(slog.DiscardHandler)),
	}, options...)
	server := edict.NewServer(&shop.Shop{}, shop.Commands, options...)
	listener, err := server.Listen(address)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		_ = server.Close()
		_ = server.Shutdown(context.Background())
		if err := <-served; !errors.Is(err, edict.ErrClosed) {
			t.Error(err)
		}
	})
	scheme, _, _ := strings.Cut(address, "://")
	return scheme + "://" + listener.Addr().String()
}

// result is what a command line has written, and its exit code.
type result struct {
	out, err string
	code     int
}

// line runs a command line in this process.
func line(t *testing.T, input string, arguments ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out, problem bytes.Buffer
	// Not nil if there are none: instead of nil, cobra takes what the test was started with.
	code := run(ctx, append([]string{}, arguments...), streams{strings.NewReader(input), &out, &problem})
	return result{out.String(), problem.String(), code}
}

// want checks the exit code, and what was written against a pattern, \d and such, that matches all of it.
func (r result) want(t *testing.T, code int, pattern string) {
	t.Helper()
	written := r.out
	if code != exitFine {
		written += r.err
	}
	if r.code != code || !regexp.MustCompile(`(?s)^`+pattern+`$`).MatchString(written) || code == exitFine && r.err != "" {
		t.Errorf("exit code %d, want %d\nwritten: %s\nproblem: %s\nwant     %s", r.code, code, r.out, r.err, pattern)
	}
}

const duration = `[\d.]+(ns|µs|ms|s)`

func TestPing(t *testing.T) {
	address := serve(t, "tcp://127.0.0.1:0")
	line(t, "", "ping", "-c", "3", "-i", "1ms", address).want(t, exitFine,
		`(answer from 127.0.0.1:\d+: sequence \d, time `+duration+"\n){3}\n3 sent, 3 answered, 0% lost\n"+
			`round trip min/avg/max/stddev = `+strings.Join([]string{duration, duration, duration, duration}, "/")+"\n")
	line(t, "", "ping", "-c", "2", "-i", "1ms", "--json", strings.TrimPrefix(address, "tcp://")).want(t, exitFine,
		`({"sequence":\d,"time_ns":\d+}`+"\n){2}"+`{"sent":2,"answered":2,"min_ns":\d+,"avg_ns":\d+,"max_ns":\d+,"stddev_ns":\d+}`+"\n")
	line(t, "", "ping", "-i", "0", address).want(t, exitUsage, `edict: --interval: at least 1ms.*`)

	ctx, interrupt := context.WithCancel(t.Context())
	reader, writer := io.Pipe()
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{"ping", "-i", "1ms", address}, streams{nil, writer, io.Discard})
		_ = writer.Close()
	}()
	first := make([]byte, 10)
	_, _ = io.ReadFull(reader, first)
	interrupt()
	if rest, err := io.ReadAll(reader); !strings.Contains(string(rest), " 0% lost") || err != nil || <-code != exitFine {
		t.Errorf("an interrupted ping tells %q, %v", rest, err)
	}
}

func TestInfo(t *testing.T) {
	address := serve(t, "tcp://127.0.0.1:0")
	answer := line(t, "", "info", address)
	answer.want(t, exitFine, `server +shop\naddress +127.0.0.1:\d+\nprotocol +version 1\ntls +none\ncodec +json\n.*in flight +16384 at most\n.*commands +5\n`)
	var told map[string]any
	if err := json.Unmarshal([]byte(line(t, "", "info", "--json", address).out), &told); err != nil || told["codec"] != "json" || told["commands"] != 5.0 || told["round_trip_ns"] == 0.0 {
		t.Errorf("%v, %v", told, err)
	}
}

func TestCommands(t *testing.T) {
	address := serve(t, "tcp://127.0.0.1:0")
	line(t, "", "commands", address).want(t, exitFine, regexp.QuoteMeta(`unary   Add {A int, B int} → int
unary   Buy {item string} → string
stream  Count {To int} → int…
unary   Hang {} → int
duplex  Shout {} ← string… → string…
`))
	line(t, "", "commands", "-l", address).want(t, exitFine, `unary   Add [^\n]*\n +[0-9a-f]{16}\n +\. struct\n +A int\n +B int\n +> int\n.*`)
	line(t, "", "commands", "--json", address).want(t, exitFine, `({"name":"\w+","kind":"\w+","fingerprint":"[0-9a-f]{16}","shape":\[[^\n]*}\n){5}`)
}

func TestCall(t *testing.T) {
	address := serve(t, "tcp://127.0.0.1:0")
	line(t, "", "call", address, "Add", `{"A":2,"B":3}`).want(t, exitFine, "5\n")
	line(t, `{"A":2,"B":3}`, "call", address, "Add", "-").want(t, exitFine, "5\n")
	line(t, "", "call", address, "Add").want(t, exitFine, "0\n")
	line(t, "", "call", address, "Buy", `{"item":"tea"}`, "-m", "tenant=7", "--pretty").want(t, exitFine, `"tea for 7"`+"\n")
	line(t, "", "call", address, "Count", `{"To":3}`).want(t, exitFine, "0\n1\n2\n")
	line(t, "\"a\"\n\n  \"b\"", "call", address, "Shout").want(t, exitFine, "\"A\"\n\"B\"\n")

	line(t, "", "call", address, "Buy").want(t, exitCall, `edict: .*failed precondition.*there is no tea left \(executed\)\n`)
	line(t, "", "call", address, "Buy", "--json").want(t, exitCall,
		`{"error":{"code":"failed precondition","outcome":"executed","reason":"sold-out","command":"Buy","message":"there is no tea left"}}`+"\n")
	line(t, "", "call", address, "Hang", "--timeout", "300ms").want(t, exitCall, `edict: .*deadline exceeded.*`)
	line(t, "{", "call", address, "Shout").want(t, exitCall, `edict: .*an input is not JSON.*`)
	line(t, "", "call", address, "Sell").want(t, exitUsage, `edict: the server has no command "Sell".*`)
	line(t, "", "call", address, "Add", "{").want(t, exitUsage, `edict: the command is not JSON: {.*`)
	line(t, "", "call", address, "Shout", "-").want(t, exitUsage, `edict: Shout takes inputs.*`)
	line(t, "", "call", address, "Buy", "-m", "x").want(t, exitUsage, `edict: --metadata "x".*`)
	line(t, "", "call", address).want(t, exitUsage, `edict: accepts between 2 and 3.*`)
}

func TestConnectionsOfAllKinds(t *testing.T) {
	certificate, files := certificates(t)
	tokens, err := auth.StaticTokens(map[string]edict.Principal{"sesame-open": {Name: "alice"}})
	if err != nil {
		t.Fatal(err)
	}
	guarded := edict.WithAuthenticator(tokens)
	secure := serve(t, "tls://127.0.0.1:0", guarded, edict.WithTLS(&tls.Config{
		Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS13,
	}))
	tokenFile := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(tokenFile, []byte("sesame-open\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	add := func(address string, flags ...string) result {
		return line(t, "", append([]string{"call", address, "Add", `{"A":2,"B":3}`}, flags...)...)
	}
	own := []string{"--tls-cert", files.certificate, "--tls-key", files.key, "--token-file", tokenFile}
	add(secure, append(own, "--tls-ca", files.certificate)...).want(t, exitFine, "5\n")
	add(secure, append(own, "--tls-insecure")...).want(t, exitFine, "5\n")
	add(secure, own...).want(t, exitConnect, `edict: .*certificate.*`)
	add(secure, append(own, "--tls-ca", files.certificate, "--tls-server-name", "other.example")...).want(t, exitConnect, `edict: .*other\.example.*`)
	add(secure, "--tls-ca", files.key).want(t, exitUsage, `edict: --tls-ca: .* has no certificate.*`)
	add(secure, "--tls-cert", files.certificate).want(t, exitUsage, `edict: --tls-cert and --tls-key: both.*`)

	folder, err := os.MkdirTemp("", "edict") // short: a socket's path is bounded
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(folder)
	socket := filepath.Join(folder, "shop.sock")
	address := serve(t, "unix://"+socket, guarded)
	add(address, "--token", "sesame-open").want(t, exitFine, "5\n")
	add(socket, "--token-file", tokenFile).want(t, exitFine, "5\n")
	add(address, "--token", "sesame-shut").want(t, exitConnect, `edict: .*the token is not known.*`)
	add(address, "--token", "x", "--token-file", tokenFile).want(t, exitUsage, `edict: --token and --token-file.*`)
	t.Setenv(tokenVariable, "sesame-open")
	add(address).want(t, exitFine, "5\n")

	add("127.0.0.1:1", "--json").want(t, exitConnect, `{"error":{"code":"unavailable","outcome":"not sent",.*}}`+"\n")
	add("shop").want(t, exitUsage, `edict: the address "shop" has no port.*`)
}

// certificateFiles are the paths of a certificate and its key.
type certificateFiles struct{ certificate, key string }

// certificates makes a certificate for 127.0.0.1.
func certificates(t *testing.T) (tls.Certificate, certificateFiles) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "edict test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	encodedKey, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	files := certificateFiles{filepath.Join(t.TempDir(), "certificate.pem"), filepath.Join(t.TempDir(), "key.pem")}
	for path, block := range map[string]*pem.Block{files.certificate: {Type: "CERTIFICATE", Bytes: der}, files.key: {Type: "PRIVATE KEY", Bytes: encodedKey}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, files
}

func TestWatch(t *testing.T) {
	address := serve(t, "tcp://127.0.0.1:0")
	line(t, "", "call", address, "Buy").want(t, exitCall, `.*`)
	line(t, "", "call", address, "Add").want(t, exitFine, `0\n`)
	line(t, "", "watch", "-n", "2", "-i", "10ms", address).want(t, exitFine,
		`shop, up `+duration+`\n\d+ connections, \d+ in flight, \d+ commands, – a second.*\nCALLS +STATE +AGE +DEADLINE IN +PEER\nedict.Stats +running .*`+
			`LATENCIES +COUNT .*Add +1 .*FAILURES +AGO .*command.failed .*there is no tea left.*CONNECTIONS .*\n\nshop, up .*, \d+ a second.*`)
	// With --older it waits for a call that is, and edict.Stats is none.
	ctx, leave := context.WithCancel(t.Context())
	var hanging sync.WaitGroup
	hanging.Go(func() { run(ctx, []string{"call", address, "Hang"}, streams{nil, io.Discard, io.Discard}) })
	line(t, "", "watch", "-n", "1", "-i", "10ms", "--older", "30ms", address).want(t, exitFine,
		`shop, up .*\nHang +running +([3-9]\d|\d{3}|\d+\.\d).*`)
	w := watching{older: time.Second}
	for command, want := range map[string]bool{edict.StatsName: false, "Hang": true} {
		young := edict.CallSnapshot{Command: "Hang", Age: time.Second}
		if old := (edict.CallSnapshot{Command: command, Age: time.Second + 1}); w.shows(&edict.Snapshot{Calls: []edict.CallSnapshot{old, young}}) != want {
			t.Errorf("an old %s is shown: %v", command, !want)
		}
	}
	leave()
	hanging.Wait()
	line(t, "", "watch", "--older", "-1s", address).want(t, exitUsage, `edict: --older: .*`)
	var snapshot edict.Snapshot
	if err := json.Unmarshal([]byte(line(t, "", "watch", "-n", "1", "--json", address).out), &snapshot); err != nil || snapshot.Name != "shop" || snapshot.Latencies["Add"].Count != 1 {
		t.Errorf("%+v, %v", snapshot, err)
	}
	for bytes, want := range map[int64]string{0: "0", 64 << 10: "0.0625", 99 << 20: "99", 1 << 30: "1024", 100 << 30: "102400"} {
		if got := mebibytes(bytes); got != want {
			t.Errorf("%d bytes: %s MiB", bytes, got)
		}
	}
	var screen bytes.Buffer
	evil := edict.Snapshot{MoreCalls: 7, Calls: []edict.CallSnapshot{{Command: "a\x1b[2Jb\nc" + strings.Repeat("d", 500)}, {}, {}}}
	if show(&screen, evil, edict.Snapshot{}, 2); strings.Contains(screen.String(), "\x1b") || !strings.Contains(screen.String(), "a·[2Jb·cd") || !strings.Contains(screen.String(), "and 8 more") {
		t.Errorf("%q", screen.String())
	}
}

// What is kept for clients that are away, and in the journal, is shown if there is any: of a snapshot as it comes over the wire.
func TestWatchShowsWhatIsKept(t *testing.T) {
	sent := edict.Snapshot{ServerStats: edict.ServerStats{
		Away: 2, AwayBytes: 3 << 20, Journal: &edict.JournalSize{Records: 7, Bytes: 1 << 20, Limit: 256 << 20},
	}}
	encoded, err := json.Marshal(sent)
	if err != nil {
		t.Fatal(err)
	}
	var kept edict.Snapshot
	if err := json.Unmarshal(encoded, &kept); err != nil {
		t.Fatal(err)
	}
	var screen bytes.Buffer
	show(&screen, kept, edict.Snapshot{}, 10)
	if want := " MiB\n2 clients away, 3 MiB kept for them\n7 commands in the journal, 1 of 256 MiB\n"; !strings.Contains(screen.String(), want) {
		t.Errorf("it shows %q, want %q in it", screen.String(), want)
	}
	screen.Reset()
	if show(&screen, edict.Snapshot{}, edict.Snapshot{}, 10); strings.Contains(screen.String(), "away") || strings.Contains(screen.String(), "journal") {
		t.Errorf("with nothing kept it shows %q", screen.String())
	}
}

func TestBench(t *testing.T) {
	address := serve(t, "tcp://127.0.0.1:0")
	line(t, "", "bench", address, "Add", `{"A":2,"B":3}`, "-c", "4", "-n", "200", "--connections", "2").want(t, exitFine,
		`200 calls of Add in `+duration+`, by 4 callers on 2 connections: \d+ a second\n\nlatency: mean .*, p99 .*\n\n( +`+duration+` +\d+ █*\n)+`)
	var m measured
	if err := json.Unmarshal([]byte(line(t, "", "bench", address, "Add", "-d", "500ms", "--json").out), &m); err != nil || m.Calls == 0 || m.Latency.Count != m.Calls || m.Rate <= 0 || m.Took < 500*time.Millisecond {
		t.Errorf("%+v, %v", m, err)
	}
	line(t, "", "bench", address, "Buy", "-d", "10s").want(t, exitCall, `edict: .*there is no tea left.*`)
	line(t, "", "bench", address, "Count", "-d", "50ms").want(t, exitUsage, `edict: Count is a stream command.*`)
	line(t, "", "bench", address, "Add", "-c", "0").want(t, exitUsage, `edict: --callers.*`)
}

func TestProxy(t *testing.T) {
	address := serve(t, "tcp://127.0.0.1:0")
	ctx, interrupt := context.WithCancel(t.Context())
	reader, writer := io.Pipe()
	var proxying sync.WaitGroup
	code := make(chan int, 1)
	proxying.Go(func() {
		code <- run(ctx, []string{"proxy", "--latency", "20ms", "--cut-after", "2KB", "127.0.0.1:0", address}, streams{nil, writer, io.Discard})
		_ = writer.Close()
	})
	lines := linesOf(reader)
	listening := <-lines
	proxied, target, ok := strings.Cut(listening, " -> ")
	if !ok || target != address {
		t.Fatalf("%q", listening)
	}
	began := time.Now()
	line(t, "", "ping", "-c", "1", proxied).want(t, exitFine, `answer from .*`)
	if took := time.Since(began); took < 80*time.Millisecond { // the handshake and the ping, there and back
		t.Errorf("%v with a latency of 20ms", took)
	}
	line(t, "", "call", proxied, "Count", `{"To":1000}`).want(t, exitCall, `0\n1\n.*edict: .*connection.*`)
	interrupt()
	proxying.Wait()
	var told []string
	for line := range lines {
		told = append(told, line)
	}
	if got := strings.Join(told, "\n"); <-code != exitFine || !strings.Contains(got, "connection 2: cut") {
		t.Errorf("the proxy tells %q", got)
	}
	line(t, "", "proxy", "--cut-after", "much", ":0", address).want(t, exitUsage, `edict: --cut-after: "much" is no size.*`)
}

// linesOf returns the lines of a reader as they come.
func linesOf(r io.Reader) <-chan string {
	lines := make(chan string, 1000)
	go func() {
		defer close(lines)
		var rest []byte
		part := make([]byte, 1000)
		for {
			n, err := r.Read(part)
			rest = append(rest, part[:n]...)
			for i := bytes.IndexByte(rest, '\n'); i >= 0; i = bytes.IndexByte(rest, '\n') {
				lines <- string(rest[:i])
				rest = rest[i+1:]
			}
			if err != nil {
				return
			}
		}
	}()
	return lines
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{"7": 7, "7B": 7, "64KB": 64_000, "64kib": 65_536, "1MB": 1_000_000, "2 GiB": 2 << 30} {
		if got, err := sizeOf(text); got != want || err != nil {
			t.Errorf("%s: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "MB", "-1", "0", "1.5MB", "1TB", "99999999999999GB"} {
		if got, err := sizeOf(text); err == nil {
			t.Errorf("%q: %d", text, got)
		}
	}
}

func TestLock(t *testing.T) {
	address := serve(t, "tcp://127.0.0.1:0")
	file := filepath.Join(t.TempDir(), "commands.lock")
	line(t, "", "lock", address, "-f", file).want(t, exitFine, `.*commands.lock has 5 commands\n`)
	line(t, "", "lock", address, "-f", file).want(t, exitFine, `5 commands are as .* has them\n`)
	line(t, "", "lock", "./internal/shop", "-f", file).want(t, exitFine, `5 commands are as .* has them\n`)

	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	locked, err := parseLock(string(content))
	if err != nil || len(locked) != 5 {
		t.Fatalf("%v, %v", locked, err)
	}
	// What the file would say if the service had been another one.
	var before []edict.CommandDescription
	for i := range shop.Commands.Len() {
		d := shop.Commands.At(i).Describe()
		switch d.Name {
		case "Hang":
			continue
		case "Add":
			d.Shape = []string{"unary", ". struct", "A int", "B int64", "C bool", "> int"}
			d.Fingerprint = "????"
		}
		before = append(before, d)
	}
	gone := before[1]
	gone.Name = "Gone"
	before = append(before, gone)
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(lockText(before))
	line(t, "", "lock", address, "-f", file).want(t, exitOther, `edict: .*the fingerprint of Add is not that of its shape.*`)
	before[0].Fingerprint = fmt.Sprintf("%016x", before[0].Shape.Fingerprint())
	write(lockText(before))
	line(t, "", "lock", address, "-f", file).want(t, exitLock, regexp.QuoteMeta(`changed Add: field B is int here, int64 on the lock
    - B int64
    - C bool
    + B int
removed Gone
added Hang
`)+`to write .* anew: .*\nedict: commands have changed in a way that breaks.*`)
	write(lockText(append([]edict.CommandDescription{shop.Commands.At(0).Describe()}, gone)))
	line(t, "", "lock", address, "-f", file).want(t, exitLock, `added Buy\n.*removed Gone\n.*`)
	write(lockText([]edict.CommandDescription{shop.Commands.At(0).Describe()}))
	line(t, "", "lock", address, "-f", file).want(t, exitFine, `added Buy\n.*to write .* anew: .*`)
	write(lockText(before))
	answer := line(t, "", "lock", "./internal/shop", "-f", file, "--json")
	answer.want(t, exitLock, `{"changes":\[{"command":"Add","kind":"changed","breaking":true,.*"written":false}.*`)
	line(t, "", "lock", address, "-f", file, "--update").want(t, exitFine, `.* has 5 commands\n`)
	line(t, "", "lock", address, "-f", file).want(t, exitFine, `5 commands are as .*`)

	line(t, "", "lock", "./internal/shop", "--var", "Nothing", "-f", file).want(t, exitOther, `(?s)edict: .*Nothing.*`)
	line(t, "", "lock", ".", "-f", file).want(t, exitOther, `edict: \. is a program.*`)
	line(t, "", "lock", address, "--var", "a b").want(t, exitUsage, `edict: --var a b.*`)
}

func TestHelp(t *testing.T) {
	for _, command := range []string{"ping", "info", "commands", "call", "watch", "bench", "proxy", "lock"} {
		help := line(t, "", command, "--help")
		help.want(t, exitFine, `.*Usage:\n  edict `+command+` .*Examples:\n  .*edict `+command+` .*--tls-ca.*--token-file.*`)
	}
	root := line(t, "", "--help")
	root.want(t, exitFine, `.*Exit codes:\n  0 .*5 .*`)
	line(t, "").want(t, exitFine, `.*Available Commands:.*`)
	line(t, "", "dance").want(t, exitUsage, `edict: unknown command "dance".*`)
	line(t, "", "ping", "--loud", "x:1").want(t, exitUsage, `edict: unknown flag: --loud.*`)
}

func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		line(t, "", "completion", shell).want(t, exitFine, `.*edict.*`)
	}
	address := serve(t, "tcp://127.0.0.1:0")
	if answer := line(t, "", "__complete", "call", address, "A"); answer.code != exitFine || answer.out != "Add\tAdd {A int, B int} → int\n:4\n" {
		t.Errorf("%+v", answer)
	}
}

// The binary itself: main, its streams and its exit codes.
func TestTheBinary(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "edict")
	if output, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	address := serve(t, "tcp://127.0.0.1:0")
	shout := exec.Command(binary, "call", address, "Shout")
	shout.Stdin = strings.NewReader("\"a\"\n")
	if output, err := shout.CombinedOutput(); string(output) != "\"A\"\n" || err != nil {
		t.Errorf("%s, %v", output, err)
	}
	_, err := exec.Command(binary, "call", address, "Buy").Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != exitCall || !strings.Contains(string(exit.Stderr), "no tea left") {
		t.Errorf("%v", err)
	}
}

// What a server says is not what the terminal does.
func TestTextsOfServersAreNotObeyed(t *testing.T) {
	const evil = "Add\x1b]0;owned\a"
	server := edict.NewServer(&shop.Shop{}, edict.Commands(edict.Unary[shop.Add]().Named(evil)), edict.WithReflection(),
		edict.ServerConfig{Name: "\x1b[2J"}, edict.WithLogger(slog.New(slog.DiscardHandler)))
	listener, err := server.Listen("tcp://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	address := listener.Addr().String()
	file := filepath.Join(t.TempDir(), "commands.lock")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, arguments := range [][]string{{"info", address}, {"commands", "-l", address}, {"lock", address, "-f", file}, {"call", address, evil, "[]"}} {
		if got := line(t, "", arguments...); strings.ContainsAny(got.out+got.err, "\x1b\a") || got.out+got.err == "" {
			t.Errorf("%q: %+v", arguments, got)
		}
	}
	_ = server.Close()
	_ = server.Shutdown(t.Context())
	<-served
}

// The command lines of the guide work.
func TestTheGuidesLines(t *testing.T) {
	address := serve(t, "tcp://127.0.0.1:0")
	guide, err := os.ReadFile("../../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(string(guide), -1)
	lines, used := 0, map[string]bool{"proxy": true} // which examples/shop goes through: it does not end
	lock := filepath.Join(t.TempDir(), "commands.lock")
	for _, block := range blocks {
		for _, command := range strings.Split(strings.TrimSpace(block[1]), "\n") {
			before, command, _ := strings.Cut(strings.TrimPrefix(command, "$ "), "edict ")
			input := ""
			if printed, ok := strings.CutPrefix(before, "printf '"); ok {
				printed, _, _ = strings.Cut(printed, "' | ")
				input = strings.ReplaceAll(printed, `\n`, "\n")
			}
			var arguments []string
			for _, argument := range regexp.MustCompile(`'[^']*'|[^ ]+`).FindAllString(command, -1) {
				arguments = append(arguments, strings.Trim(argument, "'"))
			}
			lines++
			rest := replaced(replaced(arguments[1:], "127.0.0.1:9000", address), "./commands", "./internal/shop")
			if arguments[0] == "lock" {
				rest = append(rest, "-f", lock)
			}
			used[arguments[0]] = true
			got := line(t, input, append(arguments[:1:1], rest...)...)
			if got.code != exitFine || got.out == "" {
				t.Errorf("%s: %+v", command, got)
			}
		}
	}
	if lines < 11 {
		t.Errorf("only %d lines", lines)
	}
	for _, command := range []string{"ping", "info", "commands", "call", "bench", "watch", "lock", "proxy"} {
		if !used[command] {
			t.Errorf("the guide does not show edict %s", command)
		}
	}
}

// replaced returns the arguments with one exchanged.
func replaced(arguments []string, old, by string) []string {
	for i := range arguments {
		if arguments[i] == old {
			arguments[i] = by
		}
	}
	return arguments
}

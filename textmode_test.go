package edict_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/auth"
	"github.com/edict-go/edict/codec/msgpack"
	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/text"
	"github.com/edict-go/edict/transport"
)

// talker is a client of text mode: what nc is.
type talker struct {
	testing.TB
	conn  net.Conn
	lines *bufio.Scanner
}

func (b *bench) talker() *talker {
	b.t.Helper()
	conn, err := b.dial(context.Background())
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = conn.Close() })
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, 16<<20)
	return &talker{b.t, conn, lines}
}

func (k *talker) say(lines ...string) {
	k.Helper()
	for _, line := range lines {
		if _, err := io.WriteString(k.conn, line+"\n"); err != nil {
			k.Fatal(err)
		}
	}
}

// hear returns the next line, "" at the end.
func (k *talker) hear() string {
	k.Helper()
	if !k.lines.Scan() {
		if err := k.lines.Err(); err != nil {
			k.Errorf("the connection ended: %v", err)
		}
		return ""
	}
	if !json.Valid(k.lines.Bytes()) {
		k.Errorf("no JSON: %s", k.lines.Bytes())
	}
	return k.lines.Text()
}

func (k *talker) wantHear(lines ...string) {
	k.Helper()
	for _, want := range lines {
		if got := k.hear(); got != want {
			k.Errorf("heard %s\nwant  %s", got, want)
		}
	}
}

// finish says that no more comes, as nc does at the end of its input.
func (k *talker) finish() {
	k.Helper()
	if err := k.conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		k.Fatal(err)
	}
}

var allowText = edict.ServerConfig{AllowText: true}

func TestTextMode(t *testing.T) {
	b := serveAt(t, "tcp://127.0.0.1:0", nil, nil, allowText, edict.WithReflection())
	k := b.talker()
	k.say(`{"cmd":"add","id":1,"body":{"A":2,"B":3}}`)
	k.wantHear(`{"id":1,"result":5,"end":true}`)
	k.say(`{"cmd":"add","body":{"A":2,"B":3}}`)
	k.wantHear(`{"result":5,"end":true}`)
	k.say("", "  ", `{"cmd":"add","id":"x"}`)
	k.wantHear(`{"id":"x","result":0,"end":true}`)
	k.say(`{"cmd":"count","id":2,"body":{"To":3}}`)
	k.wantHear(`{"id":2,"result":0}`, `{"id":2,"result":1}`, `{"id":2,"result":2}`, `{"id":2,"end":true}`)
	k.say(`{"cmd":"sumUp","id":3}`, `{"id":3,"input":4}`, `{"id":3,"input":5}`, `{"id":3,"end":true}`)
	k.wantHear(`{"id":3,"result":9}`, `{"id":3,"end":true}`)
	k.say(`{"cmd":"peek","id":4,"metadata":{"question":"why","more":["a","b"]}}`)
	k.wantHear(`{"id":4,"result":"why","end":true,"metadata":{"answer":["42","43"]}}`)
	k.say(fmt.Sprintf(`{"cmd":"fail","id":5,"body":{"Code":%d,"Reason":"gone","Text":"not <there>","Retry":2000000}}`, edict.NotFound))
	k.wantHear(`{"id":5,"error":{"code":"not found","outcome":"executed","reason":"gone","message":"not \u003cthere\u003e","retry_after_ms":2,` +
		`"details":[{"type":"shortage","value":{"Missing":7}}]},"end":true}`)
	k.say(`{"cmd":"edict.Reflect","id":6}`)
	if got := k.hear(); !strings.HasPrefix(got, `{"id":6,"result":{"server":"","commands":[{"name":"add",`) {
		t.Error(got)
	}
	// A large one, and what is asked for with no newline at the end.
	large := strings.Repeat("l", 1<<20)
	k.say(`{"cmd":"repeat","id":7,"body":{"Times":2,"Text":"` + large + `"}}`)
	k.wantHear(`{"id":7,"result":"` + large + large + `","end":true}`)
	_, _ = io.WriteString(k.conn, `{"cmd":"count","id":8,"body":{"To":1}}`)
	k.finish()
	k.wantHear(`{"id":8,"result":0}`, `{"id":8,"end":true}`, "")

	wantSum(t, b.client()) // the binary protocol is there too
	if failures := b.server.Stats().FailureCounts; failures[core.FailureHandshake]+failures[core.FailureTextLine] > 0 {
		t.Errorf("%v", failures)
	}
}

// The guide's line does what it says, with the nc that this machine has; without one, its Go equivalent does.
func TestNetcat(t *testing.T) {
	line := regexp.MustCompile(`(?m)^    \$ (printf .* \| nc )127\.0\.0\.1 9000\n    (.*)$`).FindStringSubmatch(readFile(t, "docs/text.md"))
	if line == nil {
		t.Fatal("docs/text.md does not show it")
	}
	line[1] = strings.Replace(line[1], `"Add"`, `"add"`, 1) // as the commands of this test are called
	b := serveAt(t, "tcp://127.0.0.1:0", nil, nil, allowText)
	k := b.talker()
	if _, err := exec.LookPath("nc"); err != nil {
		k.say(strings.TrimSuffix(strings.TrimPrefix(line[1], "printf '"), `\n' | nc `))
		k.finish()
		k.wantHear(line[2], "")
		return
	}
	host, port, _ := net.SplitHostPort(k.conn.RemoteAddr().String())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	shell := exec.CommandContext(ctx, "sh", "-c", line[1]+host+" "+port)
	out, err := shell.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	if got, err := bufio.NewReader(out).ReadString('\n'); got != line[2]+"\n" || err != nil {
		t.Errorf("nc prints %q, %v; want %s", got, err, line[2])
	}
	_ = b.server.Close() // which ends those kinds of nc that don't end by themselves
	_ = shell.Wait()     // the code differs too
}

// What is wrong with a line is told, and the connection goes on.
func TestTextModeErrors(t *testing.T) {
	b := serve(t, edict.ServerConfig{AllowText: true, MaxFrame: 64 << 10, MaxInFlight: 2})
	k := b.talker()
	refused := func(code string) string { return `"error":{"code":"` + code + `","outcome":"refused",` }
	for _, test := range []struct{ say, id, want string }{
		{`{"cmd":"unheardOf","id":1}`, `"id":1,`, refused("unimplemented") + `"message":"the server has no command \"unheardOf\""`},
		{`{"cmd":"add","id":1,"body":[]}`, `"id":1,`, refused("invalid argument")},
		{`{"cmd":"add","id":1,"timeout_ms":-1}`, `"id":1,`, refused("invalid argument")},
		{`{"cmd":"add","id":1,"metadata":{"k":1}}`, `"id":1,`, refused("invalid argument")},
		{`{"cmd":"add","id":{}}`, ``, refused("invalid argument")},
		{`{"cmd":"add","input":1,"id":1}`, `"id":1,`, refused("invalid argument")},
		{`{"input":1}`, ``, refused("invalid argument")},
		{`{"nothing":1}`, ``, refused("invalid argument")},
		{`{"cmd":"add"`, ``, refused("invalid argument")},
		{`hello`, ``, refused("invalid argument")},
		{`{"cmd":"add","body":"` + strings.Repeat("x", 64<<10) + `"}`, ``, refused("resource exhausted")},
		{`{"cmd":"add","id":"` + strings.Repeat("x", 200) + `"}`, ``, refused("invalid argument")},
	} {
		k.say(test.say)
		if got := k.hear(); !strings.HasPrefix(got, "{"+test.id+test.want) || !strings.HasSuffix(got, `,"end":true}`) {
			t.Errorf("%.80s: %s", test.say, got)
		}
	}
	k.say(`{"id":7,"cancel":true}`, `{"id":7,"input":1}`, `{"id":7,"end":true}`) // of calls that are not there: they may have ended
	k.say(`{"cmd":"wait","id":1,"body":{"Name":"a"}}`, `{"cmd":"wait","id":1}`)
	if got := k.hear(); !strings.Contains(got, "is in flight") {
		t.Error(got)
	}
	k.say(`{"id":1,"input":5}`)
	if got := k.hear(); !strings.Contains(got, "takes no inputs") {
		t.Error(got)
	}
	k.say(`{"cmd":"wait","id":2,"body":{"Name":"b"}}`, `{"cmd":"add","id":3}`)
	if got := k.hear(); !strings.HasPrefix(got, `{"id":3,`+refused("resource exhausted")) {
		t.Error(got)
	}
	<-b.lab.started
	<-b.lab.started
	k.say(`{"id":1,"cancel":true}`)
	if got := k.hear(); !strings.HasPrefix(got, `{"id":1,"error":{"code":"canceled","outcome":"executed"`) {
		t.Error(got)
	}
	close(b.lab.release)
	k.wantHear(`{"id":2,"result":"b","end":true}`)
	k.say(`{"cmd":"add","id":1}`)
	k.wantHear(`{"id":1,"result":0,"end":true}`)
	k.say(strings.Repeat("[\n", 100) + "[") // at once: the server may not wait for all of them
	last := ""
	for line := k.hear(); line != ""; line = k.hear() {
		last = line
	}
	if !strings.HasPrefix(last, `{"closing":{"code":"resource exhausted"`) {
		t.Errorf("after too many lines that are none: %s", last)
	}
}

// Deadlines, and the end of calls whose client has said all that it wants.
func TestTextModeInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := serve(t, allowText)
		k, began := b.talker(), time.Now()
		k.say(`{"cmd":"wait","id":1,"timeout_ms":1500}`)
		if got := k.hear(); !strings.HasPrefix(got, `{"id":1,"error":{"code":"deadline exceeded","outcome":"executed"`) || time.Since(began) != 1500*time.Millisecond {
			t.Errorf("%s after %v", got, time.Since(began))
		}
		k.say(`{"cmd":"wait","id":2}`)
		k.finish()
		began = time.Now()
		if k.lines.Scan() || time.Since(began) != text.Linger {
			t.Errorf("%s after %v", k.lines.Text(), time.Since(began))
		}

		silent := b.talker()
		began = time.Now()
		if silent.lines.Scan() || time.Since(began) != 5*time.Second {
			t.Errorf("a silent client: %v", time.Since(began))
		}
		slow := b.talker()
		slow.say(`{"cmd":"add"}`)
		slow.wantHear(`{"result":0,"end":true}`)
		_, _ = io.WriteString(slow.conn, `{"cmd"`)
		began = time.Now()
		if slow.lines.Scan() || time.Since(began) != 30*time.Second {
			t.Errorf("a line that does not come to its end: %v", time.Since(began))
		}
	})
}

// Who is not let in is told so; who is, is known to commands.
func TestTextModeAuthenticates(t *testing.T) {
	tokens, err := auth.StaticTokens(map[string]edict.Principal{"sesame-open": {Name: "alice"}})
	if err != nil {
		t.Fatal(err)
	}
	b := serve(t, edict.WithAuthenticator(tokens), allowText)
	for _, line := range []string{`{"cmd":"add","id":1}`, `{"cmd":"add","id":1,"token":"sesame-shut"}`, `{`, `{"token":`} {
		k := b.talker()
		k.say(line)
		if got := k.hear(); !strings.HasPrefix(got, `{"error":{"code":"`) || strings.Contains(got, "sesame") {
			t.Errorf("%s: %s", line, got)
		}
		k.wantHear("")
		_ = k.conn.Close()
	}
	k := b.talker()
	k.say(`{"token":"sesame-open","name":"till"}`, `{"cmd":"wait","id":1,"token":"ignored"}`)
	<-b.lab.started
	connections := b.server.Stats().Connections
	if len(connections) != 1 || connections[0].Principal != "alice" || connections[0].Name != "till" || connections[0].InFlight != 1 {
		t.Errorf("%+v", connections)
	}
	for _, failure := range b.server.Stats().Failures {
		if strings.Contains(failure.Text, "sesame") {
			t.Errorf("%+v", failure)
		}
	}
	_ = k.conn.Close()
	if err := b.server.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if counts := b.server.Stats().FailureCounts; counts[core.FailureAuth] != 2 {
		t.Errorf("%v", counts)
	}
}

// Without the option, a line is no handshake; and the option needs json.
func TestTextModeIsOff(t *testing.T) {
	b := serve(t)
	k := b.talker()
	k.say(`{"cmd":"add","id":1}`)
	k.wantHear("")
	server := edict.NewServer(newLab(), labCommands, allowText, edict.WithCodecs(msgpack.Codec))
	if err := server.ListenAndServe("tcp://127.0.0.1:0"); edict.CodeOf(err) != edict.FailedPrecondition {
		t.Error(err)
	}
}

// A client that does not read holds up itself: its stream waits, and others go on.
func TestTextModeUnread(t *testing.T) {
	b := serveAt(t, "tcp://127.0.0.1:0", nil, nil, allowText)
	k := b.talker()
	k.say(`{"cmd":"flood","id":1,"body":{"Size":10000}}`)
	other := b.talker()
	for last := int64(-1); ; {
		other.say(`{"cmd":"add","id":1,"body":{"A":2,"B":3}}`)
		other.wantHear(`{"id":1,"result":5,"end":true}`)
		calls, _ := b.server.Calls(2)
		if now := b.lab.executed.Load(); len(calls) > 0 && calls[0].State == core.CallCredit && now-last == 1 {
			break // only the add was executed since
		} else {
			last = now
		}
	}
	if sent := b.lab.executed.Load() * 10_000; sent > 64<<20 {
		t.Errorf("%d bytes are under way", sent)
	}
	for range 5000 { // as it reads, more comes
		if k.hear() == "" {
			t.Fatal("the stream has ended")
		}
	}
	k.say(`{"id":1,"cancel":true}`)
	<-b.lab.canceled
}

// Inputs wait until the command takes them, however many there are.
func TestTextModeInputs(t *testing.T) {
	b := serve(t, allowText)
	k := b.talker()
	go func() {
		lines := bufio.NewWriter(k.conn)
		fmt.Fprintln(lines, `{"cmd":"sumUp","id":1}`)
		for range 5000 {
			fmt.Fprintln(lines, `{"id":1,"input":2}`)
		}
		fmt.Fprintln(lines, `{"id":1,"end":true}`)
		_ = lines.Flush()
	}()
	k.wantHear(`{"id":1,"result":10000}`, `{"id":1,"end":true}`)
	k.say(`{"cmd":"deaf","id":3}`)
	<-b.lab.started
	go func() {
		for range 1000 { // more than there is room for
			if _, err := io.WriteString(k.conn, `{"id":3,"input":"`+strings.Repeat("i", 100)+`"}`+"\n"); err != nil {
				return
			}
		}
		_, _ = io.WriteString(k.conn, `{"id":3,"end":true}`+"\n")
	}()
	close(b.lab.release)
	k.wantHear(`{"id":3,"result":100000}`, `{"id":3,"end":true}`)
	k.say(`{"cmd":"sumUp","id":4}`, `{"id":4,"input":7}`)
	k.finish() // which ends the inputs
	k.wantHear(`{"id":4,"result":7}`, `{"id":4,"end":true}`, "")
}

// A server that has too many connections says so.
func TestTextModeConnectionLimit(t *testing.T) {
	b := serve(t, edict.ServerConfig{AllowText: true, MaxConnections: 1})
	first, second := b.talker(), b.talker()
	first.say(`{"cmd":"add"}`)
	first.wantHear(`{"result":0,"end":true}`)
	second.say(`{"cmd":"add"}`)
	if got := second.hear(); !strings.HasPrefix(got, `{"error":{"code":"resource exhausted","outcome":"refused"`) {
		t.Error(got)
	}
}

// A server that shuts down says so, and lets calls come to their end.
func TestTextModeShutdown(t *testing.T) {
	b := serve(t, allowText)
	k := b.talker()
	k.say(`{"cmd":"wait","id":1,"body":{"Name":"w"}}`)
	<-b.lab.started
	ended := make(chan error, 1)
	go func() { ended <- b.server.Shutdown(context.Background()) }()
	k.wantHear(`{"closing":{"code":"unavailable","outcome":"unknown","message":"the server is shutting down"}}`)
	k.say(`{"cmd":"add","id":2}`)
	if got := k.hear(); !strings.HasPrefix(got, `{"id":2,"error":{"code":"unavailable","outcome":"refused"`) {
		t.Error(got)
	}
	close(b.lab.release)
	k.wantHear(`{"id":1,"result":"w","end":true}`, "")
	_ = k.conn.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// Long lines are within the budget.
func TestTextModeBudget(t *testing.T) {
	budget := edict.NewBudget(1 << 20)
	b := serve(t, allowText, edict.WithBudget(budget))
	k := b.talker()
	k.say(`{"cmd":"add"}`)
	k.wantHear(`{"result":0,"end":true}`)
	k.say(`{"cmd":"repeat","id":1,"body":{"Times":0,"Text":"` + strings.Repeat("l", 3<<20) + `"}}`)
	if got := k.hear(); !strings.HasPrefix(got, `{"error":{"code":"resource exhausted","outcome":"refused","message":"the server has no room`) {
		t.Error(got)
	}
	k.say(`{"cmd":"repeat","id":1,"body":{"Times":0,"Text":"` + strings.Repeat("l", 100<<10) + `"}}`)
	k.wantHear(`{"id":1,"result":"","end":true}`)
	unread := b.talker()
	unread.say(`{"cmd":"flood","body":{"Size":100000}}`)
	for b.lab.executed.Load() < 4 { // results are queued until there is no room
		k.say(`{"cmd":"peek"}`)
		k.hear()
	}
	if used := budget.Used(); used < 100_000 {
		t.Errorf("%d bytes are used while a result of 100,000 waits", used)
	}
	for range 100 {
		k.say(`{"cmd":"peek"}`)
		if got := k.hear(); !strings.Contains(got, `"result":""`) || budget.Used() > budget.Limit() {
			t.Fatalf("%s; %d bytes are used", got, budget.Used())
		}
	}
	_, _ = unread.conn.Close(), k.conn.Close()
	if err := b.server.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if used := budget.Used(); used != 0 {
		t.Errorf("%d bytes are used at the end", used)
	}
}

// Whatever comes, each line that goes back is JSON, the connection ends when the client has said all, and the server
// goes on serving others.
func FuzzTextMode(f *testing.F) {
	commands := edict.Commands(edict.Unary[fuzzedSum](), edict.ServerStream[fuzzedCount](), edict.Duplex[fuzzedTotal](), edict.ServerStream[fuzzedTurn]())
	server := edict.NewServer(&fuzzed{}, commands, edict.ServerConfig{AllowText: true, MaxFrame: 64 << 10}, edict.WithLogger(slog.New(slog.DiscardHandler)))
	listener := transport.NewMemory()
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	f.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil || server.InFlight() > 0 {
			f.Errorf("%v; %d commands in flight", err, server.InFlight())
		}
		<-served
	})
	for _, seed := range []string{
		`{"cmd":"fuzzedSum","id":1,"body":{"A":2,"B":3}}`, `{"cmd":"fuzzedCount","id":1,"body":{"To":3}}` + "\n" + `{"id":1,"cancel":true}`,
		`{"cmd":"fuzzedTotal","id":3}` + "\n" + `{"id":3,"input":4}` + "\n" + `{"id":3,"end":true}`, `{"token":"x"}` + "\n\n{\n[\n",
		`{"cmd":"fuzzedTurn","id":"a","timeout_ms":1,"body":{"To":9000}}` + "\n" + `{"cmd":"fuzzedTurn"}`, `{"cmd":"fuzzedSum","timeout_ms":1e300}`,
		`{"cmd":"fuzzedSum","metadata":{"a":["b"]}}`, `{"cmd":"fuzzedTotal","id":"x"}` + "\n" + `{"id":"x","input":[` + strings.Repeat("[", 1000),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		for i, said := range [][]byte{append([]byte(`{"name":"fuzz","token":"x"}`+"\n"), input...), []byte(`{"cmd":"fuzzedSum","id":1,"body":{"A":2,"B":3}}`)} {
			conn, err := listener.Dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				_, _ = conn.Write(said)
				_ = conn.(interface{ CloseWrite() error }).CloseWrite()
			}()
			lines, last := bufio.NewScanner(conn), ""
			lines.Buffer(nil, 1<<20)
			for lines.Scan() {
				if last = lines.Text(); !json.Valid(lines.Bytes()) {
					t.Errorf("no JSON: %q", last)
				}
			}
			_ = conn.Close()
			if i == 1 && last != `{"id":1,"result":5,"end":true}` {
				t.Errorf("another client gets %s", last)
			}
		}
	})
}

// The guide's conversation is what is said and heard.
func TestTheGuidesConversation(t *testing.T) {
	_, rest, _ := strings.Cut(readFile(t, "docs/text.md"), "```conversation\n")
	conversation, _, _ := strings.Cut(rest, "```")
	listener := transport.NewMemory()
	server := edict.NewServer(&Calc{}, Commands, allowText)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	conn, err := listener.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	k := &talker{t, conn, bufio.NewScanner(conn)}
	heard := 0
	for _, line := range strings.Split(strings.TrimSpace(conversation), "\n") {
		if said, ok := strings.CutPrefix(line, "> "); ok {
			k.say(said)
			continue
		}
		heard++
		before, after, _ := strings.Cut(strings.TrimPrefix(line, "< "), "…")
		if got := k.hear(); !strings.HasPrefix(got, before) || !strings.HasSuffix(got, after) {
			t.Errorf("heard %s\nwant  %s", got, line)
		}
	}
	if heard < 6 {
		t.Errorf("only %d lines", heard)
	}
	_ = conn.Close()
	_ = server.Close()
	if err := server.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	<-served
}

// With this, printf and nc are a client: docs/text.md has what they say.
func ExampleServerConfig_allowText() {
	server := edict.NewServer(&Calc{}, Commands, edict.ServerConfig{AllowText: true})
	listener := transport.NewMemory() // in a program: server.ListenAndServe("tcp://127.0.0.1:9000")
	go server.Serve(listener)
	defer server.Close()

	conn, err := listener.Dial(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()
	fmt.Fprintln(conn, `{"cmd":"Add","id":1,"body":{"A":2,"B":3}}`)
	answer, _ := bufio.NewReader(conn).ReadString('\n')
	fmt.Print(answer)
	// Output: {"id":1,"result":5,"end":true}
}

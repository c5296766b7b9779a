package dynamic_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict"
	edictjson "github.com/edict-go/edict/codec/json"
	"github.com/edict-go/edict/codec/msgpack"
	"github.com/edict-go/edict/dynamic"
	"github.com/edict-go/edict/internal/leak"
	"github.com/edict-go/edict/transport"
)

func TestMain(m *testing.M) { leak.Main(m) }

type shop struct{}

type line struct {
	Item  string  `json:"item"`
	Price float64 `json:"price,omitempty"`
	Note  *string
	Skip  int `json:"-"`
}

// Buy has a field of each kind.
type Buy struct {
	Lines []line
	Tags  map[string][]byte
	At    time.Time
	Pair  [2]int
	Other any
	Next  *Buy
}

func (b Buy) Exec(context.Context, *shop) (int, error) {
	if len(b.Lines) == 0 {
		return 0, edict.Errorf(edict.InvalidArgument, "nothing to buy")
	}
	return len(b.Lines), nil
}

// Crash panics.
type Crash struct{}

func (Crash) Exec(context.Context, *shop) (int, error) { panic("the combination is 7-3-5") }

// Deaf takes no inputs, until its caller leaves.
type Deaf struct{}

func (Deaf) Exec(ctx context.Context, _ *shop, _ edict.Source[string], out edict.Sink[string]) error {
	if err := out.Send("here"); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

// Count streams numbers.
type Count struct{ To int }

func (c Count) Exec(_ context.Context, _ *shop, out edict.Sink[int]) error {
	for n := range c.To {
		if err := out.Send(n); err != nil {
			return err
		}
	}
	return nil
}

// Shout answers each input, until one says to stop.
type Shout struct{}

func (Shout) OrderingKey() string { return "" }

func (Shout) Exec(_ context.Context, _ *shop, in edict.Source[string], out edict.Sink[string]) error {
	for text, err := range in.All() {
		if err != nil {
			return err
		}
		if text == "stop" {
			return nil
		}
		if err := out.Send(strings.ToUpper(text)); err != nil {
			return err
		}
	}
	return nil
}

var commands = edict.Commands(edict.Unary[Buy](), edict.Unary[Crash](), edict.ServerStream[Count](), edict.Duplex[Shout](), edict.Duplex[Deaf]())

// serve starts a server and returns an option with which a client reaches it.
func serve(t testing.TB, options ...edict.ServerOption) edict.DialOption {
	listener := transport.NewMemory()
	server := edict.NewServer(&shop{}, commands, append(options, edict.ServerConfig{Name: "shop"}, edict.WithLogger(slog.New(slog.DiscardHandler)))...)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		_ = server.Close()
		_ = server.Shutdown(context.Background())
		if err := <-served; !errors.Is(err, edict.ErrClosed) {
			t.Error(err)
		}
	})
	return edict.WithDialer(listener.Dial)
}

func dial(t testing.TB, options ...edict.ServerOption) *dynamic.Client {
	t.Helper()
	client, err := dynamic.Dial(t.Context(), "shop", serve(t, options...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// A client that has none of the types learns what there is, and calls all of it.
func TestCommandsWithoutTheirTypes(t *testing.T) {
	client := dial(t, edict.WithReflection(), edict.WithCodecs(msgpack.Codec, edictjson.Codec))
	var got []string
	for _, command := range client.Commands() {
		got = append(got, command.Kind+" "+command.Signature())
	}
	want := []string{
		"unary Buy {Lines []{item string, price float64, Note string?}, Tags map[string]bytes, At time.Time, Pair [2]int, Other any, Next Buy?} → int",
		"stream Count {To int} → int…",
		"unary Crash {} → int",
		"duplex Deaf {} ← string… → string…",
		"duplex Shout {} ← string… → string…",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") || client.ServerName() != "shop" {
		t.Errorf("%s has\n%s\nwant\n%s", client.ServerName(), strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if shout, ok := client.Command("Shout"); !ok || !shout.Ordered || len(shout.Fingerprint) != 16 {
		t.Errorf("%+v", shout)
	}
	result, err := client.Call(t.Context(), "Buy", `{"Lines":[{"item":"tea"},{"item":"jam"}]}`)
	if string(result) != "2" || err != nil {
		t.Errorf("%s, %v", result, err)
	}
	if got := all(client.Stream(t.Context(), "Count", `{"To":3}`)); got != "0 1 2" {
		t.Error(got)
	}
	if got := all(client.Duplex(t.Context(), "Shout", "", inputs(`"a"`, `"b"`))); got != `"A" "B"` {
		t.Error(got)
	}
	if took, err := client.Ping(t.Context()); took <= 0 || err != nil {
		t.Errorf("%v, %v", took, err)
	}
}

func inputs(texts ...string) iter.Seq2[json.RawMessage, error] {
	return func(yield func(json.RawMessage, error) bool) {
		for _, text := range texts {
			if !yield(json.RawMessage(text), nil) {
				return
			}
		}
	}
}

// all returns the results of a stream, and its error at the end.
func all(results iter.Seq2[json.RawMessage, error]) string {
	var got []string
	for result, err := range results {
		if err != nil {
			got = append(got, fmt.Sprint("error: ", edict.CodeOf(err), ", ", edict.OutcomeOf(err)))
		} else {
			got = append(got, string(result))
		}
	}
	return strings.Join(got, " ")
}

// What can't be called is not sent, and what the command says comes back as with any client.
func TestErrorsOfDynamicCalls(t *testing.T) {
	client := dial(t, edict.WithReflection())
	for _, test := range []struct {
		name, body, text string
		code             edict.Code
		outcome          edict.Outcome
	}{
		{"Sell", "{}", "no such command", edict.Unimplemented, edict.NotSent},
		{"Count", "{}", "it is a stream command", edict.InvalidArgument, edict.NotSent},
		{"Buy", "{", "not JSON", edict.InvalidArgument, edict.NotSent},
		{"Buy", `{"Lines":7}`, "can't decode", edict.InvalidArgument, edict.Refused},
		{"Buy", "", "nothing to buy", edict.InvalidArgument, edict.Executed},
		{edict.StatsName, "", "no such command", edict.Unimplemented, edict.NotSent},
	} {
		_, err := client.Call(t.Context(), test.name, test.body)
		if edict.CodeOf(err) != test.code || edict.OutcomeOf(err) != test.outcome || !strings.Contains(fmt.Sprint(err), test.text) {
			t.Errorf("%s %s: %v (%v, %v)", test.name, test.body, err, edict.CodeOf(err), edict.OutcomeOf(err))
		}
	}
	if _, err := client.Stats(t.Context()); edict.CodeOf(err) != edict.Unimplemented || !strings.Contains(err.Error(), "WithRemoteStats") {
		t.Error(err)
	}
	failing := func(yield func(json.RawMessage, error) bool) {
		if yield(json.RawMessage(`"a"`), nil) {
			yield(nil, edict.Errorf(edict.DataLoss, "torn"))
		}
	}
	for _, err := range client.Duplex(t.Context(), "Shout", "", failing) {
		if err != nil && (edict.CodeOf(err) != edict.DataLoss || !strings.Contains(err.Error(), "the inputs broke off: ")) {
			t.Error(err)
		}
	}
	if got := all(client.Duplex(t.Context(), "Shout", "", inputs("[1"))); !strings.Contains(got, "error: invalid argument, ") {
		t.Error(got)
	}
}

// A command that ends before its inputs do waits for none of them.
func TestACommandThatTakesNotAllInputs(t *testing.T) {
	client := dial(t, edict.WithReflection())
	release := make(chan struct{})
	defer close(release)
	waiting := func(yield func(json.RawMessage, error) bool) {
		if yield(json.RawMessage(`"stop"`), nil) {
			<-release
			yield(nil, io.ErrUnexpectedEOF)
		}
	}
	if got := all(client.Duplex(t.Context(), "Shout", "", waiting)); got != "" {
		t.Error(got)
	}
	for result := range client.Stream(t.Context(), "Count", `{"To":1000000}`) {
		if string(result) == "5" {
			break // which cancels it
		}
	}
	if result, err := client.Call(t.Context(), "Buy", `{"Lines":[{}]}`); string(result) != "1" || err != nil {
		t.Errorf("%s, %v", result, err)
	}
}

// Who leaves a call does not wait for an input for which the command has no room.
func TestLeavingWhileAnInputWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := dial(t, edict.WithReflection())
		endless := func(yield func(json.RawMessage, error) bool) {
			for yield(json.RawMessage(`"more and more"`), nil) {
			}
		}
		for range client.Duplex(t.Context(), "Deaf", "", endless) {
			synctest.Wait() // until the input waits
			break
		}
	})
}

// Without the options a server tells nothing; interceptors see, and may refuse, what is asked.
func TestAServerTellsWhatItIsAllowedTo(t *testing.T) {
	if _, err := dynamic.Dial(t.Context(), "shop", serve(t)); edict.CodeOf(err) != edict.Unimplemented || !strings.Contains(err.Error(), "WithReflection") {
		t.Error(err)
	}
	if _, err := dynamic.Dial(t.Context(), "shop", serve(t, edict.WithReflection(), edict.WithCodecs(msgpack.Codec))); edict.CodeOf(err) != edict.FailedPrecondition {
		t.Error(err)
	}
	guard := edict.WithServerInterceptors(func(ctx context.Context, call *edict.ServerCall, next func(context.Context) error) error {
		if _, own := call.Command.(edict.BuiltIn); own && call.Name == edict.StatsName {
			return edict.Errorf(edict.PermissionDenied, "not for you")
		}
		return next(ctx)
	})
	guarded := dial(t, edict.WithReflection(), edict.WithRemoteStats(), guard)
	if _, err := guarded.Stats(t.Context()); edict.CodeOf(err) != edict.PermissionDenied {
		t.Error(err)
	}
	open := dial(t, edict.WithReflection(), edict.WithRemoteStats(), edict.WithLatencies())
	if _, err := open.Call(t.Context(), "Buy", `{"Lines":[{}]}`); err != nil {
		t.Fatal(err)
	}
	_, _ = open.Call(t.Context(), "Crash", "")
	snapshot, err := open.Stats(t.Context())
	told := fmt.Sprint(snapshot.Failures)
	for _, connection := range snapshot.Connections { // that of Dial may be there still
		if connection.LastFailure != nil {
			told += fmt.Sprint(*connection.LastFailure)
		}
	}
	if strings.Contains(told, "7-3-5") || strings.Count(told, "command.panicked") != 2 {
		t.Error(told)
	}
	if err != nil || snapshot.Name != "shop" || len(snapshot.Calls) != 1 || snapshot.Calls[0].Command != edict.StatsName || snapshot.Latencies["Buy"].Count != 1 {
		t.Errorf("%+v, %v", snapshot, err)
	}
}

// A server's own command has its name.
func TestNameOfAServersOwnCommand(t *testing.T) {
	taken := edict.Commands(edict.Unary[Buy]().Named(edict.ReflectName))
	listener := transport.NewMemory()
	server := edict.NewServer(&shop{}, taken, edict.WithReflection())
	if err := server.Serve(listener); edict.CodeOf(err) != edict.FailedPrecondition || !strings.Contains(err.Error(), edict.ReflectName) {
		t.Error(err)
	}
}

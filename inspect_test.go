package edict_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/auth"
	"github.com/edict-go/edict/codec/msgpack"
	"github.com/edict-go/edict/compression/s2"
	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/edicttest"
	"github.com/edict-go/edict/internal/echo"
	"github.com/edict-go/edict/transport"
)

// Calls in flight are seen with their ages, what they wait for and the time that they have left, on both sides.
func TestCallsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := serve(t)
		client := b.client()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		start := func(invocation interface{ Cancel() }, err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			time.Sleep(time.Second) // of the bubble's clock
		}
		start(edict.Start(ctx, client, hold{"key", "first"}))
		limited, stop := context.WithTimeout(ctx, time.Minute)
		defer stop()
		start(edict.Start(limited, client, hold{"key", "second"}))
		start(edict.StartStream(ctx, client, flood{Size: 1000}))
		start(edict.StartDuplex(ctx, client, parrot{}))

		calls, more := b.server.Calls(10)
		want := []string{"hold running 4s", "hold turn 3s 57s", "flood credit 2s", "parrot input 1s"}
		if got := tell(calls); !slices.Equal(got, want) || more != 0 {
			t.Errorf("server: %q and %d more, want %q", got, more, want)
		}
		calls, more = client.Calls(3)
		want = []string{"hold sent 4s", "hold sent 3s 57s", "flood results 2s"}
		if got := tell(calls); !slices.Equal(got, want) || more != 1 {
			t.Errorf("client: %q and %d more, want %q", got, more, want)
		}
		if calls, more = b.server.Calls(0); len(calls) != 0 || more != 4 {
			t.Errorf("%v and %d more", calls, more)
		}
		cancel()
		synctest.Wait()
		if calls, more = b.server.Calls(10); len(calls) != 0 || more != 0 {
			t.Errorf("when all have ended: %v and %d more", tell(calls), more)
		}
	})
}

func tell(calls []edict.CallSnapshot) (told []string) {
	for _, call := range calls {
		text := fmt.Sprint(call.Command, " ", call.State, " ", call.Age.Round(time.Millisecond))
		if call.Left != nil {
			text += fmt.Sprint(" ", call.Left.Round(time.Millisecond))
		}
		told = append(told, text)
	}
	return told
}

// The oldest calls are those that are told, of however many.
func TestTheOldestCallsAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := serve(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for client := range 2 {
			c := b.client()
			for n := range 1500 {
				if _, err := edict.Start(ctx, c, wait{Name: fmt.Sprint(client, n)}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Millisecond) // of the bubble's clock
			}
		}
		calls, more := b.server.Calls(5)
		if got, want := tell(calls), []string{"wait running 3s", "wait running 2.999s", "wait running 2.998s", "wait running 2.997s", "wait running 2.996s"}; !slices.Equal(got, want) || more != 2995 {
			t.Errorf("%v and %d more", got, more)
		}
	})
}

// What was agreed on, who the client is, and how the connection is.
func TestConnectionDetails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tokens, err := auth.StaticTokens(map[string]edict.Principal{"sesame-open": {Name: "alice", Value: "her password"}})
		if err != nil {
			t.Fatal(err)
		}
		const age = time.Hour + 100*time.Millisecond // between two PINGs
		options := []edict.Option{edict.WithCodecs(msgpack.Codec), edict.WithCompression(s2.Compression), edict.WithResume(edict.Resume{})}
		serving := []edict.ServerOption{edict.ServerConfig{Name: "oracle", MaxInFlight: 7}, edict.WithAuthenticator(tokens)}
		dialing := []edict.DialOption{edict.ClientConfig{Name: "pilgrim", MaxFrame: 1 << 20, KeepaliveInterval: time.Second}, edict.WithToken("sesame-open")}
		for _, option := range options {
			serving, dialing = append(serving, option), append(dialing, option)
		}
		b := serve(t, serving...)
		client := b.client(dialing...)
		wantSum(t, client)
		time.Sleep(age) // of the bubble's clock
		stats := b.server.Stats()
		if len(stats.Connections) != 1 || stats.Name != "oracle" || stats.Uptime != age || stats.Draining || len(stats.Failures) != 0 {
			t.Fatalf("%+v", stats)
		}
		of, back := stats.Connections[0].ConnectionDetails, client.Stats().Links[0].ConnectionDetails
		want := edict.ConnectionDetails{
			Address: of.Address, Name: "pilgrim", Scheme: "token", Principal: "alice", Version: 1, Codec: "msgpack", Compression: "s2",
			MaxInFlight: 7, MaxReceive: 4 << 20, MaxSend: 1 << 20, Window: 16 << 10, InputWindow: 16 << 10,
			Keepalive: 15 * time.Second, Age: age, Resumable: true, State: "ready",
		}
		if of != want {
			t.Errorf("the server tells\n%+v, want\n%+v", of, want)
		}
		want.Address, want.Name, want.Scheme, want.Principal = back.Address, "oracle", "", ""
		want.MaxReceive, want.MaxSend, want.Keepalive = want.MaxSend, want.MaxReceive, time.Second
		if back != want {
			t.Errorf("the client tells\n%+v, want\n%+v", back, want)
		}
		for _, side := range []any{stats, client.Stats()} {
			encoded, err := json.Marshal(side)
			if err != nil {
				t.Fatal(err)
			}
			for _, secret := range []string{"sesame-open", "password", "ecret"} {
				if strings.Contains(string(encoded), secret) {
					t.Errorf("%q is in %s", secret, encoded)
				}
			}
		}
	})
}

// Programs that read the JSON rely on the names of its fields.
func TestStatsHaveStableNames(t *testing.T) {
	const connection = "address age_ns budget_used codec compression detached in_flight input_window keepalive_ns last_failure " +
		"max_in_flight max_receive max_send name principal resumable round_trip_ns scheme state tls version window write_queue"
	for _, test := range []struct {
		of   any
		want string
	}{
		{edict.ServerStats{}, "away away_bytes budget_limit budget_used connections draining failure_counts failures in_flight journal latencies name now total uptime_ns"},
		{edict.ConnectionStats{}, connection + " canceled commands ignored pings queued refused resumed"},
		{edict.ClientStats{}, "attempts budget_limit budget_used connections failure_counts failures in_flight links resent resumed state waiting"},
		{edict.ClientConnectionStats{}, connection + " waiting"},
		{edict.CallSnapshot{}, "age_ns command left_ns peer sequence state"},
		{edict.Failure{}, "at code command peer text"},
		{edict.Latency{}, "buckets count max_ns mean_ns p50_ns p90_ns p99_ns"},
	} {
		want := strings.Fields(test.want)
		got := jsonNames(reflect.TypeOf(test.of))
		for _, name := range want { // others may have been added
			if !slices.Contains(got, name) {
				t.Errorf("%T has no %s in its JSON, but %s", test.of, name, got)
			}
		}
		for _, name := range got {
			if !regexp.MustCompile(`^[a-z0-9_]+$`).MatchString(name) {
				t.Errorf("%T: %s", test.of, name)
			}
		}
	}
}

func jsonNames(t reflect.Type) (names []string) {
	for field := range t.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case name == "-":
		case name != "":
			names = append(names, name)
		case field.Anonymous:
			names = append(names, jsonNames(field.Type)...)
		default:
			names = append(names, field.Name)
		}
	}
	return names
}

// Each thing that goes wrong has its code, on the side that sees it.
func TestFailuresHaveCodes(t *testing.T) {
	serverKnows := func(t *testing.T, b *bench, want ...core.FailureCode) {
		t.Helper()
		var got []core.FailureCode
		for _, failure := range b.server.Stats().Failures {
			got = append(got, failure.Code)
			if failure.Text == "" || failure.At.IsZero() || strings.HasPrefix(string(failure.Code), "command.") && failure.Command == "" && failure.Code != core.FailureCommandRefused {
				t.Errorf("%+v", failure)
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("the server knows of %v, want %v", got, want)
		}
	}
	clientKnows := func(t *testing.T, client *edict.Client[*lab], want ...core.FailureCode) {
		t.Helper()
		var got []core.FailureCode
		for _, failure := range client.Stats().Failures {
			got = append(got, failure.Code)
		}
		if !slices.Equal(got, want) {
			t.Errorf("the client knows of %v, want %v", got, want)
		}
	}
	t.Run("commands", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := serve(t)
			client, raw := b.client(), b.rawClient()
			_, _ = edict.Call(t.Context(), client, misbehave{})
			_, _ = edict.Call(t.Context(), client, fail{Code: edict.NotFound, Text: "no such thing"})
			short, cancel := context.WithTimeout(t.Context(), time.Second)
			_, _ = edict.Call(short, client, wait{})
			cancel()
			given, up := context.WithCancel(t.Context()) // that a caller gives up is no failure
			if _, err := edict.Start(given, client, wait{}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			up()
			synctest.Wait()
			raw.command("unheardOf", 1, "{}")
			raw.wantRefused(1, core.Unimplemented)
			raw.command("add", 2, "{")
			raw.wantRefused(2, core.InvalidArgument)
			synctest.Wait()
			serverKnows(t, b, core.FailureCommandPanicked, core.FailureCommandFailed, core.FailureCommandExpired, core.FailureCommandRefused, core.FailureCommandUndecoded)
			for _, connection := range b.server.Stats().Connections {
				if failure := connection.LastFailure; failure == nil || failure.Peer != connection.Address {
					t.Errorf("%+v", failure)
				}
			}
			if counts := b.server.Stats().FailureCounts; len(counts) != 5 || counts[core.FailureCommandPanicked] != 1 {
				t.Errorf("%v", counts)
			}
		})
	})
	t.Run("handshakes", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := serve(t, edict.WithAuthenticator(func(_ context.Context, credentials edict.Credentials) (edict.Principal, error) {
				if credentials.Token.Reveal() != "sesame-open" {
					return edict.Principal{}, edict.Errorf(edict.Unauthenticated, "who is %s?", credentials.Token.Reveal())
				}
				return edict.Principal{Name: "alice"}, nil
			}))
			once := edict.WithReconnect(edict.Reconnect{MaxAttempts: 1})
			refused, err := edict.NewClient("test", labCommands, edict.WithDialer(b.dial), edict.WithToken("wrong-token"), once)
			if err != nil {
				t.Fatal(err)
			}
			defer refused.Close()
			other, err := edict.NewClient("test", labCommands, edict.WithDialer(b.dial), edict.WithToken("sesame-open"), edict.WithCodecs(msgpack.Codec), once)
			if err != nil {
				t.Fatal(err)
			}
			defer other.Close()
			conn, err := b.dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\n\r\n")
			_ = conn.Close()
			synctest.Wait()
			time.Sleep(time.Minute) // of the bubble's clock
			serverKnows(t, b, core.FailureAuth, core.FailureRejected, core.FailureHandshake)
			clientKnows(t, refused, core.FailureAuth)
			clientKnows(t, other, core.FailureRejected)
			for _, failure := range append(b.server.Stats().Failures, refused.Stats().Failures...) {
				if strings.Contains(failure.Text, "wrong-token") {
					t.Errorf("%+v", failure)
				}
			}
		})
	})
	t.Run("connections", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := serve(t)
			var dialed net.Conn
			client := b.client(edict.WithDialer(func(ctx context.Context) (net.Conn, error) {
				if dialed != nil {
					return nil, io.ErrClosedPipe
				}
				conn, err := b.dial(ctx)
				dialed = conn
				return conn, err
			}), edict.WithReconnect(edict.Reconnect{Initial: time.Second, Max: time.Second}))
			if _, err := edict.Start(t.Context(), client, wait{}); err != nil {
				t.Fatal(err)
			}
			<-b.lab.started
			_, _ = dialed.Write(transport.AppendFrame(nil, core.Frame{Kind: core.KindResult}))
			synctest.Wait()
			time.Sleep(100 * time.Millisecond) // of the bubble's clock
			serverKnows(t, b, core.FailureConnectionBroken)
			time.Sleep(2 * time.Second)
			failures := client.Stats().Failures
			if first := failures[len(failures)-1]; first.Code != core.FailureConnectionAway {
				t.Errorf("%+v", first)
			}
			if last := failures[0]; last.Code != core.FailureDial {
				t.Errorf("%+v", last)
			}
		})
	})
}

// Latencies are counted when that is asked for, and for commands that the server knows only.
func TestLatencies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if latencies := serve(t).server.Stats().Latencies; latencies != nil {
			t.Errorf("%v without WithLatencies", latencies)
		}
		b := serve(t, edict.WithLatencies())
		client := b.client()
		b.rawClient().command("unheardOf", 1, "{}")
		for range 3 {
			wantSum(t, client)
		}
		for range 2 {
			call, err := edict.Start(t.Context(), client, wait{})
			if err != nil {
				t.Fatal(err)
			}
			<-b.lab.started
			time.Sleep(90 * time.Millisecond) // of the bubble's clock
			call.Cancel()
			<-b.lab.canceled
			synctest.Wait()
		}
		latencies := b.server.Stats().Latencies
		if len(latencies) != 2 || latencies["add"].Count != 3 || latencies["add"].Max != 0 {
			t.Errorf("%+v", latencies)
		}
		want := edict.Latency{
			Count: 2, Mean: 90 * time.Millisecond, P50: 90 * time.Millisecond, P90: 90 * time.Millisecond, P99: 90 * time.Millisecond,
			Max: 90 * time.Millisecond, Buckets: []core.HistogramBucket{{Below: 98304 * time.Microsecond, Count: 2}},
		}
		if !reflect.DeepEqual(latencies["wait"], want) {
			t.Errorf("%+v", latencies["wait"])
		}
	})
}

// BenchmarkUnaryLatencies is BenchmarkUnary with WithLatencies, to be compared with it.
func BenchmarkUnaryLatencies(b *testing.B) {
	for _, n := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("inflight=%d", n), func(b *testing.B) {
			server := edict.NewServer(&echo.Receiver{}, echo.Commands, edict.WithCodecs(echo.MUS), edict.WithLatencies())
			listener, err := server.Listen("tcp://127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			go server.Serve(listener)
			client, err := edict.Dial(b.Context(), "tcp://"+listener.Addr().String(), echo.Commands, edict.WithCodecs(echo.MUS))
			if err != nil {
				b.Fatal(err)
			}
			ctx := b.Context()
			inFlight(b, n, func() {
				if reply, err := edict.Call(ctx, client, payload); err != nil || reply != echo.Message(payload) {
					b.Error(reply, err)
				}
			})
			client.Close()
			server.Close()
		})
	}
}

// Of a client that is away a server tells that it is, and what it keeps for it; and how full its journal is.
func TestWhatIsKeptIsTold(t *testing.T) {
	atEmptySite(t, func(t *testing.T, s *site) {
		kept := openJournal(t)
		s.options = []edict.ServerOption{edict.WithResume(edict.Resume{Journal: kept})}
		server := s.start()
		client := s.client(edict.WithResume(edict.Resume{}))
		wantSum(t, client)
		stats := server.Stats()
		if stats.Away != 0 || stats.AwayBytes != 0 {
			t.Errorf("%d clients are away, and %d bytes are kept for them", stats.Away, stats.AwayBytes)
		}
		if size := stats.Journal; size == nil || size.Records != 1 || size.Bytes <= 0 || size.Limit != 256<<20 {
			t.Errorf("of the journal: %+v", size)
		}

		waiting := later(client, t.Context(), wait{"until it is away"})
		<-s.lab.started
		s.network.Connections()[0].Stall(edicttest.ToClient)
		text := later(client, t.Context(), repeat{"x", 10_000}) // written, and never acknowledged
		synctest.Wait()
		s.network.RefuseDials("site", true)
		s.network.Connections()[0].Cut()
		synctest.Wait()
		stats = server.Stats()
		if stats.Away != 1 || stats.AwayBytes < 10_000 || stats.AwayBytes > 20_000 {
			t.Errorf("%d clients are away, and %d bytes are kept for them", stats.Away, stats.AwayBytes)
		}
		s.network.RefuseDials("site", false)
		if got := <-text; got.err != nil {
			t.Error(got.err)
		}
		if stats := server.Stats(); stats.Away != 0 || stats.AwayBytes != 0 {
			t.Errorf("%d clients are away, and %d bytes are kept for them", stats.Away, stats.AwayBytes)
		}
		client.Close()
		<-waiting
	})
	s := serve(t).server.Stats()
	if s.Journal != nil {
		t.Errorf("a journal that is not there: %+v", s.Journal)
	}
}

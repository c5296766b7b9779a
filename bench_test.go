package edict_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/internal/echo"
	"github.com/edict-go/edict/internal/raw"
)

// inFlight runs operation b.N times, from n goroutines.
func inFlight(b *testing.B, n int, operation func()) {
	b.ReportAllocs()
	var left atomic.Int64
	left.Store(int64(b.N))
	var group sync.WaitGroup
	b.ResetTimer()
	before := cpuTime()
	for range n {
		group.Go(func() {
			for left.Add(-1) >= 0 {
				operation()
			}
		})
	}
	group.Wait()
	b.ReportMetric(float64(cpuTime()-before)/float64(b.N), "cpu-ns/op")
}

// cpuTime returns the processor time of this process, which other processes disturb less than the
// clock.
func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

var payload = echo.Echo{Flag: true, Number: 1 << 40, Text: strings.Repeat("x", 128), Ratio: 0.5}

// BenchmarkUnary is to be compared with BenchmarkRaw: the limit.
func BenchmarkUnary(b *testing.B) {
	for _, n := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("inflight=%d", n), func(b *testing.B) {
			client := serveEcho(b, []edict.Option{edict.WithCodecs(echo.MUS)})
			ctx := b.Context()
			inFlight(b, n, func() {
				reply, err := edict.Call(ctx, client, payload)
				if err != nil || reply != echo.Message(payload) {
					b.Error(reply, err)
				}
			})
		})
	}
}

// BenchmarkUnaryResumable is to be compared with BenchmarkUnary.
func BenchmarkUnaryResumable(b *testing.B) {
	for _, n := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("inflight=%d", n), func(b *testing.B) {
			client := serveEcho(b, []edict.Option{edict.WithCodecs(echo.MUS), edict.WithResume(edict.Resume{})})
			ctx := b.Context()
			inFlight(b, n, func() {
				reply, err := edict.Call(ctx, client, payload)
				if err != nil || reply != echo.Message(payload) {
					b.Error(reply, err)
				}
			})
		})
	}
}

func serveEcho(t testing.TB, options []edict.Option, dialing ...edict.DialOption) *edict.Client[*echo.Receiver] {
	var serving []edict.ServerOption
	for _, option := range options {
		serving, dialing = append(serving, option), append(dialing, option)
	}
	server := edict.NewServer(&echo.Receiver{}, echo.Commands, serving...)
	listener, err := server.Listen("tcp://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve(listener)
	client, err := edict.Dial(t.Context(), "tcp://"+listener.Addr().String(), echo.Commands, dialing...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		client.Close()
		server.Close()
	})
	return client
}

// inLane is a command with a key; Lane 0 is none.
type inLane struct{ Lane, Number int }

func (c inLane) OrderingKey() string {
	if c.Lane == 0 {
		return ""
	}
	return strconv.Itoa(c.Lane)
}

func (c inLane) Exec(context.Context, *lab) (int, error) { return c.Number, nil }

// BenchmarkOrdered has commands that all have one key, or one of many, or the empty key, to be compared
// with a command that is not ordered.
func BenchmarkOrdered(b *testing.B) {
	for _, n := range []int{1, 256} {
		b.Run(fmt.Sprintf("unordered/inflight=%d", n), func(b *testing.B) {
			client, ctx := serveAt(b, "tcp://127.0.0.1:0", nil, nil).client(), b.Context()
			inFlight(b, n, func() {
				if sum, err := edict.Call(ctx, client, add{2, 3}); sum != 5 || err != nil {
					b.Error(sum, err)
				}
			})
		})
		for _, lanes := range []int{0, 1, 1000} {
			b.Run(fmt.Sprintf("lanes=%d/inflight=%d", lanes, n), func(b *testing.B) {
				client, ctx := serveAt(b, "tcp://127.0.0.1:0", nil, nil).client(), b.Context()
				var last atomic.Int64
				inFlight(b, n, func() {
					number := int(last.Add(1))
					lane := 0
					if lanes > 0 {
						lane = 1 + number%lanes
					}
					if back, err := edict.Call(ctx, client, inLane{lane, number}); back != number || err != nil {
						b.Error(back, err)
					}
				})
			})
		}
	}
}

func BenchmarkRaw(b *testing.B) {
	for _, n := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("inflight=%d", n), func(b *testing.B) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			server := raw.Serve(listener, 0)
			defer server.Close()
			conn, err := net.Dial("tcp", listener.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			client := raw.Dial(conn)
			defer client.Close()
			body := make([]byte, 148)
			inFlight(b, n, func() {
				var space [256]byte
				if reply, err := client.Call(space[:0], body); err != nil || len(reply) != len(body) {
					b.Error(reply, err)
				}
			})
		})
	}
}

// BenchmarkUnaryBesideUnread has 100 callers beside a stream that nobody reads, or none: both are to be as fast.
func BenchmarkUnaryBesideUnread(b *testing.B) {
	for _, unread := range []int{0, 1} {
		b.Run(fmt.Sprintf("unread=%d", unread), func(b *testing.B) {
			client := serveEcho(b, []edict.Option{edict.WithCodecs(echo.MUS)})
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			for range unread {
				stream, err := edict.StartStream(ctx, client, echo.Flow{Text: payload.Text})
				if err != nil {
					b.Fatal(err)
				}
				if text, err := stream.Receive(); text != payload.Text || err != nil {
					b.Fatal(text, err)
				}
			}
			inFlight(b, 100, func() {
				if reply, err := edict.Call(ctx, client, payload); err != nil || reply != echo.Message(payload) {
					b.Error(reply, err)
				}
			})
		})
	}
}

// BenchmarkUnaryBesideLarge calls, one after the other, while results of 100 MB come on the same
// connection, or none: what is asked for is the p99 of both.
func BenchmarkUnaryBesideLarge(b *testing.B) {
	const large = 100 << 20
	for _, beside := range []int{0, 1} {
		b.Run(fmt.Sprintf("large=%d", beside), func(b *testing.B) {
			client := serveEcho(b, []edict.Option{edict.WithCodecs(echo.MUS)}, edict.ClientConfig{MaxFrame: 2 * large})
			ctx, cancel := context.WithCancel(b.Context())
			var group sync.WaitGroup
			for range beside {
				group.Go(func() {
					for ctx.Err() == nil {
						if blob, err := edict.Call(ctx, client, echo.Blob{Size: large}); err == nil && len(blob) != large {
							b.Errorf("%d bytes", len(blob))
						}
					}
				})
			}
			var took []time.Duration
			for b.Loop() {
				began := time.Now()
				if reply, err := edict.Call(ctx, client, payload); err != nil || reply != echo.Message(payload) {
					b.Error(reply, err)
				}
				took = append(took, time.Since(began))
			}
			cancel()
			group.Wait()
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-us")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us")
		})
	}
}

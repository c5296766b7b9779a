package core_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict/core"
)

// Ping measures the way there and back. A PONG wakes who waits for it and nobody else; who waits hears of the end of
// its context, and of the client.
func TestPing(t *testing.T) {
	type answer struct {
		took time.Duration
		err  error
	}
	talk(t, core.ClientConfig{}, func(c *conversation) {
		ping := func(ctx context.Context) (chan answer, []byte) {
			t.Helper()
			answers := make(chan answer, 1)
			go func() {
				took, err := c.client.Ping(ctx)
				answers <- answer{took, err}
			}()
			synctest.Wait()
			c.mu.Lock()
			defer c.mu.Unlock()
			last := c.sent[len(c.sent)-1]
			if last.Kind != core.KindPing || len(last.Body) > core.MaxPingBody {
				t.Fatalf("%v was sent", last)
			}
			return answers, last.Body
		}
		pong := func(body []byte) {
			c.incoming <- core.Frame{Kind: core.KindPong, Body: body}
			synctest.Wait()
		}
		first, firstBody := ping(c.Context())
		second, secondBody := ping(c.Context())
		for _, stray := range []string{"", "ask\n", "ask\n12345678", "rtt\n12345678", "else"} {
			pong([]byte(stray))
		}
		time.Sleep(30 * time.Millisecond) // of the bubble's clock
		pong(secondBody)
		pong(secondBody)
		if got := <-second; got.took != 30*time.Millisecond || got.err != nil || len(first) > 0 {
			t.Errorf("%+v; the first one has %d answers", got, len(first))
		}
		pong(firstBody)
		if got := <-first; got.err != nil {
			t.Errorf("%+v", got)
		}
		ctx, cancel := context.WithTimeout(c.Context(), time.Second)
		defer cancel()
		late, _ := ping(ctx)
		if got := <-late; !errors.Is(got.err, context.DeadlineExceeded) {
			t.Errorf("%+v", got)
		}
		waiting, _ := ping(c.Context())
		_ = c.client.Close()
		if got := <-waiting; !errors.Is(got.err, core.ErrClosed) {
			t.Errorf("%+v", got)
		}
		if _, err := c.client.Ping(c.Context()); err == nil {
			t.Error("a PING on a closed client")
		}
	})
}

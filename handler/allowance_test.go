package handler

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict/core"
)

// Frames that bring nothing are bounded: time and accepted commands allow more of them.
func TestAllowance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a allowance
		spend := func(count int) {
			t.Helper()
			for i := range count {
				if !a.spend() {
					t.Fatalf("the allowance is over after %d of %d", i, count)
				}
			}
		}
		exhausted := func(why string) {
			t.Helper()
			if a.spend() {
				t.Errorf("%s: there is some allowance left", why)
			}
			a.left++
		}
		spend(allowanceBurst)
		exhausted("at once")
		time.Sleep(time.Second / 2) // of the fake clock
		spend(allowancePerSecond / 2)
		exhausted("after half a second")
		a.earn(0)
		spend(allowancePerCall)
		exhausted("after a call")
		a.earn(64 << 10)
		spend(allowancePerCall + 1024)
		exhausted("after a call with inputs")
		time.Sleep(time.Hour)
		spend(allowanceBurst)
		exhausted("after an hour")
	})
}

// A client that has nothing but such frames in mind is told so, and its connection ends.
func TestFloods(t *testing.T) {
	for name, flood := range map[string]struct {
		frame core.Frame
		want  Stats
	}{
		"PING":               {core.Frame{Kind: core.KindPing}, Stats{Pings: allowanceBurst + 1}},
		"PONG":               {core.Frame{Kind: core.KindPong}, Stats{Ignored: allowanceBurst + 1}},
		"GOAWAY":             {core.Frame{Kind: core.KindGoAway}, Stats{Ignored: allowanceBurst + 1}},
		"CANCEL of nothing":  {core.Frame{Kind: core.KindCancel, Sequence: 5}, Stats{Ignored: allowanceBurst + 1}},
		"CREDIT for nothing": {core.Frame{Kind: core.KindCredit, Sequence: 5}, Stats{Ignored: allowanceBurst + 1}},
		"INPUT of nothing":   {core.Frame{Kind: core.KindInput, Sequence: 5}, Stats{Ignored: allowanceBurst + 1}},
		"unknown COMMAND":    {core.Frame{Kind: core.KindCommand, Command: 99}, Stats{Refused: allowanceBurst + 1}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, connection, _ := serving(t, Config{}, func(context.Context, core.Execution) error { return nil })
				drained := make(chan *core.Error)
				go func() {
					for frame := range w.out {
						if frame.Kind == core.KindGoAway {
							drained <- core.DecodeError(frame.Body[8:])
							return
						}
					}
				}()
				for range allowanceBurst + 1 {
					w.in <- flood.frame
				}
				if why := <-drained; why.Code != core.ResourceExhausted || !strings.Contains(why.Message, "flood of frames") {
					t.Errorf("the client is told %v", why)
				}
				if got := connection.Stats(); got != flood.want {
					t.Errorf("counted %+v", got)
				}
			})
		})
	}
}

package group_test

import (
	"context"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/delegate"
	"github.com/edict-go/edict/group"
)

// Each endpoint answers once, in the order in which they do; one that fails does not end it.
func TestBroadcast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, group.Config{Min: 3}, "a", "b", "c", "d")
		delays := map[string]time.Duration{"a": 3 * time.Second, "b": 2 * time.Second, "c": time.Second}
		f.answer = func(_ context.Context, m *fake, request core.Request[*lab]) (string, error) {
			time.Sleep(delays[m.address])
			if m.address == "b" {
				return "", says(core.NotFound, core.Executed)
			}
			return m.address + request.Options.Metadata.Get("x"), nil
		}
		for _, m := range f.at("d") {
			m.Set(delegate.Reconnecting, 0, io.ErrUnexpectedEOF)
		}
		synctest.Wait()
		began := time.Now()
		var order []string
		for answer, err := range group.Broadcast(t.Context(), f.group, who{}, edict.WithFailFast(), edict.WithMetadata(edict.Metadata{"x": {"!"}})) {
			order = append(order, answer.Address)
			switch answer.Address {
			case "b":
				wantError(t, err, core.NotFound, core.Executed)
			case "d":
				wantError(t, err, core.Unavailable, core.NotSent)
			default:
				if err != nil || answer.Result != answer.Address+"!" || answer.Metadata.Get("by") != answer.Address {
					t.Errorf("%+v, %v", answer, err)
				}
			}
		}
		if want := []string{"d", "c", "b", "a"}; !slices.Equal(order, want) {
			t.Errorf("%v, want %v", order, want)
		}
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("it took %v", took)
		}
		wantNothingInFlight(t, f)
	})
}

// Leaving the loop cancels the others, and waits until they have ended.
func TestLeavingABroadcast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, group.Config{}, "a", "b", "c")
		var stalled stall
		f.answer = func(ctx context.Context, m *fake, _ core.Request[*lab]) (string, error) {
			if m.address != "b" {
				return stalled.answer(ctx)
			}
			time.Sleep(time.Second)
			return m.address, nil
		}
		for answer, err := range group.Broadcast(t.Context(), f.group, who{}) {
			if answer.Result != "b" || err != nil {
				t.Errorf("%+v, %v", answer, err)
			}
			break
		}
		if n := stalled.count(); n != 2 {
			t.Errorf("%d were cancelled", n)
		}
		wantNothingInFlight(t, f)
	})
}

// A failure is tried again at the same endpoint.
func TestABroadcastStaysAtItsEndpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, group.Config{}, "a", "b")
		f.answer = func(_ context.Context, m *fake, _ core.Request[*lab]) (string, error) {
			if m.begun.Load() == 1 {
				return "", says(core.Unavailable, core.Refused)
			}
			return m.address, nil
		}
		for answer, err := range group.Broadcast(t.Context(), f.group, who{}) {
			if answer.Result != answer.Address || err != nil {
				t.Errorf("%+v, %v", answer, err)
			}
		}
		if a, b := f.at("a")[0].begun.Load(), f.at("b")[0].begun.Load(); a != 2 || b != 2 {
			t.Errorf("%d and %d attempts", a, b)
		}
	})
}

// For an endpoint that is not connected it waits, until that is, or is not listed any more, or ctx ends.
func TestABroadcastWaits(t *testing.T) {
	for _, ended := range []string{"connected", "not listed", "deadline", "given up"} {
		t.Run(ended, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakes(t, group.Config{}, "a", "b")
				b := f.at("b")[0]
				b.Set(delegate.Reconnecting, 0, io.ErrUnexpectedEOF)
				synctest.Wait()
				time.AfterFunc(time.Minute, func() {
					switch ended {
					case "connected":
						b.Set(delegate.Ready, 1, nil)
					case "not listed":
						f.updates <- []string{"a"}
					case "given up":
						b.Set(delegate.Closed, 1, says(core.PermissionDenied, core.Refused))
					}
				})
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
				defer cancel()
				began := time.Now()
				for answer, err := range group.Broadcast(ctx, f.group, who{}) {
					took := time.Since(began)
					switch {
					case answer.Address == "a", ended == "connected":
						if err != nil || took != 0 && took != time.Minute {
							t.Errorf("%v, %v after %v", answer, err, took)
						}
					case ended == "not listed":
						wantError(t, err, core.Unavailable, core.NotSent)
					case ended == "given up":
						wantError(t, err, core.PermissionDenied, core.NotSent)
					default:
						wantError(t, err, core.DeadlineExceeded, core.NotSent)
					}
				}
				want := time.Minute
				if ended == "deadline" {
					want *= 2
				}
				if took := time.Since(began); took != want {
					t.Errorf("it took %v", took)
				}
			})
		})
	}
}

// Before anything is listed, and after Close, there is one error.
func TestABroadcastWithoutEndpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t, group.Config{}, "a")
		_ = f.group.Close()
		unlisted, err := group.New(f.connect, group.Config{Endpoints: group.ResolverFunc(f.resolve)})
		if err != nil {
			t.Fatal(err)
		}
		defer unlisted.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for g, code := range map[*group.Group[*lab]]core.Code{f.group: core.Unavailable, unlisted: core.DeadlineExceeded} {
			answers := 0
			for _, err := range group.Broadcast(ctx, g, who{}) {
				wantError(t, err, code, core.NotSent)
				answers++
			}
			if answers != 1 {
				t.Errorf("%d answers", answers)
			}
		}
	})
}

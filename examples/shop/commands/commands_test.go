package commands

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edict-go/edict"
)

// What is slow: each 15th hold of tea at a warehouse whose disk is. Fixed, Record does not wait for the disk, and all is
// written all the same.
func TestTheFault(t *testing.T) {
	for name, fixed := range map[string]bool{"as it is": false, "fixed": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				audit := NewAudit(300*time.Millisecond, fixed)
				if fixed {
					go audit.Run(ctx)
				}
				warehouse := NewWarehouse("w", audit, nil)
				slow := 0
				for n := 1; n <= 2*auditEvery; n++ {
					for _, article := range Articles {
						began := time.Now()
						hold, err := Reserve{article}.Exec(ctx, warehouse)
						if err != nil || hold != (Hold{"w", n}) {
							t.Fatal(hold, err)
						}
						if took := time.Since(began); took == 300*time.Millisecond && article == "tea" && n%auditEvery == 0 {
							slow++
						} else if took != 0 {
							t.Errorf("hold %d of %s took %v", n, article, took)
						}
					}
				}
				if slow != 2 && !fixed || slow != 0 && fixed {
					t.Errorf("%d were slow", slow)
				}
				if fixed {
					time.Sleep(599 * time.Millisecond)
					synctest.Wait()
					if audit.written.Load() != 1 {
						t.Errorf("%d records after 599ms", audit.written.Load())
					}
					time.Sleep(time.Millisecond)
					synctest.Wait()
				}
				if audit.written.Load() != 2 {
					t.Errorf("%d records were written", audit.written.Load())
				}
			})
		})
	}
}

// A hundred records may be left to Run; more wait for a place, as long as their context allows.
func TestRecordIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		audit := NewAudit(time.Second, true) // nobody runs it
		for range 100 {
			if err := audit.Record(t.Context(), Hold{}); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := audit.Record(ctx, Hold{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}

func TestWarehouse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		exits := 0
		warehouse := NewWarehouse("w", NewAudit(0, false), func() { exits++ })
		if _, err := (Reserve{"sand"}).Exec(t.Context(), warehouse); !errors.Is(err, edict.NotFound) {
			t.Error(err)
		}
		if _, err := (Held{"sand"}).Exec(t.Context(), warehouse); !errors.Is(err, edict.NotFound) {
			t.Error(err)
		}
		if _, err := (Reserve{"jam"}).Exec(t.Context(), warehouse); err != nil {
			t.Error(err)
		}
		if held, err := (Held{"jam"}).Exec(t.Context(), warehouse); held != 1 || err != nil {
			t.Error(held, err)
		}
		for _, seconds := range []int{-1, 61} {
			if _, err := (Fail{seconds}).Exec(t.Context(), warehouse); !errors.Is(err, edict.InvalidArgument) || warehouse.Failing() {
				t.Error(seconds, err)
			}
		}
		if said, err := (Fail{60}).Exec(t.Context(), warehouse); said != "w fails" || err != nil || !warehouse.Failing() {
			t.Error(said, err)
		}
		time.Sleep(time.Minute)
		if warehouse.Failing() {
			t.Error("it fails for ever")
		}
		_, _ = Fail{60}.Exec(t.Context(), warehouse)
		if said, err := (Fail{0}).Exec(t.Context(), warehouse); said != "w works" || err != nil || warehouse.Failing() {
			t.Error(said, err)
		}
		if _, err := (Crash{}).Exec(t.Context(), warehouse); err == nil || exits != 1 {
			t.Error(err, exits)
		}
	})
}

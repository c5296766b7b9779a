package journal_test

import (
	"errors"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/journal"
)

func open(t *testing.T, path string, config journal.Config) *journal.Journal {
	t.Helper()
	j, err := journal.Open(path, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

func command(client byte, number uint64) core.CommandID {
	return core.CommandID{Client: core.ClientID{client}, Number: number}
}

func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j := open(t, path, journal.Config{})
	full := &core.Record{
		Codec: "json", Compression: "s2", Kind: core.KindEnd, Flags: core.FlagMetadata, Metadata: []byte("m"), Body: []byte("b"),
		Results: []core.RecordedResult{{Body: []byte("one")}, {Body: []byte{}, Compressed: true}},
	}
	name := j.Name()
	if name == (core.JournalID{}) || name == open(t, filepath.Join(t.TempDir(), "other"), journal.Config{}).Name() {
		t.Error("its name is not its own")
	}
	for number, record := range map[uint64]*core.Record{1: full, 2: {Kind: core.KindError, Body: []byte("e")}, 3: nil, 4: {Kind: core.KindEnd}} {
		if before, err := j.Begin(command(1, number)); before != nil || err != nil {
			t.Fatal(before, err)
		}
		if record != nil {
			if err := j.End(command(1, number), record); err != nil {
				t.Fatal(err)
			}
		}
	}
	j.Forget(core.ClientID{1}, []uint64{4, 77})
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
	if _, err := j.Begin(command(1, 9)); !errors.Is(err, core.ErrClosed) {
		t.Errorf("Begin after Close: %v", err)
	}

	j = open(t, path, journal.Config{})
	if j.Name() != name {
		t.Error("it has another name")
	}
	if record, err := j.Begin(command(2, 1)); record != nil || err != nil {
		t.Errorf("the command of another client: %+v, %v", record, err)
	}
	if record, err := j.Begin(command(1, 1)); err != nil || !reflect.DeepEqual(record, full) {
		t.Errorf("%+v, %v", record, err)
	}
	if record, err := j.Begin(command(1, 2)); err != nil || record.Kind != core.KindError {
		t.Errorf("%+v, %v", record, err)
	}
	if record, err := j.Begin(command(1, 3)); record != nil || !errors.Is(err, core.ErrBegun) {
		t.Errorf("%+v, %v", record, err)
	}
	if record, err := j.Begin(command(1, 4)); record != nil || err != nil {
		t.Errorf("forgotten, and yet %+v, %v", record, err)
	}
	if stats := j.Stats(); stats.Commands != 5 || stats.Bytes == 0 {
		t.Errorf("%+v", stats)
	}
}

func TestOneProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	open(t, path, journal.Config{})
	if _, err := journal.Open(path, journal.Config{}); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Error(err)
	}
}

// A file of another format is left alone.
func TestAnotherFormat(t *testing.T) {
	for _, change := range []func(tx *bolt.Tx) error{
		func(tx *bolt.Tx) error { return tx.DeleteBucket([]byte("about")) }, // as it was at first
		func(tx *bolt.Tx) error { return tx.Bucket([]byte("about")).Put([]byte("format"), []byte{3}) },
		func(tx *bolt.Tx) error { return tx.Bucket([]byte("about")).Put([]byte("name"), []byte("short")) },
	} {
		path := filepath.Join(t.TempDir(), "journal")
		if err := open(t, path, journal.Config{}).Close(); err != nil {
			t.Fatal(err)
		}
		db, err := bolt.Open(path, 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(db.Update(change), db.Close()); err != nil {
			t.Fatal(err)
		}
		if _, err := journal.Open(path, journal.Config{}); err == nil || !strings.Contains(err.Error(), "another version") {
			t.Error(err)
		}
	}
}

// A command that another server of the process executes right now is cut off, for who asks.
func TestSharedWhileItIsExecuted(t *testing.T) {
	j := open(t, filepath.Join(t.TempDir(), "journal"), journal.Config{})
	const servers = 8
	var mine, others atomic.Int64
	var all sync.WaitGroup
	for range servers {
		all.Go(func() {
			switch record, err := j.Begin(command(1, 1)); {
			case record == nil && err == nil:
				mine.Add(1)
			case errors.Is(err, core.ErrBegun):
				others.Add(1)
			}
		})
	}
	all.Wait()
	if mine.Load() != 1 || others.Load() != servers-1 {
		t.Errorf("%d may execute it, %d were told that it was begun", mine.Load(), others.Load())
	}
}

func TestFull(t *testing.T) {
	j := open(t, filepath.Join(t.TempDir(), "journal"), journal.Config{MaxBytes: 2000, NoSync: true})
	record := &core.Record{Kind: core.KindEnd, Body: make([]byte, 900)}
	number := uint64(0)
	for {
		number++
		_, err := j.Begin(command(1, number))
		if e, ok := errors.AsType[*core.Error](err); ok {
			if e.Code != core.ResourceExhausted || e.Outcome != core.Refused || e.RetryAfter == 0 || e.Reason != journal.ReasonFull {
				t.Errorf("%+v", e)
			}
			break
		}
		if err != nil || number > 5 {
			t.Fatal(number, err)
		}
		if err := j.End(command(1, number), record); err != nil {
			t.Fatal(err)
		}
	}
	if size := j.Size(); size.Limit != 2000 || size.Bytes <= 0 || size.Records != j.Stats().Commands || size.Bytes != j.Stats().Bytes {
		t.Errorf("%+v", size)
	}
	j.Forget(core.ClientID{1}, []uint64{1, 2, 3})
	if _, err := j.Begin(command(1, number)); err != nil {
		t.Errorf("there is room again, and yet %v", err)
	}
}

// A command whose client has given it up, and then comes to its end, is not kept.
func TestForgottenBeforeItsEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j := open(t, path, journal.Config{NoSync: true})
	for number := range uint64(2) {
		if _, err := j.Begin(command(1, number)); err != nil {
			t.Fatal(err)
		}
	}
	j.Forget(core.ClientID{1}, []uint64{0})
	if _, err := j.Begin(command(1, 2)); err != nil { // which comes after that
		t.Fatal(err)
	}
	for number := range uint64(2) {
		if err := j.End(command(1, number), &core.Record{Kind: core.KindEnd}); err != nil {
			t.Fatal(err)
		}
	}
	if stats := j.Stats(); stats.Commands != 2 {
		t.Errorf("%+v", stats)
	}
	if record, err := j.Begin(command(1, 1)); record == nil || err != nil {
		t.Error(record, err)
	}
}

// A command that runs for longer than things are kept is not forgotten meanwhile.
func TestLongCommandsAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := open(t, filepath.Join(t.TempDir(), "journal"), journal.Config{Keep: time.Hour, MaxBytes: 1, NoSync: true})
		if _, err := j.Begin(command(1, 1)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour) // of the fake clock
		if _, err := j.Begin(command(1, 2)); err == nil {
			t.Error("the journal has no room, and takes a command all the same")
		}
		if record, err := j.Begin(command(1, 1)); record != nil || !errors.Is(err, core.ErrBegun) {
			t.Error(record, err)
		}
		_ = j.Close()
	})
}

func TestOldIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "journal")
		j := open(t, path, journal.Config{Keep: time.Hour, NoSync: true})
		for _, number := range []uint64{1, 2, 3} {
			if _, err := j.Begin(command(1, number)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Hour) // of the fake clock
		if err := j.End(command(1, 2), &core.Record{Kind: core.KindEnd}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		j = open(t, path, journal.Config{Keep: time.Hour})
		if stats := j.Stats(); stats.Commands != 1 {
			t.Errorf("%+v", stats)
		}
		_ = j.Close()
	})
}

// Commands that come together share a write.
func TestCommitsAreShared(t *testing.T) {
	j := open(t, filepath.Join(t.TempDir(), "journal"), journal.Config{})
	const count = 500
	var all sync.WaitGroup
	for number := range uint64(count) {
		all.Go(func() {
			if _, err := j.Begin(command(1, number)); err != nil {
				t.Error(err)
			}
			if err := j.End(command(1, number), &core.Record{Kind: core.KindEnd}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if stats := j.Stats(); stats.Commands != count || stats.Commits > count/2 {
		t.Errorf("%+v", stats)
	}
}

func FuzzDecodeRecord(f *testing.F) {
	f.Add((&core.Record{Codec: "json", Kind: core.KindEnd, Body: []byte("b"), Results: []core.RecordedResult{{Body: []byte("r")}}}).Append(nil))
	f.Add([]byte{1, 2, 3})
	f.Fuzz(func(t *testing.T, src []byte) {
		record, err := core.DecodeRecord(src)
		if err != nil {
			return
		}
		again, err := core.DecodeRecord(record.Append(nil))
		if err != nil || !reflect.DeepEqual(again, record) {
			t.Errorf("%+v became %+v, %v", record, again, err)
		}
	})
}

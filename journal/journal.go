package journal

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/edict-go/edict/core"
)

// Config has the settings of a Journal. The zero Config works.
type Config struct {
	// MaxBytes is how much all that is kept may take; 0 is 256 MiB. The file may be larger.
	MaxBytes int64
	// Keep is how long something is kept whose client does not come back; 0 is 24 h.
	Keep time.Duration
	// NoSync does not wait for the disk. See the package's documentation.
	NoSync bool
}

// openTimeout is how long Open waits for another process to close the file.
const openTimeout = time.Second

// maxForgetting bounds what waits to be forgotten. What is beyond goes when it is too old.
const maxForgetting = 1 << 16

var (
	about    = []byte("about")    // bucket: what follows
	format   = []byte("format")   // the number of the file's format
	name     = []byte("name")     // the journal's, 16 bytes
	commands = []byte("commands") // bucket: an entry by client and number, see key

	currentFormat = []byte{2}
)

// The first byte of an entry. The time, 8 bytes of Unix seconds, follows in both; then, if it has ended, the Record.
const (
	begun = 1
	ended = 2

	entryHeader = 1 + 8
)

// Journal keeps what became of commands in a file. It implements core.Journal. Safe for concurrent use.
type Journal struct {
	db     *bolt.DB
	config Config
	name   core.JournalID // constant
	done   chan struct{}  // closed when run has ended

	// Owned by run.
	bytes    int64 // of all entries
	commands int
	cleaned  time.Time
	running  map[core.CommandID]bool // begun by this process, and not ended; true if they were forgotten meanwhile

	mu         sync.Mutex // guards the following; held briefly
	pending    []*operation
	forgetting []core.CommandID
	wake       chan struct{} // capacity 1: there is something pending
	closed     bool
	stats      Stats
}

var (
	_ core.Journal      = (*Journal)(nil)
	_ core.SizedJournal = (*Journal)(nil)
)

// Stats says what a Journal holds.
type Stats struct {
	// Commands are kept, in so many Bytes.
	Commands int
	Bytes    int64
	// Commits is how often it was written to the disk.
	Commits uint64
}

// operation is a change that someone waits for.
type operation struct {
	id     core.CommandID
	ending []byte // the encoded record of a command that has ended; nil: it begins

	// Set by run, before done is closed.
	record *core.Record
	err    error
	done   chan struct{}
}

// Open opens the journal in a file, which is made if there is none. It fails if another process has it open. It
// starts one goroutine, run, for which Close waits.
func Open(path string, config Config) (*Journal, error) {
	if config.MaxBytes <= 0 {
		config.MaxBytes = 256 << 20
	}
	if config.Keep <= 0 {
		config.Keep = 24 * time.Hour
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: openTimeout, NoSync: config.NoSync, FreelistType: bolt.FreelistMapType})
	if errors.Is(err, bolterrors.ErrTimeout) {
		err = errors.New("another process has it open")
	}
	if err != nil {
		return nil, fmt.Errorf("can't open the journal %s: %w", path, err)
	}
	j := &Journal{db: db, config: config, done: make(chan struct{}), wake: make(chan struct{}, 1), running: map[core.CommandID]bool{}}
	if err := db.Update(j.load); err != nil {
		return nil, errors.Join(fmt.Errorf("can't read the journal %s: %w", path, err), db.Close())
	}
	go j.run()
	return j, nil
}

// load makes the buckets if there are none, and counts what is in them, but for what is too old.
func (j *Journal) load(tx *bolt.Tx) error {
	known := tx.Bucket(about)
	if known == nil {
		if tx.Bucket(commands) != nil {
			return errFormat
		}
		rand.Read(j.name[:]) // never fails: see crypto/rand
		if err := create(tx, j.name); err != nil {
			return err
		}
		known = tx.Bucket(about)
	}
	if !bytes.Equal(known.Get(format), currentFormat) || copy(j.name[:], known.Get(name)) != len(j.name) || tx.Bucket(commands) == nil {
		return errFormat
	}
	return j.clean(tx)
}

var errFormat = errors.New("its format is that of another version of Edict: let the server begin with a new file")

func create(tx *bolt.Tx, id core.JournalID) error {
	bucket, err := tx.CreateBucket(about)
	if err != nil {
		return err
	}
	if err := bucket.Put(format, currentFormat); err != nil {
		return err
	}
	if err := bucket.Put(name, id[:]); err != nil {
		return err
	}
	_, err = tx.CreateBucket(commands)
	return err
}

// clean drops what is too old, and counts the rest.
func (j *Journal) clean(tx *bolt.Tx) error {
	now := time.Now()
	oldest := now.Add(-j.config.Keep).Unix()
	j.cleaned, j.bytes, j.commands = now, 0, 0
	var old [][]byte // a cursor that deletes may pass over what comes next
	bucket := tx.Bucket(commands)
	cursor := bucket.Cursor()
	for key, entry := cursor.First(); key != nil; key, entry = cursor.Next() {
		_, running := j.running[idOf(key)]
		if len(entry) < entryHeader || entryTime(entry) < oldest && !running {
			old = append(old, key)
			continue
		}
		j.bytes += int64(len(key) + len(entry))
		j.commands++
	}
	for _, key := range old {
		if err := bucket.Delete(key); err != nil {
			return err
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.stats.Commands, j.stats.Bytes = j.commands, j.bytes
	return nil
}

func entryTime(entry []byte) int64 { return int64(binary.BigEndian.Uint64(entry[1:])) }

// key returns where a command is kept: commands of a client are beside each other, in their order.
func key(id core.CommandID) []byte { return binary.BigEndian.AppendUint64(id.Client[:], id.Number) }

// idOf is the opposite of key.
func idOf(key []byte) (id core.CommandID) {
	id.Number = binary.BigEndian.Uint64(key[copy(id.Client[:], key):])
	return id
}

func entry(state byte, record []byte) []byte {
	e := binary.BigEndian.AppendUint64([]byte{state}, uint64(time.Now().Unix()))
	return append(e, record...)
}

// run writes what is pending, all of it at once, again and again: while one write goes on the next gather.
//
// Started by Open; ends after Close, which waits for it.
func (j *Journal) run() {
	defer close(j.done)
	for range j.wake {
		j.mu.Lock()
		operations, forgetting, closed := j.pending, j.forgetting, j.closed
		j.pending, j.forgetting = nil, nil
		j.mu.Unlock()
		if len(operations)+len(forgetting) > 0 {
			j.commit(operations, forgetting)
		}
		if closed {
			return
		}
	}
}

// commit applies changes and writes them to the disk.
func (j *Journal) commit(operations []*operation, forgetting []core.CommandID) {
	size, count := j.bytes, j.commands
	err := j.db.Update(func(tx *bolt.Tx) error {
		for _, id := range forgetting {
			if err := j.drop(tx, id); err != nil {
				return err
			}
		}
		for _, o := range operations {
			if err := j.apply(tx, o); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		j.bytes, j.commands = size, count
	}
	j.mu.Lock()
	j.stats.Commits++
	j.stats.Commands, j.stats.Bytes = j.commands, j.bytes
	j.mu.Unlock()
	for _, o := range operations {
		if err != nil {
			delete(j.running, o.id)
			o.record, o.err = nil, fmt.Errorf("can't write to the journal: %w", err)
		}
		close(o.done)
	}
}

func (j *Journal) drop(tx *bolt.Tx, id core.CommandID) error {
	bucket, k := tx.Bucket(commands), key(id)
	old := bucket.Get(k)
	if old == nil {
		return nil
	}
	if _, running := j.running[id]; running {
		j.running[id] = true
	}
	j.count(-1, len(k)+len(old))
	return bucket.Delete(k)
}

func (j *Journal) count(commands, size int) {
	j.commands += commands
	j.bytes += int64(commands * size)
}

// apply makes one change. Its error is one of the database; what is wrong with the operation goes there.
func (j *Journal) apply(tx *bolt.Tx, o *operation) error {
	bucket, k := tx.Bucket(commands), key(o.id)
	old := bucket.Get(k)
	if o.ending != nil {
		forgotten := j.running[o.id]
		delete(j.running, o.id)
		if forgotten { // its client has given it up
			return nil
		}
		if old != nil {
			j.count(-1, len(k)+len(old))
		}
		value := entry(ended, o.ending)
		j.count(1, len(k)+len(value))
		return bucket.Put(k, value)
	}
	switch {
	case old == nil:
		if j.bytes > j.config.MaxBytes && time.Since(j.cleaned) > j.config.Keep/16 {
			if err := j.clean(tx); err != nil {
				return err
			}
		}
		if j.bytes > j.config.MaxBytes {
			o.err = &core.Error{
				Code: core.ResourceExhausted, Outcome: core.Refused, RetryAfter: time.Second, Reason: ReasonFull,
				Message: "the server's journal is full: clients have not taken the results that are kept for them",
			}
			return nil
		}
		value := entry(begun, nil)
		j.count(1, len(k)+len(value))
		j.running[o.id] = false
		return bucket.Put(k, value)
	case len(old) >= entryHeader && old[0] == ended:
		o.record, o.err = core.DecodeRecord(append([]byte(nil), old[entryHeader:]...))
	default:
		o.err = core.ErrBegun
	}
	return nil
}

// ReasonFull is the Reason of the error of a command that is Refused because the journal is full.
const ReasonFull = "journal-full"

// do lets run make a change, and waits for that.
func (j *Journal) do(o *operation) error {
	o.done = make(chan struct{})
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return errClosed
	}
	j.pending = append(j.pending, o)
	j.wakeLocked()
	j.mu.Unlock()
	<-o.done
	return o.err
}

var errClosed = fmt.Errorf("the journal is closed: %w", core.ErrClosed)

func (j *Journal) wakeLocked() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// Begin implements core.Journal. It waits for the disk.
func (j *Journal) Begin(id core.CommandID) (*core.Record, error) {
	o := &operation{id: id}
	err := j.do(o)
	return o.record, err
}

// End implements core.Journal. It waits for the disk.
func (j *Journal) End(id core.CommandID, record *core.Record) error {
	return j.do(&operation{id: id, ending: record.Append(nil)})
}

// Name implements core.Journal.
func (j *Journal) Name() core.JournalID { return j.name }

// Forget implements core.Journal. It does not wait.
func (j *Journal) Forget(client core.ClientID, numbers []uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return
	}
	for _, number := range numbers[:max(0, min(len(numbers), maxForgetting-len(j.forgetting)))] {
		j.forgetting = append(j.forgetting, core.CommandID{Client: client, Number: number})
	}
	j.wakeLocked()
}

// Stats returns what the journal holds.
func (j *Journal) Stats() Stats {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.stats
}

// Size implements core.SizedJournal.
func (j *Journal) Size() core.JournalSize {
	stats := j.Stats()
	return core.JournalSize{Bytes: stats.Bytes, Limit: j.config.MaxBytes, Records: stats.Commands}
}

// Close writes what is pending and closes the file. Close the server before: commands fail afterwards. It may be called
// again.
func (j *Journal) Close() error {
	j.mu.Lock()
	j.closed = true
	j.wakeLocked()
	j.mu.Unlock()
	<-j.done
	return j.db.Close()
}

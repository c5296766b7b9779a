package commands

import (
	"encoding/json"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/edict-go/edict"
)

// Bank is the receiver: accounts, and a ledger of what was done to them, in a file that belongs to one process at a time.
type Bank struct {
	// Work is how long a transfer takes, beside what it waits for the disk.
	Work time.Duration
	db   *bolt.DB
}

// Entry is what the ledger says of a transfer.
type Entry struct {
	Transfer
	// Done is how often the transfer was done. More than once must not be; the bank only counts, so that it can be seen.
	Done int
	// Void is set if somebody was told that the transfer was not done.
	Void bool
}

var (
	accounts = []byte("accounts") // bucket: a balance in JSON by account
	ledger   = []byte("ledger")   // bucket: an Entry in JSON by CommandID
)

// Open opens the bank in a file. If there is none it opens accounts, each with a balance. It waits while another
// process has the file: the one that was killed just now.
func Open(path string, count int, balance int64) (*Bank, error) {
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: 10 * time.Second})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	bank := &Bank{db: db}
	err = db.Update(func(tx *bolt.Tx) error {
		if tx.Bucket(accounts) != nil {
			return nil
		}
		for _, name := range [][]byte{accounts, ledger} {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		books := &books{tx: tx}
		for account := range count {
			books.add(account, balance)
		}
		return books.err
	})
	if err != nil {
		_ = db.Close()
		return nil, err
	}
	return bank, nil
}

// Close closes the file.
func (b *Bank) Close() error { return b.db.Close() }

// update changes the books, if change returns nil, and waits until that is on the disk.
func (b *Bank) update(change func(*books) error) error {
	return b.db.Update(func(tx *bolt.Tx) error {
		books := &books{tx: tx}
		if err := change(books); err != nil {
			return err
		}
		return books.err
	})
}

// Balances returns what is in each account.
func (b *Bank) Balances() (balances []int64, err error) {
	err = b.db.View(func(tx *bolt.Tx) error {
		return tx.Bucket(accounts).ForEach(func(_, value []byte) error {
			balances = append(balances, 0)
			return json.Unmarshal(value, &balances[len(balances)-1])
		})
	})
	return balances, err
}

// Ledger returns all entries of the ledger, by the text of their CommandID.
func (b *Bank) Ledger() (entries map[string]Entry, err error) {
	entries = map[string]Entry{}
	err = b.db.View(func(tx *bolt.Tx) error {
		return tx.Bucket(ledger).ForEach(func(key, value []byte) error {
			var entry Entry
			err := json.Unmarshal(value, &entry)
			entries[string(key)] = entry
			return err
		})
	})
	return entries, err
}

// books are the bank's within a transaction. After an error they do nothing.
type books struct {
	tx  *bolt.Tx
	err error
}

// add changes the balance of an account, which may be overdrawn.
func (b *books) add(account int, amount int64) {
	key := fmt.Appendf(nil, "%08d", account)
	var balance int64
	b.get(accounts, key, &balance)
	b.put(accounts, key, balance+amount)
}

// entry returns what the ledger says of a transfer; the zero Entry if that is nothing.
func (b *books) entry(id edict.CommandID) (entry Entry) {
	b.get(ledger, []byte(id.String()), &entry)
	return entry
}

// enter enters a transfer into the ledger, instead of what it has said of it.
func (b *books) enter(id edict.CommandID, entry Entry) { b.put(ledger, []byte(id.String()), entry) }

func (b *books) get(bucket, key []byte, value any) {
	if stored := b.tx.Bucket(bucket).Get(key); stored != nil && b.err == nil {
		b.err = json.Unmarshal(stored, value)
	}
}

func (b *books) put(bucket, key []byte, value any) {
	encoded, err := json.Marshal(value)
	if b.err == nil {
		b.err = err
	}
	if b.err == nil {
		b.err = b.tx.Bucket(bucket).Put(key, encoded)
	}
}

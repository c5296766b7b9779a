package journal_test

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/journal"
)

// What a server does with a journal. It does all of it by itself: see edict.Resume.
func Example() {
	dir, err := os.MkdirTemp("", "edict")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "journal")
	id := core.CommandID{Client: core.ClientID{1}, Number: 7}

	kept, err := journal.Open(path, journal.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	record, err := kept.Begin(id)
	fmt.Println(record, err)
	fmt.Println(kept.End(id, &core.Record{Kind: core.KindResult, Body: []byte("42")}))
	fmt.Println(kept.Close())

	// The server is started again, and the command comes again.
	kept, err = journal.Open(path, journal.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer kept.Close()
	record, err = kept.Begin(id)
	fmt.Printf("%v %s %v\n", record.Kind, record.Body, err)
	// Output:
	// <nil> <nil>
	// <nil>
	// <nil>
	// RESULT 42 <nil>
}

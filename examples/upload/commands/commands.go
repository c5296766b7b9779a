// Package commands has the store for uploaded files and its one command, Upload. A client and a server
// both import it. For the codec MUS, edict-gen writes serializers, and the variable MUS, to
// edict_mus.gen.go.
package commands

import (
	"context"

	"github.com/edict-go/edict"
)

//go:generate go tool edict-gen

// All is what a client and a server agree on.
var All = edict.Commands(edict.Duplex[Upload]())

// Upload stores a file. Its inputs are the parts of the file, its one result says what was stored.
type Upload struct{ Name string }

// Part is a piece of a file, of any size that fits a message.
type Part struct {
	Bytes []byte
	// SHA256 is the sum of the whole file. It comes with the last part, so that the sender needs to
	// read the file only once.
	SHA256 []byte
}

// Stored is what the server has after a successful Upload.
type Stored struct {
	Size   int64
	SHA256 []byte
}

// Exec runs on the server. The client's sending waits while Exec takes nothing, and ends when Exec
// returns: a file that is refused is not sent to its end.
func (c Upload) Exec(_ context.Context, store *Store, parts edict.Source[Part], results edict.Sink[Stored]) error {
	file, err := store.create(c.Name)
	if err != nil {
		return err
	}
	defer file.discard() // what is not kept by then
	var sum []byte
	for part, err := range parts.All() {
		if err != nil {
			return err // the caller has cancelled or is gone
		}
		if err := file.write(part.Bytes); err != nil {
			return err
		}
		sum = part.SHA256
	}
	stored, err := file.keep(sum)
	if err != nil {
		return err
	}
	return results.Send(stored)
}

package commands

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"hash"
	"os"
	"strings"

	"github.com/edict-go/edict"
)

// The errors of Upload. errors.Is finds them on the client too, by code and reason.
var (
	ErrBadName = &edict.Error{Code: edict.InvalidArgument, Reason: "bad-name"}
	ErrQuota   = &edict.Error{Code: edict.ResourceExhausted, Reason: "quota"} // with a Quota as detail
	ErrDamaged = &edict.Error{Code: edict.DataLoss, Reason: "damaged"}
)

// Quota is a detail of ErrQuota.
type Quota struct{ Bytes int64 }

// Store is the receiver: a folder of files. Safe for concurrent use.
type Store struct {
	folder *os.Root // no name leads out of it
	quota  int64
}

// NewStore returns a store in a folder, for files of up to quota bytes each.
func NewStore(folder string, quota int64) (*Store, error) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, err
	}
	return &Store{folder: root, quota: quota}, nil
}

// Close closes the folder. The files stay.
func (s *Store) Close() error { return s.folder.Close() }

// upload is a file that is not complete. It belongs to one goroutine.
type upload struct {
	store     *Store
	file      *os.File
	temporary string // its name until it is complete
	name      string
	size      int64
	sum       hash.Hash
	kept      bool
}

// create begins a file. Until it is kept it has a name of its own, so that two uploads of the same name
// don't meet, and nobody takes a part for the whole.
func (s *Store) create(name string) (*upload, error) {
	switch {
	case strings.ContainsAny(name, `/\`):
		return nil, ErrBadName.With("a name must not have path separators: %q", name)
	case name == "" || name == "." || name == ".." || len(name) > 200:
		return nil, ErrBadName.With("no name for a file: %q", name)
	}
	u := &upload{store: s, temporary: name + "." + rand.Text() + ".part", name: name, sum: sha256.New()}
	var err error
	if u.file, err = s.folder.Create(u.temporary); err != nil {
		return nil, edict.Errorf(edict.Internal, "can't create the file: %w", err)
	}
	return u, nil
}

// write adds bytes to the file. What it counts is what came, not what the client says.
func (u *upload) write(bytes []byte) error {
	if u.size += int64(len(bytes)); u.size > u.store.quota {
		return ErrQuota.With("%q has more than the %d bytes that a file may have", u.name, u.store.quota).
			WithDetail(Quota{Bytes: u.store.quota})
	}
	u.sum.Write(bytes)
	if _, err := u.file.Write(bytes); err != nil {
		return edict.Errorf(edict.Internal, "can't write the file: %w", err)
	}
	return nil
}

// keep gives the file its name, in place of one that has it already, if it is what the client sent.
func (u *upload) keep(sum []byte) (Stored, error) {
	stored := Stored{Size: u.size, SHA256: u.sum.Sum(nil)}
	if !bytes.Equal(sum, stored.SHA256) {
		return Stored{}, ErrDamaged.With("%q came with the SHA-256 %x and has %x", u.name, sum, stored.SHA256)
	}
	if err := u.file.Close(); err != nil {
		return Stored{}, edict.Errorf(edict.Internal, "can't write the file: %w", err)
	}
	if err := u.store.folder.Rename(u.temporary, u.name); err != nil {
		return Stored{}, edict.Errorf(edict.Internal, "can't name the file: %w", err)
	}
	u.kept = true
	return stored, nil
}

// discard removes the file unless it is kept.
func (u *upload) discard() {
	if !u.kept {
		_ = u.file.Close()
		_ = u.store.folder.Remove(u.temporary) // an error leaves a .part: nothing that could be mistaken
	}
}

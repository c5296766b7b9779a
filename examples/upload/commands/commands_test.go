package commands

import (
	"context"
	"crypto/sha256"
	"errors"
	"iter"
	"os"
	"testing"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/transport"
)

// serve serves a store for files of up to 10 bytes. names returns what files there are once all
// commands have ended.
func serve(t *testing.T) (client *edict.Client[*Store], names func() []string) {
	t.Helper()
	folder := t.TempDir()
	store, err := NewStore(folder, 10)
	if err != nil {
		t.Fatal(err)
	}
	listener := transport.NewMemory()
	server := edict.NewServer(store, All)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	client, err = edict.Dial(t.Context(), "memory", All, edict.WithDialer(listener.Dial))
	if err != nil {
		t.Fatal(err)
	}
	stop := func() {
		client.Close()
		if err := server.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(func() {
		stop()
		if err := <-served; !errors.Is(err, edict.ErrClosed) {
			t.Error(err)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return client, func() (names []string) {
		stop()
		entries, err := os.ReadDir(folder)
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			names = append(names, entry.Name())
		}
		return names
	}
}

// file is the parts of a file: each text, then the sum of all and err.
func file(err error, texts ...string) iter.Seq2[Part, error] {
	return func(yield func(Part, error) bool) {
		sum := sha256.New()
		for _, text := range texts {
			sum.Write([]byte(text))
			if !yield(Part{Bytes: []byte(text)}, nil) {
				return
			}
		}
		yield(Part{SHA256: sum.Sum(nil)}, err)
	}
}

// damaged replaces the parts' sum.
func damaged(parts iter.Seq2[Part, error], sum []byte) iter.Seq2[Part, error] {
	return func(yield func(Part, error) bool) {
		for part, err := range parts {
			if part.SHA256 != nil {
				part.SHA256 = sum
			}
			if !yield(part, err) {
				return
			}
		}
	}
}

func TestWhatIsNotComplete(t *testing.T) {
	broken := errors.New("the disk is broken")
	for name, test := range map[string]struct {
		command Upload
		parts   iter.Seq2[Part, error]
		want    error
	}{
		"damaged":        {Upload{"a"}, damaged(file(nil, "12", "34"), []byte("another")), ErrDamaged},
		"without sum":    {Upload{"a"}, damaged(file(nil, "12", "34"), nil), ErrDamaged},
		"too large":      {Upload{"a"}, file(nil, "12345", "67890", "1"), ErrQuota},
		"reading fails":  {Upload{"a"}, file(broken, "12", "34"), broken},
		"separator":      {Upload{"../a"}, file(nil, "12"), ErrBadName},
		"other one":      {Upload{`..\a`}, file(nil, "12"), ErrBadName},
		"parent":         {Upload{".."}, file(nil, "12"), ErrBadName},
		"folder":         {Upload{"."}, file(nil, "12"), ErrBadName},
		"no name":        {Upload{""}, file(nil, "12"), ErrBadName},
		"name with zero": {Upload{"a\x00b"}, file(nil, "12"), edict.Internal},
	} {
		t.Run(name, func(t *testing.T) {
			client, names := serve(t)
			stored, err := edict.Upload(t.Context(), client, test.command, test.parts)
			if !errors.Is(err, test.want) {
				t.Errorf("%+v, %v", stored, err)
			}
			if left := names(); len(left) > 0 {
				t.Errorf("these files are left: %q", left)
			}
		})
	}
}

func TestTheQuotaIsForEachFile(t *testing.T) {
	client, names := serve(t)
	for _, name := range []string{"a", "b", "a"} {
		stored, err := edict.Upload(t.Context(), client, Upload{name}, file(nil, "12345", "67890"))
		if err != nil || stored.Size != 10 {
			t.Errorf("%+v, %v", stored, err)
		}
	}
	if all := names(); len(all) != 2 || all[0] != "a" || all[1] != "b" {
		t.Errorf("%q", all)
	}
}

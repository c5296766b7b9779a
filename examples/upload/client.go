package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"time"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/examples/upload/commands"
)

// partSize is how much of a file one input has.
const partSize = 64 << 10

// runClient connects to a server and uploads a file, or shows with generated data what can happen.
func runClient(ctx context.Context, s *settings, out io.Writer) error {
	client, err := edict.Dial(ctx, s.connect, commands.All, edict.WithCodecs(s.codec))
	if err != nil {
		return err
	}
	defer client.Close()
	if s.file == "" {
		return tour(ctx, client, out)
	}
	file, err := os.Open(s.file)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	return send(ctx, client, s.name, file, info.Size(), out)
}

// tour uploads generated data, and what the server refuses.
func tour(ctx context.Context, client *edict.Client[*commands.Store], out io.Writer) error {
	if err := send(ctx, client, "data", generated(4<<20), 4<<20, out); err != nil {
		return err
	}

	err := send(ctx, client, "../data", generated(1<<20), 1<<20, out)
	if !errors.Is(err, commands.ErrBadName) {
		return fmt.Errorf("../data: ErrBadName is wanted, not %w", err)
	}
	reportError(out, err)

	err = send(ctx, client, "more data", generated(32<<20), 32<<20, out)
	if !errors.Is(err, commands.ErrQuota) {
		return fmt.Errorf("more data: ErrQuota is wanted, not %w", err)
	}
	reportError(out, err)
	if quota, ok := edict.DetailOf[commands.Quota](err); ok { // a fact for programs
		fmt.Fprintf(out, "  detail:  quota of %s\n", size(quota.Bytes))
	}
	fmt.Fprintln(out)
	return nil
}

// generated returns n bytes that look random and are the same each time.
func generated(n int64) io.Reader { return io.LimitReader(rand.NewChaCha8([32]byte{}), n) }

// send uploads content, which has about n bytes, and says what the server has of it then.
func send(ctx context.Context, client *edict.Client[*commands.Store], name string, content io.Reader, n int64, out io.Writer) error {
	fmt.Fprintf(out, "\nUploading %q, %s:\n", name, size(n))
	begin := time.Now()
	shown := newProgress(out, n)
	stored, err := edict.Upload(ctx, client, commands.Upload{Name: name}, parts(content, shown.add))
	shown.stop()
	if err != nil {
		fmt.Fprintf(out, "  sent:    %s\n", size(shown.sent))
		return err
	}
	fmt.Fprintf(out, "  stored:  %s in %v\n  SHA-256: %x\n", size(stored.Size), time.Since(begin).Round(time.Millisecond), stored.SHA256)
	return nil
}

// parts cuts content into inputs, the last one with the sum of all. An error is the last thing that the
// range over them gets, and cancels the upload. If the server wants no more, the range ends early.
func parts(content io.Reader, sent func(bytes int)) iter.Seq2[commands.Part, error] {
	return func(yield func(commands.Part, error) bool) {
		sum := sha256.New()
		buffer := make([]byte, partSize) // for all parts: an input is encoded when yield returns
		for last := false; !last; {
			n, err := io.ReadFull(content, buffer)
			switch err {
			case nil:
			case io.EOF, io.ErrUnexpectedEOF:
				last = true
			default:
				yield(commands.Part{}, err)
				return
			}
			part := commands.Part{Bytes: buffer[:n]}
			sum.Write(part.Bytes)
			if last {
				part.SHA256 = sum.Sum(nil)
			}
			if !yield(part, nil) {
				return
			}
			sent(n)
		}
	}
}

package transport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestMemoryPipeIsBuffered(t *testing.T) {
	near, far := MemoryPipe()
	// Both sides write before either reads, which would be a deadlock with net.Pipe.
	for _, conn := range []net.Conn{near, far} {
		if n, err := conn.Write([]byte("hello")); n != 5 || err != nil {
			t.Fatal(n, err)
		}
	}
	for _, conn := range []net.Conn{near, far} {
		got := make([]byte, 10)
		if n, err := conn.Read(got); string(got[:n]) != "hello" || err != nil {
			t.Errorf("read %q and %v", got[:n], err)
		}
	}
}

func TestMemoryPipeCarriesEveryByteInOrder(t *testing.T) {
	near, far := MemoryPipe()
	want := make([]byte, 5*memoryBuffer+77)
	for i := range want {
		want[i] = byte(i * i >> 8)
	}
	go func() {
		for rest, step := want, 1; len(rest) > 0; step = step*3%100_003 + 1 {
			n, err := near.Write(rest[:min(step, len(rest))])
			if err != nil {
				t.Error(err)
				break
			}
			rest = rest[n:]
		}
		near.Close()
	}()
	got, err := io.ReadAll(far)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %d bytes and %v, want all %d as they were", len(got), err, len(want))
	}
}

func TestMemoryPipeWriterWaitsForTheReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := MemoryPipe()
		written := make(chan int)
		go func() {
			n, err := near.Write(make([]byte, memoryBuffer+10))
			if err != nil {
				t.Error(err)
			}
			written <- n
		}()
		synctest.Wait()
		select {
		case n := <-written:
			t.Errorf("the pipe has taken %d bytes, more than it holds", n)
		default:
		}
		if n, err := io.ReadFull(far, make([]byte, 10)); n != 10 || err != nil {
			t.Fatal(n, err)
		}
		if n := <-written; n != memoryBuffer+10 {
			t.Errorf("Write returned %d", n)
		}
	})
}

func TestMemoryPipeClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := MemoryPipe()
		waiting := make(chan error)
		go func() {
			_, err := near.Read(make([]byte, 1))
			waiting <- err
		}()
		synctest.Wait()
		if _, err := near.Write([]byte("last words")); err != nil {
			t.Fatal(err)
		}
		near.Close()
		if err := <-waiting; !errors.Is(err, net.ErrClosed) {
			t.Errorf("a Read that waited: %v, want net.ErrClosed", err)
		}
		if _, err := near.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Write after Close: %v, want net.ErrClosed", err)
		}
		if got, err := io.ReadAll(far); string(got) != "last words" || err != nil {
			t.Errorf("the peer read %q and %v, want what was written and the end", got, err)
		}
		if _, err := far.Write([]byte("x")); err != io.ErrClosedPipe {
			t.Errorf("the peer's Write: %v, want io.ErrClosedPipe", err)
		}
		if err := near.Close(); err != nil {
			t.Errorf("a second Close: %v", err)
		}
	})
}

func TestMemoryPipeCloseFreesAWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, byPeer := range []bool{false, true} {
			near, far := MemoryPipe()
			waiting := make(chan error)
			go func() {
				_, err := near.Write(make([]byte, 2*memoryBuffer))
				waiting <- err
			}()
			synctest.Wait()
			want := net.ErrClosed
			if byPeer {
				far.Close()
				want = io.ErrClosedPipe
			} else {
				near.Close()
			}
			if err := <-waiting; !errors.Is(err, want) {
				t.Errorf("closed by peer %v: the Write that waited got %v, want %v", byPeer, err, want)
			}
		}
	})
}

func TestMemoryPipeHalfClose(t *testing.T) {
	near, far := MemoryPipe()
	if err := near.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if n, err := far.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("the peer read %d bytes and %v, want io.EOF", n, err)
	}
	if _, err := far.Write([]byte("answer")); err != nil {
		t.Error(err)
	}
	got := make([]byte, 6)
	if _, err := io.ReadFull(near, got); err != nil || string(got) != "answer" {
		t.Errorf("got %q and %v, want the other direction to go on", got, err)
	}
}

func TestMemoryPipeDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := MemoryPipe()
		full := make([]byte, memoryBuffer)
		if _, err := near.Write(full); err != nil {
			t.Fatal(err)
		}
		for _, operation := range []struct {
			name string
			set  func(time.Time) error
			do   func() (int, error)
		}{
			{"read", near.SetReadDeadline, func() (int, error) { return near.Read(make([]byte, 1)) }},
			{"write", near.SetWriteDeadline, func() (int, error) { return near.Write(make([]byte, 1)) }},
			{"both, read", near.SetDeadline, func() (int, error) { return near.Read(make([]byte, 1)) }},
			{"both, write", near.SetDeadline, func() (int, error) { return near.Write(make([]byte, 1)) }},
		} {
			wantTimeout := func(why string, after time.Duration) {
				t.Helper()
				start := time.Now()
				_, err := operation.do()
				timeout, ok := err.(net.Error)
				if !errors.Is(err, os.ErrDeadlineExceeded) || !ok || !timeout.Timeout() || time.Since(start) != after {
					t.Errorf("%s, %s: %v after %v, want a timeout after %v", operation.name, why, err, time.Since(start), after)
				}
			}
			_ = operation.set(time.Now().Add(time.Second))
			wantTimeout("set before", time.Second)
			wantTimeout("passed", 0)
			_ = operation.set(time.Now().Add(-time.Second))
			wantTimeout("in the past", 0)
			_ = operation.set(time.Now().Add(time.Hour))
			time.AfterFunc(time.Second, func() { _ = operation.set(time.Now().Add(time.Second)) })
			wantTimeout("moved while it waits", 2*time.Second)
			time.AfterFunc(time.Second, func() { _ = operation.set(time.Now().Add(-1)) })
			_ = operation.set(time.Time{})
			wantTimeout("set while it waits without one", time.Second)
			_ = operation.set(time.Time{})
		}
		// Without a deadline all is as before.
		if _, err := io.ReadFull(far, full); err != nil {
			t.Error(err)
		}
	})
}

// TestMemoryPipeDeadlinesThatPassWhileTheyAreMoved is for a race between the timer and its owner.
func TestMemoryPipeDeadlinesThatPassWhileTheyAreMoved(t *testing.T) {
	near, _ := MemoryPipe()
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for i := range 5000 {
				_ = near.SetDeadline(time.Now().Add(time.Duration(i%20) * time.Microsecond))
			}
		})
	}
	group.Wait()
	_ = near.SetDeadline(time.Time{})
}

func TestMemoryListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listener := NewMemory()
		accepted := make(chan net.Conn)
		go func() {
			conn, err := listener.Accept()
			if err != nil {
				t.Error(err)
			}
			accepted <- conn
		}()
		client, err := listener.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		server := <-accepted
		if network := server.RemoteAddr().Network(); network != "memory" || client.LocalAddr().String() != "memory" {
			t.Errorf("the addresses are %q and %q", network, client.LocalAddr())
		}
		if _, err := client.Write([]byte("x")); err != nil {
			t.Error(err)
		}
		if n, err := server.Read(make([]byte, 2)); n != 1 || err != nil {
			t.Error(n, err)
		}

		hurry, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := listener.Dial(hurry); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Dial while nobody accepts: %v, want its context's error", err)
		}
		failed := make(chan error)
		go func() {
			_, err := listener.Accept()
			failed <- err
		}()
		synctest.Wait()
		listener.Close()
		listener.Close()
		if err := <-failed; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept after Close: %v, want net.ErrClosed", err)
		}
		if _, err := listener.Dial(t.Context()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Dial after Close: %v, want net.ErrClosed", err)
		}
		if _, err := client.Write([]byte("x")); err != nil {
			t.Errorf("a connection has ended with its listener: %v", err)
		}
		if listener.Addr().Network() != "memory" {
			t.Error(listener.Addr())
		}
	})
}

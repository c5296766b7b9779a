package raw

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

func start(t testing.TB) *Client {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := Serve(listener, time.Millisecond)
	t.Cleanup(func() { server.Close() })
	conn, err := net.Dial("tcp", server.Address().String())
	if err != nil {
		t.Fatal(err)
	}
	client := Dial(conn)
	t.Cleanup(func() { client.Close() })
	return client
}

func TestCallEchoesEveryBodyToItsCaller(t *testing.T) {
	client := start(t)
	var callers sync.WaitGroup
	for caller := range 64 {
		callers.Go(func() {
			call := client.Call
			if caller%4 == 0 {
				call = client.Delayed
			}
			var reply []byte
			for i := range 50 {
				body := []byte(strings.Repeat(fmt.Sprintf("%d-%d ", caller, i), i*i))
				var err error
				reply, err = call(reply[:0], body)
				if err != nil || !bytes.Equal(reply, body) {
					t.Errorf("caller %d call %d: %d bytes of %d came back, error %v", caller, i, len(reply), len(body), err)
					return
				}
			}
		})
	}
	callers.Wait()
}

func TestLargeBody(t *testing.T) {
	client := start(t)
	body := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	reply, err := client.Call([]byte("kept:"), body)
	if err != nil || !bytes.Equal(reply, append([]byte("kept:"), body...)) {
		t.Fatalf("%d bytes, error %v", len(reply), err)
	}
	if _, err := client.Call(nil, make([]byte, maxBody+1)); err == nil {
		t.Fatal("a body over the limit was sent")
	}
}

func TestStreamBesideCalls(t *testing.T) {
	client := start(t)
	for _, shape := range []struct{ count, size int }{{0, 10}, {1, 0}, {5000, 100}, {100, 64 << 10}, {3, 1 << 20}} {
		seen := 0
		var other sync.WaitGroup
		other.Go(func() {
			for range 20 {
				if reply, err := client.Call(nil, []byte("small")); err != nil || string(reply) != "small" {
					t.Errorf("call beside a stream: %q, %v", reply, err)
				}
			}
		})
		err := client.Stream(shape.count, shape.size, func(result []byte) error {
			if len(result) != shape.size || shape.size > 0 && result[shape.size-1] != byte(shape.size-1) {
				return errors.New("wrong result")
			}
			seen++
			return nil
		})
		other.Wait()
		if err != nil || seen != shape.count {
			t.Fatalf("%d of %d results of %d bytes, error %v", seen, shape.count, shape.size, err)
		}
	}
}

func TestStreamReportsErrorOfEach(t *testing.T) {
	client := start(t)
	broken := errors.New("broken")
	if err := client.Stream(10, 1, func([]byte) error { return broken }); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	if reply, err := client.Call(nil, []byte("still here")); err != nil || string(reply) != "still here" {
		t.Fatalf("%q, %v", reply, err)
	}
}

func TestCallsFailWhenConnectionEnds(t *testing.T) {
	ours, theirs := net.Pipe()
	client := Dial(ours)
	defer client.Close()
	failed := make(chan error)
	go func() {
		_, err := client.Call(nil, []byte("never answered"))
		failed <- err
	}()
	if _, err := theirs.Read(make([]byte, 64)); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	if err := <-failed; err == nil {
		t.Fatal("a call outlived its connection")
	}
	if _, err := client.Call(nil, nil); err == nil {
		t.Fatal("a call on a dead connection succeeded")
	}
}

func TestMalformedFramesEndTheConnection(t *testing.T) {
	for _, wire := range []string{
		"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",  // shorter than a sequence
		"\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00",  // longer than any frame
		"\x09\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02x", // a stream's request without count and size
	} {
		ours, theirs := net.Pipe()
		var serving sync.WaitGroup
		serving.Go(func() { (&serverConn{writer: newWriter(theirs)}).readLoop(theirs) })
		if _, err := ours.Write([]byte(wire)); err != nil {
			t.Fatal(err)
		}
		serving.Wait()
		ours.Close()
	}
}

func BenchmarkCall(b *testing.B) {
	for _, inFlight := range []int{1, 16, 256, 4096} {
		b.Run(fmt.Sprintf("inflight=%d", inFlight), func(b *testing.B) {
			client := start(b)
			var callers sync.WaitGroup
			body := make([]byte, 148)
			b.ReportAllocs()
			b.ResetTimer()
			for caller := range inFlight {
				callers.Go(func() {
					var reply []byte
					for i := caller; i < b.N; i += inFlight {
						var err error
						if reply, err = client.Call(reply[:0], body); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			callers.Wait()
		})
	}
}

func BenchmarkStream(b *testing.B) {
	for _, size := range []int{128, 64 << 10} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			client := start(b)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			b.ResetTimer()
			if err := client.Stream(b.N, size, func([]byte) error { return nil }); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// The end of a connection may come in the same wake-up of the poller as the data before it, and then there is no
// other: a read loop that did not look once more would wait for ever.
func TestEndThatComesWithData(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var frames []byte
	for range 50 {
		frames = appendFrame(frames, operationEcho, 0, []byte("an answer that nobody waits for"))
	}
	for range 2000 {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		peer, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() {
			ended <- readAll(conn, func(r *reader) error {
				for {
					if frame, err := r.next(); frame == nil || err != nil {
						return err
					}
				}
			})
		}()
		if _, err := peer.Write(frames); err != nil {
			t.Fatal(err)
		}
		peer.Close()
		select {
		case err := <-ended:
			if err != io.EOF {
				t.Fatal(err)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("the end was not noticed")
		}
		conn.Close()
	}
}

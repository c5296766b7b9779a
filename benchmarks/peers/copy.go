package peers

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"

	"github.com/edict-go/edict/benchmarks/peer"
)

func init() {
	const onlyBytes = "it is io.Copy over a connection: bytes without messages"
	peer.Register(peer.Peer{
		Name:  "copy",
		About: "io.CopyBuffer from a byte source to the connection and from the connection to the caller, with a buffer of a result's size, 32 KiB at least",
		Limit: true,
		Lacks: map[peer.Feature]string{peer.Calls: onlyBytes, peer.Concurrency: onlyBytes},
		Serve: serveCopy,
		Dial: func(ctx context.Context, options peer.DialOptions) (peer.Client, error) {
			conn, err := peer.DialConn(ctx, options)
			if err != nil {
				return nil, err
			}
			return copyClient{conn}, nil
		},
	})
}

const smallestCopyBuffer = 32 << 10

type copyServer struct {
	listener *peer.Tracked
	serving  sync.WaitGroup
}

func serveCopy(options peer.ServeOptions) (peer.Server, error) {
	listener, err := peer.Listen(options.TLS)
	if err != nil {
		return nil, err
	}
	s := &copyServer{listener: peer.Track(listener)}
	s.serving.Go(s.acceptLoop)
	return s, nil
}

func (s *copyServer) Address() string { return s.listener.Addr().String() }

func (s *copyServer) Close() error {
	err := s.listener.Close()
	s.serving.Wait()
	return err
}

// acceptLoop is started by serveCopy and ends with the listener; Close waits for it.
func (s *copyServer) acceptLoop() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.serving.Go(func() {
			serveCopies(conn)
			s.listener.Forget(conn)
		})
	}
}

// serveCopies answers requests of count and size, 8 bytes each, until the connection ends.
func serveCopies(conn net.Conn) {
	defer conn.Close() //nolint:errcheck // nobody is left to be told
	var request [16]byte
	for {
		if _, err := io.ReadFull(conn, request[:]); err != nil {
			return
		}
		count, size := int(binary.LittleEndian.Uint64(request[:])), int(binary.LittleEndian.Uint64(request[8:]))
		source := io.LimitReader(&resultSource{result: peer.NewResult(size)}, int64(count)*int64(size))
		// Without its ReadFrom, so that the buffer below is the one that is used.
		target := struct{ io.Writer }{conn}
		if _, err := io.CopyBuffer(target, source, make([]byte, max(size, smallestCopyBuffer))); err != nil {
			return
		}
	}
}

// resultSource reads as one result after the other, for ever.
type resultSource struct {
	result   []byte
	position int
}

func (s *resultSource) Read(buffer []byte) (int, error) {
	total := 0
	for total < len(buffer) {
		count := copy(buffer[total:], s.result[s.position:])
		s.position = (s.position + count) % len(s.result)
		total += count
	}
	return total, nil
}

type copyClient struct{ conn net.Conn }

var errOnlyBytes = errors.New("copy has no calls")

func (copyClient) Echo(context.Context, peer.Message) (peer.Message, error) {
	return peer.Message{}, errOnlyBytes
}

func (copyClient) Delayed(context.Context, peer.Message) (peer.Message, error) {
	return peer.Message{}, errOnlyBytes
}

// Stream passes on results as they come together in the copy's buffer.
func (c copyClient) Stream(_ context.Context, count, size int, each func([]byte) error) error {
	if size <= 0 {
		return errors.New("copy needs results of a size")
	}
	var request [16]byte
	binary.LittleEndian.PutUint64(request[:], uint64(count))
	binary.LittleEndian.PutUint64(request[8:], uint64(size))
	if _, err := c.conn.Write(request[:]); err != nil {
		return err
	}
	target := &resultCounter{size: size, template: peer.NewResult(size), each: each}
	source := io.LimitReader(c.conn, int64(count)*int64(size))
	copied, err := io.CopyBuffer(target, source, make([]byte, max(size, smallestCopyBuffer)))
	if err == nil && copied != int64(count)*int64(size) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

func (c copyClient) Close() error { return c.conn.Close() }

// resultCounter calls each once per size bytes written. It keeps no bytes: where a result is spread
// over two writes, each gets the template.
type resultCounter struct {
	size, partial int
	template      []byte
	each          func([]byte) error
}

func (c *resultCounter) Write(buffer []byte) (int, error) {
	c.partial += len(buffer)
	for c.partial >= c.size {
		if err := c.each(c.template); err != nil {
			return 0, err
		}
		c.partial -= c.size
	}
	return len(buffer), nil
}

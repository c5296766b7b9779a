package raw

import (
	"encoding/binary"
	"net"
	"sync"
	"time"
)

const (
	streamRequestSize = 16 // count and size, 8 bytes each
	streamBatch       = 64 << 10
)

// Server echoes on the connections of one listener.
type Server struct {
	listener net.Listener
	delay    time.Duration
	accept   sync.WaitGroup // the accept loop
	serving  sync.WaitGroup // every connection's read loop

	mu     sync.Mutex // guards conns and closed
	conns  map[net.Conn]struct{}
	closed bool
}

// Serve starts to answer on listener, which the server owns from now on. delay is how long a delayed
// call sleeps.
func Serve(listener net.Listener, delay time.Duration) *Server {
	s := &Server{listener: listener, delay: delay, conns: make(map[net.Conn]struct{})}
	s.accept.Go(s.acceptLoop)
	return s
}

// Address is where the server listens.
func (s *Server) Address() net.Addr { return s.listener.Addr() }

// Close stops listening, closes every connection and waits for its goroutines.
func (s *Server) Close() error {
	err := s.listener.Close()
	s.accept.Wait()
	s.mu.Lock()
	s.closed = true
	for conn := range s.conns {
		conn.Close() //nolint:errcheck // its read loop ends with any outcome
	}
	s.mu.Unlock()
	s.serving.Wait()
	return err
}

// acceptLoop is started by Serve and ends with the listener; Close waits for it.
func (s *Server) acceptLoop() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns[conn] = struct{}{}
		s.mu.Unlock()
		s.serving.Go(func() {
			(&serverConn{writer: newWriter(conn), delay: s.delay}).readLoop(conn)
			s.mu.Lock()
			delete(s.conns, conn)
			s.mu.Unlock()
		})
	}
}

// serverConn is the server's side of one connection.
type serverConn struct {
	writer *writer
	delay  time.Duration
	batch  []byte         // of handle, kept between reads
	bodies sync.Pool      // of *[]byte, for delayed bodies
	tasks  sync.WaitGroup // delayed calls and streams; the read loop waits for them
}

// readLoop answers until the connection ends.
func (c *serverConn) readLoop(conn net.Conn) {
	defer c.tasks.Wait()
	defer conn.Close()      //nolint:errcheck // nobody is left to be told
	readAll(conn, c.handle) //nolint:errcheck // however the connection ended, there is nothing to do
}

// handle answers every frame that is complete in r. Echoes gather and are handed to the writer
// together, when no complete frame is left.
func (c *serverConn) handle(r *reader) error {
	c.batch = c.batch[:0]
	for {
		frame, err := r.next()
		if err != nil {
			return err
		}
		if frame == nil {
			break
		}
		kind, slot := splitSequence(frame)
		switch body := frame[headerSize:]; kind {
		case operationDelayed:
			c.startDelayed(slot, body)
		case operationStream:
			if err := c.startStream(slot, body); err != nil {
				return err
			}
		default:
			c.batch = append(c.batch, frame...)
		}
	}
	if len(c.batch) > 0 {
		c.writer.sendFrames(c.batch)
	}
	return nil
}

// startDelayed answers after the delay, from a goroutine of its own: what a handler that blocks
// costs at the least.
func (c *serverConn) startDelayed(slot uint64, body []byte) {
	kept, _ := c.bodies.Get().(*[]byte)
	if kept == nil {
		kept = new([]byte)
	}
	*kept = append((*kept)[:0], body...)
	c.tasks.Add(1)
	go c.delayed(slot, kept)
}

func (c *serverConn) delayed(slot uint64, body *[]byte) {
	defer c.tasks.Done()
	time.Sleep(c.delay)
	c.writer.send(operationDelayed, slot, *body)
	c.bodies.Put(body)
}

func (c *serverConn) startStream(slot uint64, body []byte) error {
	if len(body) != streamRequestSize {
		return errFrame
	}
	count := binary.LittleEndian.Uint64(body)
	size := binary.LittleEndian.Uint64(body[8:])
	if size > maxBody || count > 1<<40 {
		return errFrame
	}
	c.tasks.Go(func() { c.stream(slot, int(count), int(size)) })
	return nil
}

// stream sends count results. All of them are alike, so a batch of frames is laid out once and
// written as often as needed.
func (c *serverConn) stream(slot uint64, count, size int) {
	frameSize := headerSize + size
	inBatch := min(count, max(1, streamBatch/frameSize))
	batch := make([]byte, 0, inBatch*frameSize)
	result := make([]byte, size)
	for i := range result {
		result[i] = byte(i)
	}
	for range inBatch {
		batch = appendFrame(batch, operationStream, slot, result)
	}
	for count > 0 {
		now := min(count, inBatch)
		if !c.writer.writeOwned(batch[:now*frameSize]) {
			return
		}
		count -= now
	}
	c.writer.send(operationEnd, slot, nil)
}

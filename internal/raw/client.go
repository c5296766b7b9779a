package raw

import (
	"encoding/binary"
	"fmt"
	"net"
	"sync/atomic"
)

// Client makes calls on one connection. Its methods are safe for concurrent use.
type Client struct {
	conn   net.Conn
	writer *writer
	closed chan struct{} // closed when the read loop has ended

	// slots is replaced when it grows, under writer.mu; the read loop loads it without the lock.
	slots atomic.Pointer[[]*slot]

	// Guarded by writer.mu, so that taking a slot and appending its frame is one critical section.
	free []*slot
	err  error // set when the read loop ends
}

// slot is one place for a call in flight. It is reused, with its channel and its buffer.
type slot struct {
	index uint64
	done  chan struct{} // capacity 1; the read loop signals once per use

	// Set by the caller before its frame is appended, then owned by the read loop until done.
	each func(result []byte) error
	body []byte
	err  error

	answered bool // done has been signalled in this use
	inUse    bool // guarded by writer.mu
}

// Dial makes a client of conn and starts its read loop. The client owns conn.
func Dial(conn net.Conn) *Client {
	c := &Client{conn: conn, writer: newWriter(conn), closed: make(chan struct{})}
	c.slots.Store(new([]*slot))
	go c.readLoop()
	return c
}

// Call sends body and appends its echo to reply. It waits for the echo or the connection's end. The
// body may be reused when Call returns.
func (c *Client) Call(reply, body []byte) ([]byte, error) {
	return c.call(reply, operationEcho, body)
}

// Delayed is Call, but a goroutine of the server sleeps for the server's delay before it answers.
func (c *Client) Delayed(reply, body []byte) ([]byte, error) {
	return c.call(reply, operationDelayed, body)
}

// Stream asks for count results of size bytes each and passes them to each, in order, on the read
// loop: every other call waits while each runs. A result is valid during the call only. After an
// error of each the remaining results are dropped, and Stream returns the error.
func (c *Client) Stream(count, size int, each func(result []byte) error) error {
	if count < 0 || size < 0 || size > maxBody {
		return fmt.Errorf("raw: can't stream %d results of %d bytes", count, size)
	}
	var request [streamRequestSize]byte
	binary.LittleEndian.PutUint64(request[:], uint64(count))
	binary.LittleEndian.PutUint64(request[8:], uint64(size))
	s, err := c.start(operationStream, request[:], each)
	if err != nil {
		return err
	}
	<-s.done
	err = s.err
	c.release(s)
	return err
}

// Close closes the connection and waits for the read loop. Calls in flight fail.
func (c *Client) Close() error {
	err := c.conn.Close()
	<-c.closed
	return err
}

func (c *Client) call(reply []byte, kind operation, body []byte) ([]byte, error) {
	if len(body) > maxBody {
		return reply, fmt.Errorf("raw: body of %d bytes", len(body))
	}
	s, err := c.start(kind, body, nil)
	if err != nil {
		return reply, err
	}
	<-s.done
	err = s.err
	reply = append(reply, s.body...)
	c.release(s)
	return reply, err
}

// start takes a slot, sends its frame, and returns while the call is in flight.
func (c *Client) start(kind operation, body []byte, each func([]byte) error) (*slot, error) {
	w := c.writer
	w.mu.Lock()
	if c.err != nil {
		w.mu.Unlock()
		return nil, c.err
	}
	s := c.takeLocked()
	s.each = each
	w.pending = appendFrame(w.pending, kind, s.index, body)
	w.unlockAndWrite()
	return s, nil
}

func (c *Client) takeLocked() *slot {
	var s *slot
	if last := len(c.free) - 1; last >= 0 {
		s = c.free[last]
		c.free = c.free[:last]
	} else {
		slots := *c.slots.Load()
		s = &slot{index: uint64(len(slots)), done: make(chan struct{}, 1)}
		// Readers see the old length or the new slice: append never changes what they can see.
		slots = append(slots, s)
		c.slots.Store(&slots)
	}
	s.inUse = true
	s.answered = false
	s.err = nil
	return s
}

func (c *Client) release(s *slot) {
	c.writer.mu.Lock()
	s.inUse = false
	s.each = nil
	c.free = append(c.free, s)
	c.writer.mu.Unlock()
}

// readLoop hands every frame to its slot. Started by Dial; ends when the connection does, and then
// fails every call in flight; Close waits for it.
func (c *Client) readLoop() {
	defer close(c.closed)
	err := readAll(c.conn, c.handle)
	c.conn.Close() //nolint:errcheck // err is the reason, closing again adds nothing
	c.writer.mu.Lock()
	defer c.writer.mu.Unlock()
	c.err = fmt.Errorf("raw: connection ended: %w", err)
	for _, s := range *c.slots.Load() {
		if s.inUse && !s.answered {
			s.err = c.err
			s.done <- struct{}{}
		}
	}
}

// handle delivers every frame that is complete in r.
func (c *Client) handle(r *reader) error {
	for {
		frame, err := r.next()
		if frame == nil || err != nil {
			return err
		}
		kind, index := splitSequence(frame)
		slots := *c.slots.Load()
		if index >= uint64(len(slots)) {
			return errFrame
		}
		slots[index].deliver(kind, frame[headerSize:])
	}
}

// deliver takes one frame on the read loop.
func (s *slot) deliver(kind operation, body []byte) {
	if kind == operationStream {
		if s.err == nil && s.each != nil {
			s.err = s.each(body)
		}
		return
	}
	s.body = append(s.body[:0], body...)
	s.answered = true
	s.done <- struct{}{}
}

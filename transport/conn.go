package transport

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/edict-go/edict/core"
)

// Config has the limits of a Conn. The zero Config works.
type Config struct {
	// MaxReceive is the largest payload of a frame that is accepted, in bytes; 0 is 4 MiB. Longer
	// ones are skipped and reported as Oversize.
	MaxReceive int
	// MaxSend is the largest payload that the peer accepts, in bytes; 0 is 4 MiB. Send refuses
	// longer ones.
	MaxSend int
	// QueueBytes is how much may wait to be written before Send waits; 0 is 512 KiB.
	QueueBytes int
	// WriteTimeout is how long the peer may take nothing of what is written before the connection
	// is given up; 0 is 30 s. It is noticed within twice that time.
	WriteTimeout time.Duration
	// FrameTimeout is how long a frame, or a message in parts, may take that was begun, beside one second for
	// each KiB of it; 0 is 30 s.
	FrameTimeout time.Duration
}

// NoLimit is the largest payload that a frame's length can announce.
const NoLimit = 1<<31 - 1

const (
	defaultMaxFrame     = 4 << 20
	defaultQueueBytes   = 512 << 10
	defaultWriteTimeout = 30 * time.Second
	defaultFrameTimeout = 30 * time.Second
	// postLimit is how many bytes beyond QueueBytes Post may queue for a peer that doesn't read.
	postLimit = 1 << 20
)

func (c Config) withDefaults() Config {
	if c.MaxReceive <= 0 {
		c.MaxReceive = defaultMaxFrame
	}
	if c.MaxSend <= 0 {
		c.MaxSend = defaultMaxFrame
	}
	if c.QueueBytes <= 0 {
		c.QueueBytes = defaultQueueBytes
	}
	if c.WriteTimeout <= 0 {
		c.WriteTimeout = defaultWriteTimeout
	}
	if c.FrameTimeout <= 0 {
		c.FrameTimeout = defaultFrameTimeout
	}
	return c
}

// Conn carries frames over a net.Conn; it implements core.Transport and core.Budgeted. All methods may be called from
// any goroutine, except that Run, Receive and the methods of the handshake belong to one reader.
type Conn struct {
	// Changed by Attach only, under writer.mu, while neither the reader nor a writer is at work.
	conn   net.Conn
	raw    syscall.RawConn // nil if conn can't be tried without waiting
	config Config          // changed by SetLimits only, before frames are exchanged

	account  *core.Account         // what the connection may hold; nil: anything
	reserved func(*core.Frame) int // set with account

	writer writer
	reader reader

	// done is closed when the connection has failed or was closed; writer.err has the cause then.
	done chan struct{}

	waited sync.Once // of the first Wait, which gives the reader's buffers back
}

var (
	_ core.Transport = (*Conn)(nil)
	_ core.Budgeted  = (*Conn)(nil)
)

// NewConn returns a Conn over conn, which it owns from now on. It starts no goroutine.
func NewConn(conn net.Conn, config Config) *Conn {
	c := &Conn{conn: conn, raw: directAccess(conn), config: config.withDefaults(), done: make(chan struct{})}
	c.writer.init(c)
	c.reader.init(c)
	return c
}

// SetLimits sets the sizes that the handshake has agreed on. It must not be called while another
// method runs.
func (c *Conn) SetLimits(maxReceive, maxSend int) {
	c.config.MaxReceive, c.config.MaxSend = maxReceive, maxSend
}

// SetDeadline bounds reading and writing in time, for the handshake; the zero time ends that. A write
// that goes on meanwhile keeps its own bound, WriteTimeout.
func (c *Conn) SetDeadline(deadline time.Time) error {
	c.writer.mu.Lock()
	defer c.writer.mu.Unlock()
	if c.writer.writing {
		// The holder of the writing role may wait under a bound of its own.
		c.writer.clearDeadline = deadline.IsZero()
		return c.conn.SetReadDeadline(deadline)
	}
	return c.conn.SetDeadline(deadline)
}

// NetConn returns the connection underneath, for its addresses and TLS state; the last one if it is lost. Reading
// from it or writing to it breaks the Conn.
func (c *Conn) NetConn() net.Conn {
	c.writer.mu.Lock()
	defer c.writer.mu.Unlock()
	return c.conn
}

// Run implements core.Transport. If the Conn is Resumable it goes on when another net.Conn is attached.
func (c *Conn) Run(handle func(*core.Frame) error) error {
	for {
		err := c.reader.run(func(frame *core.Frame) error {
			switch frame.Kind {
			case core.KindPadding:
				frame.Buffer.Release()
				return nil
			case core.KindAck, core.KindGoAway:
				if own, err := c.handleOwn(frame); own {
					frame.Buffer.Release()
					return err
				}
			}
			return handle(frame)
		})
		if !c.reader.broken || !c.lose(err) || !c.park() {
			return c.failure(err)
		}
	}
}

// Receive returns the next frame, for the handshake and for tests. Its body is valid until the next
// call.
func (c *Conn) Receive() (core.Frame, error) {
	for {
		frame, err := c.reader.next()
		if err != nil {
			return core.Frame{}, c.failure(err)
		}
		if frame.Kind != core.KindPadding {
			return *frame, nil
		}
		frame.Buffer.Release()
	}
}

// ReceivePreface reads the first bytes of the connection.
func (c *Conn) ReceivePreface() (preface [PrefaceSize]byte, err error) {
	if err := c.reader.prefix(preface[:]); err != nil {
		return preface, c.failure(err)
	}
	return preface, nil
}

// failure prefers the cause with which this side closed the connection to the error that reading
// from a closed connection gives.
func (c *Conn) failure(err error) error {
	select {
	case <-c.done:
		return c.cause()
	default:
		return err
	}
}

// isClosed reports whether the connection has failed or was closed.
func (c *Conn) isClosed() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

func (c *Conn) cause() error {
	c.writer.mu.Lock()
	defer c.writer.mu.Unlock()
	return c.writer.err
}

// Received implements core.Transport.
func (c *Conn) Received() core.Position { return core.Position(c.reader.received.Load()) }

// Close implements core.Transport. A nil cause is core.ErrClosed.
func (c *Conn) Close(cause error) {
	if cause == nil {
		cause = core.ErrClosed
	}
	c.writer.fail(cause)
}

// CloseUnheard is Close for a connection on which nothing was sent yet: the peer will never hear anything. Otherwise it
// does nothing. It reports whether the connection is closed.
func (c *Conn) CloseUnheard(cause error) bool { return c.writer.failUnheard(cause) }

// Wait implements core.Transport. Nobody may receive any more, nor use what was received.
func (c *Conn) Wait() {
	c.writer.pumps.Wait()
	c.waited.Do(c.reader.release)
}

// Done is closed when the connection has failed or was closed.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Flush implements core.Transport.
func (c *Conn) Flush(ctx context.Context) error {
	if err := c.writer.drain(ctx); err != nil {
		return err
	}
	if half, ok := c.NetConn().(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// IsTimeout reports whether err is a deadline of the connection (not of a context) that has passed.
func IsTimeout(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}

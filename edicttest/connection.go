package edicttest

import (
	"fmt"
	"sync"
)

// Direction is one of the two of a connection.
type Direction int

// The directions: what the dialler writes, and what it reads.
const (
	ToServer Direction = iota
	ToClient
)

// String returns "to server" or "to client".
func (d Direction) String() string {
	if d == ToServer {
		return "to server"
	}
	return "to client"
}

func (d Direction) opposite() Direction { return ToClient - d }

// Connection is a connection of a Network as the test sees it: both directions, and what can be done
// to them. All methods may be called from any goroutine; none waits. On a connection that is not
// open any more they do nothing.
type Connection struct {
	network        *Network
	id             int
	address        Addr
	client, server *end // static after newConnection

	mu    sync.Mutex // guards all below, and all of both ends and pipes; held briefly
	pipes [2]pipe    // by Direction
	cut   bool       // reset: what is delivered can be read, then ECONNRESET
	ended bool       // cut, or both ends are closed: nothing moves any more
}

func newConnection(n *Network, id int, address Addr) *Connection {
	c := &Connection{network: n, id: id, address: address}
	toServer, toClient := &c.pipes[ToServer], &c.pipes[ToClient]
	toServer.init(c, ToServer)
	toClient.init(c, ToClient)
	clientAddress := Addr(fmt.Sprintf("client:%d", id))
	c.client = &end{connection: c, in: toClient, out: toServer, local: clientAddress, remote: address}
	c.server = &end{connection: c, in: toServer, out: toClient, local: address, remote: clientAddress}
	return c
}

// ID returns the connection's number on its network: 0 for the first that was dialled.
func (c *Connection) ID() int { return c.id }

// Address returns what the client dialled.
func (c *Connection) Address() string { return string(c.address) }

// Cut resets the connection: what is under way is lost, and on both ends reading (after what has been
// delivered already) and writing fail with an error that matches syscall.ECONNRESET.
func (c *Connection) Cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ended {
		c.recordLocked(FaultCut, ToServer, c.pipes[ToServer].counter.position)
		c.resetLocked()
	}
}

// reset is Cut where it is no fault: the listener was closed before Accept.
func (c *Connection) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.resetLocked()
}

func (c *Connection) resetLocked() {
	if !c.ended {
		c.cut = true
		c.endLocked()
	}
}

// endLocked stops everything; who waits looks again.
func (c *Connection) endLocked() {
	c.ended = true
	for d := range c.pipes {
		c.pipes[d].drop()
	}
	c.network.remove(c)
}

// CutAfter cuts the connection as soon as direction d has delivered all bytes before p: at once if it
// has already.
func (c *Connection) CutAfter(d Direction, p Point) { c.arm(d, FaultCut, p) }

// StallAfter stalls direction d as soon as it has delivered all bytes before p: at once if it has
// already.
func (c *Connection) StallAfter(d Direction, p Point) { c.arm(d, FaultStall, p) }

// Corrupt flips the lowest bit of the byte behind p in direction d, when it is delivered. If it was
// delivered already, nothing happens.
func (c *Connection) Corrupt(d Direction, p Point) { c.arm(d, FaultCorrupt, p) }

func (c *Connection) arm(d Direction, kind FaultKind, p Point) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ended {
		c.pipes[d].faults = append(c.pipes[d].faults, armed{kind: kind, point: p})
		c.pipes[d].pump()
	}
}

// Stall holds everything back that is written in direction d, the end (FIN) too, until Resume. Writes
// succeed until Link.Buffer is full.
func (c *Connection) Stall(d Direction) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ended {
		c.pipes[d].stall(false)
		c.pipes[d].pump()
	}
}

// Resume ends a stall of direction d, also one that Faults made. What has been under way long enough
// is delivered at once.
func (c *Connection) Resume(d Direction) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ended {
		c.pipes[d].resume()
	}
}

// Vanish lets everything vanish that is under way in direction d or written to it from now on, the
// end (FIN) too: writes succeed and never reach the reader, who waits. With both directions it is a
// host that is gone without a word. There is no way back; a link that heals is Stall and Resume.
func (c *Connection) Vanish(d Direction) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ended {
		c.pipes[d].vanish()
	}
}

// Pending returns how many bytes were written in direction d and are not delivered yet.
func (c *Connection) Pending(d Direction) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pipes[d].pending()
}

// EndPending reports whether the writer of direction d has ended it (CloseWrite or Close) and the
// reader is not told yet.
func (c *Connection) EndPending(d Direction) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pipes[d].endPending()
}

// Deliver moves up to n bytes that are pending in direction d to their reader, whatever the link says,
// and returns how many it moved. When nothing is pending any more it also delivers the end (FIN), if
// there is one, so Deliver(d, 0) may deliver just that. It moves less if a fault on the way stops it,
// and nothing in a stall. It is meant for Config.Manual.
func (c *Connection) Deliver(d Direction, n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return 0
	}
	p := &c.pipes[d]
	moved := p.deliver(max(0, n))
	p.deliverEnd()
	p.dropChunks()
	return moved
}

// linkChanged lets writers look whether the buffer has room now.
func (c *Connection) linkChanged() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for d := range c.pipes {
		c.pipes[d].writers.raise()
	}
}

func (c *Connection) recordLocked(kind FaultKind, d Direction, offset int64) {
	c.network.record(Fault{Kind: kind, Address: string(c.address), Connection: c.id, Direction: d, Offset: offset})
}

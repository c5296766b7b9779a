package core

import (
	"bytes"
	"context"
	"encoding/binary"
	"sync"
	"time"
)

// pingOnDemand begins the body of the PINGs that Client.Ping sends, to tell them from others.
const pingOnDemand = "ask\n"

// pinger knows of the PINGs that callers wait for.
type pinger struct {
	mu      sync.Mutex // guards the following; a leaf
	number  uint64
	waiting map[uint64]chan struct{} // closed when the PONG is there
}

// begin returns the body of a PING, and a channel that is closed when it is answered.
func (p *pinger) begin() (number uint64, body []byte, answered chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting == nil {
		p.waiting = map[uint64]chan struct{}{}
	}
	p.number++
	answered = make(chan struct{})
	p.waiting[p.number] = answered
	return p.number, binary.LittleEndian.AppendUint64([]byte(pingOnDemand), p.number), answered
}

func (p *pinger) end(number uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.waiting, number)
}

// pong takes the body of a PONG, and reports whether it answers a PING that somebody waits for.
func (p *pinger) pong(body []byte) bool {
	rest, ok := bytes.CutPrefix(body, []byte(pingOnDemand))
	if !ok || len(rest) != 8 {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	number := binary.LittleEndian.Uint64(rest)
	answered := p.waiting[number]
	if answered == nil {
		return false
	}
	delete(p.waiting, number)
	close(answered)
	return true
}

// Ping sends a PING, waits for its PONG, and returns how long that took. It waits until ctx or the client ends. A
// server bounds how many it answers.
func (c *Client) Ping(ctx context.Context) (time.Duration, error) {
	number, body, answered := c.pings.begin()
	defer c.pings.end(number)
	began := time.Now()
	if err := c.transport.Post(Frame{Kind: KindPing, Body: body}); err != nil {
		return 0, connectionError(err, c.goAway.Load())
	}
	select {
	case <-answered:
		return time.Since(began), nil
	case <-c.Done():
		return 0, c.ended(OutcomeUnknown)
	case <-ctx.Done():
		return 0, contextError(ctx, OutcomeUnknown)
	}
}

package transport

// Peek returns the first byte of the connection, which still is to be received. It is for before the handshake.
func (c *Conn) Peek() (byte, error) {
	for len(c.reader.data) == 0 {
		if err := c.reader.readSome(); err != nil {
			return 0, c.failure(err)
		}
	}
	return c.reader.data[0], nil
}

// TakeOver returns a copy of what was read and not received, after Peek. Whoever calls it reads and writes the net.Conn itself
// from now on; the Conn is there to close it.
func (c *Conn) TakeOver() []byte {
	taken := append([]byte(nil), c.reader.data...)
	c.reader.discard(len(taken))
	return taken
}

// Queued returns how many bytes wait to be written, beside those that are being written now.
func (c *Conn) Queued() int {
	c.writer.mu.Lock()
	defer c.writer.mu.Unlock()
	return c.writer.pending.size + c.writer.lanes.size
}

// Kept returns how many bytes are kept for the peer, in case that the connection must be resumed, beside those that wait to be
// written: it may have got them. 0 unless the Conn is Resumable.
func (c *Conn) Kept() int {
	c.writer.mu.Lock()
	defer c.writer.mu.Unlock()
	k := c.writer.replay
	if k == nil || len(k.kept) == 0 {
		return 0
	}
	return int(k.kept[len(k.kept)-1].end() - k.kept[0].start)
}

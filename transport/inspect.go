package transport

// Queued returns how many bytes wait to be written, beside those that are being written now.
func (c *Conn) Queued() int {
	c.writer.mu.Lock()
	defer c.writer.mu.Unlock()
	return c.writer.pending.size + c.writer.lanes.size
}

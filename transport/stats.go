package transport

// Stats counts what a Conn has carried so far.
type Stats struct {
	// FramesSent were handed to the network, or wait to be; a message in parts is several. FramesReceived have come,
	// up to what was read last.
	FramesSent, FramesReceived uint64
	// BytesSent were handed to the network, BytesReceived were read from it: before encryption, with the handshake.
	BytesSent, BytesReceived uint64
	// Batches is how many times frames were handed to the network together.
	Batches uint64
	// QueueWaits is how often a sender had to wait because too much was queued, or the budget had no room.
	QueueWaits uint64
}

// Add adds other to s.
func (s *Stats) Add(other Stats) {
	s.FramesSent += other.FramesSent
	s.FramesReceived += other.FramesReceived
	s.BytesSent += other.BytesSent
	s.BytesReceived += other.BytesReceived
	s.Batches += other.Batches
	s.QueueWaits += other.QueueWaits
}

// counters are the Stats as the writer counts them, under its lock.
type counters struct{ frames, batches, waits uint64 }

// Stats returns the counters of the connection.
func (c *Conn) Stats() Stats {
	s := Stats{FramesReceived: c.reader.counted.Load(), BytesReceived: c.reader.received.Load()}
	w := &c.writer
	w.mu.Lock()
	defer w.mu.Unlock()
	s.FramesSent, s.Batches, s.QueueWaits, s.BytesSent = w.counters.frames, w.counters.batches, w.counters.waits, uint64(w.attempted)
	return s
}

package core

// signal is a channel that is closed once, and is made only if somebody waits for that: most connections never see
// it. Guarded by a lock of what it belongs to. The zero signal is ready to use.
type signal struct{ channel chan struct{} }

// wait returns the channel that raise closes, or has closed.
func (s *signal) wait() <-chan struct{} {
	if s.channel == nil {
		s.channel = make(chan struct{})
	}
	return s.channel
}

func (s *signal) raise() {
	if s.channel == nil {
		s.channel = decided
		return
	}
	select {
	case <-s.channel:
	default:
		close(s.channel)
	}
}

package delegate

import "time"

// Both sides watch their connection with a core.Keepalive. What a client's PINGs cost a server they agree
// on in the handshake: the client says how long it would wait before one, the server answers with that or
// with a longer time, and such PINGs it does not hold against the client. A server pings as its own
// settings say.

// milliseconds returns an interval as it is on the wire; 0 is none.
func milliseconds(interval time.Duration) uint64 {
	return uint64((max(interval, 0) + time.Millisecond - 1) / time.Millisecond)
}

// interval is the reverse of milliseconds.
func interval(milliseconds uint64) time.Duration {
	return time.Duration(min(milliseconds, uint64(maxKeepalive/time.Millisecond))) * time.Millisecond
}

// grantKeepalive is the server's answer to the interval that a client wants.
func grantKeepalive(wanted uint64) uint64 {
	if wanted == 0 {
		return 0
	}
	return milliseconds(max(interval(wanted), minKeepalive))
}

// grantedKeepalive returns the interval of a client that wants one and is granted another. A server that
// grants none does not know of keepalives.
func grantedKeepalive(wanted time.Duration, granted uint64) time.Duration {
	switch {
	case wanted == 0 || granted == 0:
		return 0
	case granted <= milliseconds(wanted):
		return wanted
	}
	return interval(granted)
}

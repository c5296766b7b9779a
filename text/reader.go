package text

import (
	"bytes"
	"io"
	"net"
	"time"

	"github.com/edict-go/edict/core"
)

// smallLine is how much of a line is read without asking the budget.
const smallLine = 4 << 10

// reader cuts what comes into lines. Owned by one goroutine at a time: first who calls First, then Conn.read.
type reader struct {
	conn    net.Conn
	account *core.Account // nil: anything
	maxLine int
	// lineTimeout is how long a line may take that was begun, beside one second for each KiB; 0 leaves the deadline as it is.
	lineTimeout time.Duration
	began       time.Time // when the present line was; zero if it was not
	come        int       // bytes of it
	received    func(int)

	data    []byte // received, not yet taken
	scanned int    // of data, in which there is no newline
	charged int    // taken from account for data
	skip    *core.Error
	end     error
}

// tooLong and noRoom are what the client is told of a line that was skipped.
func (r *reader) tooLong() *core.Error {
	return core.Errorf(core.ResourceExhausted, "a line is longer than %d bytes, which is what the server accepts (MaxFrame)", r.maxLine)
}

func noRoom() *core.Error {
	return &core.Error{Code: core.ResourceExhausted, RetryAfter: core.BusyRetry, Message: "the server has no room for the line in its budget"}
}

// next returns the next line that is not empty, without its end. It is valid until the following call. A problem is what is
// wrong with a line that was skipped. The error is io.EOF at the end.
func (r *reader) next() (line []byte, problem *core.Error, err error) {
	r.shrink()
	r.began, r.come = time.Time{}, 0
	for {
		if i := bytes.IndexByte(r.data[r.scanned:], '\n'); i >= 0 {
			line, r.data = r.data[:r.scanned+i], r.data[r.scanned+i+1:]
			r.scanned = 0
			if problem, r.skip = r.skip, nil; problem != nil {
				return nil, problem, nil
			}
			if len(line) > r.maxLine {
				return nil, r.tooLong(), nil
			}
			if line = bytes.TrimSpace(line); len(line) == 0 {
				continue
			}
			return line, nil, nil
		}
		r.scanned = len(r.data)
		if r.end != nil {
			return r.rest()
		}
		if r.skip != nil || len(r.data) > r.maxLine {
			if r.skip == nil {
				r.skip = r.tooLong()
			}
			r.data, r.scanned = r.data[:0], 0
		}
		r.read()
	}
}

// rest returns what is left when no more comes: a last line without an end.
func (r *reader) rest() ([]byte, *core.Error, error) {
	line, problem := bytes.TrimSpace(r.data), r.skip
	r.data, r.scanned, r.skip = nil, 0, nil
	switch {
	case problem != nil:
		return nil, problem, nil
	case len(line) > 0 && r.end == io.EOF:
		return line, nil, nil
	}
	return nil, nil, r.end
}

// read reads something, or notes why there is nothing.
func (r *reader) read() {
	if len(r.data) == cap(r.data) && !r.grow() {
		r.skip = noRoom()
		r.data, r.scanned = r.data[:0], 0
	}
	if r.lineTimeout > 0 {
		deadline := time.Time{}
		if len(r.data) > 0 || r.skip != nil {
			if r.began.IsZero() {
				r.began = time.Now()
			}
			deadline = r.began.Add(r.lineTimeout + time.Duration(r.come>>10)*time.Second)
		}
		if err := r.conn.SetReadDeadline(deadline); err != nil {
			r.end = err
			return
		}
	}
	n, err := r.conn.Read(r.data[len(r.data):cap(r.data)])
	r.data = r.data[:len(r.data)+n]
	r.come += n
	if n > 0 && r.received != nil {
		r.received(n)
	}
	if err != nil && n == 0 {
		r.end = err
	}
}

// grow makes room for more of a line, if the budget has it.
func (r *reader) grow() bool {
	size := max(smallLine, min(2*cap(r.data), r.maxLine+smallLine))
	if more := size - max(cap(r.data), smallLine); r.account != nil && more > 0 {
		if !r.account.Take(more, core.ForCalls) {
			return cap(r.data) == 0
		}
		r.charged += more
	}
	r.data = append(make([]byte, 0, size), r.data...)
	return true
}

// shrink gives back what a large line has needed.
func (r *reader) shrink() {
	if r.charged == 0 || len(r.data) > smallLine {
		return
	}
	r.data = append(make([]byte, 0, smallLine), r.data...)
	r.release()
}

func (r *reader) release() {
	if r.account != nil {
		r.account.Give(r.charged)
	}
	r.charged = 0
}

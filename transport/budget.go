package transport

import (
	"context"

	"github.com/edict-go/edict/core"
)

const (
	// queueFree is what a connection may have queued without asking the budget: busy connections with small
	// messages have less most of the time.
	queueFree = 16 << 10
	// queueStep is how much is taken from the budget at once beyond that.
	queueStep = 64 << 10
)

// SetBudget implements core.Budgeted.
func (c *Conn) SetBudget(account *core.Account, reserved func(*core.Frame) int) {
	c.account, c.reserved = account, reserved
}

// copied returns what a batch occupies beside the buffers of large bodies, which are charged for themselves.
func (b *batch) copied() int {
	if b.buffer == nil {
		return 0
	}
	return cap(b.buffer.Bytes)
}

// shortLocked returns how much is missing in the account for frame, with a payload of length, to be queued.
func (w *writer) shortLocked(frame *core.Frame, length int) int {
	if w.owner.account == nil {
		return 0
	}
	size := HeaderSize + length
	if frame.Buffer != nil {
		size -= min(len(frame.Body), frame.Buffer.Charged())
	}
	if buffer := w.pending.buffer; buffer != nil {
		size = max(len(buffer.Bytes)+size, cap(buffer.Bytes))
	}
	return max(0, size+w.lanes.uncharged+w.underway-queueFree-w.reserved)
}

// chargeLocked makes the buffer of a frame that is queued charge for itself, out of what was taken for it.
func (w *writer) chargeLocked(frame *core.Frame) {
	if missing := min(len(frame.Body)-frame.Buffer.Charged(), w.reserved); missing > 0 {
		frame.Buffer.Adopt(w.owner.account, missing)
		w.reserved -= missing
	}
}

// uncharged returns what a frame in a lane occupies that its buffer does not charge for.
func uncharged(frame *core.Frame) int {
	return max(0, HeaderSize+len(frame.Body)-frame.Buffer.Charged())
}

// takeLocked takes what is missing from the account, or reports that there is no room.
func (w *writer) takeLocked(short int) bool {
	for _, size := range [...]int{short + queueStep, short} {
		if w.owner.account.Take(size, core.ForWork) {
			w.reserved += size
			return true
		}
	}
	return false
}

// waitForBudget waits, with mu released meanwhile, until the account has what is missing, the pending batch is
// taken, the connection fails (then it returns nil: the caller looks at err) or ctx ends.
func (w *writer) waitForBudget(ctx context.Context, short int) error {
	claim := w.owner.account.Claim(short, core.ForWork)
	room := w.roomLocked()
	w.counters.waits++
	w.mu.Unlock()
	defer w.mu.Lock()
	select {
	case <-claim.Decided():
		if err := claim.Err(); err != nil {
			return err
		}
		w.mu.Lock()
		w.reserved += short
		w.mu.Unlock()
		return nil
	case <-room:
	case <-w.owner.done:
	case <-ctx.Done():
		claim.Withdraw()
		return context.Cause(ctx)
	}
	claim.Withdraw()
	return nil
}

// trimLocked gives back what the queue does not need any more. While something is being written it keeps what
// batches usually need, and a little always, as long as there is plenty.
func (w *writer) trimLocked() {
	if w.reserved == 0 || w.reserved <= 2*queueStep && w.owner.account.Calm() {
		return // it may soon be needed again
	}
	keep := max(0, w.pending.copied()+w.lanes.uncharged+w.underway-queueFree)
	if w.writing {
		keep = max(keep, min(w.reserved, w.usual+queueStep))
	}
	if w.reserved > keep {
		w.owner.account.Give(w.reserved - keep)
		w.reserved = keep
	}
}

// charge takes from the account what a message, whose header is in frame, occupies: size bytes in all, of
// which other buffers have charged some already. It reports whether there was room.
func (r *reader) charge(buffer *core.Buffer, size, charged int) bool {
	account := r.owner.account
	if account == nil {
		return true
	}
	purpose := core.ForCalls
	if r.frame.Kind != core.KindCommand {
		purpose = core.ForWork
		size -= r.owner.reserved(&r.frame)
	}
	return buffer.Charge(account, size-charged, purpose)
}

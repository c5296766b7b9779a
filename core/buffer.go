package core

import (
	"context"
	"math/bits"
	"sync"
	"sync/atomic"
)

// LargeBody is the size from which a body is handed on in a Buffer of its own instead of being
// copied (DESIGN.md section 5: below it the copy costs less than the bookkeeping).
const LargeBody = 32 << 10

// Buffer is a pooled byte slice with one owner at a time. One that came in parts is a chain of slices until
// Join makes it one.
type Buffer struct {
	Bytes []byte
	// Compressed: the bytes are a body that Compressor.Inflate has yet to inflate.
	Compressed bool

	more []*Buffer // continue Bytes

	account *Account // the connection's that holds the buffer; nil if charged is 0
	charged int      // what was taken from it; Release gives it back
}

// Charge sees to it that size bytes are taken from account for what b holds, until b is released or
// discharged. If there is no room it reports so and takes nothing. It does not wait.
func (b *Buffer) Charge(account *Account, size int, purpose Purpose) bool {
	if account == nil || size <= b.charged {
		return true
	}
	if !account.Take(size-b.charged, purpose) {
		return false
	}
	b.account, b.charged = account, size
	return true
}

// ChargeWaiting is Charge, but it waits for room as Account.Wait does, with its errors.
func (b *Buffer) ChargeWaiting(ctx context.Context, account *Account, size int, purpose Purpose) error {
	if account == nil || size <= b.charged {
		return nil
	}
	if err := account.Wait(ctx, size-b.charged, purpose); err != nil {
		return err
	}
	b.account, b.charged = account, size
	return nil
}

// Charged returns how much is charged for b, all of its parts.
func (b *Buffer) Charged() int {
	if b == nil {
		return 0
	}
	charged := b.charged
	for _, next := range b.more {
		charged += next.charged
	}
	return charged
}

// Adopt adds size, which the caller has taken from account, to what b is charged for.
func (b *Buffer) Adopt(account *Account, size int) {
	b.account = account
	b.charged += size
}

// MoveCharge makes what b is charged for the charge of another buffer, which takes its place.
func (b *Buffer) MoveCharge(to *Buffer) {
	to.account, to.charged = b.account, b.charged
	b.account, b.charged = nil, 0
}

// Trim gives back what is charged for b beyond its capacity.
func (b *Buffer) Trim() {
	if excess := b.charged - cap(b.Bytes); excess > 0 && len(b.more) == 0 {
		b.account.Give(excess)
		b.charged -= excess
	}
}

// Uncharge returns how much of b was charged, all of its parts. That is the caller's now, to be given back to
// the account.
func (b *Buffer) Uncharge() int {
	if b == nil {
		return 0
	}
	charged := b.charged
	b.account, b.charged = nil, 0
	for _, next := range b.more {
		charged += next.Uncharge()
	}
	return charged
}

// Extend makes next, which b takes over, the continuation of b.
func (b *Buffer) Extend(next *Buffer) { b.more = append(b.more, next) }

// Last returns the part of b to which more bytes may be appended: b itself, if there are no others.
func (b *Buffer) Last() *Buffer {
	if len(b.more) == 0 {
		return b
	}
	return b.more[len(b.more)-1]
}

// Len returns the number of bytes of all parts.
func (b *Buffer) Len() int {
	size := len(b.Bytes)
	for _, next := range b.more {
		size += len(next.Bytes)
	}
	return size
}

// Join makes Bytes the bytes of all parts, and returns them. If there are several it copies them, so it is
// not for read loops.
func (b *Buffer) Join() []byte {
	if len(b.more) == 0 {
		return b.Bytes
	}
	account := b.account
	for _, next := range b.more {
		if account == nil {
			account = next.account
		}
	}
	charged := b.Uncharge()
	joined := GetBuffer(b.Len())
	joined.Bytes = append(joined.Bytes, b.Bytes...)
	for _, next := range b.more {
		joined.Bytes = append(joined.Bytes, next.Bytes...)
		next.Release()
	}
	b.Bytes, joined.Bytes, b.more = joined.Bytes, b.Bytes, nil
	b.account, b.charged = account, charged
	joined.Release()
	return b.Bytes
}

// Buffers are pooled by capacity, in powers of two from 1<<minClass to 1<<maxClass. The slack is for
// headers, so that a body of a round size fits with them.
const (
	minClass = 10 // 1 KiB
	maxClass = 22 // 4 MiB
	slack    = 64
)

var bufferPools [maxClass - minClass + 1]sync.Pool

// A BufferAudit is told of each Buffer that leaves the pools and comes back.
type BufferAudit interface {
	Got(*Buffer)
	Released(*Buffer)
}

var bufferAudit atomic.Pointer[BufferAudit]

// AuditBuffers makes audit hear of all buffers from now on, in the goroutines that use them, nil ends that.
// It is for tests that look for buffers that are lost, released twice or used afterwards.
func AuditBuffers(audit BufferAudit) {
	if audit == nil {
		bufferAudit.Store(nil)
		return
	}
	bufferAudit.Store(&audit)
}

// BufferSize returns the capacity of what GetBuffer returns for size.
func BufferSize(size int) int {
	if class := bufferClass(size); class < len(bufferPools) {
		return 1<<(class+minClass) + slack
	}
	return size
}

// bufferClass returns which pool has buffers for size; there may be none.
func bufferClass(size int) int {
	return max(bits.Len(uint(max(size-slack, 1)-1))-minClass, 0)
}

// GetBuffer returns an empty Buffer with a capacity of at least size.
func GetBuffer(size int) *Buffer {
	buffer := getBuffer(size)
	if audit := bufferAudit.Load(); audit != nil {
		(*audit).Got(buffer)
	}
	return buffer
}

func getBuffer(size int) *Buffer {
	class := bufferClass(size)
	if class >= len(bufferPools) {
		return &Buffer{Bytes: make([]byte, 0, size)}
	}
	if buffer, ok := bufferPools[class].Get().(*Buffer); ok {
		return buffer
	}
	return &Buffer{Bytes: make([]byte, 0, BufferSize(size))}
}

// GetCharged returns an empty Buffer with a capacity of at least size, which is charged for all of that. The caller
// has taken BufferSize(size) from account for it. If the pool has only larger buffers and account has no room for the
// rest of one, it is a new one.
func GetCharged(account *Account, size int) *Buffer {
	buffer, held := GetBuffer(size), BufferSize(size)
	if more := cap(buffer.Bytes) - held; more > 0 && !account.Take(more, ForWork) {
		buffer.Release()
		buffer = &Buffer{Bytes: make([]byte, 0, held)}
		if audit := bufferAudit.Load(); audit != nil {
			(*audit).Got(buffer)
		}
	} else if more > 0 {
		held += more
	}
	buffer.Adopt(account, held)
	return buffer
}

// Release gives the buffer back; the caller must not use it or its bytes afterwards. Release of a
// nil Buffer does nothing.
func (b *Buffer) Release() {
	if b == nil {
		return
	}
	for _, next := range b.more {
		next.Release()
	}
	b.more, b.Compressed = nil, false
	if b.charged != 0 {
		b.account.Give(b.charged)
		b.account, b.charged = nil, 0
	}
	if audit := bufferAudit.Load(); audit != nil {
		(*audit).Released(b)
	}
	// The class whose requests this capacity can serve: the largest that is not above it. The bytes
	// may have been grown by append, so the capacity is not one that GetBuffer made.
	class := bits.Len(uint(max(cap(b.Bytes)-slack, 1))) - 1 - minClass
	if class < 0 || class >= len(bufferPools) {
		return
	}
	b.Bytes = b.Bytes[:0]
	bufferPools[class].Put(b)
}

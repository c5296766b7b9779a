package simulation

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"testing/synctest"

	"github.com/edict-go/edict/core"
	"github.com/edict-go/edict/transport"
)

// steal lets a thief send a HELLO with a ticket once more that a client has sent. If the secret in it is good still, the
// thief has the session, and the client may lose it; if it is not, nobody may notice. Or the thief sends all once more that a
// client has sent at the beginning of a session: its HELLO, its proof, and commands with their numbers. With a journal nothing of
// that may be executed.
func (l *lasting) steal() action {
	if l.thieves == 0 || !l.up {
		return action{}
	}
	var recorded []*hop
	for _, h := range l.hops {
		if hello, size := readGreeting(*h.near.kept); !h.thief && size > 0 && (hello.id != "" || l.journals) {
			recorded = append(recorded, h)
		}
	}
	if len(recorded) == 0 {
		return action{}
	}
	victim := pick(l.simulation, recorded...)
	if l.one(2) {
		victim = recorded[len(recorded)-1]
	}
	return action{name: fmt.Sprintf("a thief repeats the HELLO of %d on %d", victim.guest.number, victim.connection.ID()), do: func() {
		l.thieves--
		conn, err := l.network.Dial(context.Background(), "server")
		if err != nil {
			l.violated("a thief can't dial: %v", err)
		}
		synctest.Wait()
		near := &tap{Conn: conn}
		near.keep()
		present := victim.guest.present
		h := l.connected(victim.guest, near)
		h.thief, victim.guest.present = true, present
		greeting, size := readGreeting(*victim.near.kept)
		if greeting.id == "" {
			h.repeats, size = true, len(*victim.near.kept)
			l.counted.repeats++
		}
		hello := append([]byte(nil), (*victim.near.kept)[:size]...)
		go func() {
			_, _ = near.Write(hello)
			_, _ = io.Copy(io.Discard, near)
			_ = near.Close()
		}()
	}}
}

// checkRepeated checks that who repeats all that a client has said gets no answer to it.
func (l *lasting) checkRepeated(h *hop) {
	written := *h.far.kept
	_, at := readGreeting(written)
	for at > 0 && len(written)-at >= transport.HeaderSize {
		switch kind := core.Kind(written[at+4]); kind {
		case core.KindResult, core.KindEnd, core.KindError:
			l.violated("a thief gets a %v", kind)
		}
		at += transport.HeaderSize + int(binary.LittleEndian.Uint32(written[at:]))
	}
}
